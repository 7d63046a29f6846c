"""The rules between fields of a BatchTest, checked on the file's plain data so that one fault hides no other.

Each rule reads what it needs and is silent where that is missing or of a wrong kind; the models say so already.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import ValidationError

from batchyard.model.errors import Fault
from batchyard.model.faults import did_you_mean, model_faults, shortened
from batchyard.model.spec import MAX_INLINE_CASES_BYTES, Deadlines, Durability, Isolation, Provider, Retry
from batchyard.model.spec_evaluators import EVALUATOR_CONFIGS, EvaluatorName
from batchyard.model.spec_files import FILE_BYTES, TOTAL_BYTES
from batchyard.model.text import child_path
from batchyard.model.usage import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batchyard.model.trial import JSON


@dataclass(frozen=True, slots=True)
class Place:
    """A value of the file and where it stands; asking for what is not there gives a place without a value."""

    value: JSON
    path: str

    def at(self, *keys: str) -> Place:
        """Return the place under these keys."""
        value, path = self.value, self.path
        for key in keys:
            value = value.get(key) if isinstance(value, Mapping) else None
            path = child_path(path, key)
        return Place(value, path)

    def items(self) -> list[Place]:
        """Return the places of a list's items."""
        found = self.value if isinstance(self.value, list) else []
        return [Place(value, child_path(self.path, index)) for index, value in enumerate(found)]

    def entries(self) -> list[tuple[str, Place]]:
        """Return the keys of a mapping with their places."""
        found = self.value if isinstance(self.value, Mapping) else {}
        return [(key, Place(value, child_path(self.path, key))) for key, value in found.items()]

    def number(self, default: float | None = None) -> float | None:
        """Return the number here; the default if nothing is here; None if something else is."""
        if self.value is None:
            return default
        return self.value if isinstance(self.value, (int, float)) and not isinstance(self.value, bool) else None

    def text(self) -> str | None:
        """Return the text here, if it is text."""
        return self.value if isinstance(self.value, str) else None

    def fault(self, message: str, remedy: str, *, shown: bool = True) -> Fault:
        """Return a fault of this place."""
        return Fault(self.path, shortened(self.value) if shown and self.value is not None else "", message, remedy)


def rule_faults(document: JSON, *, most_inline_bytes: int = MAX_INLINE_CASES_BYTES) -> Iterator[Fault]:
    """Yield every broken rule between fields that needs no expansion and no other file.

    ``most_inline_bytes`` is how much room the cases of the file's own may take, as ``inline_bytes`` counts it.
    """
    spec = Place(document, "").at("spec")
    yield from _deadline_faults(spec.at("deadlines"))
    yield from _budget_faults(spec.at("budgets"))
    yield from _retry_faults(spec.at("retry"))
    yield from _environment_faults(spec)
    yield from _checkpoint_faults(spec.at("checkpoints"))
    yield from _parity_faults(spec)
    yield from _sequential_faults(spec)
    yield from variant_faults(spec.at("variants"))
    yield from _sharing_faults(spec)
    yield from _case_faults(spec, most_inline_bytes)
    yield from _evaluation_faults(spec.at("evaluation", "evaluators"))
    yield from _fork_faults(Place(document, ""))
    yield from _amending_faults(Place(document, ""))


def _deadline_faults(deadlines: Place) -> Iterator[Fault]:
    defaults = Deadlines()
    batch = deadlines.at("batchSeconds").number(defaults.batch_seconds)
    trial = deadlines.at("trialSeconds").number(defaults.trial_seconds)
    if batch is not None and trial is not None and trial > batch:
        place = deadlines.at("trialSeconds")
        written = "is" if place.value is not None else f"is {trial:g} by default,"
        yield place.fault(f"{written} more than batchSeconds {batch:g}", f"write at most {batch:g}")
    for shorter in (deadlines.at("nodeSeconds"), deadlines.at("idleSeconds")):
        seconds = shorter.number()
        if trial is not None and seconds is not None and seconds > trial:
            yield shorter.fault(f"is more than trialSeconds {trial:g}", f"write at most {trial:g}")


def _budget_faults(budgets: Place) -> Iterator[Fault]:
    for kind in Kind:
        batch = budgets.at("batch", kind).number()
        trial = budgets.at("trial", kind)
        most = trial.number()
        if batch is not None and most is not None and most > batch:
            yield trial.fault(f"is more than the batch's {batch:g}", f"write at most {batch:g}")


