"""The cluster as tests see it: its addresses, its client, and its programs where they are ours."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any, NoReturn

import httpx
import pytest

from cluster.bed import definitions, settings
from cluster.bed.built import Built
from cluster.bed.running import BedFailed, holds_within, run

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from cluster.bed.choice import Bed
    from cluster.bed.one_node import OneNode


def go_without(reason: str) -> NoReturn:
    """Skip a test for what is not here; where a cluster is required, in CI that is, fail it."""
    if settings.read().required:
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


class Cluster:
    """A running cluster."""

    def __init__(self, bed: Bed) -> None:
        """Ask the bed where the cluster is, and bring it up to this checkout's definitions."""
        self._bed = bed
        self._proxy: _Proxy | None = None
        self.kubeconfig: Path = bed.kubeconfig
        # They may have changed since it was brought up, or it is somebody else's.
        self.know_definitions()
        self.logs: Path | None = bed.logs
        server = self.kubectl("config", "view", "--minify", "-o", "jsonpath={.clusters[0].cluster.server}")
        self.api_url: str = server.strip()
        self.node: str = self.kubectl("get", "nodes", "-l", "type!=kwok", "-o", "jsonpath={.items[0].metadata.name}")

    def know_definitions(self) -> None:
        """Bring the cluster up to this checkout's definitions."""
        definitions.apply(self._bed.kubectl, self.kubeconfig)

    def know_previous(self) -> None:
        """Let the cluster have the images of the version before."""
        self._bed.load_previous()

    @property
    def one_node(self) -> OneNode:
        """The cluster's own programs, to stop, freeze or exchange; ``go_without`` where they are not ours."""
        if not isinstance(self._bed, Built):
            go_without(f"{self._bed.kind} has programs that a test must not touch")
        return self._bed.one_node

    def kubectl(self, *arguments: str, stdin: str | None = None, timeout: float = 60) -> str:
        """Run kubectl on this cluster and return what it printed; raises BedFailed with what it said."""
        return run(self._bed.kubectl, f"--kubeconfig={self.kubeconfig}", *arguments, stdin=stdin, timeout=timeout)

    def attempt(self, *arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run kubectl on this cluster and return how it ended, well or not, with all that it said."""
        words = [self._bed.kubectl, f"--kubeconfig={self.kubeconfig}", *arguments]
        return subprocess.run(
            words, capture_output=True, text=True, timeout=timeout, env=settings.process_environment(), check=False
        )

    def read(self, path: str, **query: str) -> dict[str, Any]:
        """Return what the API server has at a path, by far cheaper than kubectl; raises BedFailed if it refuses."""
        answer = self.ask(path, query)
        if answer.status_code != httpx.codes.OK:
            raise BedFailed(f"the API server answered {answer.status_code} for {path}: {answer.text[:300]}")
        found: dict[str, Any] = answer.json()
        return found

    def ask(self, path: str, query: Mapping[str, str], headers: Mapping[str, str] | None = None) -> httpx.Response:
        """Return what is answered at a path of the API server, a refusal too; raises BedFailed if nothing is."""
        if self._proxy is None:
            self._proxy = _Proxy([self._bed.kubectl, f"--kubeconfig={self.kubeconfig}", "proxy", "--port=0"])
        return self._proxy.ask(path, query, headers or {})

    def close(self) -> None:
        """End what was started for reading."""
        if self._proxy is not None:
            self._proxy.close()

    def apply(self, namespace: str, *documents: Mapping[str, Any]) -> None:
        """Apply objects in a namespace."""
        listed = {"apiVersion": "v1", "kind": "List", "items": list(documents)}
        self.kubectl("apply", "-n", namespace, "-f", "-", stdin=json.dumps(listed))

    def get(self, namespace: str, kind: str, name: str) -> dict[str, Any]:
        """Return an object; raises BedFailed when it is not there."""
        found: dict[str, Any] = json.loads(self.kubectl("get", "-n", namespace, kind, name, "-o", "json"))
        return found

    def until(self, seconds: float, what: str, holds: Callable[[], bool], look_at: str = "") -> None:
        """Wait until a condition holds; else fail with what kubectl shows of the namespace ``look_at``."""
        if holds_within(seconds, holds, every=0.25):
            return
        shown = ""
        if look_at:
            shown = self.kubectl("get", "-n", look_at, "all,events", "--sort-by=.metadata.creationTimestamp")
        pytest.fail(f"{what} did not come true within {seconds:.0f} s\n{shown}")

    def make_namespace(self, name: str, level: str = "restricted") -> None:
        """Make a namespace that enforces a level of the Pod Security Standards, ready for pods."""
        labels = {"pod-security.kubernetes.io/enforce": level, "batchyard.dev/test": "true"}
        self.apply("default", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
        # A pod is refused until its service account is there. Controllers whose API server was away a while ago look
        # for it again only every minute (client-go's reflectors wait up to 30 s, and as much again by chance).
        self.until(120, f"the service account of {name}", lambda: self._has(name, "serviceaccount", "default"))

    def _has(self, namespace: str, kind: str, name: str) -> bool:
        try:
            self.get(namespace, kind, name)
        except BedFailed:
            return False
        return True


class _Proxy:
    """``kubectl proxy``, which lets in whoever asks from this machine."""

    def __init__(self, command: list[str]) -> None:
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=settings.process_environment())
        assert self._process.stdout is not None
        said = self._process.stdout.readline()
        self._client = httpx.Client(base_url=f"http://{said.split()[-1]}", timeout=20, trust_env=False)

    def ask(self, path: str, query: Mapping[str, str], headers: Mapping[str, str]) -> httpx.Response:
        try:
            return self._client.get(path, params=query, headers=headers)
        except httpx.HTTPError as err:
            raise BedFailed(f"the API server did not answer {path}: {err!r}") from err

    def close(self) -> None:
        self._client.close()
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
