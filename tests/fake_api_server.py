"""A fake of the API server as ``batchyard show --kube`` meets it: BatchTests, one Secret and the proxy of one Service.

It knows one user, keeps that user's token to itself as a real one does, and can be told what to refuse.
"""

from __future__ import annotations

import base64
import json
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from loopback_server import QuietHandler, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from endpoint_bench import Served

USER = "somebody"
"""Whose token is the name."""

OPERATOR_NAMESPACE = "batchyard-system"
SERVICE = "http:batchyard:results"


@dataclass(slots=True)
class FakeApiServer:
    """What the cluster holds. ``operator`` None: its pod is away. ``refused`` are resources the user may not get."""

    read_token: str
    operator: Served | None
    batch_tests: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    knows_batch_tests: bool = True
    has_operator: bool = True
    url: str = ""

    def answer(self, path: str, headers: Any) -> tuple[int, bytes]:
        """Return status and body for a GET."""
        if headers.get("Authorization") != f"Bearer {USER}":
            return _status(401, "Unauthorized", "Unauthorized")
        parts = urlsplit(path).path.strip("/").split("/")
        match parts:
            case ["apis", "batchyard.dev", "v1alpha1", "namespaces", namespace, "batchtests", name]:
                return self._batch_test(namespace, name)
            case ["api", "v1", "namespaces", namespace, "secrets", name]:
                return self._secret(namespace, name)
            case ["api", "v1", "namespaces", namespace, "services", service, "proxy", *rest]:
                return self._proxied(namespace, service, "/" + "/".join(rest), urlsplit(path).query, headers)
        return 404, b"404 page not found\n"

    def _batch_test(self, namespace: str, name: str) -> tuple[int, bytes]:
        if not self.knows_batch_tests:
            return 404, b"404 page not found\n"
        if "batchtests" in self.refused:
            return _status(403, "Forbidden", f'batchtests.batchyard.dev "{name}" is forbidden')
        found = self.batch_tests.get((namespace, name))
        if found is None:
            return _status(404, "NotFound", f'batchtests.batchyard.dev "{name}" not found', name)
        return 200, json.dumps(found).encode()

    def _secret(self, namespace: str, name: str) -> tuple[int, bytes]:
        if "secrets" in self.refused:
            return _status(403, "Forbidden", f'secrets "{name}" is forbidden')
        if not self.has_operator or (namespace, name) != (OPERATOR_NAMESPACE, "batchyard-read"):
            return _status(404, "NotFound", f'secrets "{name}" not found', name)
        return 200, json.dumps({"data": {"token": base64.b64encode(self.read_token.encode()).decode()}}).encode()

    def _proxied(self, namespace: str, service: str, path: str, query: str, headers: Any) -> tuple[int, bytes]:
        if "services/proxy" in self.refused:
            return _status(403, "Forbidden", f'services "{service}" is forbidden')
        if (namespace, service) != (OPERATOR_NAMESPACE, SERVICE):
            return _status(404, "NotFound", f'services "{service}" not found', service)
        if self.operator is None:
            return _status(503, "ServiceUnavailable", 'no endpoints available for service "batchyard"')
        # As the real one does, it keeps the user's own token for itself.
        kept = {name: value for name, value in headers.items() if name.lower() not in {"authorization", "host"}}
        answer = self.operator.ask(f"{path}?{query}", headers={**kept, "Accept-Encoding": "identity"})
        return answer.status, answer.body

    def kubeconfig(self, folder: Path, *, user: str = USER, namespace: str = "team-a") -> Path:
        """Write a kubeconfig with the contexts ``here`` (the current one), ``other`` and ``nowhere``."""
        clusters = [("here", self.url), ("nowhere", "http://127.0.0.1:1")]
        contexts = [("here", "here", namespace), ("other", "here", "team-b"), ("nowhere", "nowhere", "team-a")]
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "here",
            "clusters": [{"name": name, "cluster": {"server": url}} for name, url in clusters],
            "users": [{"name": "me", "user": {"token": user}}],
            "contexts": [
                {"name": name, "context": {"cluster": cluster, "user": "me", "namespace": within}}
                for name, cluster, within in contexts
            ],
        }
        path = folder / "kubeconfig"
        path.write_text(json.dumps(config), encoding="utf-8")
        return path


def _status(code: int, reason: str, message: str, name: str = "") -> tuple[int, bytes]:
    body: dict[str, Any] = {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "reason": reason,
        "message": message,
        "code": code,
    }
    if name:
        body["details"] = {"name": name}
    return code, json.dumps(body).encode()


@contextmanager
def running(server: FakeApiServer) -> Iterator[FakeApiServer]:
    """Listen on a free port while the context lasts."""

    class Handler(QuietHandler):
        def do_GET(self) -> None:
            status, body = server.answer(self.path, self.headers)
            self.send_response(status)
            self.send_header("Content-Type", "application/json" if body.startswith(b"{") else "text/plain")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with serving(Handler) as server.url:
        yield server
