"""One release of the packaged chart in the cluster, as people have one: by helm, kubectl and the command line only."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import yaml

from cluster.bed.images import PREVIOUS, previous_version
from cluster.bed.running import run
from cluster.bed.settings import CHECKOUT, process_environment
from cluster.chart_bench import CHART

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from cluster.bed.client import Cluster
    from cluster.chart_bench import Programs

NAME = "batchyard"
EXAMPLE = CHECKOUT / "examples" / "docs_search" / "batchtest.yaml"
# Younger than the version before: what shows that an upgrade brings the definition along.
NEW_FIELD = "forkFrom"
_KINDS = (
    "all,roles,rolebindings,secrets,leases,pvc,serviceaccounts,networkpolicies,jobs,rayclusters,configmaps,"
    "poddisruptionbudgets"
)
PREVIOUS_PACKAGE = next(PREVIOUS.glob("*.tgz"))


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
        """Return the checkout's chart as a package."""
        run(self._helm, "package", CHART, "--destination", self._folder)
        return next(self._folder.glob("batchyard-*.tgz"))

    def install_previous(self) -> None:
        """Install the version before and wait until its operator is ready; the bed's definition becomes its own."""
        self.cluster.know_previous()
        self._put("install", PREVIOUS_PACKAGE, previous_version(), "--take-ownership")

    def upgrade(self, package: Path, **values: Any) -> None:
        """Upgrade to a package of the checkout's chart, as the guide says, and wait until the new operator is ready."""
        self._put("upgrade", package, "test", "--reset-then-reuse-values", **values)

    def install(self, package: Path, **values: Any) -> None:
        """Install a package of the checkout's chart with these values and wait until its operators are ready."""
        self._put("install", package, "test", "--take-ownership", **values)

    def _put(self, verb: str, package: Path, tag: str, *more: str, **values: Any) -> None:
        image = {"registry": "docker.io", "tag": tag}
        given = {"image": image, "runner": {"image": image}, "startupSeconds": 240, **values}
        file = self._folder / "values.yaml"
        file.write_text(yaml.safe_dump(given))
        self.helm(verb, NAME, package, "--values", file, "--wait", "--timeout=180s", *more)

    def fields(self) -> set[str]:
        """Return the fields of ``spec`` that the cluster's definition has."""
        found = json.loads(self.cluster.kubectl("get", "crd", "batchtests.batchyard.dev", "-o", "json"))
        described = found["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
        return set(described["properties"])

    def pods(self) -> dict[str, str]:
        """Return when each of the operator's pods was made, by its uid."""
        chosen = ("-l", "app.kubernetes.io/component=operator")
        listed = json.loads(self.cluster.kubectl("get", "pods", "-n", self.namespace, *chosen, "-o", "json"))
        return {pod["metadata"]["uid"]: pod["metadata"]["creationTimestamp"] for pod in listed["items"]}

    def leader(self) -> str:
        """Return the name of the operator's pod that leads."""
        (lease,) = json.loads(self.cluster.kubectl("get", "leases", "-n", self.namespace, "-o", "json"))["items"]
        holder: str = lease["spec"]["holderIdentity"]
        return holder.partition("_")[0]

    def kill(self, pod: str) -> None:
        """Kill a pod of the operator; its Deployment makes another."""
        self.cluster.kubectl("delete", "pod", "-n", self.namespace, pod, "--grace-period=0", "--force")

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

    def asked(self, *words: str, kubeconfig: Path | None = None) -> Any:
        """Return what ``batchyard`` says of the cluster to whoever a kubeconfig is of, by default to an admin."""
        # Nobody is asked while the operator says that it is not ready, as after a busy moment.
        self.cluster.kubectl(
            "rollout", "status", "-n", self.namespace, f"deployment/{NAME}", "--timeout=60s", timeout=70
        )
        place = ("--kube", "--operator-namespace", self.namespace, "--output", "json")
        return json.loads(self._batchyard(*words, *place, kubeconfig=kubeconfig))

    def told(self, *words: str, kubeconfig: Path) -> tuple[int, str]:
        """Return how ``batchyard`` ends for somebody who may not know it all, and what it tells them of that."""
        done = self._attempt(*words, "--kube", "--operator-namespace", self.namespace, kubeconfig=kubeconfig)
        return done.returncode, done.stderr

    def _batchyard(self, *words: str, kubeconfig: Path | None = None) -> str:
        done = self._attempt(*words, kubeconfig=kubeconfig or self.cluster.kubeconfig)
        assert done.returncode == 0, done.stderr + self._said()
        return done.stdout

    def _attempt(self, *words: str, kubeconfig: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "batchyard", *words],
            capture_output=True,
            text=True,
            check=False,
            env=process_environment(KUBECONFIG=str(kubeconfig)),
        )

    def _said(self) -> str:
        """Return what the operator said last, and said before it was started again."""
        chosen = ("logs", "-n", self.namespace, f"deployment/{NAME}", "--tail=40")
        return "\n".join(self.cluster.attempt(*chosen, *more).stdout for more in ((), ("--previous",)))

    def left(self, namespaces: Iterable[str]) -> list[str]:
        """Return every object of the release or of a batch that is still there."""
        mine = ("-l", f"app.kubernetes.io/instance={NAME}", "-o", "name", "--ignore-not-found")
        found = self.cluster.kubectl("get", "clusterroles,clusterrolebindings", *mine).split()
        for namespace in namespaces:
            found += self.cluster.kubectl("get", _KINDS, "-n", namespace, *mine).split()
            found += self.left_of_batches(namespace)
        return found

    def left_of_batches(self, namespace: str) -> list[str]:
        """Return every object that was made for a batch and is still there."""
        made = ("-l", "batchyard.dev/uid", "-o", "name", "--ignore-not-found")
        return self.cluster.kubectl("get", "jobs,pods,secrets,rayclusters", "-n", namespace, *made).split()

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
