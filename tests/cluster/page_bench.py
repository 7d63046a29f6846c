"""What the pages of the documentation find when their commands run with the cluster of the tests."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from docs.pages import CHECKOUT
from docs.shell import Shell
from docs.stand_ins import with_images

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cluster.bed.client import Cluster
    from cluster.chart_bench import Programs
    from docs.pages import Page

SYSTEM = "batchyard-system"
DEPLOY = CHECKOUT / "deploy" / "operator.yaml"
IMAGES = {
    "operator": "docker.io/batchyard/operator:test",
    "runner": "docker.io/batchyard/runner:test",
    "registry": "docker.io",
    "tag": "test",
}
DOCKER = CHECKOUT / "tests" / "docs" / "docker_stand_in.sh"


def reader(cluster: Cluster, programs: Programs, namespace: str, page: Page, folder: Path) -> Shell:
    """Return the shell of a reader whose context is a namespace of their own."""
    kubeconfig = folder / "kubeconfig"
    text = yaml.safe_load(cluster.kubeconfig.read_text(encoding="utf-8"))
    for context in text["contexts"]:
        context["context"]["namespace"] = namespace
    kubeconfig.write_text(yaml.safe_dump(text), encoding="utf-8")
    kubeconfig.chmod(0o600)
    shell = Shell(folder, page, {"namespace": namespace, **IMAGES}, {"KUBECONFIG": str(kubeconfig)})
    for name, target in (("kubectl", programs.kubectl), ("helm", programs.helm)):
        (folder / "bin" / name).symlink_to(shutil.which(target) or target)
    shutil.copyfile(DOCKER, folder / "bin" / "docker")
    (folder / "bin" / "docker").chmod(0o755)
    return shell


@contextmanager
def volumes(cluster: Cluster) -> Iterator[None]:
    """Give the cluster volumes, as one has whose storage is set up."""
    # Not below pytest's folders: only root may look into those.
    folder = Path(tempfile.mkdtemp(prefix="batchyard-volumes-", dir="/tmp"))
    names = [f"batchyard-pages-{number}" for number in range(3)]
    for name in names:
        (folder / name).mkdir()
        # A path of the node is not given to the pod's group, as a real volume would be.
        (folder / name).chmod(0o777)
    folder.chmod(0o755)
    cluster.apply("default", *(_volume(name, folder / name) for name in names))
    try:
        yield
    finally:
        cluster.kubectl("delete", "pv", *names, "--ignore-not-found", "--timeout=30s")
        shutil.rmtree(folder)


@contextmanager
def installed(cluster: Cluster) -> Iterator[None]:
    """Install the operator for all namespaces, ready for batches; remove it afterwards."""
    removed(cluster)
    cluster.know_definitions()
    with volumes(cluster):
        text = with_images(DEPLOY.read_text(encoding="utf-8"), IMAGES)
        cluster.kubectl("apply", "-f", "-", stdin=text)
        try:
            cluster.kubectl("rollout", "status", "-n", SYSTEM, "deployment/batchyard", "--timeout=120s", timeout=130)
            yield
        finally:
            removed(cluster)
            cluster.know_definitions()


def removed(cluster: Cluster) -> None:
    """Remove an operator, whatever installed it, with the definitions: a chart takes over none that it did not make."""
    cluster.kubectl("delete", "-f", str(DEPLOY), "--ignore-not-found", "--timeout=60s", timeout=90)
    cluster.kubectl("delete", "-f", str(CHECKOUT / "crds"), "--ignore-not-found", "--timeout=60s", timeout=90)


def _volume(name: str, path: Path) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": "10Gi"},
            "accessModes": ["ReadWriteOnce"],
            "hostPath": {"path": str(path)},
            "persistentVolumeReclaimPolicy": "Retain",
        },
    }
