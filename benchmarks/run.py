"""Entry point of ``make bench``: ``python benchmarks/run.py``. See benchmarks/README.md."""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    # A script's own folder is on the path, not the one above, where the package ``benchmarks`` is found.
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from benchmarks.suite import main

    sys.exit(main(sys.argv[1:]))
