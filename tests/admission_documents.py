"""BatchTests that admission and engine must agree on: those that break one rule, and those at its very edge."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

Object = dict[str, Any]

LONGEST_VALUE = 253
MOST_DIMENSIONS = 32


def document(*, name: str = "demo", **spec: Any) -> Object:
    """Return a BatchTest that is fine as it stands; ``spec`` replaces whole parts, and None removes one."""
    body = {
        "workflow": {"factory": "graph:build", "source": {"configMapRef": {"name": "code"}}},
        "variants": {"matrix": {"retriever": ["bm25", "tfidf"], "reader": ["first", "best"]}},
        "cases": [{"name": "one", "input": {"question": "why"}}],
        **spec,
    }
    kept = {key: value for key, value in body.items() if value is not None}
    return {"apiVersion": "batchyard.dev/v1alpha1", "kind": "BatchTest", "metadata": {"name": name}, "spec": kept}


def matrix(*sizes: int) -> dict[str, list[str]]:
    """Return a matrix with dimensions of these sizes."""
    return {f"d{index}": [f"v{value}" for value in range(size)] for index, size in enumerate(sizes)}


def _variants(**more: Any) -> Object:
    return {"matrix": {"retriever": ["bm25", "tfidf"], "reader": ["first", "best"]}, **more}


def _evaluator(kind: str, /, **config: Any) -> Object:
    return {"evaluators": [{"name": kind, "config": config}]}


def _source(**source: Any) -> Object:
    return {"factory": "graph:build", "source": source}


def _files(*keys: str) -> list[Object]:
    return [{"configMapRef": {"name": "cases", "key": key}} for key in keys]


def _includes(count: int, **variants: str) -> list[Object]:
    return [{"name": f"extra-{index}", "variants": variants} for index in range(count)]


_OTHER_DIMENSIONS = [{"name": "one", "variants": {"a": "x"}}, {"name": "two", "variants": {"a": "x", "b": "y"}}]
_BOTH = {"secretRef": {"name": "a"}, "configMapRef": {"name": "b"}}

REFUSED: dict[str, tuple[Object, str]] = {
    "name-with-a-dot": (document(name="a.b"), "metadata.name: is not a DNS-safe name; use lower-case letters"),
    "local-code": (document(workflow=_source(path="src")), "source.path: is a local folder, which a cluster cannot"),
    "local-cases": (document(casesFrom=[{"path": "a.csv"}]), "casesFrom[0].path: is a local file, which a cluster"),
    "ending": (document(casesFrom=_files("a.txt")), 'casesFrom[0].configMapRef.key: "a.txt" has no ending that is'),
    "only-an-ending": (document(casesFrom=_files(".csv")), "has no ending that is known; use .jsonl, .yaml, .json"),
    "no-place": (document(workflow=_source(path=None)), "source: names no place; write exactly one of path, config"),
    "two-references": (document(environment={"envFrom": [_BOTH]}), "envFrom[0]: names more than one object; write"),
    "no-reference": (document(environment={"envFrom": [{"prefix": "A"}]}), "envFrom[0]: names no object; write exac"),
    "ray": (document(environment={"provider": "Ray"}), "environment.provider: is for an address outside a cluster"),
    "ray-version": (
        document(environment={"provider": "KubeRay", "kubeRay": {"rayVersion": "2.52"}}),
        'kubeRay.rayVersion: "2.52" is not a version of Ray; write three numbers',
    ),
    "worker-memory": (
        document(environment={"provider": "KubeRay", "kubeRay": {"workers": {"resources": {"memory": "400m"}}}}),
        "workers.resources.memory: is less than 16Mi, too little for Python itself; write for instance 512Mi",
    ),
    "no-cpu": (document(variants=_variants(overrides=[{"resources": {"cpu": "0.0"}}])), "cpu: must be more than zero"),
    "quantity": (document(variants=_variants(overrides=[{"resources": {"cpu": "few"}}])), '"few" is not a quantity'),
    "packages": (
        document(variants=_variants(overrides=[{"packages": ["numpy", "--index-url=https://example.org"]}])),
        "overrides[0].packages[1]: is no requirement; options of uv are variables: name an index with UV_INDEX in",
    ),
    "json-path-without-path": (
        document(evaluation=_evaluator("jsonPath")),
        "evaluators[0].config: path is required by jsonPath; add it",
    ),
    "numbers-without-field": (document(evaluation=_evaluator("numericTolerance")), "field is required by numericTol"),
    "other-evaluators-field": (
        document(evaluation=_evaluator("exactMatch", path="$.a")),
        "config: has a field that exactMatch does not know; known here: field, ignoreCase",
    ),
    "slow-before-fast": (
        document(evaluation=_evaluator("latency", targetSeconds=9, maxSeconds=2.5)),
        "targetSeconds 9 is more than maxSeconds 2.5; make targetSeconds the smaller",
    ),
    "metric-of-nothing": (document(evaluation=_evaluator("metric", name="cost")), "names no value to hold the metric"),
    "metric-order": (document(evaluation=_evaluator("metric", name="a", min=2, max=1)), "min 2 is more than max 1"),
    "callable": (
        document(evaluation=_evaluator("callable", function="score.py")),
        'config.function: "score.py" is not of the form module:function; write for instance',
    ),
    "same-names": (
        document(cases=[{"name": "one"}, {"name": "two"}, {"name": "one"}]),
        'cases[2]: Duplicate value: {"name":"one"}',
    ),
    "lacking": (
        document(variants=_variants(include=[{"name": "short", "variants": {"reader": "best"}}])),
        'include: ["short"] has no value for a dimension; name a value for every dimension',
    ),
    "lacking-without-matrix": (
        document(variants={"include": _OTHER_DIMENSIONS}),
        'include: ["two"] has no value for a dimension',
    ),
    "unknown-value": (
        document(variants=_variants(include=_includes(1, retriever="bm52", reader="best"))),
        'include: ["extra-0"] names a dimension or a value that is not in the matrix; correct it, or add it',
    ),
    "unknown-match": (
        document(variants=_variants(overrides=[{"match": {"writer": "best"}}, {"match": {"reader": "best"}}])),
        'overrides: [{"writer":"best"}] names a dimension or a value that is not in the matrix',
    ),
    "unknown-exclude": (
        document(variants=_variants(exclude=[{"reader": "worst"}])),
        'exclude: [{"reader":"worst"}] names a dimension or a value that is not in the matrix',
    ),
    "dimension": (
        document(variants={"matrix": {"a" * 64: ["x"], "b-": ["x"], "ö": ["x"], "c_.-d": ["x"]}}),
        "is not the name of a dimension; use letters, digits",
    ),
    "one-too-many": (
        document(variants={"matrix": matrix(16, 16), "include": _includes(1, d0="v0", d1="v0")}),
        "variants: gives 257 combinations, more than 256; remove values or exclude some",
    ),
    "beyond-counting": (
        document(variants={"matrix": matrix(*[256] * 32)}),
        "variants: the product of the matrix is more than 100,000 combinations; at most 256 are allowed; remove",
    ),
    "seventeen-dimensions": (
        document(variants={"matrix": matrix(*[2] * 17), "exclude": [{"d0": "v0"}]}),
        "the product of the matrix is more than 100,000 combinations",
    ),
    "trials": (
        document(variants={"matrix": matrix(250)}, repeats=401),
        "spec: 250 combinations x 1 cases x 401 repeats are 100250 trials, more than 100,000; split the batch or",
    ),
    "trials-with-files": (
        document(casesFrom=_files("a.csv", "b.csv"), repeats=10_000),
        "spec: 4 combinations x 3 cases x 10000 repeats are at least 120000 trials, more than 100,000",
    ),
    "nothing-left": (
        document(variants=_variants(exclude=[{"reader": "best"}, {"reader": "first"}])),
        "variants.exclude: leaves no combination; exclude less",
    ),
}
"""Each with what admission says of it, without the value that the API server puts between path and message."""

ACCEPTED: dict[str, Object] = {
    "nulls": document(
        workflow={**_source(path=None, configMapRef={"name": "code"}, image=None), "inputSchema": None},
        cases=[{"name": "one", "expected": None, "deadlineSeconds": None}],
        variants=_variants(overrides=[{"resources": None}, {"resources": {"cpu": None}}]),
        casesFrom=[{"path": None, "configMapRef": {"name": "cases", "key": "a.csv"}}],
        deadlines={"nodeSeconds": None},
        environment={"kubeRay": None, "envFrom": [{"secretRef": {"name": "a"}, "configMapRef": None}]},
        evaluation=_evaluator("contains", field=None, all=None, any=None),
        gate={"minSuccessRate": None, "minScore": None, "baseline": None},
    ),
    "free-json": document(
        cases=[
            {"name": "one", "input": {"deep": [{"a": [None, {}]}], "matrix": 1}, "expected": [1, {"a": None}]},
            {"name": "two", "expected": "text"},
            {"name": "three", "expected": 0.5},
        ],
        initialState={"seen": [], "n": None},
        environment={"template": {"spec": {"nodeSelector": {"disk": "ssd"}, "tolerations": [{"operator": "Exists"}]}}},
    ),
    "no-matrix": document(variants={"include": [{"name": "a", "variants": {"x": "1"}}]}),
    "all-excluded-but-one-included": document(
        variants=_variants(
            exclude=[{"reader": "best"}, {"reader": "first"}], include=_includes(1, retriever="bm25", reader="best")
        )
    ),
    "excluded-down-to-few": document(
        variants={"matrix": matrix(17, 16), "exclude": [{"d0": f"v{index}"} for index in range(1, 17)]}
    ),
    "most-combinations": document(variants={"matrix": matrix(16, 15), "include": _includes(16, d0="v0", d1="v1")}),
    "most-trials": document(variants={"matrix": matrix(250)}, repeats=400),
    "dimensions-of-one-value": document(variants={"matrix": matrix(*[1] * MOST_DIMENSIONS)}),
    "dimension-names": document(variants={"matrix": {"a": ["x"], "A1_b.c-d9": ["y"], "0" * 63: ["z"]}}),
    "endings": document(casesFrom=_files("a.jsonl", "b.ndjson", "c.yaml", "d.yml", "e.json", "F.CSV", "x.y.csv")),
    "deadlines-of-one-length": document(deadlines={"batchSeconds": 60, "trialSeconds": 60, "nodeSeconds": 60.0}),
    "no-retries": document(retry={"retryOn": [], "backoffSeconds": 30}),
    "kuberay": document(environment={"provider": "KubeRay", "kubeRay": {"workers": {"resources": {"memory": "16Mi"}}}}),
    "kuberay-by-default": document(environment={"provider": "KubeRay"}),
    "quantities": document(
        variants=_variants(
            overrides=[{"resources": {"cpu": cpu, "memory": "1e8"}} for cpu in ("500m", ".5", "2.", "1k", "3Ki", "1E")]
        )
    ),
    "threads-with-one-environment": document(
        environment={"isolation": "Thread"},
        variants=_variants(overrides=[{"match": {"reader": "best"}, "env": {}, "packages": []}]),
    ),
    "every-evaluator": document(
        evaluation={
            "evaluators": [
                {"name": "exactMatch"},
                {"name": "exactMatch", "weight": 0, "config": {"field": "topic", "ignoreCase": True}},
                {"name": "contains", "config": {"all": ["a"], "any": ["b"]}},
                {"name": "jsonPath", "config": {"path": "$.a", "equals": {"b": [1]}}},
                {"name": "numericTolerance", "config": {"field": "n", "absolute": 1, "relative": 0.5}},
                {"name": "latency", "config": {"targetSeconds": 1, "maxSeconds": 1}},
                {"name": "metric", "config": {"name": "cost", "max": 2, "direction": "lower"}},
                {"name": "callable", "config": {"function": "judge:score"}},
            ]
        }
    ),
    "some-weightless": document(cases=[{"name": "one", "weight": 0}, {"name": "two"}]),
    "weightless-beside-files": document(cases=[{"name": "one", "weight": 0}], casesFrom=_files("a.csv")),
    "longest-name": document(name="a" * 63),
}


def largest() -> Object:
    """Return a BatchTest in which everything that rules look through is as large as it may be."""
    values = [f"{index:03}".ljust(LONGEST_VALUE, "v") for index in range(255)]
    ones = {f"{index:02}".ljust(63, "d"): [f"{index}"] for index in range(MOST_DIMENSIONS - 1)}
    chosen = {**{name: only for name, (only,) in ones.items()}, "main": values[-1]}
    return document(
        name="largest",
        variants={
            "matrix": {**ones, "main": values},
            "include": [{"name": "x" * 63, "variants": chosen}],
            "overrides": [
                {
                    "match": chosen,
                    "env": {f"NAME_{number}": "" for number in range(16)},
                    "resources": {"cpu": "1" * 32, "memory": "1" * 32},
                }
                for _ in range(256)
            ],
        },
        cases=[{"name": f"c{index:05}".ljust(63, "n")} for index in range(388)],
        casesFrom=_files(*(f"{index}.csv" for index in range(2))),
        environment={"env": {f"NAME_{number}": "" for number in range(256)}},
    )


def most_excluded() -> Object:
    """Return a BatchTest with as many values to compare as ``exclude`` and ``matrix`` may have together."""
    grid = matrix(256, 256)
    return document(
        variants={
            "matrix": grid,
            "exclude": [{"d0": "v0", "d1": "v255"}, *({"d0": f"v{index}"} for index in range(1, 256))],
        }
    )


def most_cases() -> Object:
    """Return a BatchTest with as many cases as 64 KiB of JSON hold."""
    return document(variants={"matrix": matrix(16)}, cases=[{"name": f"{index:x}"} for index in range(3600)], repeats=1)


LARGE: dict[str, Callable[[], Object]] = {
    "largest": largest,
    "most-excluded": most_excluded,
    "most-cases": most_cases,
}
"""Accepted, too: those on which rules have the most to do."""
