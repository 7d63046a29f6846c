"""Follows the Kubernetes events of a namespace, or of all, for ever: what there is first, then every change.

It knows when the API server has forgotten where it was, and says so. Not for what the events mean (``mirror``).
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol, TypeAlias

import structlog

from batchyard.apiserver.errors import ApiError, Expired
from batchyard.decide.publish import REPORTER

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping

    from batchyard.model.trial import JSON

Sleep: TypeAlias = "Callable[[float], Awaitable[object]]"

_log = structlog.get_logger(__name__)

GROUP_VERSION = "v1"
PLURAL = "events"
# Our own are in the audit trail already; the API server need not send them.
_OTHERS = f"reportingComponent!={REPORTER}"
_PAGE = 500
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 1.0, 30.0


class EventSource(Protocol):
    """The part of the API client that is needed here."""

    async def list_page(
        self, group_version: str, plural: str, namespace: str | None, *, field_selector: str, limit: int, continue_: str
    ) -> Mapping[str, JSON]:
        """Return one page of a list as the API server sent it. Raises ``ApiError``."""
        ...

    def watch(
        self, group_version: str, plural: str, namespace: str | None, *, field_selector: str, resource_version: str
    ) -> AsyncIterator[Mapping[str, JSON]]:
        """Yield what the API server sends of a watch with bookmarks, until it ends it. Raises ``ApiError``."""
        ...


@dataclass(frozen=True, slots=True)
class Told:
    """An event is there or has changed. ``version`` is the watch's new place, "" within a list."""

    body: JSON
    version: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """Nothing new, but the watch got to ``version``: everything before it was told."""

    version: str


@dataclass(frozen=True, slots=True)
class Gap:
    """The API server has forgotten what came between; what is there now was told again just before."""

    old: str
    new: str


Piece: TypeAlias = Told | Place | Gap


class EventFeed:
    """One watch that never ends. ``heard`` is told that the API server answers, ``trouble`` why it does not."""

    def __init__(
        self,
        api: EventSource,
        namespace: str | None,
        *,
        heard: Callable[[], None],
        trouble: Callable[[str], None],
        sleep: Sleep,
    ) -> None:
        """Follow one namespace, or all of them if it is None."""
        self._api, self._namespace = api, namespace
        self._heard, self._trouble, self._sleep = heard, trouble, sleep

    async def follow(self, version: str) -> AsyncGenerator[Piece, None]:
        """Yield what happens after ``version``, for ever; from a list of what there is if it is "" or forgotten.

        Never raises for what the API server does.
        """
        lost, failures, sure = "", 0, False
        while True:
            try:
                if version and not sure:
                    await self._check(version)
                if not version:
                    async for piece in self._listed():
                        if isinstance(piece, Place):
                            version = piece.version
                            if lost:
                                yield Gap(lost, version)
                            lost = ""
                        yield piece
                sure, quiet = True, True
                async for piece in self._watched(version):
                    version, failures, quiet = piece.version, 0, False
                    yield piece
                if quiet:
                    # It may end every watch at once; asking again without a pause would be an attack.
                    await self._sleep(_FIRST_PAUSE_SECONDS)
            except ApiError as err:
                sure = False
                if version and isinstance(err, Expired):
                    lost, version = lost or version, ""
                    _log.warning("events may have been missed", namespace=self._namespace, since=lost)
                    continue
                self._trouble(str(err))
                await self._sleep(min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2.0**failures))
                failures = min(failures + 1, 10)

    async def _check(self, version: str) -> None:
        """Raise ``Expired`` if the API server has not got as far as ``version``: it is another's, or a backup's.

        A watch from there would be silent until it has.
        """
        page = await self._page(limit=1)
        newest = (page.get("metadata") or {}).get("resourceVersion") or ""
        if version.isdecimal() and newest.isdecimal() and int(version) > int(newest):
            raise Expired(HTTPStatus.GONE, "Expired", f"resource version {version} is not yet, {newest} is the newest")

    async def _listed(self) -> AsyncIterator[Told | Place]:
        """Yield what there is, and then the list's place."""
        continue_ = ""
        while True:
            page = await self._page(continue_=continue_)
            for body in page.get("items") or []:
                yield Told(body)
            metadata = page.get("metadata") or {}
            continue_ = metadata.get("continue") or ""
            if not continue_:
                yield Place(metadata.get("resourceVersion") or "")
                return

    async def _page(self, *, limit: int = _PAGE, continue_: str = "") -> Mapping[str, JSON]:
        page = await self._api.list_page(
            GROUP_VERSION, PLURAL, self._namespace, field_selector=_OTHERS, limit=limit, continue_=continue_
        )
        self._heard()
        return page

    async def _watched(self, version: str) -> AsyncIterator[Told | Place]:
        async for change in self._api.watch(
            GROUP_VERSION, PLURAL, self._namespace, field_selector=_OTHERS, resource_version=version
        ):
            self._heard()
            kind, body = change.get("type"), change.get("object") or {}
            if kind == "ERROR":
                raise ApiError.from_status(body)
            new = (body.get("metadata") or {}).get("resourceVersion") or version
            yield Told(body, new) if kind in {"ADDED", "MODIFIED"} else Place(new)
