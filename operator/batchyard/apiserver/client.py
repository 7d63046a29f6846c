"""A small asynchronous client of the Kubernetes API: plain JSON in and out.

The official client finds the server and logs in; its thousands of models stay unloaded, being most of an operator's
memory. Not for what is written: see ``environments.manifests`` and ``kube``.

What is asked again, within ten seconds in all: a request that the server has turned away unheard (429) or that never
reached it, and a GET whatever came of it. A write whose answer is lost is not: who writes must look first.
"""

from __future__ import annotations

import asyncio
import json
import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeAlias

import aiohttp

from batchyard.apiserver.errors import ApiError, Expired, NotFound, Unreachable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from batchyard.model.trial import JSON

    Hook: TypeAlias = Callable[[str, str], Awaitable[None]]

_SECONDS = 10.0
# A page is held as bytes, as text and as objects at once; the server answers a hundred almost as fast as more.
_PAGE = 100
_TRIES = 4
_PAUSE_SECONDS = 0.2
_LONGEST_LINE = 8 * 1024 * 1024
_PASSING = frozenset({0, 500, 502, 503, 504})
_NO_PART_OF_A_NAME = re.compile(r"[/%?#\\\x00-\x20\x7f]")
# https://kubernetes.io/docs/reference/using-api/api-concepts/#metadata-only-fetches
_METADATA_ONLY = {"Accept": "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"}
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


async def _nothing(_verb: str, _path: str) -> None:
    return


