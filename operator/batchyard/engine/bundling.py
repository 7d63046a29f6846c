"""From a local BatchTest file, its code and its case files to the objects that a cluster needs: ``batchyard bundle``.

What the file says stays as it is written, unless an option overrides it. Nothing of the user's is imported or run.
Not for how the objects are written down, nor for how ConfigMaps are made (``config_maps``).
"""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from batchyard.engine import config_maps
from batchyard.engine.cluster_source import DIMENSIONS_ANNOTATION
from batchyard.engine.code_folder import CodeFolder, read_code
from batchyard.engine.config_maps import NARROW, WIDE, CasePiece, Owner, Room
from batchyard.engine.sources import STDIN, LoadedBatch, Reading, read_file
from batchyard.model.errors import Fault, SpecInvalid
from batchyard.model.faults import shortened
from batchyard.model.names import DNS_LABEL_RULE, is_dns_label
from batchyard.model.parse import in_file_order
from batchyard.model.rules import Place, inline_bytes
from batchyard.model.spec import MAX_INLINE_CASES_BYTES, Isolation, Provider

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from batchyard.model.spec import BatchTest
    from batchyard.model.trial import JSON, Case

MAX_CASES_FROM = 64
MAX_IMAGE = 1024


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be otherwise than the file says; None and "" leave it."""

    provider: Provider | None = None
    workers: int | None = None
    image: str = ""
    name: str = ""
    namespace: str = ""


@dataclass(frozen=True, slots=True)
class Bundle:
    """The objects in the order in which they are to be applied, the BatchTest last, and what a user should know."""

    objects: tuple[dict[str, JSON], ...]
    loaded: LoadedBatch
    notices: tuple[str, ...] = ()


def bundle_file(
    path: Path,
    wanted: Wanted,
    stdin: BinaryIO | None = None,
    faults_of_place: Callable[[BatchTest], Iterable[Fault]] = lambda _: (),
) -> Bundle:
    """Return what a cluster needs to run the BatchTest of a file; ``-`` reads standard input.

    ``faults_of_place`` says what is wrong with the place that it asks for, whatever else is wrong.

    Raises:
        SpecInvalid: with every fault of the file, of the files it names, of its code and of what is wanted.
    """
    reading = read_file(path, stdin, for_cluster=True)
    code = _code(reading, path, wanted)
    made = _Making(reading, wanted, code)
    of_place = faults_of_place(_provided(reading.draft.shape, wanted)) if reading.draft.shape is not None else ()
    faults = in_file_order([*reading.faults, *made.faults(), *of_place], reading.draft.document)
    file_faults = (*reading.file_faults, *made.case_faults(), *(code.faults if code else ()))
    if faults or file_faults:
        raise SpecInvalid(reading.source, (*faults, *file_faults))
    return made.bundle()


def _provided(batch: BatchTest, wanted: Wanted) -> BatchTest:
    """Return the batch with the provider that is wanted."""
    environment = batch.spec.environment.model_copy(
        update={"provider": wanted.provider or batch.spec.environment.provider}
    )
    return batch.model_copy(update={"spec": batch.spec.model_copy(update={"environment": environment})})


def _code(reading: Reading, path: Path, wanted: Wanted) -> CodeFolder | None:
    """Return the code that goes along, None if there is none: it is in an image or in the cluster."""
    spec = Place(reading.draft.document, "").at("spec")
    name = spec.at("workflow", "source", "path").text()
    if not name or wanted.image or not (reading.base / name).is_dir():
        return None
    files = [entry.at("path").text() for entry in spec.at("casesFrom").items()]
    apart = [reading.base / file for file in files if file]
    if path != STDIN:
        apart.append(path)
    return read_code(reading.base / name, name, apart, config_maps.MAX_BYTES)


class _Group(NamedTuple):
    """The cases of one place in the file; ``stem`` names files after it, "" if they stay where they are."""

    place: Place
    stem: str
    cases: tuple[Case, ...]


class _Making:
    """The making of one bundle out of what was read."""

    def __init__(self, reading: Reading, wanted: Wanted, code: CodeFolder | None) -> None:
        self._reading, self._wanted, self._code = reading, wanted, code
        self._document = reading.draft.document
        root = Place(self._document, "")
        self._spec = root.at("spec")
        self._environment = self._spec.at("environment")
        self._provider = wanted.provider or self._environment.at("provider").value or Provider.IN_PROCESS
        metadata = root.at("metadata")
        self._owner = Owner(
            wanted.name or metadata.at("name").text() or "", wanted.namespace or metadata.at("namespace").text() or ""
        )
        self._cases = self._case_pieces()

    # -- faults ----------------------------------------------------------------------------------------------------

    def faults(self) -> Iterator[Fault]:
        """Yield what is wrong with the options, and with the file if it is to run in a cluster."""
        yield from self._option_faults()
        yield from self._environment_faults()
        place = self._spec.at("workflow", "source", "path")
        if self._code is not None and self._code.fault:
            yield place.fault(*self._code.fault)
        elif self._code is not None and self._code.files:
            message = config_maps.too_many_files(config_maps.code_map(self._owner, self._code.files))
            if message:
                yield place.fault(message, "build an image with the code and give --image")
        count = len(self._cases_from(self._cases))
        if count > MAX_CASES_FROM:
            text = f"needs {count:,} ConfigMaps, more than the {MAX_CASES_FROM} that a BatchTest can name"
            remedy = "split the batch, or have the workflow read what is long from its image"
            yield Fault(self._spec.at("casesFrom").path, "", text, remedy)

    def case_faults(self) -> Iterator[Fault]:
        """Yield what is wrong with the cases that are to be in ConfigMaps."""
        for group in self._groups():
            for case, size in config_maps.too_long(group.cases if group.stem else ()):
                text = f"is {size:,} bytes of JSON, more than the {config_maps.MAX_BYTES:,} of a ConfigMap"
                where = f"{group.place.at('path').text() or group.place.path}: case {case.name}"
                yield Fault(where, "", text, "shorten it, or have the workflow read what is long from its image")

    def _option_faults(self) -> Iterator[Fault]:
        wanted = self._wanted
        for option, name in (("--name", wanted.name), ("--namespace", wanted.namespace)):
            if name and not is_dns_label(name):
                yield Fault(option, shortened(name), "is not a DNS-safe name", f"use {DNS_LABEL_RULE}")
        if wanted.workers is not None and self._provider != Provider.KUBE_RAY:
            remedy = "give --provider KubeRay, or leave --workers out"
            yield Fault("--workers", str(wanted.workers), f"is only for provider KubeRay, not {self._provider}", remedy)
        if len(wanted.image) > MAX_IMAGE or any(not char.isprintable() or char.isspace() for char in wanted.image):
            text = "is no name of an image"
            yield Fault("--image", shortened(wanted.image), text, "write for instance registry/name:tag")

    def _environment_faults(self) -> Iterator[Fault]:
        if self._provider == Provider.RAY:
            place = self._environment.at("provider")
            yield place.fault("is for an address outside a cluster", "give --provider KubeRay or --provider InProcess")
        if self._provider != Provider.KUBE_RAY:
            return
        isolation = self._environment.at("isolation")
        if isolation.value == Isolation.THREAD:
            text = "is not for Ray, whose actors run no user code in their own process"
            yield isolation.fault(text, "write isolation: Process, or give --provider InProcess")
        image = self._environment.at("kubeRay", "image")
        if self._wanted.image and image.value and image.value != self._wanted.image:
            text = f"is what the Ray pods run, so the code in --image {self._wanted.image} would not be there"
            yield image.fault(text, "remove it, or give that image with --image")

    # -- objects ---------------------------------------------------------------------------------------------------

    def bundle(self) -> Bundle:
        """Return the bundle of what has no faults."""
        loaded = self._reading.loaded()
        code = config_maps.code_map(self._owner, self._code.files) if self._code else None
        maps = [*([code] if code else []), *(piece.config_map for pieces in self._cases for piece in pieces)]
        objects = (*maps, self._batch_test(code))
        return Bundle(objects, loaded, tuple(self._notices(objects)))

    def _groups(self) -> Iterator[_Group]:
        """Yield the cases where they stand: the file's own first."""
        places = [self._spec.at("cases"), *self._spec.at("casesFrom").items()]
        for place, cases in zip(places, self._reading.groups, strict=True):
            file = place.at("path").text()
            is_moved = inline_bytes(place.value) > MAX_INLINE_CASES_BYTES
            yield _Group(place, Path(file).stem if file else "cases" if is_moved else "", cases)

    def _case_pieces(self) -> list[list[CasePiece]]:
        """Return the ConfigMaps of each place with cases, none for those that stay where they are."""
        narrow = [self._pieces_of(group, NARROW) for group in self._groups()]
        if len(self._cases_from(narrow)) <= MAX_CASES_FROM:
            return narrow
        return [self._pieces_of(group, WIDE) for group in self._groups()]

    def _cases_from(self, made: list[list[CasePiece]]) -> list[JSON]:
        """Return the entries of ``casesFrom``: those that were made, and those that named a ConfigMap already."""
        written = [[]] + [[entry.value] for entry in self._spec.at("casesFrom").items()]
        return [
            entry
            for pieces, stays in zip(made, written, strict=True)
            for entry in (map(_reference, pieces) if pieces else stays)
        ]

    def _pieces_of(self, group: _Group, room: Room) -> list[CasePiece]:
        return config_maps.case_maps(self._owner, group.stem, group.cases, room) if group.stem else []

    def _batch_test(self, code: dict[str, JSON] | None) -> dict[str, JSON]:
        test: dict[str, JSON] = copy.deepcopy(self._document)
        metadata, spec = test["metadata"], test["spec"]
        metadata["name"] = self._owner.name
        if self._owner.namespace:
            metadata["namespace"] = self._owner.namespace
        _tell_order(metadata, list(self._spec.at("variants", "matrix").value or {}))
        if self._wanted.image:
            spec["workflow"]["source"] = {"image": self._wanted.image}
        elif code is not None:
            spec["workflow"]["source"] = {"configMapRef": {"name": code["metadata"]["name"]}}
        if self._cases[0]:
            del spec["cases"]
        cases_from = self._cases_from(self._cases)
        if cases_from:
            spec["casesFrom"] = cases_from
        self._override_environment(spec)
        return test

    def _override_environment(self, spec: dict[str, JSON]) -> None:
        wanted = self._wanted
        if wanted.provider is not None:
            environment = spec.setdefault("environment", {})
            environment["provider"] = wanted.provider.value
            if wanted.provider is not Provider.KUBE_RAY:
                environment.pop("kubeRay", None)
        if wanted.workers is not None:
            kube_ray = spec["environment"].get("kubeRay") or {}
            workers = kube_ray.get("workers") or {}
            spec["environment"]["kubeRay"] = {**kube_ray, "workers": {**workers, "replicas": wanted.workers}}

    def _notices(self, objects: tuple[dict[str, JSON], ...]) -> Iterator[str]:
        if self._code is not None and self._code.stores:
            yield (
                f"left out as stores: {', '.join(self._code.stores)}; to have one go along, write ! and its name into "
                ".batchyardignore"
            )
        module = self._spec.at("workflow", "factory").text() or ""
        top = module.partition(":")[0].partition(".")[0]
        if self._code is not None and not any(path.startswith((f"{top}/", f"{top}.")) for path in self._code.files):
            yield f"no file that goes along is of module {top}, which workflow.factory names; it must be in the image"
        references = [entry.at("configMapRef", "name").text() for entry in self._spec.at("casesFrom").items()]
        elsewhere = ", ".join(dict.fromkeys(name for name in references if name))
        if elsewhere:
            yield f"cases in ConfigMap {elsewhere} are not known here: they are neither counted nor checked"
        large = [one["metadata"]["name"] for one in objects if config_maps.is_too_large_for_plain_apply(one)]
        if large:
            yield f"{', '.join(large)}: too large for plain kubectl apply; use: kubectl apply --server-side -f -"


def _tell_order(metadata: dict[str, JSON], dimensions: list[str]) -> None:
    """Write down the order of the dimensions where the API server would lose it, and nothing else in that place."""
    annotations = {**metadata.get("annotations", {}), DIMENSIONS_ANNOTATION: json.dumps(dimensions)}
    if dimensions == sorted(dimensions):
        del annotations[DIMENSIONS_ANNOTATION]
    if annotations or "annotations" in metadata:
        metadata["annotations"] = annotations


def _reference(piece: CasePiece) -> dict[str, JSON]:
    return {"configMapRef": {"name": piece.config_map["metadata"]["name"], "key": piece.key}}
