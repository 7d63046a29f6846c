"""An authority for TLS in tests, made by openssl, and certificates of localhost that it signs."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")


@dataclass(frozen=True, slots=True)
class Authority:
    """Signs certificates; ``certificate`` is what has to be trusted."""

    folder: Path

    @property
    def certificate(self) -> Path:
        return self.folder / "ca.crt"

    def sign(self, certificate: Path, key: Path, name: str = "localhost") -> None:
        """Write a new certificate of localhost and its key."""
        names = "subjectAltName=DNS:localhost,IP:127.0.0.1"
        signer = ("-CA", self.folder / "ca.crt", "-CAkey", self.folder / "ca.key")
        files = ("-keyout", key, "-out", certificate)
        _openssl("req", "-x509", *_KEY, *signer, *files, "-subj", f"/CN={name}", "-addext", names)


def authority(folder: Path) -> Authority:
    """Make an authority in a folder of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    files = ("-keyout", folder / "ca.key", "-out", folder / "ca.crt")
    _openssl("req", "-x509", *_KEY, *files, "-subj", "/CN=tests", "-addext", "keyUsage=keyCertSign,cRLSign")
    return Authority(folder)


def _openssl(*arguments: str | Path) -> None:
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
