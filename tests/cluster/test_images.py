"""The two images: what they say of themselves, what is in them, and that the restricted profile is enough."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from packaging.markers import Marker
from packaging.utils import canonicalize_name

from batchyard import __version__
from cluster.bed import images, settings
from cluster.pods import logs, restricted_pod, wait_for_phase

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cluster.bed.client import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

CHECKOUT = Path(__file__).parents[2]
EACH = pytest.mark.parametrize("target", images.TARGETS)
# Tells of itself as JSON what a test then looks at.
LOOK = """
import importlib.metadata as m, importlib.util as u, json, os, pathlib, platform, shutil, subprocess, sys
target, = sys.argv[1:]
def refused(folder):
    try:
        (pathlib.Path(folder) / "x").touch()
    except OSError as err:
        return err.strerror
print(json.dumps({
    "user": [os.getuid(), os.getgid()],
    "refused": {folder: refused(folder) for folder in ("/", "/opt/batchyard", "/etc", "/tmp", "/var/lib/batchyard")},
    "version": subprocess.check_output(["batchyard", "--version"], text=True).split()[-1],
    "installed": [[one.name, one.version] for one in m.distributions()],
    "modules": [name for name in ("ray", "langgraph", "kopf", "kubernetes", "pip") if u.find_spec(name)],
    "programs": [name for name in ("wget", "pip", "gcc") if shutil.which(name)],
    "python": platform.python_version(),
    "sbom": json.loads(pathlib.Path(f"/usr/share/batchyard/sbom/batchyard-{target}.cdx.json").read_text()),
}))
"""


@dataclass(frozen=True, slots=True)
class Inside:
    """What a pod of an image told of itself."""

    target: str
    told: Mapping[str, Any]

    @property
    def installed(self) -> set[tuple[str, str]]:
        """The packages that Python finds."""
        return {(canonicalize_name(name), version) for name, version in self.told["installed"]}

    @property
    def listed(self) -> set[tuple[str, str]]:
        """The packages in the SBOM."""
        return {(canonicalize_name(one["name"]), one["version"]) for one in self.told["sbom"]["components"]}

    @property
    def locked(self) -> set[tuple[str, str]]:
        """The packages that the lock has for this image's Python."""
        where = {"python_version": "3.11", "python_full_version": self.told["python"], "sys_platform": "linux"}
        lines = (CHECKOUT / f"requirements-{self.target}.lock").read_text(encoding="utf-8").splitlines()
        found: set[tuple[str, str]] = set()
        for line in lines:
            pin, _, marker = line.removesuffix("\\").partition(";")
            name, equal, version = pin.strip().partition("==")
            if equal and not name.startswith("-") and (not marker.strip() or Marker(marker.strip()).evaluate(where)):
                found.add((canonicalize_name(name.partition("[")[0]), version))
        return found


@pytest.fixture
def inside(cluster: Cluster, namespace: str) -> Callable[[str], Inside]:
    """Look into an image, in a pod that the restricted profile lets in and whose root file system is read-only."""

    def look(target: str) -> Inside:
        cluster.apply(namespace, restricted_pod(target, target, ["python", "-c", LOOK, target]))
        wait_for_phase(cluster, namespace, target, "Succeeded")
        return Inside(target, json.loads(logs(cluster, namespace, target)))

    return look


def described(cluster: Cluster, target: str) -> dict[str, Any]:
    """Return an image's configuration; only where the bed built it can it be asked for."""
    assert cluster.one_node
    return images.described(settings.read(), images.name(target))


def test_the_operator_image_needs_no_more_than_the_restricted_profile_and_holds_what_its_lock_says(
    inside: Callable[[str], Inside],
) -> None:
    found = inside("operator")

    _check_confinement(found)
    assert found.told["modules"] == ["kopf", "kubernetes"]
    assert found.told["programs"] == []
    _check_packages(found)


