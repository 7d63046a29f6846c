"""Lets people read results: keeps the read token in a Secret beside the operator, so that RBAC alone says who may.

Not for answering them (``read_api``) nor for asking (``apiserver.operator_proxy``).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import structlog

from batchyard.apiserver.errors import ApiError, Conflict, NotFound
from batchyard.engine.remote import READ_SECRET
from batchyard.environments.manifests import MANAGED_SELECTOR

if TYPE_CHECKING:
    from batchyard.apiserver.client import ApiClient
    from batchyard.model.trial import JSON

_log = structlog.get_logger(__name__)


def read_token_of(key: bytes) -> str:
    """Return the bearer token of the read-only API: HMAC-SHA256 (RFC 2104) with the store's key, as hex."""
    return hmac.new(key, b"read", hashlib.sha256).hexdigest()


async def publish_read_access(api: ApiClient, namespace: str, token: str, results_url: str) -> None:
    """Write the Secret unless it is right already; without it results are only read from the store itself."""
    data = {"token": _encoded(token)}
    if service := proxied_service(results_url):
        data["service"] = _encoded(service)
    try:
        await _write(api, namespace, data)
    except ApiError as err:
        _log.warning("`batchyard show --kube` cannot be let in", secret=READ_SECRET, error=str(err))


def proxied_service(results_url: str) -> str:
    """Return the Service in the URL as the API server's proxy spells it (scheme:name:port), "" if it names none."""
    parts = urlsplit(results_url)
    host = parts.hostname or ""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        return f"{parts.scheme}:{host.partition('.')[0]}:{port}"
    return ""


async def _write(api: ApiClient, namespace: str, data: dict[str, JSON]) -> None:
    try:
        known = await api.get("v1", "secrets", namespace, READ_SECRET)
    except NotFound:
        metadata = {"name": READ_SECRET, "namespace": namespace, "labels": dict(MANAGED_SELECTOR)}
        body = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque", "data": data}
        try:
            await api.create("v1", "secrets", namespace, body)
        except Conflict:
            await api.patch("v1", "secrets", namespace, READ_SECRET, {"data": data})
        return
    if known.get("data") != data:
        await api.patch("v1", "secrets", namespace, READ_SECRET, {"data": data})


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
