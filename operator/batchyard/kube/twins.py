"""``spec.parity`` in a cluster: when a batch is over, a BatchTest of its own runs the sample elsewhere.

That twin is owned by the BatchTest whose trials it runs again, and is run, watched and tidied like any other. Why so:
ADR 14. Not for what counts as equal (``judge.parity``).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from batchyard.apiserver.errors import Conflict, Forbidden, Invalid, NotFound
from batchyard.decide.parity import is_comparable
from batchyard.decide.publish import choose
from batchyard.engine.parity import (
    Elsewhere,
    Run,
    compare,
    compared_status,
    config_of,
    parity_entries,
    sampled_twin,
    uncompared_status,
)
from batchyard.engine.ports import BatchUpdate
from batchyard.engine.sources import LoadedBatch
from batchyard.kube.objects import GROUP_VERSION, PLURAL
from batchyard.model.errors import Fault, SpecInvalid
from batchyard.model.names import with_suffix
from batchyard.model.outcome import Phase, Reason
from batchyard.model.spec_environment import Provider
from batchyard.model.status import BatchStatus, ConditionType

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from batchyard.apiserver.client import ApiClient
    from batchyard.clock import Clock
    from batchyard.engine.cluster_ports import ClusterRef
    from batchyard.engine.ports import BatchRecord
    from batchyard.judge.parity_report import ParityReport
    from batchyard.kube.batches import Batches
    from batchyard.kube.objects import BatchTestObject, Objects
    from batchyard.model.spec import BatchTest
    from batchyard.model.trial import JSON

PARITY_OF = "batchyard.dev/parity-of"
"""On a twin: the id of the batch whose trials it runs again."""

_SUFFIX = "parity"
# News of a twin wake the BatchTest that it belongs to; this is for the case that none come.
_LOOK_SECONDS = 10.0
_NOT_FOR_A_TWIN = ("amends", "gate", "failFast", "suspend", "cancel")


class Twins:
    """Makes twins, takes them in, and holds them against the batches that they belong to."""

    def __init__(
        self, api: ApiClient, batches: Batches, objects: Objects, clock: Clock, recorded: Callable[[], None]
    ) -> None:
        """``recorded`` is told whenever there is an event to post."""
        self._api, self._batches, self._objects = api, batches, objects
        self._clock, self._recorded = clock, recorded

    # -- a twin is taken in --------------------------------------------------------------------------------------

    async def read(self, body: Mapping[str, JSON], ref: ClusterRef) -> LoadedBatch | None:
        """Return what a twin runs, from the batch it belongs to; None for any other BatchTest.

        Raises ``SpecInvalid`` if it says that it is a twin and is none.
        """
        of = (body["metadata"].get("annotations") or {}).get(PARITY_OF)
        if of is None:
            return None
        for owner in body["metadata"].get("ownerReferences") or []:
            record = await self._batches.threads(partial(self._batches.store.batch_of, owner["uid"]))
            if record is not None and record.id == of and (await self._batches.ref_of(of)).namespace == ref.namespace:
                return await self._batches.threads(lambda: self._sampled(of))
        fault = Fault(
            f"metadata.annotations.{PARITY_OF}", of, "is of no batch that this BatchTest belongs to", "take it out"
        )
        raise SpecInvalid(f"BatchTest {ref.name}", [fault])

    def _sampled(self, of: str) -> LoadedBatch:
        full = self._batches.store.batch(of)
        loaded = LoadedBatch.of(full)
        return sampled_twin(full, loaded, _there(loaded.batch))

    # -- and compared --------------------------------------------------------------------------------------------

    async def verify(self, seen: BatchTestObject, record: BatchRecord) -> tuple[BatchRecord | None, float | None]:
        """Do what is to be done now to compare a batch that is over.

        Return the batch if its status is to be written anew, and in how many seconds to look again, if at all.
        """
        if not seen.parity or is_verified(seen.status) or not is_comparable(record.phase, record.reason):
            return None, None
        full = await self._full(record.id)
        if is_verified(full.status or {}):
            return full, None
        return await self._compare(seen, full)

    async def _compare(self, seen: BatchTestObject, full: BatchRecord) -> tuple[BatchRecord | None, float | None]:
        store, ref = self._batches.store, seen.ref
        name = with_suffix(ref.name, _SUFFIX)
        loaded = await self._batches.threads(lambda: LoadedBatch.of(full))
        found = await self._batches.threads(lambda: store.newest_of(ref.namespace, name))
        other = await self._batches.threads(lambda: LoadedBatch.of(found)) if found is not None else None
        if found is None or other is None or other.twin_of != full.id:
            why = await self._make(seen, full, loaded.batch, name)
            return (None, _LOOK_SECONDS) if why is None else (await self._give_up(full, why), None)
        if not found.phase.final:
            return None, _LOOK_SECONDS
        if not is_comparable(found.phase, found.reason):
            return await self._give_up(full, f"BatchTest {name}: {found.reason or found.phase}: {found.message}"), None
        runs = (
            Run(full, loaded, partial(store.finals, full.id)),
            Run(found, other, partial(store.finals, found.id)),
        )
        report = await self._batches.threads(lambda: compare(*runs, config_of(loaded.batch.spec.parity)))
        return await self._conclude(full, loaded.batch, found.id, report), None

    async def _make(self, seen: BatchTestObject, full: BatchRecord, batch: BatchTest, name: str) -> str | None:
        """Have a twin if there is none yet; return why there can be none, None while there may be."""
        ref = seen.ref
        await self._batches.check_leading()
        try:
            there = await self._api.get(GROUP_VERSION, PLURAL, ref.namespace, name)
        except NotFound:
            whole = await self._api.get(GROUP_VERSION, PLURAL, ref.namespace, ref.name)
            try:
                await self._api.create(GROUP_VERSION, PLURAL, ref.namespace, twin_body(whole, full.id, batch, name))
            except Conflict:
                return None  # made meanwhile: the next look tells by whom
            except (Forbidden, Invalid) as err:
                return f"BatchTest {name} could not be made: {err}"
            return None
        if (there["metadata"].get("annotations") or {}).get(PARITY_OF) == full.id:
            status = there.get("status") or {}
            refused = status.get("phase") == Phase.FAILED and status.get("reason") == Reason.INVALID_SPEC
            return f"BatchTest {name}: {status.get('message')}" if refused else None
        return None if self._goes(there) else f"there is a BatchTest {name} already, which is not of this one"

    def _goes(self, body: Mapping[str, JSON]) -> bool:
        """Return whether an object is about to be deleted: itself, or because what it belongs to was."""
        owners = [self._objects.get(owner["uid"]) for owner in body["metadata"].get("ownerReferences") or []]
        left = [owner for owner in owners if owner is not None and owner.exists]
        return "deletionTimestamp" in body["metadata"] or (bool(owners) and not left)

    async def _conclude(self, full: BatchRecord, batch: BatchTest, twin_id: str, report: ParityReport) -> BatchRecord:
        there, now = _there(batch), self._clock.now()
        names = ("this batch", str(there))
        status = compared_status(_status_of(full), there, twin_id, report, names, now)
        return await self._write(full, status, report, names)

    async def _give_up(self, full: BatchRecord, why: str) -> BatchRecord:
        return await self._write(
            full, uncompared_status(_status_of(full), Reason.ENVIRONMENT_FAILED, why, self._clock.now())
        )

    async def _write(
        self,
        full: BatchRecord,
        status: BatchStatus,
        report: ParityReport | None = None,
        names: tuple[str, str] = ("", ""),
    ) -> BatchRecord:
        """Add what came of it to a batch that is over, all or nothing; return the batch as it is then."""
        store, now = self._batches.store, self._clock.now()

        def write() -> BatchRecord:
            session = store.open_session(full.id, self._batches.owner, now)
            kept = full.audit_pruned_at is None  # a trail that was deleted after its time takes nothing more
            entries = parity_entries(full.id, session.epoch, report, names, now) if report is not None and kept else []
            store.commit_step(
                session,
                entries=entries,
                outbox=choose(entries, 0).indexes,
                batch=BatchUpdate(full.phase, full.reason, full.message, status.to_json()),
                closed_at=now,
            )
            return store.batch(full.id)

        written = await self._batches.threads(write)
        self._recorded()
        return written

    async def _full(self, batch_id: str) -> BatchRecord:
        return await self._batches.threads(lambda: self._batches.store.batch(batch_id))


def is_verified(status: Mapping[str, JSON]) -> bool:
    """Return whether a status says what came of the comparison."""
    return any(one["type"] == ConditionType.PARITY_VERIFIED for one in status.get("conditions") or [])


def twin_body(whole: Mapping[str, JSON], batch_id: str, batch: BatchTest, name: str) -> dict[str, JSON]:
    """Return the BatchTest that runs the sample of ``whole``, the BatchTest as the API server has it.

    Its spec is for people: what it runs is taken from the store, where no ConfigMap changes any more.
    """
    metadata, there = whole["metadata"], _there(batch)
    spec = {key: value for key, value in whole["spec"].items() if key not in _NOT_FOR_A_TWIN}
    environment = {**spec.get("environment", {}), "provider": there.provider.value, "isolation": there.isolation.value}
    if there.provider is not Provider.KUBE_RAY:
        environment.pop("kubeRay", None)
    spec |= {"environment": environment, "parity": {**spec["parity"], "enabled": False}}
    owner = {"apiVersion": GROUP_VERSION, "kind": "BatchTest", "name": metadata["name"], "uid": metadata["uid"]}
    return {
        "apiVersion": GROUP_VERSION,
        "kind": "BatchTest",
        "metadata": {
            "name": name,
            "labels": metadata.get("labels") or {},
            "annotations": {PARITY_OF: batch_id},
            "ownerReferences": [{**owner, "controller": True}],
        },
        "spec": spec,
    }


def _there(batch: BatchTest) -> Elsewhere:
    """Return the other place: what is Ray on one machine is KubeRay in a cluster."""
    parity = batch.spec.parity
    provider = Provider.KUBE_RAY if parity.against is Provider.RAY else parity.against
    return Elsewhere(provider, parity.isolation)


def _status_of(full: BatchRecord) -> BatchStatus:
    return BatchStatus.from_json(full.status or {})
