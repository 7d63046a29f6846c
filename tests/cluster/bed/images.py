"""The project's images: built from the Dockerfile on a stand-in for its base image, and imported into the cluster.

No registry is needed. The stand-in is a small Debian with the Python of the same version, made by debootstrap.
"""

from __future__ import annotations

import ast
import hashlib
import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.bed import archives
from cluster.bed.running import locked, run, say, succeeds
from cluster.bed.settings import CHECKOUT

if TYPE_CHECKING:
    from cluster.bed.settings import Settings

PREVIOUS = CHECKOUT / "tests" / "cluster" / "previous"
"""What the version before this one published."""

_UNITS = {"B": 1, "KB": 1_000, "MB": 1_000_000, "GB": 1_000_000_000}
# The Dockerfile's own time, if no other is given.
EPOCH = 315532800
TARGETS = ("runner", "operator")
BASE = "docker.io/library/python:3.11-slim-bookworm"
_DEBIAN = "bookworm"
_BASE_PACKAGES = "python3,python3-venv,ca-certificates"
# What a slim image does without: apt's caches, and what it would make of them at its next use; documentation.
_APT_SETTINGS = 'Dir::Cache::pkgcache "";\nDir::Cache::srcpkgcache "";\n'
_SUPERFLUOUS = (
    "var/cache/apt/*.bin",
    "var/cache/apt/archives/*.deb",
    "var/lib/apt/lists/*_*",
    "usr/share/doc/*",
    "usr/share/locale/*",
)
_RECIPE = repr((_DEBIAN, _BASE_PACKAGES, _APT_SETTINGS, _SUPERFLUOUS))
_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
_BUILD_TIMEOUT = 1800.0
# Settings of pip that say how a package index is reached; all others are the business of this machine alone.
_PIP_SETTINGS = ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout", "default-timeout", "retries")


def name(target: str, tag: str = "test") -> str:
    """Return the name of an image in the cluster."""
    return f"docker.io/batchyard/{target}:{tag}"


def previous_version() -> str:
    """Return the number of the version before this one."""
    (wheel,) = PREVIOUS.glob("*.whl")
    return wheel.name.split("-")[1]


def build_all(settings: Settings) -> dict[str, str]:
    """Build the images from the checkout as it is now and return their ids by name; quick when nothing changed."""
    return {name(target): built(settings, target) for target in TARGETS}


def build_previous(settings: Settings) -> dict[str, str]:
    """Build the images of the version before, over those of the checkout, and return their ids by name."""
    made = {}
    with locked(settings.images / "build.lock", "it builds images"):
        for target in TARGETS:
            tag = name(target, previous_version())
            say(f"building the image {tag}")
            given = (f"--build-arg=IMAGE={name(target)}", f"--tag={tag}", f"--file={PREVIOUS / 'Containerfile'}")
            made[tag] = _bud(settings, *given, str(PREVIOUS))
    return made


def built_over(settings: Settings, tag: str, folder: Path) -> str:
    """Build a folder with a Dockerfile, which may install packages, over an image that was built; return its id."""
    with locked(settings.images / "build.lock", "it builds images"):
        say(f"building the image {tag}")
        mounts = [f"--volume={source}:{place}:ro" for source, place in _index_files(settings)]
        return _bud(settings, f"--tag={tag}", *mounts, str(folder))


def import_all(settings: Settings, socket: Path, images: dict[str, str]) -> None:
    """Let the cluster's node have these images, which are ids by name."""
    with locked(settings.images / "import.lock", "it imports images"):
        for tag, image in images.items():
            _import(settings, socket, tag, image)


def built(settings: Settings, target: str) -> str:
    """Build one image from the checkout as it is now and return its id; quick when nothing changed."""
    with locked(settings.images / "build.lock", "it builds images"):
        sources = _digest_of_sources()
        known = _read(settings.images / f"{target}.json")
        if known.get("sources") == sources and _has(settings, known["image"]):
            return known["image"]
        _ensure_base(settings)
        say(f"building the image {target}")
        image = _build(settings, target)
        record = json.dumps({"sources": sources, "image": image})
        (settings.images / f"{target}.json").write_text(record, encoding="utf-8")
        return image


def described(settings: Settings, image: str) -> dict[str, Any]:
    """Return what the builder knows of an image: its ``config`` and its layers (``rootfs``), as Docker has them."""
    found: dict[str, Any] = json.loads(_buildah(settings, "inspect", "--type=image", image))["Docker"]
    return found


def built_anew(settings: Settings, target: str, **arguments: str) -> dict[str, Any]:
    """Build a target from nothing that was built before, and return what the builder knows of it."""
    with locked(settings.images / "build.lock", "it builds images"):
        _ensure_base(settings)
        given = [f"--build-arg={name}={value}" for name, value in arguments.items()]
        image = _build(settings, target, "--no-cache", f"--tag=localhost/batchyard-{target}:anew", *given)
        try:
            return described(settings, image)
        finally:
            _buildah(settings, "rmi", "--force", image)


