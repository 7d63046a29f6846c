"""Leadership by a Lease: at most one operator of an installation acts, and a later one shuts an earlier one out.

The Lease decides who tries; the store's leadership epoch decides who may write, so that a leader which was paused and
wakes up after another took over changes nothing. Protocol: ``coordination.k8s.io/v1`` as client-go's leader election
uses it.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog

from batchyard.apiserver.errors import ApiError, NotFound

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from batchyard.apiserver.client import ApiClient
    from batchyard.clock import Clock
    from batchyard.model.trial import JSON

_log = structlog.get_logger(__name__)

GROUP_VERSION = "coordination.k8s.io/v1"
PLURAL = "leases"

_RELEASE_SECONDS = 5.0


class LeadershipLost(Exception):
    """The Lease could not be kept; this process must stop acting at once."""


class LeaseLock:
    """Takes and keeps one Lease. ``seconds`` is how long a leader that is silent is waited for."""

    def __init__(
        self,
        api: ApiClient,
        namespace: str,
        name: str,
        identity: str,
        clock: Clock,
        *,
        seconds: float = 15.0,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """``identity`` must differ between any two processes."""
        self._api, self._namespace, self._name = api, namespace, name
        self._identity, self._clock, self._seconds = identity, clock, seconds
        self._sleep = sleep
        self._seen: tuple[str, float] | None = None
        self._renewed_at: float | None = None
        self._looked_at: float | None = None

    @property
    def retry_seconds(self) -> float:
        """Return how often the Lease is looked at."""
        return self._seconds / 5

    @property
    def is_fresh(self) -> bool:
        """Return whether the Lease was read or renewed a short while ago, whoever holds it."""
        return self._looked_at is not None and self._clock.monotonic() - self._looked_at < 2 * self._seconds

    async def acquire(self) -> None:
        """Return once this process holds the Lease."""
        while True:
            try:
                if await self._try():
                    return
            except ApiError as err:
                _log.warning("the Lease could not be read or taken", lease=self._name, error=str(err))
            await self._sleep(self.retry_seconds)

    async def keep(self) -> None:
        """Renew the Lease until cancelled. Raises ``LeadershipLost``."""
        while True:
            await self._sleep(self.retry_seconds)
            # A third of the time is kept back for whatever is under way when it is found out.
            left = (self._renewed_at or 0.0) + self._seconds * 2 / 3 - self._clock.monotonic()
            if left <= 0 or not await self._renewed_within(left):
                raise LeadershipLost(f"Lease {self._namespace}/{self._name} is not held by {self._identity} any more")

    async def release(self) -> None:
        """Give the Lease back, so that the next leader need not wait."""
        try:
            async with asyncio.timeout(_RELEASE_SECONDS):
                lease = await self._api.get(GROUP_VERSION, PLURAL, self._namespace, self._name)
                if lease["spec"].get("holderIdentity") == self._identity:
                    lease["spec"] = {**lease["spec"], "holderIdentity": "", "leaseDurationSeconds": 1}
                    await self._api.replace(GROUP_VERSION, PLURAL, self._namespace, self._name, lease)
        except (ApiError, TimeoutError) as err:
            _log.warning("the Lease could not be given back; it runs out by itself", error=str(err))

    async def _renewed_within(self, seconds: float) -> bool:
        """Try to renew; return False if the Lease is another's, or if there is no answer in time."""
        try:
            async with asyncio.timeout(seconds):
                return await self._try()
        except TimeoutError:
            return False
        except ApiError as err:
            _log.warning("the Lease could not be renewed", lease=self._name, error=str(err))
            return True

    async def _try(self) -> bool:
        """Take or renew the Lease if that is allowed; return whether it is held. Raises ``ApiError``.

        ``Conflict`` if anybody was quicker with any change of it, which is only known after another look.
        """
        asked_at = self._clock.monotonic()
        try:
            lease = await self._api.get(GROUP_VERSION, PLURAL, self._namespace, self._name)
        except NotFound:
            lease = None
        self._looked_at = asked_at
        if lease is None:
            body = {"metadata": {"name": self._name}, "spec": self._spec({}, taken=True)}
            await self._api.create(GROUP_VERSION, PLURAL, self._namespace, body)
        else:
            spec = lease.get("spec") or {}
            ours = spec.get("holderIdentity") == self._identity
            if not ours and not self._is_free(lease):
                return False
            lease["spec"] = self._spec(spec, taken=not ours)
            # The resource version in it makes the API server refuse if another was quicker.
            await self._api.replace(GROUP_VERSION, PLURAL, self._namespace, self._name, lease)
        self._renewed_at = asked_at
        return True

    def _is_free(self, lease: Mapping[str, JSON]) -> bool:
        """Return whether nobody holds it, or its holder has been silent for as long as it promised not to be.

        Measured here, since the clocks of two machines may differ.
        """
        spec = lease.get("spec") or {}
        if not spec.get("holderIdentity"):
            return True
        version, now = lease["metadata"]["resourceVersion"], self._clock.monotonic()
        if self._seen is None or self._seen[0] != version:
            self._seen = (version, now)
        return now - self._seen[1] > float(spec.get("leaseDurationSeconds") or self._seconds)

    def _spec(self, old: Mapping[str, JSON], *, taken: bool) -> dict[str, JSON]:
        """Return the Lease as this process holds it; ``old`` is empty if there was none."""
        now = _micro(self._clock.now())
        return {
            **old,
            "holderIdentity": self._identity,
            "leaseDurationSeconds": max(1, round(self._seconds)),
            "renewTime": now,
            "acquireTime": now if taken else old.get("acquireTime", now),
            "leaseTransitions": int(old.get("leaseTransitions") or 0) + (taken and bool(old)),
        }


def _micro(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
