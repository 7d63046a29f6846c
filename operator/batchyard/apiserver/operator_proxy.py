"""Asks a cluster's API server what ``batchyard show --kube`` wants to know: a BatchTest, and the operator behind it.

The operator is asked through the API server's proxy of its Service, with a token from a Secret, so that RBAC alone
says who may. Not for what the operator answers (``remote_store``), and never for changing anything.
"""

from __future__ import annotations

import base64
import json
from http import HTTPStatus
from typing import TYPE_CHECKING

from batchyard.apiserver.errors import ApiError, Forbidden, NotFound
from batchyard.apiserver.remote_store import OperatorUnreachable
from batchyard.engine.remote import READ_HEADER, READ_SECRET, READ_SERVICE
from batchyard.model.errors import EnvironmentUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchyard.apiserver.client import ApiClient
    from batchyard.model.trial import JSON

_GROUP, _VERSION, _PLURAL = "batchyard.dev", "v1alpha1", "batchtests"
_AWAY = (HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT)


class NotPermitted(EnvironmentUnavailable):
    """RBAC does not allow what was asked; the message names the rule that would."""


class ClusterReader:
    """Reads one cluster through ``api``. ``namespace`` is the operator's."""

    def __init__(self, api: ApiClient, namespace: str) -> None:
        """Nothing is asked yet."""
        self._api = api
        self._namespace = namespace
        self._access: tuple[str, str] | None = None

    async def batch_test(self, namespace: str, name: str) -> Mapping[str, JSON] | None:
        """Return a BatchTest, None if there is none. Raises ``NotPermitted`` or another ``EnvironmentUnavailable``."""
        try:
            return await self._api.get(f"{_GROUP}/{_VERSION}", _PLURAL, namespace, name)
        except Forbidden as err:
            raise NotPermitted(
                f'you may not read BatchTest "{name}" in namespace {namespace}; '
                f"{_rule(namespace, _GROUP, _PLURAL, 'get')}"
            ) from err
        except NotFound as err:
            # For a kind that it does not know, the API server answers in other words, and in plain text.
            if name in str(err):
                return None
            raise EnvironmentUnavailable(
                "this cluster knows no BatchTests: install the custom resource definition "
                f"{_PLURAL}.{_GROUP}, or choose another cluster with --context"
            ) from err
        except ApiError as err:
            raise _explained(err) from err

    async def ask(self, path: str, query: Mapping[str, str]) -> bytes:
        """Return what the operator answers; see ``remote_store.Get``. Raises ``NotPermitted`` too."""
        if self._access is None:
            self._access = await self._find_access()
        service, token = self._access
        there = f"/api/v1/namespaces/{self._namespace}/services/{service}/proxy{path}"
        try:
            return await self._api.get_raw(there, query, {READ_HEADER: f"Bearer {token}"})
        except ApiError as err:
            raise self._refusal(err, service) from err

    def _refusal(self, err: ApiError, service: str) -> EnvironmentUnavailable:
        said = _operators_own(err)
        if said:
            return OperatorUnreachable(
                f"the operator in namespace {self._namespace} cannot answer (HTTP status {err.status}): {said}"
            )
        if err.status == HTTPStatus.FORBIDDEN:
            return NotPermitted(
                f"you may not reach the operator; {_rule(self._namespace, '', 'services/proxy', 'get', service)}"
            )
        if err.status == HTTPStatus.NOT_FOUND:
            return OperatorUnreachable(
                f"there is no Service {service} in namespace {self._namespace}: "
                "is the operator installed there? name its namespace with --operator-namespace"
            )
        if err.status in _AWAY:
            return OperatorUnreachable(
                f"the operator in namespace {self._namespace} does not answer ({_line(err)}); "
                f"see: kubectl get pods --namespace {self._namespace}"
            )
        return _explained(err)

    async def _find_access(self) -> tuple[str, str]:
        try:
            secret = await self._api.get("v1", "secrets", self._namespace, READ_SECRET)
        except Forbidden as err:
            raise NotPermitted(
                f"you may not read the operator's results; {_rule(self._namespace, '', 'secrets', 'get', READ_SECRET)}"
            ) from err
        except NotFound as err:
            raise OperatorUnreachable(
                f"namespace {self._namespace} has no Secret {READ_SECRET}: either no operator runs there, then name "
                "its namespace with --operator-namespace; or somebody deleted the Secret, then try again in a minute, "
                "when the operator has made it anew"
            ) from err
        except ApiError as err:
            raise _explained(err) from err
        data = secret.get("data") or {}
        try:
            token = base64.b64decode(data["token"], validate=True).decode("ascii").strip()
            service = base64.b64decode(data.get("service", ""), validate=True).decode("ascii").strip()
        except (KeyError, ValueError) as err:
            raise OperatorUnreachable(
                f"the Secret {READ_SECRET} in namespace {self._namespace} holds no token; the operator writes it "
                "anew within a minute: try again then"
            ) from err
        return service or READ_SERVICE, token


def _rule(namespace: str, group: str, resource: str, verb: str, name: str = "") -> str:
    """Return which RBAC rule is missing, as it would stand in a Role."""
    names = f', resourceNames: ["{name}"]' if name else ""
    return (
        f"a Role in namespace {namespace} must allow "
        f'{{apiGroups: ["{group}"], resources: ["{resource}"]{names}, verbs: ["{verb}"]}}'
    )


def _operators_own(err: ApiError) -> str:
    """Return what the operator itself said, "" if this is the API server's own answer."""
    try:
        said = json.loads(str(err))["error"]
    except (ValueError, KeyError, TypeError):
        return ""
    return str(said)


def _explained(err: ApiError) -> EnvironmentUnavailable:
    if err.status == HTTPStatus.UNAUTHORIZED:
        return EnvironmentUnavailable(
            "the API server does not accept your credentials: log in again; try `kubectl get ns`"
        )
    if err.status == 0:
        return err
    return EnvironmentUnavailable(f"the API server refused (HTTP status {err.status}): {_line(err)}; try again")


def _line(err: ApiError) -> str:
    return " ".join(str(err).split())[:300]
