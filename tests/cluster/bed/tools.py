"""The programs of the cluster: pinned as Go modules, built from source once, kept in the cache.

Each folder of ``tests/cluster/tools`` pins one tool. Those of one ``.work`` file take the same versions of what they
have in common, which is most of Kubernetes, so that it is compiled once; KubeRay's pins are raised to Kueue's for the
same reason. What is built is kept under a digest of what it is built from.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.bed.module_files import PINS, fetch, pins
from cluster.bed.running import BedFailed, locked, path_of, run, say
from cluster.bed.settings import CHECKOUT

if TYPE_CHECKING:
    from cluster.bed.settings import Settings

_SOURCES = CHECKOUT / "tests" / "cluster" / "tools"
_STRIPPED = "-s -w"
_KUBE_VERSION = "v1.34.4"
_COMPONENT = "k8s.io/component-base/version"
_KUBE_FLAGS = (
    f"{_STRIPPED} -X {_COMPONENT}.gitVersion={_KUBE_VERSION} -X {_COMPONENT}.gitMajor=1 -X {_COMPONENT}.gitMinor=34"
)
# As in Helm's own releases: without them it takes itself for one of Kubernetes 1.20.
_HELM = "helm.sh/helm/v3"
_HELM_FLAGS = f"{_STRIPPED} -X {_HELM}/internal/version.version=v3.19.5" + "".join(
    f" -X {_HELM}/pkg/{package}.k8sVersionMajor=1 -X {_HELM}/pkg/{package}.k8sVersionMinor=34"
    for package in ("chartutil", "lint/rules")
)
_BUILD_TIMEOUT = 3600.0


@dataclass(frozen=True, slots=True)
class Tool:
    """One folder of pins, and what is taken from it."""

    name: str
    programs: tuple[str, ...]
    workspace: str = ""
    """The file of those that it shares versions with, if it does."""
    flags: str = _STRIPPED
    module: str = ""
    """The module whose data files are wanted too."""
    files: str = ""
    """Which of that module's YAML files, as a glob; or a folder, which is taken whole."""

    @property
    def source(self) -> Path:
        """The folder of its pins."""
        return _SOURCES / self.name


_SHARED = "kubernetes-034.work"
KUBERAY = {"1.6.2": "kuberay", "1.5.1": "kuberay151"}
_RAY_OPERATOR = "github.com/ray-project/kuberay/ray-operator"
_TOOLS = (
    Tool("pause", ("pause",)),
    Tool("kstatus", ("kstatus",), _SHARED),
    Tool("gitops", ()),
    Tool("etcd", ("server",)),
    Tool(
        "kube",
        ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl"),
        _SHARED,
        flags=_KUBE_FLAGS,
    ),
    Tool("coredns", ("coredns",), _SHARED),
    Tool("kuberay", ("ray-operator",), module=_RAY_OPERATOR, files="config/crd/bases/*.yaml"),
    Tool("kuberay151", ("ray-operator",), _SHARED, module=_RAY_OPERATOR, files="config/crd/bases/*.yaml"),
    Tool("kueue", ("kueue",), module="sigs.k8s.io/kueue", files="config"),
    Tool("helm", ("helm",), _SHARED, flags=_HELM_FLAGS),
    Tool("kubeconform", ("kubeconform",)),
    Tool("schemas", ()),
    Tool("kwok", ("kwok",), module="sigs.k8s.io/kwok", files="kustomize/stage/*/*/*-*.yaml"),
)


@dataclass(frozen=True, slots=True)
class Tools:
    """The folders of all built tools."""

    folders: dict[str, Path]

    def program(self, tool: str, name: str) -> str:
        """Return the path of a built program."""
        return str(self.folders[tool] / name)

    def files(self, tool: str) -> Path:
        """Return the folder of the data files that came with a tool."""
        return self.folders[tool] / "files"


def located(settings: Settings) -> Tools:
    """Return where the programs are, or will be once they are built."""
    return Tools({tool.name: settings.tools / f"{tool.name}-{_digest(tool)}" for tool in _TOOLS})


def build(settings: Settings, *names: str) -> None:
    """Build what is not built yet: all tools, or those that are named.

    Raises:
        BedFailed: Go is missing or too old, or a build failed.
    """
    folders = located(settings).folders
    wanted = [(tool, folders[tool.name]) for tool in _TOOLS if not names or tool.name in names]
    missing = [tool.name for tool, folder in wanted if not folder.is_dir()]
    if missing:
        _check_go()
        say(f"building {', '.join(missing)} from source (once; about 20 minutes for all on 2 cores)")
    for tool, folder in wanted:
        with locked(settings.tools / f"{tool.name}.lock", f"it builds {tool.name}"):
            if not folder.is_dir():
                _build(tool, folder)


def _digest(tool: Tool) -> str:
    digest = hashlib.sha256(repr(tool).encode())
    for file in (*sorted(tool.source.iterdir()), *_shared(tool)):
        digest.update(f"{file.name}\0".encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def _shared(tool: Tool) -> list[Path]:
    """Return the files that say which versions a tool shares with others."""
    if not tool.workspace:
        return []
    workspace = _SOURCES / tool.workspace
    lines = workspace.read_text(encoding="utf-8").splitlines()
    modules = [_SOURCES / line.strip() / "go.mod" for line in lines if line.startswith("\t./")]
    return [workspace, workspace.with_name(f"{workspace.name}.sum"), *modules]


def _build(tool: Tool, folder: Path) -> None:
    say(f"building {tool.name} ({', '.join(tool.programs) or 'files of modules'})")
    unfinished = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    if tool.programs:
        _compile(tool, unfinished)
    if (tool.source / PINS).is_file():
        for pin in pins(tool.source / PINS):
            fetch(pin, unfinished / "files")
    unfinished.rename(folder)


def _compile(tool: Tool, unfinished: Path) -> None:
    packages = _packages(tool) or ["."]
    command = ("build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags", tool.flags, "-o", f"{unfinished}/")
    _go(tool, *command, *packages)
    if tool.files:
        _copy_files(tool, unfinished / "files")
    absent = [name for name in tool.programs if not (unfinished / name).is_file()]
    if absent:
        raise BedFailed(f"the build of {tool.name} made no {', '.join(absent)}; compare {tool.source / 'go.mod'}")


def _copy_files(tool: Tool, target: Path) -> None:
    module = Path(_go(tool, "list", "-mod=readonly", "-m", "-f", "{{.Dir}}", tool.module).strip())
    # What the module cache holds is read-only; a copy that keeps this could not be removed.
    whole = module / tool.files
    if whole.is_dir():
        copies = {file: target / file.relative_to(module) for file in whole.rglob("*") if file.is_file()}
    else:
        copies = {file: target / f"{file.parent.name}-{file.name}" for file in module.glob(tool.files)}
    for file, copy in copies.items():
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(file.read_bytes())


def _packages(tool: Tool) -> list[str]:
    described = json.loads(_go(tool, "mod", "edit", "-json"))
    return [tool["Path"] for tool in described.get("Tool") or []]


def _go(tool: Tool, *arguments: str) -> str:
    workspace = str(_SOURCES / tool.workspace) if tool.workspace else "off"
    settings = {"CGO_ENABLED": "0", "GOWORK": workspace, "GOFLAGS": ""}
    return run("go", *arguments, cwd=tool.source, timeout=_BUILD_TIMEOUT, **settings)


def _check_go() -> None:
    if path_of("go") is None:
        raise BedFailed("go is not installed: the cluster's programs are built from source; install Go 1.25 or later")
