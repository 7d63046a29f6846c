"""Takes a BatchTest in: reads it and the ConfigMaps it names, and writes it down, or says all that is wrong with it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from batchyard.apiserver.errors import NotFound
from batchyard.decide.publish import GENERATION_MARK
from batchyard.engine.accepted import accepted_event, accepted_record
from batchyard.engine.carrying import FIELD, amending_record
from batchyard.engine.cluster_settings import cluster_setting
from batchyard.engine.cluster_source import config_maps_needed, load_from_cluster
from batchyard.engine.forks import find_forks
from batchyard.engine.places import PlaceRequest, place_name
from batchyard.engine.ports import BatchRecord
from batchyard.environments.deciding import place_of
from batchyard.kube.objects import GROUP_VERSION, PLURAL
from batchyard.model.audit import AuditEntry
from batchyard.model.errors import Fault, SpecInvalid
from batchyard.model.events import EventType, severity_of
from batchyard.model.outcome import Phase, Reason
from batchyard.model.parse import read_draft
from batchyard.model.rules import Place

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from batchyard.apiserver.client import ApiClient
    from batchyard.clock import Clock
    from batchyard.engine.cluster_ports import ClusterRef
    from batchyard.engine.sources import LoadedBatch
    from batchyard.kube.batches import ActiveBatch, Batches
    from batchyard.kube.objects import BatchTestObject, Objects
    from batchyard.kube.statuses import StatusWriter
    from batchyard.kube.twins import Twins
    from batchyard.model.spec import BatchTest
    from batchyard.model.trial import JSON

_LOOK_AGAIN_SECONDS = 10.0
# So short that those who wait for their turn to be read hold up nobody whose batch runs.
_PATIENCE_SECONDS = 1.0
_FINISHED_FIRST = {
    Reason.FORK_SOURCE_NOT_READY: ("forkFrom", "batchTest"),
    Reason.AMENDED_NOT_READY: ("amends",),
}
"""Where a spec names the BatchTest that it waits for, by the reason that its status gives for that."""
# RFC 1123, as Kubernetes wants an object's name.
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


@dataclass(frozen=True, slots=True)
class _Missing:
    """Something that the BatchTest names is not there, or not yet, which does not make the BatchTest wrong."""

    reason: Reason
    text: str


def batch_id_of(ref: ClusterRef) -> str:
    """Return the id that a BatchTest's batch has in every store: the same after any restart."""
    return f"{ref.name[:40].rstrip('-.')}-{hashlib.sha256(ref.uid.encode()).hexdigest()[:8]}"


