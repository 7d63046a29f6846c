"""Names that Kubernetes, file systems and URLs accept: DNS-1123 labels, and how other text becomes one.

Not for deciding which things have names; that is the spec's and the matrix's business.
"""

from __future__ import annotations

import hashlib
import re

MAX_LABEL = 63
DNS_LABEL_PATTERN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
DNS_LABEL_RULE = "lower-case letters, digits and '-', at most 63, beginning and ending with a letter or digit"

_LABEL = re.compile(DNS_LABEL_PATTERN.removesuffix("$") + r"\Z")
_OUTSIDE = re.compile(r"[^a-z0-9]+")


def is_dns_label(text: str) -> bool:
    """Return whether ``text`` can name a Kubernetes object, a folder and a part of a URL as it stands."""
    return len(text) <= MAX_LABEL and _LABEL.match(text) is not None


def dns_label(text: str) -> str:
    """Return ``text`` in lower case with every run of other characters made one '-'; "" if nothing is left.

    The result may be longer than a label; see ``with_suffix``.
    """
    return _OUTSIDE.sub("-", text.lower()).strip("-")


def with_suffix(stem: str, suffix: str) -> str:
    """Return ``stem-suffix`` as one label, the stem cut as far as needed."""
    kept = stem[: MAX_LABEL - len(suffix) - 1].rstrip("-")
    return f"{kept}-{suffix}" if kept else suffix


def short_hash(text: str, length: int = 8) -> str:
    """Return the first ``length`` hexadecimal digits of the text's SHA-256: the same on every machine, for ever."""
    return hashlib.sha256(text.encode()).hexdigest()[:length]
