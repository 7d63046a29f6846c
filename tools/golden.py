"""Write the generated files anew: ``make golden``. Read the diff; tests compare the files with their sources."""

from __future__ import annotations

from pathlib import Path

from deploy_files import deploy_files

from batchyard.cli.reference import markdown
from batchyard.metrics import reference

ROOT = Path(__file__).resolve().parent.parent


if __name__ == "__main__":
    (ROOT / "docs" / "cli.md").write_text(markdown(), encoding="utf-8")
    (ROOT / "docs" / "metrics.md").write_text(reference(), encoding="utf-8")
    for path, text in deploy_files().items():
        path.write_text(text, encoding="utf-8")