class Acceptance:
    """Turns BatchTests into batches."""

    def __init__(
        self,
        api: ApiClient,
        batches: Batches,
        objects: Objects,
        statuses: StatusWriter,
        clock: Clock,
        *,
        twins: Twins,
        recorded: Callable[[], None],
        faults_of_place: Callable[[PlaceRequest], Sequence[Fault]],
        pods_of: Callable[[PlaceRequest], Mapping[str, str]],
        patience_seconds: float = _PATIENCE_SECONDS,
    ) -> None:
        """Take what is needed to read, to write down and to say; ``recorded`` is told of events to post.

        ``faults_of_place`` returns what is wrong with a place that was not made yet, ``pods_of`` what decides its pods.
        After ``patience_seconds`` one that is to be read gives way, and comes back later, if another still is.
        """
        self._api, self._batches, self._objects = api, batches, objects
        self._statuses, self._clock, self._recorded = statuses, clock, recorded
        self._twins = twins
        self._faults_of_place, self._pods_of = faults_of_place, pods_of
        # Held while a BatchTest is read: a large one takes much memory, and its thread is one of few.
        self._reading, self._patience_seconds = asyncio.Lock(), patience_seconds

    async def accept(self, seen: BatchTestObject) -> ActiveBatch | float | None:
        """Return the batch; or in how many seconds to try again; or None if the object must change first."""
        ref = seen.ref
        try:
            body = await self._api.get(GROUP_VERSION, PLURAL, ref.namespace, ref.name)
        except NotFound:
            self._objects.lose(ref)
            return None
        if body["metadata"]["uid"] != ref.uid:
            self._objects.lose(ref)
            return None
        seen = self._objects.see(body)
        if not seen.exists:
            return None
        try:
            read = await self._read(body, ref)
        except SpecInvalid as err:
            await self._reject(seen, body, err)
            return None
        if read is None:
            return _LOOK_AGAIN_SECONDS
        if not isinstance(read, _Missing):
            # It may have been deleted while it was read.
            now = self._objects.get(ref.uid)
            return await self._write_down(ref, read) if now is not None and now.exists else None
        if seen.cancel:
            await self._write_over(ref, body, Phase.CANCELLED, Reason.CANCELLED, "cancelled before it was accepted")
            return 0.0
        await self._statuses.reject(seen, read.reason, read.text, final=False)
        return _LOOK_AGAIN_SECONDS

    async def begun(self, batch: ActiveBatch) -> None:
        """Make sure that the trail says how the batch came about, also if a crash came between."""
        if batch.record.audit_entries:
            return
        told = accepted_event(batch.record, batch.session.epoch)
        async with batch.lock:
            await self._batches.commit(
                batch, entries=[self._batches.entry(batch, told.type, told.message, told.details)]
            )

    async def _read(self, body: Mapping[str, JSON], ref: ClusterRef) -> LoadedBatch | _Missing | None:
        """Return the batch, or what is missing; None while others are being read."""
        twin = await self._twins.read(body, ref)
        if twin is not None:
            faults = [*self._faults_of_place(self._place_of(ref, twin.batch))]
            if faults:
                raise SpecInvalid(f"BatchTest {ref.name}", faults)
            return twin
        waiting = await self._still_waiting(body, ref)
        if waiting is not None:
            return waiting
        names = config_maps_needed(body)
        # Before it is asked for: anything else would be a path, and could lead out of the namespace.
        faults = await self._batches.threads(lambda: _faults_of_names(body, names))
        if faults:
            raise SpecInvalid(f"BatchTest {ref.name}", faults)
        maps: dict[str, Mapping[str, JSON]] = {}
        missing: list[str] = []
        for name in names:
            try:
                maps[name] = await self._api.get("v1", "configmaps", ref.namespace, name)
            except NotFound:
                missing.append(name)
        if missing:
            text = f"waiting for ConfigMap {', '.join(missing)} in namespace {ref.namespace}; apply it"
            return _Missing(Reason.CONFIG_MAP_MISSING, text)
        if not await self._is_next():
            return None
        try:
            loaded = await self._batches.threads(lambda: self._load(body, ref, maps))
        finally:
            self._reading.release()
        bound = await self._forked(ref, loaded)
        return bound if isinstance(bound, _Missing) else await self._amending(ref, bound)

    async def _is_next(self) -> bool:
        """Wait for the turn to be read, which is then held; return False if that takes too long."""
        try:
            async with asyncio.timeout(self._patience_seconds):
                return await self._reading.acquire()
        except TimeoutError:
            return False

    def _load(self, body: Mapping[str, JSON], ref: ClusterRef, maps: Mapping[str, Mapping[str, JSON]]) -> LoadedBatch:
        """Return the batch. Takes seconds if there are many cases, so it has no place in the event loop."""
        loaded = load_from_cluster(body, maps, lambda batch: self._faults_of_place(self._place_of(ref, batch)))
        request = self._place_of(ref, loaded.batch)
        return replace(loaded, setting=cluster_setting(loaded, maps, place_of(request), self._pods_of(request)))

    async def _still_waiting(self, body: Mapping[str, JSON], ref: ClusterRef) -> _Missing | None:
        """Return what a BatchTest waits for that was read before, and found right, so that it is not read each time."""
        status = body.get("status") or {}
        if status.get("observedGeneration") != body["metadata"].get("generation"):
            return None
        for reason, field in _FINISHED_FIRST.items():
            name = Place(body, "").at("spec", *field).text()
            if status.get("reason") == reason and name:
                found = await self._finished(ref, name, reason)
                return found if isinstance(found, _Missing) else None
        return None

    async def _forked(self, ref: ClusterRef, loaded: LoadedBatch) -> LoadedBatch | _Missing:
        """Return the batch with what ``forkFrom`` means now; it stays that, whatever gets the name later."""
        fork, store = loaded.batch.spec.fork_from, self._batches.store
        if fork is None:
            return loaded
        source = await self._finished(ref, fork.batch_test, Reason.FORK_SOURCE_NOT_READY)
        if isinstance(source, _Missing):
            return source
        await self._batches.threads(lambda: find_forks(store, ref.name, fork, loaded.plan, source))
        return replace(loaded, forked_from=source.id)

    async def _amending(self, ref: ClusterRef, loaded: LoadedBatch) -> LoadedBatch | _Missing:
        """Return the batch with what ``amends`` means now; it stays that, whatever gets the name later."""
        name = loaded.batch.spec.amends
        if name is None:
            return loaded
        source = await self._finished(ref, name, Reason.AMENDED_NOT_READY)
        if isinstance(source, _Missing):
            return source
        return await self._batches.threads(lambda: amending_record(loaded, source, FIELD))

    async def _finished(self, ref: ClusterRef, name: str, reason: Reason) -> BatchRecord | _Missing:
        """Return the newest batch of another BatchTest, with its spec, once it is over."""
        store = self._batches.store
        source = await self._batches.threads(lambda: store.newest_of(ref.namespace, name))
        if source is not None and source.phase.final:
            return source
        what = "apply it" if source is None else f"it is {source.phase}"
        return _Missing(reason, f"waiting for BatchTest {name} in namespace {ref.namespace} to finish; {what}")

    def _place_of(self, ref: ClusterRef, batch: BatchTest) -> PlaceRequest:
        """Return what the batch's first place will be made from, but for what is not known yet."""
        return PlaceRequest(
            batch_id=batch_id_of(ref),
            ref=ref,
            attempt=1,
            name=place_name(ref, 1),
            batch=batch,
            token="",
            results_url="",
            deadline_at=self._clock.now(),
        )

    async def _write_down(self, ref: ClusterRef, loaded: LoadedBatch) -> ActiveBatch:
        now, batch_id = self._clock.now(), batch_id_of(ref)

        def write() -> None:
            record = accepted_record(loaded, batch_id, ref.name, "", now)
            self._batches.store.create_cluster_batch(record, ref)

        await self._batches.threads(write)
        batch = await self._batches.open(ref, batch_id)
        await self.begun(batch)
        return batch

    async def _reject(self, seen: BatchTestObject, body: Mapping[str, JSON], err: SpecInvalid) -> None:
        count = len(err.faults)
        text = f"{count} fault{'' if count == 1 else 's'}: " + "; ".join(str(fault) for fault in err.faults)
        # Another generation of the spec may be right, so this one has an identity of its own.
        ref = replace(seen.ref, uid=f"{seen.ref.uid}{GENERATION_MARK}{seen.generation}")
        await self._write_over(ref, body, Phase.FAILED, Reason.INVALID_SPEC, text)
        await self._statuses.reject(seen, Reason.INVALID_SPEC, text, final=True)

    async def _write_over(
        self, ref: ClusterRef, body: Mapping[str, JSON], phase: Phase, reason: Reason, text: str
    ) -> None:
        """Write a batch down that was over before it began, so that its event has an entry like any other."""
        now = self._clock.now()
        record = BatchRecord(
            id=batch_id_of(ref),
            name=ref.name,
            spec={"metadata": {"name": ref.name}, "spec": body.get("spec")},
            spec_digest="",
            base="",
            total=0,
            accepted_at=now,
            deadline_at=now,
            phase=phase,
            reason=reason,
            message=text,
            completed_at=now,
        )
        kind = EventType.SPEC_INVALID if phase is Phase.FAILED else EventType.BATCH_CANCELLED
        entry = AuditEntry(
            at=now,
            type=kind,
            severity=severity_of(kind),
            message=text,
            batch_id=record.id,
            source="operator",
            details={"generation": body["metadata"].get("generation", 1)},
        )
        await self._batches.threads(lambda: self._write_both(record, ref, entry))
        self._recorded()

    def _write_both(self, record: BatchRecord, ref: ClusterRef, entry: AuditEntry) -> None:
        store = self._batches.store
        store.create_cluster_batch(record, ref)
        if store.batch(record.id).audit_entries:
            return
        session = store.open_session(record.id, self._batches.owner, entry.at)
        store.commit_step(session, entries=[entry], outbox=[0], closed_at=entry.at)


def _faults_of_names(body: Mapping[str, JSON], names: Sequence[str]) -> list[Fault]:
    """Return a fault for each name that no ConfigMap can have, after what else is wrong with the BatchTest."""
    wrong = [
        Fault("configMapRef.name", name, "is no name that a ConfigMap can have", "name one of the same namespace")
        for name in names
        if not _NAME.fullmatch(name)
    ]
    if not wrong:
        return []
    bare = {key: value for key, value in body.items() if key != "status"}
    return [*read_draft(json.dumps(bare)).faults, *wrong]
