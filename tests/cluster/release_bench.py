"""One release of the packaged chart in the cluster, as people have one: by helm, kubectl and the command line only."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tarfile
from typing import TYPE_CHECKING, Any

import yaml

from cluster.bed.running import run
from cluster.bed.settings import CHECKOUT, process_environment
from cluster.chart_bench import CHART

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from cluster.bed.client import Cluster
    from cluster.chart_bench import Programs

NAME = "batchyard"
OLDER = "0.0.9"
EXAMPLE = CHECKOUT / "examples" / "docs_search" / "batchtest.yaml"
# Younger than the older version: what shows that an upgrade brings the definition along.
NEW_COLUMN = "Reason"

_IMAGE = {"registry": "docker.io", "tag": "test"}
_VALUES = {"image": _IMAGE, "runner": {"image": _IMAGE}, "startupSeconds": 240}


class Release:
    """The chart in a namespace of its own, with a volume that is a folder of this machine."""

    def __init__(self, programs: Programs, cluster: Cluster, namespace: str, folder: Path) -> None:
        """Nothing is installed yet. ``folder`` is where packages and the volume go."""
        self.cluster, self.namespace = cluster, namespace
        self._helm, self._folder = programs.helm, folder

    def helm(self, *words: str | Path, timeout: float = 200) -> str:
        """Run helm on the release's namespace; raises BedFailed with what it says."""
        place = (f"--kubeconfig={self.cluster.kubeconfig}", f"--namespace={self.namespace}")
        return run(self._helm, *words, *place, timeout=timeout)

    def make_volume(self) -> None:
        """Make a volume for the claim of the release."""
        volume = self._folder / "volume"
        volume.mkdir()
        # A path of the node is not given to the pod's group, as a real volume would be.
        volume.chmod(0o777)
        spec = {
            "capacity": {"storage": "10Gi"},
            "accessModes": ["ReadWriteOnce"],
            "hostPath": {"path": str(volume)},
            "claimRef": {"namespace": self.namespace, "name": NAME},
        }
        named = {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": self.namespace}, "spec": spec}
        self.cluster.apply("default", named)

    def packed(self) -> Path:
        """Return the chart as a package."""
        run(self._helm, "package", CHART, "--destination", self._folder)
        return next(self._folder.glob("batchyard-*.tgz"))

    def packed_older(self, package: Path) -> Path:
        """Return the package as an older version would have been: with a definition that lacks a column."""
        with tarfile.open(package) as archive:
            archive.extractall(self._folder / "older", filter="data")
        chart = self._folder / "older" / "batchyard"
        described = yaml.safe_load((chart / "Chart.yaml").read_text())
        (chart / "Chart.yaml").write_text(yaml.safe_dump({**described, "version": OLDER, "appVersion": OLDER}))
        definition = next((chart / "files" / "crds").iterdir())
        text = yaml.safe_load(definition.read_text())
        version = text["spec"]["versions"][0]
        version["additionalPrinterColumns"] = [
            column for column in version["additionalPrinterColumns"] if column["name"] != NEW_COLUMN
        ]
        definition.write_text(yaml.safe_dump(text, sort_keys=False))
        run(self._helm, "package", chart, "--destination", self._folder / "older")
        return next((self._folder / "older").glob("*.tgz"))

    def install(self, package: Path) -> None:
        """Install a package and wait until the operator is ready; the bed's definition becomes the release's."""
        self._put("install", package, "--take-ownership")

    def upgrade(self, package: Path) -> None:
        """Upgrade to a package and wait until the new operator is ready."""
        self._put("upgrade", package)

    def _put(self, verb: str, package: Path, *more: str) -> None:
        values = self._folder / "values.yaml"
        # The tests have one image. What another version's would do to the pod, its package's name does.
        values.write_text(yaml.safe_dump({**_VALUES, "podAnnotations": {"package": package.name}}))
        self.helm(verb, NAME, package, "--values", values, "--wait", "--timeout=180s", *more)

    def columns(self) -> list[str]:
        """Return the columns that the cluster's definition has."""
        found = json.loads(self.cluster.kubectl("get", "crd", "batchtests.batchyard.dev", "-o", "json"))
        return [column["name"] for column in found["spec"]["versions"][0]["additionalPrinterColumns"]]

    def pods(self) -> dict[str, str]:
        """Return when each of the operator's pods was made, by its uid."""
        chosen = ("-l", "app.kubernetes.io/component=operator")
        listed = json.loads(self.cluster.kubectl("get", "pods", "-n", self.namespace, *chosen, "-o", "json"))
        return {pod["metadata"]["uid"]: pod["metadata"]["creationTimestamp"] for pod in listed["items"]}

    def finished(self, namespace: str, name: str, seconds: int = 120) -> dict[str, Any]:
        """Wait for a batch's end as people do and return its status."""
        wait = ("wait", "-n", namespace, f"batchtest/{name}", "--for=condition=Finished", f"--timeout={seconds}s")
        self.cluster.kubectl(*wait, timeout=seconds + 10)
        status: dict[str, Any] = self.cluster.get(namespace, "batchtest", name)["status"]
        return status

    def apply_example(self, namespace: str) -> None:
        """Bundle the example of the checkout and apply it, as its README says."""
        bundled = self._batchyard("bundle", str(EXAMPLE), "--provider", "InProcess")
        self.cluster.kubectl("apply", "--server-side", "-n", namespace, "-f", "-", stdin=bundled)

    def asked(self, *words: str) -> Any:
        """Return what ``batchyard`` says of the cluster."""
        # Nobody is asked while the operator says that it is not ready, as after a busy moment.
        self.cluster.kubectl(
            "rollout", "status", "-n", self.namespace, f"deployment/{NAME}", "--timeout=60s", timeout=70
        )
        place = ("--kube", "--operator-namespace", self.namespace, "--output", "json")
        return json.loads(self._batchyard(*words, *place))

    def _batchyard(self, *words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "batchyard", *words],
            capture_output=True,
            text=True,
            check=False,
            env=process_environment(KUBECONFIG=str(self.cluster.kubeconfig)),
        )
        assert done.returncode == 0, done.stderr + self._said()
        return done.stdout

    def _said(self) -> str:
        """Return what the operator said last, and said before it was started again."""
        chosen = ("logs", "-n", self.namespace, f"deployment/{NAME}", "--tail=40")
        return "\n".join(self.cluster.attempt(*chosen, *more).stdout for more in ((), ("--previous",)))

    def left(self, namespaces: Iterable[str]) -> list[str]:
        """Return every object of the release or of a batch that is still there, and every finalizer of one."""
        mine = ("-l", f"app.kubernetes.io/instance={NAME}", "-o", "name", "--ignore-not-found")
        kinds = "clusterroles,clusterrolebindings"
        found = self.cluster.kubectl("get", kinds, *mine).split()
        for namespace in namespaces:
            kinds = "all,roles,rolebindings,secrets,leases,pvc,serviceaccounts,networkpolicies,jobs,rayclusters"
            found += self.cluster.kubectl("get", kinds, "-n", namespace, *mine).split()
            batches = ("-l", "batchyard.dev/uid", "-o", "name", "--ignore-not-found")
            found += self.cluster.kubectl("get", "jobs,pods,secrets,rayclusters", "-n", namespace, *batches).split()
        return found

    def remove(self) -> None:
        """Remove whatever is there."""
        self.helm("uninstall", NAME, "--ignore-not-found", "--wait", "--timeout=60s")
        gone = ("--ignore-not-found", "--wait=false")
        self.cluster.kubectl("delete", "namespace", self.namespace, *gone)
        self.cluster.kubectl("delete", "pv", self.namespace, *gone)
        # Given back to the bed, which applies the definition with another client.
        crd = ("crd", "batchtests.batchyard.dev")
        self.cluster.attempt("annotate", *crd, "meta.helm.sh/release-name-", "meta.helm.sh/release-namespace-")
        self.cluster.attempt("label", *crd, "app.kubernetes.io/managed-by-")
        shutil.rmtree(self._folder)
