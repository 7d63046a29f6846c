"""Inspect AI: logs as ``.json`` and ``.eval`` (a zip), and datasets of samples as JSON or JSON lines."""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from collections import Counter
from typing import TYPE_CHECKING

import zstandard

from batchyard.importing.inspect_scorers import checks_of
from batchyard.importing.messages import asked
from batchyard.importing.source import Found, Proposal, Source, Wanted, json_lines, refused

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from batchyard.importing.losses import Losses
    from batchyard.model.trial import JSON

_MAX_UNPACKED_BYTES = 512 * 1024 * 1024
_ZSTANDARD = 93
_DAMAGED = (zipfile.BadZipFile, zlib.error, zstandard.ZstdError, struct.error, RuntimeError, ValueError, EOFError)
_CONVERT = "write it anew with `inspect log convert --to json`"
_ATTACHMENT = "attachment://"
# What came of a run, or how it went; a case has none of it.
_RESULTS = {
    "scores", "output", "messages", "events", "events_data", "store", "model_usage", "role_usage", "error",
    "error_retries", "limit", "attachments", "total_time", "working_time", "started_at", "completed_at", "uuid",
    "timelines", "invalidation", "summary_message_count",
}  # fmt: skip
_READ = {"id", "epoch", "input", "target", "metadata", "choices", *_RESULTS}


def is_archive(content: bytes) -> bool:
    """Return whether this is a zip, as ``.eval`` files are."""
    return content.startswith(b"PK\x03\x04")


def read(source: Source, wanted: Wanted, losses: Losses) -> Found:
    """Return a case for each sample; those of several epochs are one case."""
    header, rows = _log(source, losses)
    spec = header.get("eval")
    scorers = _scorers(header, rows)
    proposals: list[Proposal] = []
    seen: set[str] = set()
    for place, row in rows:
        key = json.dumps(row.get("id")) if row.get("id") is not None else place
        if key in seen:
            continue
        seen.add(key)
        proposal = _sample(place, row, wanted, scorers, losses)
        if proposal is not None:
            proposals.append(proposal)
    _tell_of_the_run(header, spec if isinstance(spec, dict) else {}, len(seen), Counter(_epochs(rows)), losses)
    return Found(proposals)


def _log(source: Source, losses: Losses) -> tuple[Mapping[str, JSON], list[tuple[str, Mapping[str, JSON]]]]:
    """Return the header and the samples with their places."""
    if is_archive(source.content):
        return _archive(source, losses)
    try:
        document = json.loads(source.text)
    except (ValueError, RecursionError):
        return {}, json_lines(source)
    if isinstance(document, dict) and "eval" in document:
        samples, header, prefix = document.get("samples") or [], document, "samples"
    elif isinstance(document, dict):
        return {}, [("line 1", document)]
    else:
        samples, header, prefix = document, {}, ""
    if not isinstance(samples, list):
        raise refused(source.name, prefix, "is no list of samples", "write [{input: ..., target: ...}]")
    rows = [(f"{prefix}[{index}]", row) for index, row in enumerate(samples)]
    wrong = [place for place, row in rows if not isinstance(row, dict)]
    if wrong:
        raise refused(source.name, wrong[0], "is no sample", "write {input: ..., target: ...}")
    return header, rows


def _archive(source: Source, losses: Losses) -> tuple[Mapping[str, JSON], list[tuple[str, Mapping[str, JSON]]]]:
    try:
        with zipfile.ZipFile(io.BytesIO(source.content)) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > _MAX_UNPACKED_BYTES:
                raise refused(source.name, "", f"is more than {_MAX_UNPACKED_BYTES >> 20} MiB unpacked", "part the log")
            names = archive.namelist()
            header: JSON = {}
            for name in ("_journal/start.json", "start.json", "header.json"):
                if name in names:
                    header = {**header, **_document(archive, source, name)}
            rows = [(name, _document(archive, source, name)) for name in filter(_is_sample, names)]
    except NotImplementedError as err:
        raise refused(source.name, "", f"is packed in a way that is not known here: {err}", _CONVERT) from err
    except (*_DAMAGED, TypeError) as err:
        raise refused(source.name, "", f"is no log of Inspect: {err}", _CONVERT) from err
    for name in names:
        if name.startswith("samples/") and name.endswith("/sample.json"):
            losses.add(name, "a sample in chunks (log version 3)", _CONVERT)
    # The archive has them in the order in which they ended.
    return header, sorted(((name, row) for name, row in rows if isinstance(row, dict)), key=lambda one: _order(one[1]))


