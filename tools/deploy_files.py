"""The generated files of ``deploy/`` and of the chart: from the definitions, the base and the comments of the values.

Not for the chart's templates nor for the base, which are written by hand.
"""

from __future__ import annotations

from pathlib import Path

import yaml
from chart_readme import readme

from batchyard.model.crd import GROUP, PLURAL, crd_yaml

ROOT = Path(__file__).resolve().parent.parent
CHART = ROOT / "charts" / "batchyard"
BASE = ROOT / "deploy" / "kustomize" / "base"
CRD = f"{GROUP}_{PLURAL}.yaml"

_HEAD = """\
# The operator of Batchyard for a whole cluster, without Helm. Made from deploy/kustomize/base by `make golden`.
#   kubectl apply --server-side -f crds/ && kubectl apply -f deploy/operator.yaml
# Set the two images to yours, here or by an overlay as in deploy/kustomize/example. The store is SQLite on the volume
# below; for PostgreSQL make a Secret
#   kubectl create secret generic batchyard-store -n batchyard-system --from-literal=url=postgresql://...
# and the operator uses that instead; the volume is then not needed. Schema migrations run before the operator starts.
"""


def deploy_files() -> dict[Path, str]:
    """Return what each generated file must hold."""
    return {
        ROOT / "crds" / CRD: crd_yaml(),
        ROOT / "deploy" / "kustomize" / "crds" / CRD: crd_yaml(),
        CHART / "files" / "crds" / CRD: crd_yaml(),
        CHART / "README.md": readme(_text(CHART / "README.md"), _text(CHART / "values.yaml")),
        ROOT / "deploy" / "operator.yaml": _operator(),
    }


def _operator() -> str:
    """Return the base as one file, in the order of its kustomization."""
    names = yaml.safe_load(_text(BASE / "kustomization.yaml"))["resources"]
    return _HEAD + "---\n".join(_text(BASE / name) for name in names)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")
