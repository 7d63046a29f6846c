"""The audit chain and its export: any one thing done to them is found, and nothing is found in what is whole."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchyard.events import AuditTrail, Redactor
from batchyard.model.audit import (
    GENESIS,
    AuditEntry,
    AuditUnreadable,
    SealedEntry,
    export_jsonl,
    parse_jsonl,
    seal,
    verify_chain,
    verify_exported,
)
from batchyard.model.events import EventType, Severity
from batchyard.model.plain_json import plain_json

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)

# Lone surrogates and NUL too: what a workflow prints may hold anything.
texts = st.text(st.characters(), max_size=12)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | texts
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts | st.integers(), inner, max_size=3),
    max_leaves=6,
)
zones = st.integers(-720, 720).map(lambda minutes: timezone(timedelta(minutes=minutes)))
times = st.datetimes(datetime(1971, 1, 1), datetime(2999, 1, 1), timezones=zones)  # noqa: DTZ001 - zones are drawn
entries = st.builds(
    AuditEntry,
    at=times,
    type=st.sampled_from(EventType),
    severity=st.sampled_from(Severity),
    message=texts,
    batch_id=texts,
    epoch=st.integers(0, 2**31),
    trial_id=texts,
    attempt=st.integers(0, 2**31),
    source=texts,
    details=st.dictionaries(texts, values, max_size=3),
)


def chain(of: list[AuditEntry]) -> list[SealedEntry]:
    sealed: list[SealedEntry] = []
    for seq, entry in enumerate(of, start=1):
        sealed.append(seal(entry, seq, sealed[-1].hash if sealed else GENESIS))
    return sealed


def head(sealed: list[SealedEntry]) -> str:
    return sealed[-1].hash if sealed else GENESIS


chains = st.lists(entries, min_size=1, max_size=6).map(chain)
long_chains = st.lists(entries, min_size=2, max_size=6).map(chain)


# -- whole chains ----------------------------------------------------------------------------------------------


@given(st.lists(entries, max_size=6).map(chain))
def test_a_whole_chain_verifies_and_so_does_its_export(sealed: list[SealedEntry]) -> None:
    assert verify_chain(sealed, head(sealed)) == ""
    assert verify_exported(export_jsonl(sealed), head(sealed)) == ""


@given(chains)
def test_an_export_read_back_is_exactly_what_was_exported(sealed: list[SealedEntry]) -> None:
    lines = list(export_jsonl(sealed))

    assert list(parse_jsonl(lines)) == sealed
    assert list(export_jsonl(parse_jsonl(lines))) == lines


@given(chains)
def test_an_export_is_ascii_lines_that_any_reader_splits_alike(sealed: list[SealedEntry]) -> None:
    lines = list(export_jsonl(sealed))
    text = "\n".join(lines)

    assert text.isascii()
    assert text.splitlines() == lines
    assert verify_exported(f"{line}\r\n" for line in lines) == ""


@given(entries)
def test_a_hash_survives_sqlites_json(entry: AuditEntry) -> None:
    with sqlite3.connect(":memory:") as database:
        (stored,) = database.execute("SELECT json(?)", (json.dumps(entry.details),)).fetchone()
    database.close()

    assert seal(replace(entry, details=json.loads(stored)), 1, GENESIS) == seal(entry, 1, GENESIS)


@given(entries)
def test_a_hash_survives_a_database_that_keeps_numbers_as_decimals(entry: AuditEntry) -> None:
    """As PostgreSQL's jsonb does: keys in another order, 1e-07 spelled 0.0000001."""
    stored = as_jsonb(entry.details)

    assert seal(replace(entry, details=json.loads(stored)), 1, GENESIS) == seal(entry, 1, GENESIS)


def as_jsonb(value: Any) -> str:
    match value:
        case dict():
            shown = sorted(value.items(), key=lambda item: (len(item[0].encode()), item[0]))
            return "{" + ", ".join(f"{json.dumps(key)}: {as_jsonb(item)}" for key, item in shown) + "}"
        case list():
            return "[" + ", ".join(map(as_jsonb, value)) + "]"
        case bool() | None | str():
            return json.dumps(value)
        case _:
            return format(Decimal(json.dumps(value)), "f")


@given(values)
def test_plain_json_is_json_and_settles_at_once(value: Any) -> None:
    plain = plain_json(value)

    assert plain_json(plain) == plain
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    json.dumps(plain, ensure_ascii=False).encode()


# -- one thing done to a chain ---------------------------------------------------------------------------------


@given(long_chains, st.data())
def test_a_removed_entry_is_named(sealed: list[SealedEntry], data: st.DataObject) -> None:
    gone = data.draw(st.integers(1, len(sealed)))
    rest = [entry for entry in sealed if entry.seq != gone]

    fault = verify_chain(rest, head(sealed))

    if gone < len(sealed):
        assert fault.startswith(f"entry {gone} is missing")
    else:
        assert f"ends at entry {gone - 1}" in fault