def _order(row: Mapping[str, JSON]) -> tuple[int, str]:
    """Return what samples are in order by, as Inspect has it when it reads or converts an archive: 2 before 10."""
    name, epoch = row.get("id"), row.get("epoch")
    return epoch if isinstance(epoch, int) else 1, name if isinstance(name, str) else str(name).zfill(20)


def _document(archive: zipfile.ZipFile, source: Source, name: str) -> JSON:
    try:
        return json.loads(_member(archive, source.content, name))
    except _DAMAGED as err:
        raise refused(source.name, name, f"is damaged: {err}", _CONVERT) from err


def _member(archive: zipfile.ZipFile, content: bytes, name: str) -> bytes:
    """Return a member's bytes; those packed with Zstandard, as Inspect does it, are none of ``zipfile``'s."""
    info = archive.getinfo(name)
    if info.compress_type != _ZSTANDARD:
        return archive.read(name)
    # The local header is of fixed length, then come the name and what is extra (APPNOTE.TXT of PKWARE, 4.3.7).
    lengths = content[info.header_offset + 26 : info.header_offset + 30]
    name_length, extra_length = struct.unpack("<HH", lengths)
    start = info.header_offset + 30 + name_length + extra_length
    packed = content[start : start + info.compress_size]
    # No more is unpacked than the archive says of itself, which has been held against the bound.
    made = zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True).read(info.file_size)
    if zlib.crc32(made) != info.CRC:
        raise zipfile.BadZipFile(f"Bad CRC-32 for file {name!r}")
    return made


def _is_sample(name: str) -> bool:
    return name.startswith("samples/") and name.endswith(".json") and name.count("/") == 1


def _scorers(header: Mapping[str, JSON], rows: Sequence[tuple[str, Mapping[str, JSON]]]) -> dict[str, JSON]:
    """Return each scorer's name and options: as the log names them, else as the samples have scores of them."""
    spec = header.get("eval")
    named = spec.get("scorers") if isinstance(spec, dict) else None
    if isinstance(named, list) and named:
        return {
            str(one.get("name")).rpartition("/")[2]: one.get("options") or {} for one in named if isinstance(one, dict)
        }
    scored = (row.get("scores") for _, row in rows)
    return {str(name): {} for scores in scored if isinstance(scores, dict) for name in scores}


def _epochs(rows: Sequence[tuple[str, Mapping[str, JSON]]]) -> Iterator[str]:
    for _, row in rows:
        if row.get("id") is not None:
            yield json.dumps(row["id"])


def _sample(
    place: str, row: Mapping[str, JSON], wanted: Wanted, scorers: Mapping[str, JSON], losses: Losses
) -> Proposal | None:
    taken = asked(_whole(row.get("input"), row.get("attachments")), place, wanted.input_field, losses)
    if taken is None:
        return None
    if row.get("choices"):
        taken["choices"] = row["choices"]
    for key, value in row.items():
        if value and key not in _READ:
            losses.add(place, f"`{key}` of a sample", "have the workflow set that up, or add it to the case's input")
    for key in row["metadata"] if isinstance(row.get("metadata"), dict) else ():
        losses.add(place, f"metadata `{key}`", "add it to the input of the cases if the workflow reads it")
    name = row.get("id")
    label = "" if name is None else str(name)
    return Proposal(label, place, taken, checks=checks_of(row, scorers, place, losses))


def _whole(value: JSON, attachments: JSON) -> JSON:
    """Return the value with the attachments that it refers to, which a log keeps once and apart."""
    if isinstance(value, str) and value.startswith(_ATTACHMENT) and isinstance(attachments, dict):
        return attachments.get(value.removeprefix(_ATTACHMENT), value)
    if isinstance(value, list):
        return [_whole(item, attachments) for item in value]
    if isinstance(value, dict):
        return {key: _whole(item, attachments) for key, item in value.items()}
    return value


def _tell_of_the_run(
    header: Mapping[str, JSON], spec: Mapping[str, JSON], found: int, epochs: Counter[str], losses: Losses
) -> None:
    if epochs and max(epochs.values()) > 1:
        losses.add("eval.config.epochs", "the epochs", f"write spec.repeats: {max(epochs.values())}")
    dataset = spec.get("dataset")
    whole = dataset.get("samples") if isinstance(dataset, dict) else None
    if isinstance(whole, int) and whole > found:
        losses.add("samples", f"{whole - found:,} of {whole:,} samples that are not in the log", "import a whole log")
    plan = header.get("plan")
    steps = plan.get("steps") if isinstance(plan, dict) else None
    for index, step in enumerate(steps if isinstance(steps, list) else []):
        solver = step.get("solver") if isinstance(step, dict) else step
        losses.add(f"plan.steps[{index}]", f"solver `{solver}`", "build what it does into the workflow")
