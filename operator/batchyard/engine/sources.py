"""From a BatchTest's file, and the case files it names, to everything the engine needs to run it.

The only place that reads them. Nothing of the user's is imported or run here.
"""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from pydantic import ValidationError

from batchyard.model.cases import MAX_FAULTS, ParsedCases, case_json, case_of, kind_of, name_faults, parse_cases
from batchyard.model.errors import Fault, RecordDamaged, SpecInvalid
from batchyard.model.faults import in_brief
from batchyard.model.matrix import Plan, expand_combinations
from batchyard.model.parse import Draft, in_file_order, read_draft, trial_cap_faults
from batchyard.model.rules import Place
from batchyard.model.setting import Setting
from batchyard.model.spec import MAX_INLINE_CASES_BYTES, BatchTest, CaseSpec

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from batchyard.engine.ports import BatchRecord
    from batchyard.model.trial import JSON, Case

MAX_SPEC_BYTES = 1024 * 1024
MAX_CASE_FILE_BYTES = 256 * 1024 * 1024
# A YAML file costs some fifty times its size in memory.
MAX_YAML_CASE_FILE_BYTES = 16 * 1024 * 1024

STDIN = Path("-")

# Beside the spec in the store, and in no file: whose trials a batch runs again, and which.
_TWIN = "twin"

_NO_CASES = ParsedCases((), (), ())

# May change while a batch runs, so they are no part of what it is.
_CHANGEABLE = ("suspend", "cancel", "ttlSecondsAfterFinished")


_FORKED_FROM = "forkedFrom"
"""Where a batch's document has what a name in it meant when it was accepted."""

_SETTING, _CARRIES_FROM = "setting", "carriesFrom"


@dataclass(frozen=True, slots=True)
class LoadedBatch:
    """A BatchTest ready to run.

    ``batch`` is without its cases, which are all in ``plan.cases``, wherever they were written. ``base`` is the
    folder that relative paths are relative to. ``forked_from`` is the id of the batch that ``spec.forkFrom`` named when
    this one was accepted, "" if none or before that. ``twin_of`` is the batch whose trials, or some of them
    (``plan.only``), are run again to compare. ``setting`` is what else decides its trials, if that was looked at;
    ``carries_from`` are the batches whose results stand for trials of this one. ``own_files`` are the files that it was
    read from.
    """

    batch: BatchTest
    plan: Plan
    base: Path
    forked_from: str = ""
    twin_of: str = ""
    setting: Setting | None = None
    carries_from: tuple[str, ...] = ()
    own_files: tuple[Path, ...] = field(default=(), compare=False)

    @property
    def digest(self) -> str:
        """Return the SHA-256 of everything that decides what is run, made anew each time.

        It is of the name, the spec and the cases' contents, but not of the fields that may change while a batch runs.
        """
        return digest_of(_resolved(self.batch, self.plan.cases))

    def to_json(self) -> dict[str, JSON]:
        """Return the BatchTest as JSON with all its cases inline, so that no file is needed to go on with it."""
        document = _resolved(self.batch, self.plan.cases)
        if self.forked_from:
            document[_FORKED_FROM] = self.forked_from
        if self.twin_of or self.plan.only is not None:
            document[_TWIN] = {"of": self.twin_of, "only": self.plan.only and list(self.plan.only)}
        if self.setting is not None:
            document[_SETTING] = self.setting.to_json()
        if self.carries_from:
            document[_CARRIES_FROM] = list(self.carries_from)
        return document

    @classmethod
    def from_json(cls, document: JSON, base: Path) -> LoadedBatch:
        """Return the batch that ``to_json`` gave. Raises ``pydantic.ValidationError`` for any other document."""
        spec = document["spec"]
        bare = {**document, "spec": {key: value for key, value in spec.items() if key != "cases"}}
        forked_from, twin = bare.pop(_FORKED_FROM, ""), bare.pop(_TWIN, {"of": "", "only": None})
        setting, carries_from = bare.pop(_SETTING, None), bare.pop(_CARRIES_FROM, ())
        batch = BatchTest.model_validate_json(json.dumps(bare))
        cases = tuple(case_of(CaseSpec.model_validate_json(json.dumps(case))) for case in spec["cases"])
        loaded = loaded_from(batch, cases, base)
        whole = len(loaded.plan)
        only = None if twin["only"] is None else tuple(twin["only"])
        if only is not None and not all(type(one) is int and 0 <= one < whole for one in only):
            raise ValueError(f"twin.only names trials beyond the {whole} that there are")
        if not all(isinstance(name, str) for name in (forked_from, twin["of"], *carries_from)):
            raise TypeError("forkedFrom, twin.of or carriesFrom names no batch")
        plan = replace(loaded.plan, only=only)
        return replace(
            loaded,
            plan=plan,
            forked_from=forked_from,
            twin_of=twin["of"],
            setting=None if setting is None else Setting.from_json(setting),
            carries_from=tuple(carries_from),
        )

    @classmethod
    def of(cls, record: BatchRecord) -> LoadedBatch:
        """Return the batch that a store keeps, from its record with the spec. Raises ``RecordDamaged``."""
        fault: object
        try:
            loaded = cls.from_json(record.spec, Path(record.base or "/"))
        except ValidationError as err:
            fault = in_brief(err)
        except KeyError as err:
            fault = f"{err} is missing"
        except (ValueError, TypeError, AttributeError, SpecInvalid) as err:
            fault = err
        else:
            if len(loaded.plan) == record.total:
                return loaded
            fault = f"it makes {len(loaded.plan)} trials, and the batch has {record.total}"
        raise RecordDamaged.of(f"the specification of batch {record.id}", fault)