@given(long_chains, st.data())
def test_two_entries_that_changed_places_are_found_at_the_first(sealed: list[SealedEntry], data: st.DataObject) -> None:
    first, second = sorted(data.draw(st.sets(st.integers(0, len(sealed) - 1), min_size=2, max_size=2)))
    swapped = list(sealed)
    swapped[first], swapped[second] = swapped[second], swapped[first]

    assert verify_chain(swapped, head(sealed)).startswith(f"entry {first + 1} is missing")


@given(long_chains, st.data())
def test_entries_that_changed_places_and_numbers_are_found_at_the_first(
    sealed: list[SealedEntry], data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(sealed) - 2))
    swapped = list(sealed)
    swapped[at], swapped[at + 1] = replace(sealed[at + 1], seq=at + 1), replace(sealed[at], seq=at + 2)

    assert verify_chain(swapped, head(sealed)).startswith(f"entry {at + 1} does not follow")


@given(chains, st.data())
def test_a_repeated_entry_is_found(sealed: list[SealedEntry], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(sealed) - 1))
    repeated = [*sealed[: at + 1], *sealed[at:]]

    assert verify_chain(repeated, head(sealed)).startswith(f"entry {at + 2} is missing")


@given(chains, st.data())
def test_any_field_that_was_changed_is_found_at_its_entry(sealed: list[SealedEntry], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(sealed) - 1))
    victim = sealed[at].entry
    changes: dict[str, st.SearchStrategy[Any]] = {
        "at": st.just(victim.at + timedelta(microseconds=1)),
        "type": st.sampled_from(EventType),
        "severity": st.sampled_from(Severity),
        "message": texts,
        "batch_id": texts,
        "epoch": st.integers(),
        "trial_id": texts,
        "attempt": st.integers(),
        "source": texts,
        "details": st.dictionaries(texts, values, max_size=2),
    }
    field = data.draw(st.sampled_from(sorted(changes)))
    changed = replace(victim, **{field: data.draw(changes[field])})
    tampered = [*sealed[:at], replace(sealed[at], entry=changed), *sealed[at + 1 :]]

    fault = verify_chain(tampered, head(sealed))

    assert fault == ("" if changed == victim and as_json(changed) == as_json(victim) else f"entry {at + 1} was changed")


def as_json(entry: AuditEntry) -> str:
    # True == 1 to Python, not to the chain.
    return json.dumps(entry.details, sort_keys=True)


@given(chains, st.data())
def test_a_changed_hash_or_link_is_found_at_its_entry(sealed: list[SealedEntry], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(sealed) - 1))
    field = data.draw(st.sampled_from(["hash", "previous"]))
    forged: dict[str, Any] = {field: "f" * 64}
    tampered = [*sealed[:at], replace(sealed[at], **forged), *sealed[at + 1 :]]

    fault = verify_chain(tampered, head(sealed))

    assert fault.startswith(f"entry {at + 1} ")


@given(chains, entries, st.data())
def test_an_entry_replaced_and_resealed_is_found_at_the_next_or_by_the_head(
    sealed: list[SealedEntry], other: AuditEntry, data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(sealed) - 1))
    forged = seal(other, at + 1, sealed[at].previous)
    fault = verify_chain([*sealed[:at], forged, *sealed[at + 1 :]], head(sealed))

    if forged.hash == sealed[at].hash:
        assert fault == ""
    elif at + 1 < len(sealed):
        assert fault.startswith(f"entry {at + 2} does not follow")
    else:
        assert "the recorded head is another" in fault


# -- one thing done to an export -------------------------------------------------------------------------------


@given(long_chains, st.data())
def test_any_line_taken_out_of_an_export_is_named(sealed: list[SealedEntry], data: st.DataObject) -> None:
    lines = list(export_jsonl(sealed))
    gone = data.draw(st.integers(0, len(lines) - 1))
    del lines[gone]

    fault = verify_exported(lines)

    assert fault.startswith(f"entry {gone + 1} is missing")


@given(chains, st.data())
def test_an_export_cut_off_anywhere_is_found(sealed: list[SealedEntry], data: st.DataObject) -> None:
    lines = list(export_jsonl(sealed))
    kept = data.draw(st.integers(0, len(lines) - 1))

    fault = verify_exported(lines[:kept])

    assert fault.startswith(f"entry {kept + 1} is missing: the export breaks off")


