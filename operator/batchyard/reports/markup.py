"""HTML that cannot be broken into: every text is escaped on its way in. Not a template language."""

from __future__ import annotations

import re
from html import escape

# What turns the order of letters around can make a name look like another.
_INVISIBLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def tag(name: str, *children: str, **attributes: str | None) -> Markup:
    """Return an element; children that are no ``Markup`` are escaped, an attribute of None is left out.

    A trailing or inner underscore of an attribute's name is for Python: ``class_``, ``aria_label``.
    """
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{text(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{name}{given}>{joined(*children)}</{name}>")


def joined(*children: str) -> Markup:
    """Return the children one after the other."""
    return Markup("".join(child if isinstance(child, Markup) else text(child) for child in children))


def text(given: str) -> Markup:
    """Return a text as HTML that shows it."""
    return Markup(escape(visible(given)))


def visible(given: str) -> str:
    """Return a text without what cannot be seen but changes what is."""
    return _INVISIBLE.sub("\N{REPLACEMENT CHARACTER}", given)