@dataclass(frozen=True, slots=True)
class Reading:
    """A file as far as it could be read, for who needs more of it than the batch.

    ``draft`` is of the file alone. ``groups`` are the cases where they stand: the file's own, then those of each
    entry of ``casesFrom``. ``faults`` are of the file, ``file_faults`` of the case files.
    """

    source: str
    base: Path
    draft: Draft
    groups: tuple[tuple[Case, ...], ...]
    faults: tuple[Fault, ...]
    file_faults: tuple[Fault, ...]
    file: Path | None = None

    def and_faults(self, more: Iterable[Fault]) -> Reading:
        """Return the same with more faults of the file."""
        return replace(self, faults=in_file_order([*self.faults, *more], self.draft.document))

    def loaded(self) -> LoadedBatch:
        """Return the batch. Raises ``SpecInvalid`` with every fault."""
        if self.draft.batch is None or self.faults or self.file_faults:
            raise SpecInvalid(self.source, (*self.faults, *self.file_faults))
        loaded = loaded_from(self.draft.batch, tuple(chain.from_iterable(self.groups)), self.base)
        cases = [self.base / entry.path for entry in self.draft.batch.spec.cases_from if entry.path]
        return replace(loaded, own_files=(*(() if self.file is None else (self.file,)), *cases))


def load(path: Path, stdin: BinaryIO | None = None) -> LoadedBatch:
    """Return the batch that a file describes; ``-`` reads standard input, relative to the current folder.

    Raises:
        SpecInvalid: with every fault of the file and of the case files it names.
    """
    return read_file(path, stdin).loaded()


def read_file(path: Path, stdin: BinaryIO | None = None, *, for_cluster: bool = False) -> Reading:
    """Return what can be read of a file and of the case files it names, as ``load`` reads them.

    Args:
        path: The file; ``-`` is standard input.
        stdin: What to read in its place.
        for_cluster: Take no offence at what is only wrong on this machine or can be put right on the way: cases in
            ConfigMaps, of which nothing is known here, and more cases of the file's own than it may have.

    Raises:
        SpecInvalid: if there is no text at all.
    """
    base = (Path.cwd() if path == STDIN else path.parent).resolve()
    source = "standard input" if path == STDIN else str(path)
    text, fault = _read(path, MAX_SPEC_BYTES, "file", stdin)
    if fault:
        raise SpecInvalid(source, [fault])
    draft = read_draft(text, most_inline_bytes=MAX_SPEC_BYTES if for_cluster else MAX_INLINE_CASES_BYTES)
    groups, faults, file_faults = _cases(draft, base, for_cluster=for_cluster)
    faults += _source_faults(Place(draft.document, ""), base)
    ordered = in_file_order([*draft.faults, *faults], draft.document)
    own = None if path == STDIN else path.resolve()
    return Reading(source, base, draft, groups, ordered, tuple(file_faults), own)


def loaded_from(batch: BatchTest, cases: tuple[Case, ...], base: Path) -> LoadedBatch:
    """Return a batch ready to run, with all its cases, wherever they were written."""
    spec = batch.spec.model_copy(update={"cases": (), "cases_from": ()})
    bare = batch.model_copy(update={"spec": spec})
    plan = Plan(expand_combinations(spec.variants), cases, spec.repeats, spec.initial_state)
    return LoadedBatch(bare, plan, base)


def _resolved(batch: BatchTest, cases: Sequence[Case]) -> dict[str, JSON]:
    document = batch.model_dump(mode="json", by_alias=True, exclude={"spec": {"cases", "cases_from"}})
    document["spec"]["cases"] = [case_json(case) for case in cases]
    return document


def with_setting(document: dict[str, JSON], setting: Setting) -> dict[str, JSON]:
    """Return a batch's document, as ``to_json`` gives it, with another setting."""
    return {**document, _SETTING: setting.to_json()}


def sources_in(document: JSON) -> set[str]:
    """Return the batches that a batch begins from or carries results over from, by its document, damaged or not."""
    found = document if isinstance(document, dict) else {}
    carries_from = found.get(_CARRIES_FROM)
    names = [found.get(_FORKED_FROM), *(carries_from if isinstance(carries_from, list) else ())]
    return {name for name in names if name and isinstance(name, str)}


