"""What every ``BatchStore`` must do: inherit the class in a test module with a ``store`` fixture (a new, empty one).

Not about files, servers, locks between processes or the schema: those are each store's own tests.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta, timezone

from batchyard.engine.ports import BatchStore, BatchUpdate
from batchyard.model.audit import GENESIS, verify_chain
from batchyard.model.errors import BatchAmbiguous, BatchNotFound, StaleSession, StoreError
from batchyard.model.outcome import Outcome, Phase
from batchyard.testing.session_conformance import SessionConformance
from batchyard.testing.store_builders import (
    OTHER,
    T0,
    a_batch,
    a_result,
    a_running_batch,
    an_entry,
    expect,
    refused,
)


class BatchConformance:
    """Batches: what goes in comes out, and each can be named in three ways."""

    def test_a_batch_comes_back_as_it_went_in(self, store: BatchStore) -> None:
        """Every field survives, times to the microsecond."""
        record = replace(
            a_batch(), started_at=T0, completed_at=T0, status={"trials": {"total": 1}}, reason="GateFailed"
        )

        store.create_batch(record)

        expect(store.batch("b1") == record, f"it came back as {store.batch('b1')}")

    def test_a_time_in_another_zone_is_the_same_instant_in_utc(self, store: BatchStore) -> None:
        """The zone is not kept, the instant is."""
        local = T0.astimezone(timezone(timedelta(hours=-8)))

        store.create_batch(replace(a_batch(), accepted_at=local))

        found = store.batch("b1").accepted_at
        expect((found, found.utcoffset()) == (T0, timedelta()), f"it came back as {found.isoformat()}")

    def test_an_id_cannot_be_taken_twice(self, store: BatchStore) -> None:
        """The first batch stays as it is."""
        store.create_batch(a_batch())

        refused(StoreError, lambda: store.create_batch(a_batch(name="other")))

        expect(store.batch("b1").name == "docs-search", "the first batch was overwritten")

    def test_a_batch_is_found_by_id_prefix_and_name(self, store: BatchStore) -> None:
        """In that order; of one name the newest is meant."""
        store.create_batch(a_batch("abc1", "nightly", minutes=2))
        store.create_batch(a_batch("abd2", "nightly", minutes=3))
        store.create_batch(a_batch("xyz3", "nightly", minutes=1))

        found = [store.batch(reference).id for reference in ("abc1", "abc", "x", "nightly")]

        expect(found == ["abc1", "abc1", "xyz3", "abd2"], f"found {found}")

    def test_a_name_wins_over_a_prefix_of_several_ids(self, store: BatchStore) -> None:
        """Or a batch named "a" could never be named."""
        store.create_batch(a_batch("ab1", "a"))
        store.create_batch(a_batch("ab2", "other"))

        expect(store.batch("a").id == "ab1", "the name was not looked up")

    def test_an_unknown_or_ambiguous_reference_is_an_error(self, store: BatchStore) -> None:
        """Wildcards and nothing at all are no references."""
        store.create_batch(a_batch("ab1"))
        store.create_batch(a_batch("ab2"))

        refused(BatchAmbiguous, lambda: store.batch("ab"))
        for reference in ("zz", "", "%", "a_1", "ab11"):
            refused(BatchNotFound, lambda reference=reference: store.batch(reference))  # type: ignore[misc]

    def test_batches_are_listed_newest_first_without_their_specs(self, store: BatchStore) -> None:
        """And no more than asked for."""
        for number in range(4):
            store.create_batch(replace(a_batch(f"b{number}", minutes=number), status={"n": number}))

        listed = store.batches(limit=3)

        expect([batch.id for batch in listed] == ["b3", "b2", "b1"], f"listed {[batch.id for batch in listed]}")
        expect([(batch.spec, batch.status) for batch in listed[:1]] == [(None, {"n": 3})], "spec or status is wrong")


class ResultConformance:
    """Results: all or nothing, once each, in order."""

    def test_a_result_comes_back_as_it_went_in(self, store: BatchStore) -> None:
        """Every field survives."""
        session = a_running_batch(store)
        bare = replace(a_result(1), score=None, metrics={}, scores=(), boundaries=(), output=None)

        store.commit(session, results=[(a_result(0), True), (bare, True)])

        expect(list(store.results("b1")) == [a_result(0), bare], f"they came back as {list(store.results('b1'))}")

    def test_text_that_a_database_refuses_does_not_stop_the_others(self, store: BatchStore) -> None:
        """NUL, halves of surrogate pairs and numbers that are none may come from any workflow."""
        session = a_running_batch(store)
        hostile = "a\0b\ud800c"
        odd = replace(a_result(0), message=hostile, worker=hostile, output={"text": hostile, "n": float("inf")})

        store.commit(
            session, results=[(odd, True), (a_result(1), True)], entries=[replace(an_entry(), message=hostile)]
        )

        found = list(store.results("b1"))
        expect(found[0].output == odd.output, f"the output came back as {found[0].output!r}")
        expect("\0" not in found[0].message and found[0].message[0] == "a", f"the message is {found[0].message!r}")
        expect(found[1] == a_result(1), "the other result was changed")
        expect(verify_chain(store.audit_entries("b1"), store.batch("b1").audit_head) == "", "the trail is broken")

    def test_results_come_by_ordinal_then_attempt_whatever_the_order_of_writing(self, store: BatchStore) -> None:
        """Over as many pages as it takes."""
        session = a_running_batch(store)
        written = [(a_result(ordinal, attempt), attempt == 2) for ordinal in reversed(range(450)) for attempt in (2, 1)]
        for start in range(0, len(written), 100):
            store.commit(session, results=written[start : start + 100])

        every = [(result.ordinal, result.attempt) for result in store.results("b1", final_only=False)]
        final = [(result.ordinal, result.attempt) for result in store.results("b1")]
        some = [result.ordinal for result in store.results("b1", limit=201)]

        expect(every == [(ordinal, attempt) for ordinal in range(450) for attempt in (1, 2)], "all are out of order")
        expect(final == [(ordinal, 2) for ordinal in range(450)], "the final ones are out of order")
        expect(some == list(range(201)), "the limit is not kept")
        expect(list(store.finished_ordinals("b1")) == list(range(450)), "the ordinals are wrong")
        ended = [(a_result(ordinal).trial_id, attempt) for ordinal, attempt in every]
        expect(list(store.attempts_ended("b1")) == ended, "the attempts that ended are wrong")

    def test_results_are_found_by_outcome(self, store: BatchStore) -> None:
        """In the order of ordinals, not of outcomes; only final ones unless asked."""
        session = a_running_batch(store)
        outcomes = [Outcome.FAILED, Outcome.PASSED, Outcome.ERRORED, Outcome.FAILED]
        written = [(a_result(ordinal, 2, outcome), True) for ordinal, outcome in enumerate(outcomes)]
        store.commit(session, results=[*written, (a_result(1, 1, Outcome.ERRORED), False)])
        wanted = [Outcome.ERRORED, Outcome.FAILED]

        final = [result.ordinal for result in store.results("b1", outcomes=wanted)]
        first = [result.ordinal for result in store.results("b1", outcomes=wanted, limit=2)]
        every = [(result.ordinal, result.attempt) for result in store.results("b1", outcomes=wanted, final_only=False)]
        none = list(store.results("b1", outcomes=[]))

        found = (final, first, every, none)
        expect(found == ([0, 2, 3], [0, 2], [(0, 2), (1, 1), (2, 2), (3, 2)], []), f"found {found}")

    def test_a_result_is_written_once(self, store: BatchStore) -> None:
        """The same attempt again, or a second final result of its trial, is left out; the rest of the group is not."""
        session = a_running_batch(store)
        store.commit(session, results=[(a_result(0, 1), True), (a_result(1, 1), False)])
        again = replace(a_result(0, 1), outcome=Outcome.FAILED)

        store.commit(session, results=[(again, True), (a_result(0, 2), True), (a_result(1, 2), True), (again, False)])

        kept = list(store.results("b1", final_only=False))
        expect(kept == [a_result(0, 1), a_result(1, 1), a_result(1, 2)], f"kept {kept}")

    def test_attempts_made_tells_only_of_trials_that_are_not_over(self, store: BatchStore) -> None:
        """With the number of their newest attempt."""
        session = a_running_batch(store)
        tries = [(a_result(0, 1), False), (a_result(0, 2), True), (a_result(1, 1), False), (a_result(1, 2), False)]
        store.commit(session, results=[*tries, (a_result(2, 1), True), (a_result(3, 1), False)])

        made = dict(store.attempts_made("b1"))

        expect(made == {1: 2, 3: 1}, f"attempts made are {made}")

    def test_batches_do_not_see_each_other(self, store: BatchStore) -> None:
        """Same ordinals, same attempts, own chain."""
        first, second = a_running_batch(store, "b1"), a_running_batch(store, "b2")
        store.commit(first, results=[(a_result(0), True)], entries=[an_entry()])
        store.commit(second, results=[(a_result(0), True), (a_result(1), True)], entries=[an_entry(0, "b2")] * 2)

        seen = [(len(list(store.results(b))), len(list(store.audit_entries(b)))) for b in ("b1", "b2", "none")]

        expect(seen == [(1, 1), (2, 2), (0, 0)], f"they see {seen}")


class CommitConformance:
    """The batch's state and its audit trail."""

    def test_entries_form_a_chain_that_verifies(self, store: BatchStore) -> None:
        """Across commits and sessions; the batch has the head and the number."""
        session = a_running_batch(store)
        store.commit(session, entries=[an_entry(0), an_entry(1)])
        later = store.open_session("b1", OTHER, T0)
        store.commit(later, entries=[an_entry(2)], dropped=4)
        store.commit(later, dropped=3)

        batch, trail = store.batch("b1"), list(store.audit_entries("b1"))

        expect(verify_chain(trail, batch.audit_head) == "", "the chain is broken")
        expect([sealed.entry for sealed in trail] == [an_entry(0), an_entry(1), an_entry(2)], "entries were changed")
        expect((batch.audit_entries, batch.audit_dropped) == (3, 7), "the counters are wrong")

    def test_a_trail_is_read_from_anywhere_and_in_pages(self, store: BatchStore) -> None:
        """2,500 entries, some, and none."""
        session = a_running_batch(store)
        store.commit(session, entries=[an_entry(number) for number in range(2500)])

        every = [sealed.seq for sealed in store.audit_entries("b1")]
        some = [sealed.seq for sealed in store.audit_entries("b1", after=1200, limit=1100)]
        none = list(store.audit_entries("b1", after=2500))

        expect(every == list(range(1, 2501)), "entries are missing")
        expect((some, none) == (list(range(1201, 2301)), []), "the wrong entries came")

    def test_a_new_batch_has_an_empty_trail(self, store: BatchStore) -> None:
        """Whose head is the chain's beginning."""
        store.create_batch(a_batch())

        expect(store.batch("b1").audit_head == GENESIS, "the head is not the beginning")
        expect(list(store.audit_entries("b1")) == [], "there are entries")

    def test_an_update_changes_only_what_it_names(self, store: BatchStore) -> None:
        """None leaves a status or a time as it is."""
        session = a_running_batch(store)
        store.commit(session, batch=BatchUpdate(Phase.RUNNING, message="0 of 10", status={"n": 1}, started_at=T0))
        store.commit(session, batch=BatchUpdate(Phase.SUCCEEDED, "Done", "10 of 10", completed_at=T0))

        batch = store.batch("b1")

        found = (batch.phase, batch.reason, batch.message, batch.status, batch.started_at, batch.completed_at)
        expect(found == (Phase.SUCCEEDED, "Done", "10 of 10", {"n": 1}, T0, T0), f"the batch is {found}")

    def test_a_commit_that_cannot_be_written_leaves_nothing(self, store: BatchStore) -> None:
        """Not even the parts before the fault."""
        session = a_running_batch(store)
        unwritable = replace(a_result(1), output={"no": object()})
        before = store.batch("b1")

        refused(StoreError, lambda: store.commit(session, results=[(a_result(0), True), (unwritable, True)], dropped=1))
        refused(
            StoreError,
            lambda: store.commit(session, results=[(a_result(0), True)], entries=[an_entry(), an_entry(1, "b2")]),
        )

        expect(store.batch("b1") == before, "the batch was changed")
        expect(list(store.results("b1", final_only=False)) == [], "a result was written")

    def test_an_empty_commit_is_allowed(self, store: BatchStore) -> None:
        """It still finds out whether the session holds."""
        session = a_running_batch(store)
        store.commit(session)
        store.open_session("b1", OTHER, T0)

        refused(StaleSession, lambda: store.commit(session))


class StoreConformance(BatchConformance, SessionConformance, ResultConformance, CommitConformance):
    """All of it."""
