"""Write the generated files anew: ``make golden``. Read the diff; tests compare the files with their sources."""

from __future__ import annotations

from pathlib import Path
from textwrap import indent

import original_design
from deploy_files import deploy_files

from batchyard.cli.reference import markdown
from batchyard.metrics import reference
from batchyard.model.crd_reference import batchtest_markdown

ROOT = Path(__file__).resolve().parent.parent
ARGOCD = ROOT / "deploy" / "gitops" / "argocd"
SCRIPTS = {"batchyard.dev_BatchTest": "health.lua", "argoproj.io_Application": "application-health.lua"}


def argocd_cm() -> str:
    """Return the part of Argo CD's own ConfigMap that has the scripts of health."""
    texts = {f"resource.customizations.health.{kind}": ARGOCD / name for kind, name in SCRIPTS.items()}
    scripts = "".join(f"  {key}: |\n{indent(file.read_text(encoding='utf-8'), '    ')}" for key, file in texts.items())
    return f"""\
# Made from the scripts beside it by `make golden`. It adds two keys to the ConfigMap and leaves all others alone:
#   kubectl apply --server-side --field-manager=batchyard -f deploy/gitops/argocd/argocd-cm.yaml
apiVersion: v1
kind: ConfigMap
metadata:
  name: argocd-cm
  namespace: argocd
  labels:
    app.kubernetes.io/name: argocd-cm
    app.kubernetes.io/part-of: argocd
data:
{scripts}"""


if __name__ == "__main__":
    (ARGOCD / "argocd-cm.yaml").write_text(argocd_cm(), encoding="utf-8")
    (ROOT / "docs" / "cli.md").write_text(markdown(), encoding="utf-8")
    (ROOT / "docs" / "metrics.md").write_text(reference(), encoding="utf-8")
    (ROOT / "docs" / "batchtest.md").write_text(batchtest_markdown(), encoding="utf-8")
    (ROOT / "docs" / "original-design.md").write_text(original_design.markdown(), encoding="utf-8")
    for path, text in deploy_files().items():
        path.write_text(text, encoding="utf-8")
