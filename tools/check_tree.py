"""Hold what no linter knows: the layout's traps and the size of modules. Exits 1 with every breach."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LONGEST_MODULE = 400


def _files() -> list[Path]:
    """Return the tracked and the new files; in a tree without git, all but hidden folders' and built ones."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        found = (path for folder in ROOT.glob("[!.]*") for path in [folder, *folder.rglob("*")])
        return [path for path in found if path.is_file() and "build" not in path.parts]
    return [ROOT / name for name in listed if name and (ROOT / name).is_file()]


def breaches() -> list[str]:
    """Return every breach in the tracked files, as one line each."""
    files = _files()
    found = []
    if (ROOT / "operator" / "__init__.py").exists():
        found.append("operator/__init__.py exists: it shadows the standard library's operator module; remove it")
    for file in files:
        if file.suffix == ".py":
            lines = len(file.read_text(encoding="utf-8").splitlines())
            if lines > LONGEST_MODULE:
                name = file.relative_to(ROOT)
                found.append(f"{name}: {lines} lines; part it by topic (at most {LONGEST_MODULE})")
    return found


if __name__ == "__main__":
    problems = breaches()
    sys.stderr.write("".join(f"{problem}\n" for problem in problems))
    sys.exit(1 if problems else 0)
