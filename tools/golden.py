"""Write the generated files anew: ``make golden``. Read the diff; tests compare the files with their sources."""

from __future__ import annotations

from pathlib import Path

from batchyard.cli.reference import markdown
from batchyard.model.crd import crd_yaml

ROOT = Path(__file__).resolve().parent.parent


if __name__ == "__main__":
    (ROOT / "docs" / "cli.md").write_text(markdown(), encoding="utf-8")
    (ROOT / "crds" / "batchyard.dev_batchtests.yaml").write_text(crd_yaml(), encoding="utf-8")