def test_the_runner_image_needs_no_more_than_the_restricted_profile_and_holds_what_its_lock_says(
    inside: Callable[[str], Inside],
) -> None:
    found = inside("runner")

    _check_confinement(found)
    assert found.told["modules"] == ["ray", "langgraph", "pip"]
    assert found.told["programs"] == ["wget", "pip"]
    _check_packages(found)


@EACH
def test_an_image_says_what_it_is_and_runs_as_nobody_special(cluster: Cluster, target: str) -> None:
    config = described(cluster, target)["config"]

    assert config["User"] == "10001:10001"
    assert config["Entrypoint"][0] == "batchyard"
    said = {name.rpartition(".")[2]: text for name, text in config["Labels"].items() if "opencontainers" in name}
    assert {name: said[name] for name in ("title", "version", "licenses")} == {
        "title": f"Batchyard {target}",
        "version": __version__,
        "licenses": "Apache-2.0",
    }
    assert said["description"]
    # Nothing tells where or by whom it was built.
    assert not [name for name in config["Env"] if not name.startswith(("PATH=", "PYTHON", "RAY_", "LANG="))]


def test_the_operators_health_check_hears_whether_it_lives_and_the_runner_has_none(
    cluster: Cluster, namespace: str
) -> None:
    check = described(cluster, "operator")["config"]["Healthcheck"]["Test"]
    server = restricted_pod("lives", "operator", ["python", "-m", "http.server", "9090", "--directory", "/tmp"])
    cluster.apply(namespace, server)
    wait_for_phase(cluster, namespace, "lives", "Running")
    execute = ("exec", "-n", namespace, "lives", "--")

    unwell = cluster.attempt(*execute, *check[1:])
    cluster.kubectl(*execute, "touch", "/tmp/healthz")
    well = cluster.attempt(*execute, *check[1:])

    assert check[0] == "CMD"
    assert (unwell.returncode, well.returncode) == (1, 0)
    assert described(cluster, "runner")["config"]["Healthcheck"]["Test"] == ["NONE"]


def test_the_operator_image_is_small_beside_the_runners(cluster: Cluster, measured: Callable[[str], None]) -> None:
    assert cluster.one_node
    known = settings.read()
    base = images.size(known, images.BASE)
    operator, runner = (images.size(known, images.name(target)) - base for target in ("operator", "runner"))

    assert 1e6 < operator < runner * 0.42
    measured(f"over the base image: operator {operator / 1e6:.0f} MB, runner {runner / 1e6:.0f} MB")


@pytest.mark.timeout(1200)
@pytest.mark.alone
@pytest.mark.parametrize("target", ["operator", "runner"])
def test_an_image_that_is_built_twice_has_the_same_layers(cluster: Cluster, target: str) -> None:
    assert cluster.one_node
    known = settings.read()
    # Of the checkout as it is now, which may be newer than what the cluster has.
    first = images.described(known, images.built(known, target))

    again = images.built_anew(known, target, REVISION="0123abc", SOURCE="https://example.com/it")

    assert again["rootfs"] == first["rootfs"]
    labels = again["config"]["Labels"]
    assert labels["org.opencontainers.image.revision"] == "0123abc"
    assert labels["org.opencontainers.image.source"] == "https://example.com/it"


def _check_confinement(found: Inside) -> None:
    assert found.told["user"] == [10001, 10001]
    assert found.told["version"] == __version__
    folders = found.told["refused"]
    assert {folder for folder, why in folders.items() if why is None} == {"/tmp", "/var/lib/batchyard"}
    assert {why for why in folders.values() if why} == {"Read-only file system"}


def _check_packages(found: Inside) -> None:
    assert found.installed == found.locked | {("batchyard", __version__)}
    assert found.listed == found.installed
    assert found.told["sbom"]["bomFormat"] == "CycloneDX"
    without_licence = [one["name"] for one in found.told["sbom"]["components"] if not one.get("licenses")]
    assert len(without_licence) < len(found.listed) / 10, without_licence
