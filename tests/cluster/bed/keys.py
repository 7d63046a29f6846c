"""The certificates, keys and kubeconfig of the one-node cluster, made anew when they are missing or about to end."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import TYPE_CHECKING

from cluster.bed.layout import API_ADDRESS, API_URL, GATEWAY, NODE
from cluster.bed.running import run, succeeds

if TYPE_CHECKING:
    from pathlib import Path

_DAYS = "365"
_WEEK = str(7 * 24 * 3600)
_CURVE = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
_CERTIFICATES = {
    "apiserver": (
        "/CN=kube-apiserver",
        f"IP:{API_ADDRESS},IP:127.0.0.1,IP:10.96.0.1,DNS:kubernetes,DNS:kubernetes.default,"
        "DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local,DNS:localhost",
    ),
    "admin": ("/O=system:masters/CN=admin", "DNS:admin"),
    "node": (f"/O=system:nodes/CN=system:node:{NODE}", f"DNS:{NODE},IP:{GATEWAY},IP:127.0.0.1"),
}


def ensure(folder: Path, kubeconfig: Path) -> str:
    """Make what is missing and return a digest of it all."""
    certificates = [folder / f"{name}.crt" for name in ("ca", *_CERTIFICATES)]
    if not kubeconfig.is_file() or not all(_lasts(file) for file in certificates):
        _make(folder)
        kubeconfig.write_text(_kubeconfig(folder), encoding="utf-8")
        kubeconfig.chmod(0o600)
    return hashlib.sha256(b"".join(file.read_bytes() for file in [*certificates, folder / "sa.key"])).hexdigest()


def _lasts(certificate: Path) -> bool:
    return certificate.is_file() and succeeds("openssl", "x509", "-in", certificate, "-noout", "-checkend", _WEEK)


def _make(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    run("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "sa.key", cwd=folder)
    run("openssl", "ec", "-in", "sa.key", "-pubout", "-out", "sa.pub", cwd=folder)
    root = ("-keyout", "ca.key", "-out", "ca.crt", "-days", _DAYS, "-subj", "/CN=batchyard-test-bed")
    run("openssl", "req", "-x509", *_CURVE, *root, cwd=folder)
    for name, (subject, names) in _CERTIFICATES.items():
        run("openssl", "req", *_CURVE, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", subject, cwd=folder)
        (folder / f"{name}.ext").write_text(f"subjectAltName={names}\n", encoding="utf-8")
        signed = ("-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", _DAYS, "-extfile", f"{name}.ext")
        run("openssl", "x509", "-req", "-in", f"{name}.csr", *signed, "-out", f"{name}.crt", cwd=folder)


def _kubeconfig(folder: Path) -> str:
    def inline(name: str) -> str:
        return base64.b64encode((folder / name).read_bytes()).decode()

    user = {"client-certificate-data": inline("admin.crt"), "client-key-data": inline("admin.key")}
    cluster = {"server": API_URL, "certificate-authority-data": inline("ca.crt")}
    name = "batchyard-test"
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
    }
    return json.dumps(document, indent=1)