def _retry_faults(retry: Place) -> Iterator[Fault]:
    defaults = Retry()
    first = retry.at("backoffSeconds").number(defaults.backoff_seconds)
    longest = retry.at("backoffMaxSeconds").number(defaults.backoff_max_seconds)
    if first is not None and longest is not None and first > longest:
        place = retry.at("backoffSeconds")
        yield place.fault(f"is more than backoffMaxSeconds {longest:g}", "make it the smaller")


def _checkpoint_faults(checkpoints: Place) -> Iterator[Fault]:
    files = checkpoints.at("files")
    if not isinstance(files.value, Mapping):
        return
    durability = checkpoints.at("durability")
    if durability.value in (Durability.ASYNC, Durability.EXIT):
        yield durability.fault(
            "cannot be with files: the next node may change them before they are kept", "write durability: sync"
        )
    one = files.at("maxFileBytes").number(FILE_BYTES)
    total = files.at("maxTotalBytes").number(TOTAL_BYTES)
    if one is not None and total is not None and one > total:
        yield files.at("maxFileBytes").fault(f"is more than maxTotalBytes {total:g}", "raise maxTotalBytes too")


def _sequential_faults(spec: Place) -> Iterator[Fault]:
    baseline = spec.at("gate", "baseline")
    sequential = baseline.at("sequential")
    if not isinstance(sequential.value, Mapping):
        return
    if "confidence" in (baseline.value or {}) and baseline.at("confidence").value is None:
        yield sequential.fault(
            "cannot be without a confidence: how sure is enough?", "remove confidence: null", shown=False
        )
    if spec.at("parity", "enabled").value is True:
        yield sequential.fault(
            "cannot be with parity, whose sample may be of trials that are not run",
            "remove one of the two",
            shown=False,
        )


def _environment_faults(spec: Place) -> Iterator[Fault]:
    environment = spec.at("environment")
    provider = environment.at("provider").value or Provider.IN_PROCESS
    kube_ray = environment.at("kubeRay")
    if kube_ray.value is not None and provider in (Provider.IN_PROCESS, Provider.RAY):
        remedy = "write provider: KubeRay or remove kubeRay"
        yield kube_ray.fault(f"is only for provider KubeRay, not {provider}", remedy, shown=False)
    if environment.at("isolation").value != Isolation.THREAD:
        return
    for override in spec.at("variants", "overrides").items():
        for name in ("env", "packages", "resources"):
            if override.at(name).value:
                yield override.at(name).fault(
                    "cannot differ between combinations with isolation Thread: all threads share one process",
                    "write environment.isolation: Process",
                    shown=False,
                )


def _parity_faults(spec: Place) -> Iterator[Fault]:
    parity = spec.at("parity")
    against, isolation = parity.at("against").value, parity.at("isolation")
    if isolation.value == Isolation.THREAD and against in (Provider.KUBE_RAY, Provider.RAY):
        yield isolation.fault(f"is not for provider {against}", "write isolation: Process or against: InProcess")


def variant_faults(variants: Place) -> Iterator[Fault]:
    """Yield what is wrong with the names of dimensions, values and includes."""
    known = _dimensions(variants)
    for entry in variants.at("exclude").items():
        yield from _unknown_variants(entry, known)
    for override in variants.at("overrides").items():
        yield from _unknown_variants(override.at("match"), known)
    includes = variants.at("include").items()
    yield from _repeated([include.at("name") for include in includes], "is already the name of another include")
    for include in includes:
        yield from _unknown_variants(include.at("variants"), known)
        yield from _lacking_variants(include.at("variants"), known)
    if isinstance(variants.value, Mapping) and all(
        variants.at(k).value in (None, {}, []) for k in ("matrix", "include")
    ):
        yield variants.fault("gives no combination", "write matrix: {dimension: [value, ...]}", shown=False)


def _dimensions(variants: Place) -> dict[str, list[str]]:
    matrix = variants.at("matrix").entries()
    known = {name: [item.value for item in values.items()] for name, values in matrix}
    if not known:
        for include in variants.at("include").items():
            for name, value in include.at("variants").entries():
                known.setdefault(name, []).append(value.value)
    return known


def _unknown_variants(chosen: Place, known: dict[str, list[str]]) -> Iterator[Fault]:
    for dimension, value in chosen.entries() if known else ():
        if dimension not in known:
            yield value.fault(f"{dimension} is no dimension of the matrix", did_you_mean(dimension, list(known)))
        elif known[dimension] and isinstance(value.value, str) and value.value not in known[dimension]:
            values = [str(name) for name in known[dimension]]
            message = f"is not among the values of {dimension} ({shortened_list(values)})"
            yield value.fault(message, did_you_mean(value.value, values))


