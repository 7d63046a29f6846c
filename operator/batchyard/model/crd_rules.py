"""The rules of a BatchTest that hold between fields, as CEL for admission: each with what is wrong and what to do.

They say in the words of ``rules``, ``parse`` and ``engine.cluster_source`` what CEL can say at a bounded cost. Left to
the engine, which checks everything again and tells every fault at once: names of environment variables (they are
keys, whose length nothing bounds), the names of products of the matrix, what several ``exclude`` leave over together
and so the exact number of combinations beside them, what is in ConfigMaps, the size of inline cases and what is within
free JSON.

``format`` and ``isQuantity`` ask for Kubernetes 1.30 or later. Not for the rules of variants (``crd_variants``) and of
evaluators (``crd_evaluators``), nor for putting rules into a schema (``crd``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchyard.model.crd_cel import quoted, rule, some
from batchyard.model.crd_variants import trial_cap, variant_rules
from batchyard.model.faults import PATTERN_WORDS
from batchyard.model.names import DNS_LABEL_PATTERN
from batchyard.model.quantity import to_bytes
from batchyard.model.requirement import REQUIREMENT_START
from batchyard.model.spec import BatchTestSpec, Deadlines, Retry
from batchyard.model.spec_base import QUANTITY_PATTERN
from batchyard.model.spec_files import FILE_BYTES, TOTAL_BYTES
from batchyard.model.spec_workload import MIN_MEMORY_BYTES
from batchyard.model.usage import Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchyard.model.trial import JSON

CHANGEABLE = ("suspend", "cancel", "ttlSecondsAfterFinished")
"""Fields of an accepted spec that may change."""

FORK_WITHOUT_DATABASE = (
    "needs the database that the other batch's checkpoints were kept in",
    "name it in checkpoints.postgres",
)
"""What is wrong with a fork in a cluster that names no database, and what to do."""

_BUNDLE = "run `batchyard bundle FILE | kubectl apply -f -`"
_CASE_FILE_PATTERN = r"(?i)[^/]\.(jsonl|ndjson|yaml|yml|json|csv)$"


def pattern_rules(pattern: str) -> list[dict[str, JSON]]:
    """Return a pattern as rules: the keyword itself shows a user nothing but the expression."""
    message, remedy = PATTERN_WORDS[pattern]
    text = f"{message}; {remedy}"
    rules = [rule(f"self.matches({quoted(pattern)})", text, "", f'"%s" {text}', "[self]")]
    if pattern == QUANTITY_PATTERN:
        # A text that is no quantity has been told of above.
        rules.append(
            rule(
                "!isQuantity(self) || quantity(self).isGreaterThan(quantity('0'))",
                "must be more than zero; write for instance 500m or 2Gi",
            )
        )
    return rules


def rules() -> dict[str, list[dict[str, JSON]]]:
    """Return the rules by the path of the schema they stand in, "" being the object itself."""
    return {
        "": [_immutable(), _name(), _fork_of_another(), _amends_another()],
        "spec": [*_case_rules(), _threads(), trial_cap(), _fork_finds_its_database(), _no_parity_of_what_is_not_run()],
        "spec.workflow.source": _one_place("place", ("path", "configMapRef", "image"), "folder"),
        "spec.casesFrom[]": _one_place("file", ("path", "configMapRef"), "file"),
        "spec.casesFrom[].configMapRef.key": [_known_ending()],
        "spec.variants": variant_rules(),
        "spec.variants.overrides[].packages[]": [_requirement()],
        "spec.variants.overrides[].resources.memory": [_enough_memory()],
        "spec.deadlines": _deadline_rules(),
        "spec.budgets": _budget_rules(),
        "spec.retry": [_backoff_order()],
        "spec.checkpoints": [_files_with_sync()],
        "spec.checkpoints.files": [_one_file_within_all()],
        "spec.retry.retryOn[]": [_only_errored()],
        "spec.environment": [_kube_ray_with_its_provider()],
        "spec.environment.provider": [_provider_in_a_cluster()],
        "spec.parity": [_threads_in_one_process()],
        "spec.environment.envFrom[]": _exactly_one("object", ("secretRef", "configMapRef")),
        "spec.environment.kubeRay.head.resources.memory": [_enough_memory()],
        "spec.environment.kubeRay.workers.resources.memory": [_enough_memory()],
        "spec.evaluation.evaluators": [_not_weightless("self")],
    }


# -- the whole object ----------------------------------------------------------------------------------------------


def _immutable() -> dict[str, JSON]:
    names = [info.alias or name for name, info in BatchTestSpec.model_fields.items()]
    changed = {name: _differs(name) for name in names if name not in CHANGEABLE}
    accepted = (
        "has(oldSelf.status) && has(oldSelf.status.conditions)"
        " && oldSelf.status.conditions.exists(c, c.type == 'Accepted' && c.status == 'True')"
    )
    text = f"cannot change once the batch is accepted, but for {', '.join(CHANGEABLE)}"
    remedy = "give the changed BatchTest another name"
    listed = ", ".join(f"{test} ? '{name}' : ''" for name, test in changed.items())
    return rule(
        f"!({accepted}) || !({' || '.join(changed.values())})",
        f"{text}; {remedy}",
        "spec",
        f"{text}, and here %s would; {remedy}",
        f"[[{listed}].filter(name, name != '')]",
    )


def _differs(name: str) -> str:
    new, old = f"self.spec.{name}", f"oldSelf.spec.{name}"
    return f"(has({new}) != has({old}) || (has({new}) && {new} != {old}))"


def _name() -> dict[str, JSON]:
    message, remedy = PATTERN_WORDS[DNS_LABEL_PATTERN]
    return rule(f"self.metadata.name.matches({quoted(DNS_LABEL_PATTERN)})", f"{message}; {remedy}", at="metadata.name")


# -- lists, sources, weights -----------------------------------------------------------------------------------------


def _fork_of_another() -> dict[str, JSON]:
    return rule(
        "!has(self.spec.forkFrom) || self.spec.forkFrom.batchTest != self.metadata.name",
        "is this BatchTest itself; name a finished one",
        "spec.forkFrom.batchTest",
    )


def _amends_another() -> dict[str, JSON]:
    return rule(
        "!has(self.spec.amends) || self.spec.amends != self.metadata.name",
        "is this BatchTest itself; give this one a name of its own, and name the finished one",
        "spec.amends",
    )


def _fork_finds_its_database() -> dict[str, JSON]:
    message, remedy = FORK_WITHOUT_DATABASE
    return rule(
        "!has(self.forkFrom) || (has(self.checkpoints) && has(self.checkpoints.postgres))",
        f"{message}; {remedy}",
        "forkFrom",
    )


def _no_parity_of_what_is_not_run() -> dict[str, JSON]:
    looks = "has(self.gate) && has(self.gate.baseline) && has(self.gate.baseline.sequential)"
    return rule(
        f"!({looks} && has(self.parity) && has(self.parity.enabled) && self.parity.enabled)",
        "cannot be with parity, whose sample may be of trials that are not run; remove one of the two",
        "gate.baseline.sequential",
    )


def _exactly_one(noun: str, fields: Sequence[str]) -> list[dict[str, JSON]]:
    given = f"[{', '.join(f'has(self.{field})' for field in fields)}].filter(given, given).size()"
    remedy = f"write exactly one of {', '.join(fields[:-1])} and {fields[-1]}"
    return [
        rule(f"{given} > 0", f"names no {noun}; {remedy}"),
        rule(f"{given} < 2", f"names more than one {noun}; {remedy}"),
    ]


def _one_place(noun: str, fields: Sequence[str], local: str) -> list[dict[str, JSON]]:
    text = f"is a local {local}, which a cluster cannot read; {_BUNDLE}"
    return [*_exactly_one(noun, fields), rule("!has(self.path)", text, at="path")]


def _known_ending() -> dict[str, JSON]:
    text = "has no ending that is known; use .jsonl, .yaml, .json or .csv"
    return rule(f"self.matches({quoted(_CASE_FILE_PATTERN)})", text, "", f'"%s" {text}', "[self]")


def _not_weightless(entries: str, at: str = "") -> dict[str, JSON]:
    return rule(
        f"{entries}.size() == 0 || {entries}.exists(one, !has(one.weight) || one.weight > 0.0)",
        "all have weight 0, so nothing would count; give one a weight",
        at=at,
    )


def _case_rules() -> list[dict[str, JSON]]:
    weightless = _not_weightless("self.cases", at="cases")
    return [
        rule(
            f"{some('self.cases')} || {some('self.casesFrom')}",
            "gives no case; write one under cases or name a file in casesFrom",
            at="cases",
        ),
        # Beside files, only the engine knows all weights.
        {**weightless, "rule": f"{some('self.casesFrom')} || !has(self.cases) || {weightless['rule']}"},
    ]


# -- numbers ---------------------------------------------------------------------------------------------------------


def _or_default(field: str, default: float) -> str:
    return f"(has(self.{field}) ? self.{field} : {default!r})"


def _deadline_rules() -> list[dict[str, JSON]]:
    defaults = Deadlines()
    batch = _or_default("batchSeconds", defaults.batch_seconds)
    trial = _or_default("trialSeconds", defaults.trial_seconds)
    written = f"has(self.trialSeconds) ? 'is' : 'is {defaults.trial_seconds:g} by default,'"
    return [
        rule(
            f"{trial} <= {batch}",
            "is more than batchSeconds; make it the smaller",
            "trialSeconds",
            "%s more than batchSeconds %s; write at most %s",
            f"[{written}, string({batch}), string({batch})]",
        ),
        *(_within_trial(field, trial) for field in ("nodeSeconds", "idleSeconds")),
    ]


def _within_trial(field: str, trial: str) -> dict[str, JSON]:
    return rule(
        f"!has(self.{field}) || self.{field} <= {trial}",
        "is more than trialSeconds; make it the smaller",
        field,
        "is more than trialSeconds %s; write at most %s",
        f"[string({trial}), string({trial})]",
    )


def _budget_rules() -> list[dict[str, JSON]]:
    return [
        rule(
            f"!has(self.trial) || !has(self.batch) || !has(self.trial.{kind}) || !has(self.batch.{kind})"
            f" || self.trial.{kind} <= self.batch.{kind}",
            "is more than the batch's; make it the smaller",
            f"trial.{kind}",
            "is more than the batch's %s; write at most %s",
            f"[string(self.batch.{kind}), string(self.batch.{kind})]",
        )
        for kind in Kind
    ]


def _backoff_order() -> dict[str, JSON]:
    defaults = Retry()
    longest = _or_default("backoffMaxSeconds", defaults.backoff_max_seconds)
    return rule(
        f"{_or_default('backoffSeconds', defaults.backoff_seconds)} <= {longest}",
        "is more than backoffMaxSeconds; make it the smaller",
        "backoffSeconds",
        "is more than backoffMaxSeconds %s; make it the smaller",
        f"[string({longest})]",
    )


def _files_with_sync() -> dict[str, JSON]:
    return rule(
        "!has(self.files) || !has(self.durability) || self.durability == 'sync'",
        "cannot be with files: the next node may change them before they are kept; write durability: sync",
        "durability",
    )


def _one_file_within_all() -> dict[str, JSON]:
    one, total = _or_default("maxFileBytes", FILE_BYTES), _or_default("maxTotalBytes", TOTAL_BYTES)
    return rule(f"{one} <= {total}", "is more than maxTotalBytes; raise maxTotalBytes too", "maxFileBytes")


def _threads_in_one_process() -> dict[str, JSON]:
    return rule(
        "!has(self.isolation) || self.isolation != 'Thread' || !has(self.against) || self.against == 'InProcess'",
        "is for provider InProcess only; write isolation: Process or against: InProcess",
        "isolation",
    )


def _only_errored() -> dict[str, JSON]:
    text = "is not Errored, and only a broken place is tried again: a result is a result"
    return rule("self == 'Errored'", f"{text}; write [Errored], or [] for no retries")


def _enough_memory() -> dict[str, JSON]:
    least = f"{MIN_MEMORY_BYTES // to_bytes('1Mi')}Mi"
    return rule(
        f"!isQuantity(self) || quantity(self).compareTo(quantity('{least}')) >= 0",
        f"is less than {least}, too little for Python itself; write for instance 512Mi or 4Gi",
    )


# -- the environment -------------------------------------------------------------------------------------------------


def _kube_ray_with_its_provider() -> dict[str, JSON]:
    provider = "(has(self.provider) ? self.provider : 'InProcess')"
    return rule(
        f"!has(self.kubeRay) || {provider} == 'KubeRay'",
        "is only for provider KubeRay; write provider: KubeRay or remove kubeRay",
        "kubeRay",
        "is only for provider KubeRay, not %s; write provider: KubeRay or remove kubeRay",
        f"[{provider}]",
    )


def _provider_in_a_cluster() -> dict[str, JSON]:
    return rule("self != 'Ray'", "is for an address outside a cluster; write KubeRay or InProcess")


def _requirement() -> dict[str, JSON]:
    return rule(
        f"self.matches({quoted(REQUIREMENT_START)})",
        "is no requirement; options of uv are variables: name an index with UV_INDEX in env, or in a Secret of envFrom",
    )


def _threads() -> dict[str, JSON]:
    own = f"{some('one.env')} || {some('one.packages')} || has(one.resources)"
    return rule(
        "!has(self.environment) || !has(self.environment.isolation) || self.environment.isolation != 'Thread'"
        f" || !has(self.variants.overrides) || !self.variants.overrides.exists(one, {own})",
        "env, packages and resources cannot differ between combinations with isolation Thread: all threads share one"
        " process; write environment.isolation: Process",
        at="variants.overrides",
    )