class ApiClient:
    """Talks to one API server. Every method raises ``ApiError``; of its kinds ``Unreachable`` says no answer came.

    Objects are named by (group and version, plural, namespace, name); namespace None means all, or none to speak of.
    ``on_request`` hears (verb, status or None) of every request; ``before`` and ``after`` are for tests.
    """

    def __init__(self, configuration: Any, namespace: str) -> None:
        """Take the official client's configuration; made inside a running event loop."""
        from kubernetes.aio.client.rest import RESTClientObject

        self._configuration = configuration
        self._host = str(configuration.host).rstrip("/")
        self._session = RESTClientObject(configuration)._create_pool_manager()
        if hasattr(self._session, "_retry_connection"):
            # aiohttp sends a PUT or DELETE once more by itself; a conflict could be with what the first one did.
            self._session._retry_connection = False
        route = {"proxy": configuration.proxy, "server_hostname": configuration.tls_server_name}
        self._route: dict[str, Any] = {name: value for name, value in route.items() if value}
        self.current_namespace = namespace
        self.on_request: Callable[[str, int | None], None] = lambda _verb, _code: None
        self.before: Hook = _nothing
        self.after: Hook = _nothing

    async def __aenter__(self) -> ApiClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close every connection."""
        await self._session.close()

    # -- one object --------------------------------------------------------------------------------------------

    async def get(self, group_version: str, plural: str, namespace: str | None, name: str) -> dict[str, JSON]:
        """Return the object."""
        return await self._call("GET", _path(group_version, plural, namespace, name))

    async def create(
        self, group_version: str, plural: str, namespace: str | None, body: Mapping[str, JSON]
    ) -> dict[str, JSON]:
        """Create the object and return it as it was stored."""
        return await self._call("POST", _path(group_version, plural, namespace), body=body)

    async def replace(
        self, group_version: str, plural: str, namespace: str | None, name: str, body: Mapping[str, JSON]
    ) -> dict[str, JSON]:
        """Put ``body`` in the object's place, if it still has the resource version that ``body`` has."""
        return await self._call("PUT", _path(group_version, plural, namespace, name), body=body)

    async def patch(
        self, group_version: str, plural: str, namespace: str | None, name: str, body: Mapping[str, JSON]
    ) -> dict[str, JSON]:
        """Change the object by a JSON merge patch (RFC 7386)."""
        return await self._call("PATCH", _path(group_version, plural, namespace, name), body=body)

    async def patch_status(
        self, group_version: str, plural: str, namespace: str | None, name: str, body: Mapping[str, JSON]
    ) -> dict[str, JSON]:
        """Change the object's status by a JSON merge patch."""
        return await self._call("PATCH", _path(group_version, plural, namespace, name) + "/status", body=body)

    async def delete(
        self,
        group_version: str,
        plural: str,
        namespace: str | None,
        name: str,
        *,
        uid: str | None = None,
        propagation: str = "Background",
    ) -> None:
        """Delete the object; with ``uid`` only that very one, else ``Conflict``."""
        body: dict[str, JSON] = {"propagationPolicy": propagation}
        if uid is not None:
            body["preconditions"] = {"uid": uid}
        await self._call("DELETE", _path(group_version, plural, namespace, name), body=body)

    # -- many objects ------------------------------------------------------------------------------------------

    async def list(
        self,
        group_version: str,
        plural: str,
        namespace: str | None = None,
        *,
        label_selector: str = "",
        field_selector: str = "",
        page: int = _PAGE,
        metadata_only: bool = False,
    ) -> AsyncIterator[dict[str, JSON]]:
        """Yield every object once, ``page`` at a time; of each only its metadata if that is enough.

        If the server forgets meanwhile where it was, the list is read again from its beginning, in one piece.
        """
        yielded: set[str] = set()
        continue_, limit = "", page
        while True:
            try:
                found = await self.list_page(
                    group_version, plural, namespace,
                    label_selector=label_selector, field_selector=field_selector, limit=limit, continue_=continue_,
                    metadata_only=metadata_only,
                )  # fmt: skip
            except Expired:
                if not continue_:
                    raise
                continue_, limit = "", 0
                continue
            for item in found.get("items") or []:
                if item["metadata"]["uid"] not in yielded:
                    yielded.add(item["metadata"]["uid"])
                    yield item
            continue_ = (found.get("metadata") or {}).get("continue") or ""
            if not continue_:
                return

    async def list_page(
        self,
        group_version: str,
        plural: str,
        namespace: str | None = None,
        *,
        label_selector: str = "",
        field_selector: str = "",
        limit: int = _PAGE,
        continue_: str = "",
        metadata_only: bool = False,
    ) -> dict[str, JSON]:
        """Return one page of a list, with its ``metadata.resourceVersion`` and ``metadata.continue``; 0 is no limit."""
        query = {
            "limit": str(limit or ""),
            "labelSelector": label_selector,
            "fieldSelector": field_selector,
            "continue": continue_,
        }
        headers = _METADATA_ONLY if metadata_only else None
        return await self._call("GET", _path(group_version, plural, namespace), query=query, headers=headers)

    async def watch(
        self,
        group_version: str,
        plural: str,
        namespace: str | None = None,
        *,
        resource_version: str,
        label_selector: str = "",
        field_selector: str = "",
        seconds: int = 240,
    ) -> AsyncIterator[dict[str, JSON]]:
        """Yield changes as ``{"type": ..., "object": ...}``, bookmarks too, until the server ends the watch."""
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(seconds),
            "labelSelector": label_selector,
            "fieldSelector": field_selector,
        }
        path = _path(group_version, plural, namespace)
        # A server sends a bookmark a minute; twice that without a word is a dead connection.
        limits = aiohttp.ClientTimeout(total=seconds + 30, sock_connect=_SECONDS, sock_read=150)
        try:
            async with self._session.get(
                self._host + path, params=_given(query), headers=await self._headers(), timeout=limits, **self._route
            ) as response:
                self.on_request("watch", response.status)
                if response.status >= 400:
                    raise await _refusal(response)
                async for line in _lines(response):
                    yield json.loads(line)
        except (aiohttp.ClientError, TimeoutError, OSError) as err:
            raise Unreachable(f"watching {path} at {self._host} broke off: {err!r}") from err

    async def get_raw(
        self, path: str, query: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
    ) -> bytes:
        """Return what the server has at a path of its own, such as the proxy of a service."""
        return await self._answer("GET", path, query=query, headers=headers)

    # -- how it is asked ---------------------------------------------------------------------------------------

    async def _call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, JSON] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, JSON]:
        text = await self._answer(method, path, query=query, body=body, headers=headers)
        try:
            answer = json.loads(text)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise Unreachable(
                f"{self._host} answered {method} {path} with what no API server says: {text[:100]!r}; "
                "check the address, and what stands between"
            )
        return answer

    async def _answer(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, JSON] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        verb = _VERBS.get(method, "get")
        await self.before(verb, path)
        loop = asyncio.get_running_loop()
        give_up_at, tried = loop.time() + _SECONDS, 0
        while True:
            tried += 1
            try:
                answer = await self._once(method, verb, path, query=query, body=body, headers=headers)
            except ApiError as err:
                pause = err.retry_after or _PAUSE_SECONDS * 2**tried
                if tried == _TRIES or not _may_repeat(method, err) or loop.time() + pause >= give_up_at:
                    raise
                await asyncio.sleep(pause)
            else:
                await self.after(verb, path)
                return answer

    async def _once(
        self,
        method: str,
        verb: str,
        path: str,
        *,
        query: Mapping[str, str] | None,
        body: Mapping[str, JSON] | None,
        headers: Mapping[str, str] | None,
    ) -> bytes:
        content = None if body is None else json.dumps(body)
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        try:
            async with self._session.request(
                method,
                self._host + path,
                params=_given(query or {}),
                data=content,
                headers={"Content-Type": kind, **await self._headers(), **(headers or {})},
                timeout=aiohttp.ClientTimeout(total=_SECONDS),
                **self._route,
            ) as response:
                self.on_request(verb, response.status)
                if response.status >= 400:
                    raise await _refusal(response)
                return await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as err:
            self.on_request(verb, None)
            raise Unreachable(
                f"the API server {self._host} did not answer {verb} {path}: {err!r}; "
                "check the connection and `kubectl get --raw /readyz`",
                sent=not isinstance(err, aiohttp.ClientConnectorError),
            ) from err

    async def _headers(self) -> dict[str, str]:
        headers = {"Accept": "application/json", "User-Agent": "batchyard"}
        for setting in (await self._configuration.auth_settings()).values():
            if setting["in"] == "header" and setting["value"]:
                # A file's last line end is no part of the token, and none of a header.
                headers[str(setting["key"])] = str(setting["value"]).strip()
        return headers


