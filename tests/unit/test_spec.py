"""What a valid BatchTest means: defaults, spelling, strictness."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel, ValidationError

from batchyard.model.errors import SpecInvalid
from batchyard.model.matrix import expand_combinations
from batchyard.model.outcome import Outcome
from batchyard.model.parse import parse_batch_test
from batchyard.model.spec import BatchTest, Deadlines, Durability, Isolation, Provider, Retry
from batchyard.model.spec_evaluators import EVALUATOR_CONFIGS, EvaluatorName, JsonPathConfig
from batchyard.model.status import BatchStatus

DATA = Path(__file__).parent.parent / "data" / "valid"
MINIMAL = (DATA / "minimal.yaml").read_text()
WHOLE = (DATA / "whole.yaml").read_text()


def every_model(model: type[BaseModel], seen: set[type[BaseModel]] | None = None) -> set[type[BaseModel]]:
    seen = set() if seen is None else seen
    seen.add(model)
    for info in model.model_fields.values():
        waiting: list[object] = [info.annotation]
        while waiting:
            kind = waiting.pop()
            if isinstance(kind, type) and issubclass(kind, BaseModel) and kind not in seen:
                every_model(kind, seen)
            waiting += get_args(kind)
    return seen


def test_a_minimal_file_has_the_defaults_of_the_contract() -> None:
    spec = parse_batch_test(MINIMAL, "minimal.yaml").spec

    assert (spec.repeats, spec.parallelism, spec.fail_fast) == (1, 4, False)
    assert spec.retry == Retry(max_attempts=2, backoff_seconds=1, backoff_max_seconds=30, retry_on=(Outcome.ERRORED,))
    assert spec.deadlines == Deadlines(
        batch_seconds=3600, environment_seconds=600, trial_seconds=300, node_seconds=None, grace_seconds=5
    )
    assert (spec.environment.provider, spec.environment.isolation) == (Provider.IN_PROCESS, Isolation.PROCESS)
    assert spec.checkpoints.durability is Durability.SYNC
    assert spec.limits.recursion_limit == 100
    assert spec.evaluation.pass_threshold == 0.5
    assert (spec.gate.min_success_rate, spec.gate.min_score, spec.gate.baseline) == (None, None, None)
    assert (spec.audit.max_entries, spec.audit.retention_days) == (10_000, 30)
    assert (spec.suspend, spec.cancel, spec.ttl_seconds_after_finished) == (False, False, None)


def test_every_field_of_the_contract_is_read() -> None:
    spec = parse_batch_test(WHOLE, "whole.yaml").spec

    assert spec.workflow.input_schema == "docs_search.graph:Question"
    assert spec.variants.overrides[0].env == {"INDEX": "dense"}
    assert spec.variants.overrides[0].resources is not None
    assert spec.variants.overrides[0].resources.memory == "4Gi"
    assert spec.cases[0].deadline_seconds == 5
    assert spec.cases_from[1].config_map_ref is not None
    assert spec.environment.kube_ray is not None
    assert spec.environment.kube_ray.workers.replicas == 2
    assert spec.environment.env_from[0].secret_ref is not None
    assert spec.environment.template == {"nodeSelector": {"disk": "ssd"}}
    assert spec.gate.baseline is not None
    assert spec.gate.baseline.max_regression == 0.02
    assert spec.parity.sample_size == 3


def test_the_whole_contract_has_the_combinations_it_shows() -> None:
    batch = parse_batch_test(WHOLE, "whole.yaml")

    names = [combination.name for combination in expand_combinations(batch.spec.variants)]

    assert names == ["bm25-first", "bm25-best", "tfidf-first", "tfidf-best", "hybrid-best", "baseline"]


def test_what_is_written_out_is_read_as_the_same() -> None:
    batch = parse_batch_test(WHOLE, "whole.yaml")

    assert parse_batch_test(batch.model_dump_json(), "json") == batch


def test_yaml_and_json_of_one_content_are_one_batch() -> None:
    batch = parse_batch_test(MINIMAL, "minimal.yaml")
    as_json = json.dumps(batch.model_dump(mode="json"), indent="\t")

    assert parse_batch_test(as_json, "minimal.json") == batch


def test_an_object_from_the_api_server_is_read_as_it_is() -> None:
    document = json.loads(parse_batch_test(MINIMAL, "minimal.yaml").model_dump_json())
    document["metadata"] |= {"uid": "1", "resourceVersion": "2", "managedFields": [], "creationTimestamp": "2026-01-01"}
    document["status"] = {"phase": "Running"}

    assert parse_batch_test(json.dumps(document), "kubectl") == parse_batch_test(MINIMAL, "minimal.yaml")


def test_a_batch_cannot_be_changed() -> None:
    batch = parse_batch_test(MINIMAL, "minimal.yaml")

    with pytest.raises(ValidationError, match="frozen"):
        batch.spec.deadlines.trial_seconds = 1


@pytest.mark.parametrize("root", [BatchTest, BatchStatus, *EVALUATOR_CONFIGS.values()])
def test_every_field_is_described(root: type[BaseModel]) -> None:
    bare = [
        f"{model.__name__}.{name}"
        for model in every_model(root)
        for name, info in model.model_fields.items()
        if not (info.description or "").endswith(".")
    ]

    assert bare == []


def test_every_fault_of_a_file_is_told_at_once_in_its_order() -> None:
    text = MINIMAL.replace("name: demo", "name: Demo").replace("  cases:", "  repeats: 0\n  speling: 1\n  cases:")

    with pytest.raises(SpecInvalid) as caught:
        parse_batch_test(text, "bad.yaml")

    assert [fault.path for fault in caught.value.faults] == ["metadata.name", "spec.repeats", "spec.speling"]
    assert str(caught.value).startswith("bad.yaml: 3 faults\n")


def test_dates_and_leading_zeros_in_quotes_stay_text() -> None:
    text = MINIMAL.replace("question: why", 'day: 2024-01-01, zip: "00123"')

    assert parse_batch_test(text, "x").spec.cases[0].input == {"day": "2024-01-01", "zip": "00123"}


def test_merge_keys_and_aliases_are_written_out() -> None:
    text = MINIMAL + "    - {name: two, input: &base {a: 1, b: 2}}\n    - {name: three, input: {<<: *base, b: 3}}\n"

    cases = parse_batch_test(text, "x").spec.cases

    assert cases[1].input == {"a": 1, "b": 2}
    assert cases[2].input == {"a": 1, "b": 3}


def test_values_as_long_as_a_page_are_shortened_in_messages() -> None:
    text = MINIMAL.replace("name: demo", f"name: demo, labels: [{'x' * 500}]")

    with pytest.raises(SpecInvalid) as caught:
        parse_batch_test(text, "x")

    assert len(caught.value.faults[0].value) == 60


def test_a_value_under_env_is_never_shown_however_wrong_it_is() -> None:
    text = MINIMAL + "  environment:\n    env: {TOKEN: !!int hunter2, OTHER: [hunter2], '': hunter2, MORE: 0xC0FFEE}\n"

    with pytest.raises(SpecInvalid) as caught:
        parse_batch_test(text, "x")

    assert len(caught.value.faults) == 4
    assert "hunter2" not in str(caught.value)
    assert "12648430" not in str(caught.value)


@pytest.mark.parametrize("name", list(EvaluatorName))
def test_every_evaluator_has_a_model_of_its_config(name: EvaluatorName) -> None:
    assert name in EVALUATOR_CONFIGS


def test_an_evaluators_settings_are_its_config() -> None:
    text = MINIMAL + "  evaluation: {evaluators: [{name: jsonPath, config: {path: $.a, equals: null}}]}\n"

    settings = parse_batch_test(text, "x").spec.evaluation.evaluators[0].settings()

    assert isinstance(settings, JsonPathConfig)
    assert settings.path == "$.a"
    assert "equals" in settings.model_fields_set


@pytest.mark.parametrize("root", [BatchTest, BatchStatus])
def test_a_schema_can_be_made_of_the_models_in_the_files_own_spelling(root: type[BaseModel]) -> None:
    schema = root.model_json_schema(by_alias=True)

    fields = [name for part in [schema, *schema["$defs"].values()] for name in part.get("properties", {})]

    assert fields
    assert not [name for name in fields if "_" in name]


def test_a_fault_of_one_part_does_not_hide_those_of_rules_elsewhere() -> None:
    text = MINIMAL.replace("factory: ", "factori: ").replace(
        "{name: one, ", "{name: one}\n    - {name: one, weight: x, "
    )

    with pytest.raises(SpecInvalid) as caught:
        parse_batch_test(text + "  deadlines: {nodeSeconds: 900}\n  gate: {baseline: {combination: gone}}\n", "x")

    assert [fault.path for fault in caught.value.faults] == [
        "spec.workflow.factory",
        "spec.workflow.factori",
        "spec.cases[1].name",
        "spec.cases[1].weight",
        "spec.deadlines.nodeSeconds",
        "spec.gate.baseline.combination",
    ]


def test_a_list_whose_only_item_is_wrong_is_not_said_to_be_empty() -> None:
    document = parse_batch_test(MINIMAL, "minimal.yaml").model_dump(mode="json", by_alias=True)
    document["spec"]["workflow"]["sharedPrefix"] = {"nodes": [{"name": "load"}]}

    with pytest.raises(SpecInvalid) as refused:
        parse_batch_test(json.dumps(document), "batch.json")

    assert [fault.path for fault in refused.value.faults] == ["spec.workflow.sharedPrefix.nodes[0].dependsOn"]