def digest_of(document: dict[str, JSON]) -> str:
    """Return the digest of a BatchTest as ``to_json`` gives it, by whichever version that was written."""
    spec = {key: value for key, value in document["spec"].items() if key not in _CHANGEABLE}
    content = json.dumps([document["metadata"]["name"], spec], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(content.encode()).hexdigest()


class _Cases(NamedTuple):
    """The cases where they stand, the faults of the BatchTest's file, and those of the case files."""

    groups: tuple[tuple[Case, ...], ...]
    faults: list[Fault]
    file_faults: list[Fault]


def _cases(draft: Draft, base: Path, *, for_cluster: bool) -> _Cases:
    spec = Place(draft.document, "").at("spec")
    named = [(place.at("name").text() or "", place.path) for place in spec.at("cases").items()]
    inline = draft.batch.spec.cases if draft.batch else ()
    groups = [tuple(case_of(case) for case in inline)]
    count = len(named)
    faults: list[Fault] = []
    file_faults: list[Fault] = []
    entries = spec.at("casesFrom").items()
    elsewhere = [entry for entry in entries if for_cluster and _is_reference(entry)]
    for entry in entries:
        fault, found = (None, _NO_CASES) if entry in elsewhere else _case_file(entry, base)
        faults += [fault] if fault else []
        groups.append(found.cases)
        count += len(found.cases)
        file_faults += found.faults
        named += zip((case.name for case in found.cases), found.places, strict=True)
    if entries:
        # Without files the rules of the BatchTest's own have said all this.
        file_faults += islice(name_faults(one for one in named if one[0]), MAX_FAULTS)
        faults += trial_cap_faults(draft.document, len(draft.combinations), count)
        weights = [case.weight for group in groups for case in group]
        if weights and not any(weights) and not elsewhere:
            faults.append(
                Fault("spec.casesFrom", "", "all cases have weight 0, so nothing would count", "give one a weight")
            )
    return _Cases(tuple(groups), faults, file_faults)


def _is_reference(entry: Place) -> bool:
    return entry.at("configMapRef").value is not None and entry.at("path").value is None


def _case_file(entry: Place, base: Path) -> tuple[Fault | None, ParsedCases]:
    """Return what is wrong with the entry, and what the file it names has in it."""
    reference, place = entry.at("configMapRef"), entry.at("path")
    name = place.text()
    if reference.value is not None:
        remedy = "name a local file with path; `batchyard bundle` makes a ConfigMap of it"
        if place.value is not None:
            return None, _NO_CASES
        return reference.fault("cannot be read outside a cluster", remedy, shown=False), _NO_CASES
    if not name:
        return None, _NO_CASES
    kind = kind_of(name)
    if kind is None:
        return place.fault("has no ending that is known", "use .jsonl, .yaml, .json or .csv"), _NO_CASES
    limit = MAX_YAML_CASE_FILE_BYTES if kind == "yaml" else MAX_CASE_FILE_BYTES
    text, fault = _read(base / name, limit, place.path)
    return (fault, _NO_CASES) if fault else (None, parse_cases(text, kind, name))


def _source_faults(document: Place, base: Path) -> list[Fault]:
    place = document.at("spec", "workflow", "source", "path")
    name = place.text()
    if not name:
        return []
    folder = base / name
    try:
        if folder.is_dir():
            return []
        if folder.exists():
            return [place.fault("is a file", "name the folder that the code is in")]
    except OSError as err:
        return [place.fault(f"cannot be looked at: {err.strerror}", "name a folder that can be read")]
    return [place.fault(f"there is no folder {folder}", "write a path relative to this file")]


def _read(path: Path, limit: int, place: str, stdin: BinaryIO | None = None) -> tuple[str, Fault | None]:
    shown = "" if path == STDIN else str(path)
    try:
        if path == STDIN:
            content = (stdin or sys.stdin.buffer).read(limit + 1)
        else:
            # One bounded read, not a look at the size first: it may be a pipe.
            with path.open("rb") as file:
                content = file.read(limit + 1)
        text = content.decode("utf-8-sig")
    except FileNotFoundError:
        return "", Fault(place, shown, "there is no such file", "check the path")
    except IsADirectoryError:
        return "", Fault(place, shown, "is a folder", "name a file in it")
    except OSError as err:
        return "", Fault(place, shown, f"cannot be read: {err.strerror}", "check the path and its permissions")
    except UnicodeDecodeError as err:
        return "", Fault(place, shown, f"is not UTF-8 text (byte {err.start})", "save it as UTF-8")
    if len(content) > limit:
        return "", Fault(
            place, shown, f"is larger than {limit // 1024:,} KiB", "put cases into a JSONL file of their own"
        )
    return text, None
