"""The CRD as a document: structural, whole, as it is in the checkout, and printed by the command line."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import pytest
import yaml
from pydantic import BaseModel

from batchyard.model.crd import GROUP, PLURAL, VERSION, crd_document, crd_schema, crd_yaml, places
from batchyard.model.crd_rules import CHANGEABLE, rules
from batchyard.model.outcome import Outcome
from batchyard.model.spec import API_VERSION, KIND, BatchTestSpec
from batchyard.model.spec_evaluators import EVALUATOR_CONFIGS
from batchyard.model.status import BatchStatus
from command_line import Bench

if TYPE_CHECKING:
    from collections.abc import Iterator

FILE = Path(__file__).parents[2] / "crds" / f"{GROUP}_{PLURAL}.yaml"
SCHEMA = crd_schema()
PLACES = dict(places(SCHEMA))

# What a client-side apply can repeat in an annotation.
LARGEST_ANNOTATION = 256 * 1024

# https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/
FORBIDDEN = {
    *("$ref", "$defs", "definitions", "deprecated", "discriminator", "id", "patternProperties", "readOnly"),
    *("writeOnly", "xml", "uniqueItems", "const", "title", "default", "anyOf", "oneOf", "allOf", "not", "examples"),
}


def model_paths(model: type[BaseModel], path: str) -> Iterator[str]:
    """Yield the path of every field of a model and of the models within it, as ``places`` spells it."""
    for name, info in model.model_fields.items():
        here = f"{path}.{info.alias or name}"
        yield here
        for inner, suffix in models_in(info.annotation):
            yield from model_paths(inner, f"{here}{suffix}")


def models_in(annotation: object, suffix: str = "") -> Iterator[tuple[type[BaseModel], str]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation, suffix
    origin = getattr(annotation, "__origin__", None)
    brackets = "[]" if origin is tuple else "{}" if origin is dict else ""
    for argument in get_args(annotation):
        yield from models_in(argument, f"{suffix}{brackets}")


def the_rules() -> list[tuple[str, dict[str, Any]]]:
    return [(path, rule) for path, schema in PLACES.items() for rule in schema.get("x-kubernetes-validations", [])]


def test_the_file_in_the_checkout_is_what_the_models_say() -> None:
    assert FILE.read_text(encoding="utf-8") == crd_yaml(), "run `make golden` and read the diff"


def test_the_file_reads_back_as_the_definition() -> None:
    assert yaml.safe_load(crd_yaml()) == crd_document()


def test_the_definition_names_what_the_contract_names() -> None:
    document = crd_document()
    (version,) = document["spec"]["versions"]

    assert document["metadata"]["name"] == f"{PLURAL}.{GROUP}"
    assert f"{GROUP}/{VERSION}" == API_VERSION
    assert document["spec"]["scope"] == "Namespaced"
    assert document["spec"]["names"] == {
        "kind": KIND,
        "listKind": "BatchTestList",
        "plural": "batchtests",
        "singular": "batchtest",
        "shortNames": ["bt"],
        "categories": ["all"],
    }
    assert version["subresources"] == {"status": {}}
    columns = [column["name"] for column in version["additionalPrinterColumns"]]
    assert columns == ["Phase", "Progress", "Best", "Score", "Reason", "Age"]


def test_a_client_side_apply_can_keep_the_definition_in_an_annotation() -> None:
    assert len(json.dumps(crd_document())) < LARGEST_ANNOTATION


def test_no_schema_has_a_keyword_that_a_structural_one_may_not_have() -> None:
    found = {path: FORBIDDEN & set(schema) for path, schema in PLACES.items()}

    assert {path: words for path, words in found.items() if words} == {"status": {"default"}}


def test_a_batchtest_that_no_operator_has_seen_says_so_to_tools_that_go_by_generations() -> None:
    assert PLACES["status"]["default"] == {"observedGeneration": -1}


def test_every_schema_has_one_type_or_is_free_json() -> None:
    for path, schema in PLACES.items():
        kind = schema.get("type")
        assert kind in {"object", "array", "string", "number", "integer", "boolean"} or (
            kind is None and schema["x-kubernetes-preserve-unknown-fields"]
        ), path
        assert not ("properties" in schema and "additionalProperties" in schema), path
        assert ("items" in schema) == (kind == "array"), path


def test_everything_required_is_there() -> None:
    for path, schema in PLACES.items():
        assert set(schema.get("required", [])) <= set(schema.get("properties", {})), path


def test_every_field_of_the_spec_is_in_the_schema_and_no_other() -> None:
    told = {path for path in PLACES if path.startswith("spec.") and not path.endswith(("]", "}"))}
    configs = {path for path in told if ".config." in path}

    assert told - configs == set(model_paths(BatchTestSpec, "spec"))


def test_the_configuration_of_an_evaluator_has_the_fields_of_every_evaluator() -> None:
    config = PLACES["spec.evaluation.evaluators[].config"]["properties"]

    for model in EVALUATOR_CONFIGS.values():
        assert {info.alias or name for name, info in model.model_fields.items()} <= set(config)


def test_a_field_that_several_evaluators_share_has_one_schema_but_for_null() -> None:
    # The first one's schema stands for all: they must not differ in what they let pass.
    schemas: dict[str, list[dict[str, Any]]] = {}
    for model in EVALUATOR_CONFIGS.values():
        for field, schema in model.model_json_schema(by_alias=True)["properties"].items():
            (told,) = [one for one in schema.get("anyOf", [schema]) if one.get("type") != "null"]
            kept = {key: value for key, value in told.items() if key not in {"description", "title", "default"}}
            schemas.setdefault(field, []).append(kept)

    assert all(schema == found[0] for found in schemas.values() for schema in found)


def test_every_field_of_the_status_is_in_the_schema_and_unknown_ones_are_kept() -> None:
    told = {path for path in PLACES if path.startswith("status.")}

    assert set(model_paths(BatchStatus, "status")) <= told
    assert all(
        schema["x-kubernetes-preserve-unknown-fields"]
        for path, schema in PLACES.items()
        if path.startswith("status") and "properties" in schema
    )


def test_the_status_refuses_no_value_that_the_operator_may_write() -> None:
    police = {"enum", "pattern", "format", "minimum", "maximum", "minLength", "maxLength", "minItems", "maxProperties"}

    for path, schema in PLACES.items():
        if path.startswith("status"):
            assert not police & set(schema), path
            assert "x-kubernetes-validations" not in schema, path
    assert {path for path in PLACES if path.startswith("status") and "required" in PLACES[path]} == {
        "status.conditions[]"
    }


def test_conditions_are_a_map_by_type_and_names_are_unique() -> None:
    keys = {
        path: schema["x-kubernetes-list-map-keys"]
        for path, schema in PLACES.items()
        if schema.get("x-kubernetes-list-type") == "map"
    }

    assert keys == {"status.conditions": ["type"], "spec.cases": ["name"], "spec.variants.include": ["name"]}
    assert all(key in PLACES[f"{path}[]"]["required"] for path, (key,) in keys.items())


def test_every_field_has_a_description() -> None:
    fields = [path for path in PLACES if path.startswith(("spec.", "status.")) and not path.endswith(("]", "}"))]

    assert [path for path in fields if not PLACES[path].get("description")] == []


def test_defaults_are_told_and_not_set() -> None:
    assert PLACES["spec.parallelism"]["description"].endswith("Default: 4.")
    assert PLACES["spec.deadlines.batchSeconds"]["description"].endswith("Default: 3600.")
    assert PLACES["spec.environment.provider"]["description"].endswith("Default: InProcess.")


@pytest.mark.parametrize(("path", "rule"), the_rules())
def test_a_rule_says_what_is_wrong_and_what_to_do(path: str, rule: dict[str, Any]) -> None:
    what, _, remedy = rule["message"].partition("; ")

    assert what
    assert remedy
    assert "\n" not in rule["message"]
    assert rule["rule"].count("(") == rule["rule"].count(")")
    if "messageExpression" in rule:
        told = rule["messageExpression"].rpartition(".format(")[0]
        assert told.count("%s") >= 1
        assert "; " in told
    if "fieldPath" in rule:
        assert f"{path}{rule['fieldPath']}".removeprefix(".") in PLACES


def test_every_rule_stands_somewhere() -> None:
    assert set(rules()) <= set(PLACES)


def test_what_a_pattern_says_is_said_in_words() -> None:
    assert [path for path in PLACES if "pattern" in PLACES[path]] == []
    assert "enum" not in PLACES["spec.retry.retryOn[]"]
    assert Outcome.ERRORED in str(PLACES["spec.retry.retryOn[]"]["x-kubernetes-validations"])


def test_the_rule_on_changes_looks_at_every_field_but_those_that_may_change() -> None:
    (rule,) = [rule["rule"] for path, rule in the_rules() if "oldSelf" in rule["rule"]]

    compared = set(re.findall(r"self\.spec\.(\w+) != oldSelf\.spec\.\1", rule))

    assert compared == set(PLACES["spec"]["properties"]) - set(CHANGEABLE)
    assert set(CHANGEABLE) <= set(PLACES["spec"]["properties"])


def test_the_command_prints_the_file(tmp_path: Path) -> None:
    printed = Bench(tmp_path).run("crd")

    assert printed.returncode == 0
    assert printed.stdout == crd_yaml()
    assert printed.stderr == ""


def test_the_command_prints_one_json_document_when_asked(tmp_path: Path) -> None:
    assert Bench(tmp_path).json("crd") == crd_document()