def _may_repeat(method: str, err: ApiError) -> bool:
    """Return whether a request may be sent again after this."""
    if isinstance(err.__cause__, aiohttp.ClientSSLError):
        return False  # no other certificate will be there in a second
    unheard = err.status == HTTPStatus.TOO_MANY_REQUESTS or (isinstance(err, Unreachable) and not err.sent)
    return unheard or (method == "GET" and err.status in _PASSING)


def _path(group_version: str, plural: str, namespace: str | None, name: str | None = None) -> str:
    """Return the path of objects or of one. Raises ``NotFound`` for what is no name and would lead elsewhere."""
    for given in (namespace, name):
        if given is not None and (given in {"", ".", ".."} or _NO_PART_OF_A_NAME.search(given)):
            raise NotFound(HTTPStatus.NOT_FOUND, "NotFound", f"{plural} {given!r} not found: that is no name")
    root = f"/apis/{group_version}" if "/" in group_version else f"/api/{group_version}"
    within = f"/namespaces/{namespace}" if namespace is not None else ""
    return f"{root}{within}/{plural}" + (f"/{name}" if name is not None else "")


def _given(query: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in query.items() if value}


async def _refusal(response: aiohttp.ClientResponse) -> ApiError:
    text = (await response.read()).decode(errors="replace")
    try:
        body = json.loads(text)
    except ValueError:
        body = {}
    if not isinstance(body, dict) or body.get("kind") != "Status":
        body = {"message": text[:500], "reason": response.reason}
    after = response.headers.get("Retry-After", "")
    return ApiError.from_status({**body, "code": response.status}, float(after) if after.isdigit() else None)


async def _lines(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    rest = b""
    async for chunk in response.content.iter_any():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line:
                yield line
        if len(rest) > _LONGEST_LINE:
            raise Unreachable("the API server sent a change of more than 8 MiB")