def _lacking_variants(chosen: Place, known: dict[str, list[str]]) -> Iterator[Fault]:
    if not isinstance(chosen.value, Mapping) or not chosen.value:
        return
    lacking = [name for name in known if name not in chosen.value]
    if lacking:
        yield chosen.fault(f"has no value for {', '.join(lacking)}", "name a value for every dimension", shown=False)


def _sharing_faults(spec: Place) -> Iterator[Fault]:
    sharing = spec.at("workflow", "sharedPrefix")
    nodes = sharing.at("nodes").items()
    yield from _repeated([node.at("name") for node in nodes], "is already declared")
    known = _dimensions(spec.at("variants"))
    for node in nodes:
        for dimension in node.at("dependsOn").items():
            if known and isinstance(dimension.value, str) and dimension.value not in known:
                yield dimension.fault("is no dimension of the matrix", did_you_mean(dimension.value, list(known)))
    if sharing.value is None:
        return
    others = {
        "budgets": "counts what each trial uses: what is shared only one of them does",
        "files": "keeps files with each trial's own checkpoints",
        "forkFrom": "has trials begin elsewhere already",
    }
    for name, why in others.items():
        if spec.at(name).value is not None:
            message = f"cannot be combined with spec.{name}, which {why}"
            yield sharing.fault(message, "remove one of the two", shown=False)
    durability = spec.at("checkpoints", "durability")
    if durability.value == Durability.EXIT:
        yield durability.fault("keeps no state between nodes, and workflow.sharedPrefix needs them", "write sync")


def shortened_list(words: list[str], most: int = 8) -> str:
    """Return the first words, and how many more there are."""
    more = f", and {len(words) - most} more" if len(words) > most else ""
    return ", ".join(words[:most]) + more


def _repeated(places: list[Place], message: str) -> Iterator[Fault]:
    seen: set[str] = set()
    for place in places:
        text = place.text()
        if text is not None and text in seen:
            yield place.fault(message, "remove one or change it")
        elif text is not None:
            seen.add(text)


def _fork_faults(document: Place) -> Iterator[Fault]:
    source = document.at("spec", "forkFrom", "batchTest")
    if source.text() is not None and source.text() == document.at("metadata", "name").text():
        yield source.fault("is this BatchTest itself", "name a finished one")
    known = _dimensions(document.at("spec", "variants"))
    for dimension, value in document.at("spec", "forkFrom", "variants").entries() if known else ():
        if dimension not in known:
            yield value.fault(f"{dimension} is no dimension of the matrix", did_you_mean(dimension, list(known)))


def _amending_faults(document: Place) -> Iterator[Fault]:
    amended = document.at("spec", "amends")
    if amended.text() is not None and amended.text() == document.at("metadata", "name").text():
        yield amended.fault("is this BatchTest itself", "give this one a name of its own, and name the finished one")


def inline_bytes(cases: JSON) -> int:
    """Return how much room a list of cases takes as JSON."""
    return len(json.dumps(cases, ensure_ascii=False).encode())


def _case_faults(spec: Place, most_bytes: int) -> Iterator[Fault]:
    cases = spec.at("cases")
    yield from _repeated([case.at("name") for case in cases.items()], "is already the name of a case")
    size = inline_bytes(cases.value) if cases.items() else 0
    if size > most_bytes:
        message = f"is {size:,} bytes of JSON, more than {most_bytes:,}"
        yield cases.fault(message, "move the cases to a file and name it in casesFrom", shown=False)
    if isinstance(spec.value, Mapping) and all(spec.at(key).value in (None, []) for key in ("cases", "casesFrom")):
        yield cases.fault("gives no case", "write one under cases or name a file in casesFrom", shown=False)
    if not spec.at("casesFrom").items():
        yield from _all_zero(cases)


def _all_zero(entries: Place) -> Iterator[Fault]:
    weights = [entry.at("weight").number(1.0) for entry in entries.items()]
    if weights and all(weight == 0 for weight in weights):
        yield entries.fault("all have weight 0, so nothing would count", "give one a weight", shown=False)


def _evaluation_faults(evaluators: Place) -> Iterator[Fault]:
    yield from _all_zero(evaluators)
    for evaluator in evaluators.items():
        name, config = evaluator.at("name").value, evaluator.at("config")
        if name not in list(EvaluatorName) or not isinstance(config.value or {}, Mapping):
            continue
        model = EVALUATOR_CONFIGS[EvaluatorName(name)]
        try:
            model.model_validate_json(json.dumps(config.value or {}), by_alias=True, by_name=False)
        except ValidationError as err:
            yield from model_faults(err, model, config.path)