@given(chains, st.data())
def test_any_character_changed_in_an_export_is_found_at_its_entry(
    sealed: list[SealedEntry], data: st.DataObject
) -> None:
    lines = list(export_jsonl(sealed))
    number = data.draw(st.integers(0, len(lines) - 1))
    at = data.draw(st.integers(0, len(lines[number]) - 1))
    char = data.draw(st.characters(min_codepoint=32, max_codepoint=126).filter(lambda c: c != lines[number][at]))
    lines[number] = lines[number][:at] + char + lines[number][at + 1 :]

    fault = verify_exported(lines)

    assert f"entry {number + 1} " in fault or (number == len(sealed) and "the closing line" in fault)


@given(chains)
def test_an_export_shortened_with_a_fitting_closing_line_is_found_by_the_kept_head(sealed: list[SealedEntry]) -> None:
    forged = list(export_jsonl(sealed[:-1]))

    assert verify_exported(forged) == ""
    assert "the recorded head is another" in verify_exported(forged, head(sealed))


@given(chains, st.data())
def test_a_line_that_says_the_same_in_another_spelling_is_found(sealed: list[SealedEntry], data: st.DataObject) -> None:
    lines = list(export_jsonl(sealed))
    at = data.draw(st.integers(0, len(sealed) - 1))
    lines[at] = json.dumps(json.loads(lines[at]))

    assert verify_exported(lines).startswith(f"entry {at + 1} was rewritten")


@given(chains)
def test_anything_after_the_closing_line_is_found(sealed: list[SealedEntry]) -> None:
    lines = list(export_jsonl(sealed))

    assert "follows the closing line" in verify_exported([*lines, lines[0]])


@pytest.mark.parametrize(
    "line",
    [
        "",
        "not json",
        "[]",
        "{}",
        "null",
        '{"entries":"2","head":""}',
        '{"seq":1}',
        "[" * 100_000,
        '{"entries":true,"head":""}',
    ],
    ids=["empty", "text", "list", "object", "null", "wrong type", "missing fields", "too deep", "a bool for a number"],
)
def test_a_line_that_is_no_entry_is_unreadable_not_a_crash(line: str) -> None:
    good = list(export_jsonl(chain([AuditEntry(NOON, EventType.GATE_FAILED, Severity.ERROR, "gate", "batch")])))

    with pytest.raises(AuditUnreadable, match="line 2 cannot be read"):
        list(parse_jsonl([good[0], line]))
    assert verify_exported([good[0], line]).startswith("entry 2 cannot be read")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("at", "yesterday"),
        ("at", "2026-01-01T12:00:00"),
        ("type", "SomethingNewer"),
        ("severity", "fatal"),
        ("seq", 1.0),
    ],
    ids=["no time", "no zone", "unknown type", "unknown severity", "seq as a float"],
)
def test_an_entry_with_an_impossible_field_is_unreadable(field: str, value: object) -> None:
    line = next(export_jsonl(chain([AuditEntry(NOON, EventType.GATE_FAILED, Severity.ERROR, "gate", "batch")])))

    with pytest.raises(AuditUnreadable, match="line 1 cannot be read"):
        list(parse_jsonl([json.dumps({**json.loads(line), field: value})]))


# -- the trail in front of the chain ---------------------------------------------------------------------------

severities = st.sampled_from(Severity)


@given(st.integers(1, 8), st.lists(severities | st.just("drain") | st.just("failed flush"), max_size=60))
def test_a_trail_keeps_the_most_severe_and_accounts_for_every_entry(room: int, steps: list[Severity | str]) -> None:
    trail = AuditTrail("batch", max_entries=room)
    model: list[tuple[Severity, int]] = []
    handed_over = dropped = recorded = 0

    for step in steps:
        if isinstance(step, Severity):
            trail.record(EventType.LATE_RESULT, str(recorded), at=NOON, severity=step)
            model.append((step, recorded))
            recorded += 1
            if len(model) > room:
                model.remove(min(model, key=lambda kept: (kept[0].rank, kept[1])))
                dropped += 1
        elif step == "drain":
            drained = trail.drain()
            kept = [entry for entry in drained.entries if entry.type is not EventType.AUDIT_DROPPED]
            assert [entry.message for entry in kept] == [str(number) for _, number in model]
            handed_over += len(kept)
            model = []
        else:
            trail.restore(trail.drain())

    summary = trail.summary()
    assert len(trail) == len(model) <= room
    assert summary.dropped == dropped
    assert summary.entries == recorded == handed_over + dropped + len(trail)


@given(
    st.lists(st.text(st.characters(codec="utf-8"), min_size=6, max_size=10), min_size=1, max_size=4),
    texts,
    texts,
    st.data(),
)
def test_no_secret_survives_redaction(secrets: list[str], before: str, after: str, data: st.DataObject) -> None:
    secret = data.draw(st.sampled_from(secrets))
    redacted = Redactor(secrets).json({"nested": [before + secret + after]})

    plain = Redactor().text(secret)
    expected = all(char not in plain for char in "[redacted]")
    assert not expected or plain not in redacted["nested"][0]
