"""Container images: the one of the pods' sandbox, made here, and the import of image archives into containerd."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from typing import TYPE_CHECKING

from cluster.bed.running import run

if TYPE_CHECKING:
    from pathlib import Path

NAMESPACE = "k8s.io"


def import_into(socket: Path, archive: Path) -> None:
    """Make an image archive's images known to the cluster's node."""
    run("ctr", "-a", socket, "-n", NAMESPACE, "images", "import", archive, timeout=600)


def write_single_program_image(program: Path, name: str, archive: Path) -> None:
    """Write an image that holds one static program and runs it."""
    layer = _tar({program.name: (program.read_bytes(), 0o755)})
    configuration = {
        "architecture": "amd64" if _is_x86(program) else "arm64",
        "os": "linux",
        "config": {"Entrypoint": [f"/{program.name}"], "User": "65535:65535"},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    files = {"config.json": json.dumps(configuration).encode(), "manifest.json": json.dumps(manifest).encode()}
    archive.write_bytes(_tar({"layer.tar": (layer, 0o644), **{key: (text, 0o644) for key, text in files.items()}}))


def _tar(files: dict[str, tuple[bytes, int]]) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as tar:
        for name, (content, mode) in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), mode
            tar.addfile(entry, io.BytesIO(content))
    return target.getvalue()


def _is_x86(program: Path) -> bool:
    # The machine's number in an ELF header.
    return program.read_bytes()[18:20] == b"\x3e\x00"
