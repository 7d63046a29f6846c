"""Names for cases out of whatever a file calls them: DNS labels, each once."""

from __future__ import annotations

from batchyard.model.names import MAX_LABEL, dns_label, with_suffix


class Names:
    """Gives each case a name of its own, the same for the same file."""

    def __init__(self, stem: str) -> None:
        """Begin; a case without a label is called ``<stem>-<number>``."""
        self._stem = dns_label(stem) or "case"
        self._taken: set[str] = set()
        self._next: dict[str, int] = {}

    def name(self, label: str, number: int) -> str:
        """Return the name of the ``number``-th case, which the file calls ``label``, "" for nothing."""
        wanted = dns_label(label)[:MAX_LABEL].rstrip("-") or with_suffix(self._stem, str(number))
        chosen = wanted
        while chosen in self._taken:
            count = self._next.get(wanted, 2)
            self._next[wanted] = count + 1
            chosen = with_suffix(wanted, str(count))
        self._taken.add(chosen)
        return chosen
