"""``import``: read the file and what it names, write the cases whole or not at all, and say what was lost."""

from __future__ import annotations

import glob
import os
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from batchyard.cli import document, terminal, words
from batchyard.cli.whole_files import write_whole
from batchyard.decide.finish import EXIT_SUCCEEDED
from batchyard.importing.cases import Imported, imported
from batchyard.importing.source import Source, refused
from batchyard.model.errors import Fault, SpecInvalid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchyard.cli.options import Output
    from batchyard.importing.formats import Format
    from batchyard.importing.source import Wanted
    from batchyard.model.trial import JSON

MAX_BYTES = 256 * 1024 * 1024
STDIO = Path("-")


@dataclass(frozen=True, slots=True)
class Target:
    """Where the cases and the evaluation go. ``strict`` lets nothing be lost, ``force`` replaces what is there."""

    cases: Path
    evaluation: Path | None
    strict: bool
    force: bool


class LocalFolder:
    """The folder of an imported file, from which the paths in it count."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def matching(self, pattern: str) -> Sequence[str]:
        """Return the files that fit, in order."""
        if not glob.has_magic(pattern):
            return [pattern]
        # Path.glob takes no pattern that begins at the root.
        return sorted(glob.glob(pattern, root_dir=self._folder, recursive=True))  # noqa: PTH207

    def read(self, path: str) -> bytes:
        """Return a file's content. Raises ``OSError`` if it cannot be read or is too large."""
        return _content(self._folder / path)


def import_file(file: Path, form: Format | None, wanted: Wanted, target: Target, output: Output) -> int:
    """Import a file and return the exit code.

    Raises:
        SpecInvalid: if it cannot be imported, or something would be lost that must not be.
        NotWritten: if the cases or the evaluation cannot be written.
    """
    _check(file, target)
    found = imported(_source(file), wanted, form)
    if target.strict and found.losses:
        faults = [Fault(_places(loss.places, loss.count), "", loss.message, loss.remedy) for loss in found.losses]
        raise SpecInvalid(f"{file}: nothing was written, because --strict was given", faults)
    _write(found, target)
    if output == "json":
        document.print_json(_json(found, file, target))
    else:
        _tell(found, file, target)
    return EXIT_SUCCEEDED


def _source(file: Path) -> Source:
    if file == STDIO:
        return Source("standard input", sys.stdin.buffer.read(MAX_BYTES + 1), LocalFolder(Path.cwd()))
    try:
        return Source(str(file), _content(file), LocalFolder(file.parent))
    except OSError as err:
        raise refused(str(file), "", f"cannot be read: {err.strerror}", "check the path") from err


def _content(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise OSError(0, f"is more than {MAX_BYTES >> 20} MiB")
    return content


def _check(file: Path, target: Target) -> None:
    """Refuse what would be lost by writing: one of the two files to the other, or what is imported to either."""
    wanted = [] if target.cases == STDIO else [target.cases]
    if target.evaluation is not None:
        wanted.append(target.evaluation)
    places = [os.path.realpath(path) for path in wanted]
    if len(set(places)) < len(places):
        raise refused(str(wanted[1]), "", "is to have the cases and the evaluation", "give --evaluation another file")
    for path, place in zip(wanted, places, strict=True):
        if file != STDIO and place == os.path.realpath(file):
            raise refused(str(path), "", "is the file that is imported", "name another file to write")
        if path.is_file() and not target.force:
            raise refused(str(path), "", "is there already", "name another file, or give --force to replace it")


def _write(found: Imported, target: Target) -> None:
    texts = {} if target.cases == STDIO else {target.cases: found.json_lines()}
    if target.evaluation is not None:
        texts[target.evaluation] = evaluation_yaml(found)
    write_whole({path: partial(_write_text, text=text) for path, text in texts.items()})
    if target.cases == STDIO:
        # UTF-8 whatever the terminal's encoding is, as in a file.
        sys.stdout.buffer.write(found.json_lines().encode())


def _write_text(path: Path, *, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")


def evaluation_yaml(found: Imported) -> str:
    """Return the suggested evaluation as it stands under ``spec``; a comment if there is none."""
    suggested = found.evaluation
    if suggested is None or not suggested.evaluators:
        return "# Nothing of the file says how an answer is judged: write spec.evaluation yourself.\n"
    text: str = yaml.safe_dump({"evaluation": suggested.to_json()}, sort_keys=False, allow_unicode=True)
    return text


def _tell(found: Imported, file: Path, target: Target) -> None:
    aside = target.cases == STDIO
    console = terminal.err() if aside else terminal.out()

    def line(text: str) -> None:
        console.print("\n".join(map(terminal.printable, text.split("\n"))), soft_wrap=True)

    where = "standard output" if aside else str(target.cases)
    line(f"{where}: {words.counted(len(found.cases), 'case')} from {file} ({found.format})")
    if found.losses:
        line("\nnot carried over:")
        for loss in found.losses:
            line(f"  {_places(loss.places, loss.count)}: {loss.message}; {loss.remedy}")
    line("\nfor the spec of the BatchTest:\n")
    if not aside:
        line(f"casesFrom: [{{path: {target.cases}}}]")
    line(evaluation_yaml(found).rstrip())
    if found.evaluation is not None and found.evaluation.note:
        line(f"# {found.evaluation.note}")


def _places(places: Sequence[str], count: int) -> str:
    more = f" and {count - len(places):,} more" if count > len(places) else ""
    return f"{', '.join(places)}{more}"


def _json(found: Imported, file: Path, target: Target) -> dict[str, JSON]:
    suggested = found.evaluation
    return {
        "file": str(file),
        "format": found.format.value,
        "cases": len(found.cases),
        "written": str(target.cases),
        "losses": [loss.to_json() for loss in found.losses],
        "evaluation": suggested.to_json() if suggested is not None and suggested.evaluators else None,
        "note": suggested.note if suggested is not None else "",
    }