def size(settings: Settings, image: str) -> int:
    """Return how many bytes the files of an image are."""
    (found,) = json.loads(_buildah(settings, "images", "--json", image))
    number, unit = found["size"].split()
    return int(float(number) * _UNITS[unit])


def _build(settings: Settings, target: str, *more: str) -> str:
    names = {"pip.conf": "pip-config", _BUNDLE.name: "ca-bundle"}
    passed = [f"--secret=id={names[source.name]},src={source}" for source, _ in _index_files(settings)]
    given = (f"--target={target}", *(more or (f"--tag={name(target)}",)), *passed)
    # The only format that knows of health checks.
    return _bud(settings, "--format=docker", *given, str(CHECKOUT))


def _index_files(settings: Settings) -> list[tuple[Path, str]]:
    """Return the files by which a build reaches the package index of this machine, and where they are looked for."""
    secrets = settings.images / "secrets"
    secrets.mkdir(exist_ok=True, mode=0o700)
    pip = secrets / "pip.conf"
    pip.write_text(_pip_configuration(), encoding="utf-8")
    return [(pip, "/etc/pip.conf"), *([(_BUNDLE, str(_BUNDLE))] if _BUNDLE.is_file() else [])]


def _bud(settings: Settings, *given: str) -> str:
    """Build an image and return its id. Of files that the builder makes itself too, what is built twice is the same."""
    options = ("--isolation=chroot", "--pull-never", "--layers", "--quiet", f"--timestamp={EPOCH}")
    return _buildah(settings, "bud", *options, *given).strip().splitlines()[-1]


def _digest_of_sources() -> str:
    """Return a digest of every file that goes into an image, and of the recipe of the base."""
    digest = hashlib.sha256(_RECIPE.encode())
    files = [CHECKOUT / file for file in ("Dockerfile", ".dockerignore", "pyproject.toml", "README.md", "LICENSE")]
    files += CHECKOUT.glob("requirements-*.lock")
    files += (CHECKOUT / "tools" / "image").iterdir()
    files += (file for file in (CHECKOUT / "operator").rglob("*") if file.is_file() and "__pycache__" not in file.parts)
    for file in sorted(files):
        digest.update(f"{file.relative_to(CHECKOUT)}\0{hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def _import(settings: Settings, socket: Path, tag: str, image: str) -> None:
    short = tag.rpartition("/")[2].replace(":", "-")
    record = socket.parent / f"image-{short}"
    if record.is_file() and record.read_text(encoding="utf-8") == image:
        return
    say(f"importing the image {tag}")
    archive = settings.images / f"{short}.tar"
    archive.unlink(missing_ok=True)
    _buildah(settings, "push", "--quiet", image, f"docker-archive:{archive}:{tag}")
    archives.import_into(socket, archive)
    archive.unlink()
    record.write_text(image, encoding="utf-8")


def _read(file: Path) -> dict[str, str]:
    try:
        found: dict[str, str] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found


def _ensure_base(settings: Settings) -> None:
    known = f"localhost/batchyard-base:{hashlib.sha256(_RECIPE.encode()).hexdigest()[:12]}"
    if _has(settings, known) and _has(settings, BASE):
        return
    say("making the base image (a minute)")
    container = _buildah(settings, "from", "scratch").strip()
    try:
        root = Path(_buildah(settings, "mount", container).strip())
        run("debootstrap", "--variant=minbase", f"--include={_BASE_PACKAGES}", _DEBIAN, root, timeout=_BUILD_TIMEOUT)
        for link in ("python", "python3"):
            (root / "usr/local/bin" / link).symlink_to("/usr/bin/python3")
        (root / "etc/apt/apt.conf.d/slim").write_text(_APT_SETTINGS, encoding="utf-8")
        for pattern in _SUPERFLUOUS:
            for found in root.glob(pattern):
                shutil.rmtree(found) if found.is_dir() and not found.is_symlink() else found.unlink()
        _buildah(settings, "umount", container)
        _buildah(settings, "config", "--cmd", "python3", container)
        _buildah(settings, "commit", "--quiet", container, known)
        _buildah(settings, "tag", known, BASE)
    finally:
        _buildah(settings, "rm", container)


def _pip_configuration() -> str:
    """Return a pip.conf by which a build reaches the package index that this machine reaches."""
    lines = ["[global]"]
    for line in run(sys.executable, "-m", "pip", "config", "list").splitlines():
        key, _, value = line.partition("=")
        setting = key.rpartition(".")[2]
        if setting in _PIP_SETTINGS:
            lines.append(f"{setting} = {ast.literal_eval(value)}")
    if _BUNDLE.is_file():
        lines.append(f"cert = {_BUNDLE}")
    return "\n".join([*lines, ""])


def _has(settings: Settings, image: str) -> bool:
    return succeeds(*_storage(settings), "inspect", "--type=image", image)


def _buildah(settings: Settings, *arguments: str) -> str:
    return run(*_storage(settings), *arguments, timeout=_BUILD_TIMEOUT)


def _storage(settings: Settings) -> tuple[str, ...]:
    root, state = settings.images / "storage", settings.images / "run"
    return ("buildah", f"--root={root}", f"--runroot={state}", "--storage-driver=overlay")
