"""An image of a team's own, made as the documentation says: a batch runs in it, with the packages that it adds."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from cluster.bed import images, node, settings
from cluster.bed.settings import CHECKOUT
from cluster.operator_bench import batch_test

if TYPE_CHECKING:
    from pathlib import Path

    from cluster.operator_bench import OperatorProcess

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

TAG = "docker.io/team/my-workflow:1"
# What no image of ours has.
PACKAGE = "inflection==0.5.1 --hash=sha256:f38b2b640938a4f35ade69ac3d053042959b62a0f1076a5bbaa1b9526605a8a2"
WORKFLOW = """
from typing import Any, TypedDict

import inflection
from langgraph.graph import END, START, StateGraph


class State(TypedDict, total=False):
    word: str
    answer: str


def build(variants: dict[str, str]) -> Any:
    graph = StateGraph(State)
    graph.add_node("ask", lambda state: {"answer": inflection.pluralize(state["word"])})
    graph.add_edge(START, "ask")
    graph.add_edge("ask", END)
    return graph
"""


@pytest.mark.parametrize("provider", ["InProcess", "KubeRay"])
def test_a_batch_runs_in_an_image_that_is_made_as_the_documentation_says(
    operator: OperatorProcess, tmp_path: Path, provider: str
) -> None:
    said = (CHECKOUT / "docs" / "images.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```dockerfile\n(FROM .*?)```", said, re.DOTALL)
    recipe, replaced = re.subn(r"^FROM \S+/runner:\S+$", f"FROM {images.name('runner')}", block, flags=re.MULTILINE)
    assert replaced == 1
    for name, text in [("Dockerfile", recipe), ("requirements.txt", PACKAGE), ("my_workflow.py", WORKFLOW)]:
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert operator.cluster.one_node
    known = settings.read()
    images.import_all(known, node.socket(known.state), {TAG: images.built_over(known, TAG, tmp_path)})
    case = {"name": "word", "input": {"word": "octopus"}, "expected": {"answer": "octopi"}}
    _, test = batch_test("own", provider=provider, cases=[case], evaluation={"evaluators": [{"name": "exactMatch"}]})
    test["spec"]["workflow"] = {"factory": "my_workflow:build", "source": {"image": TAG}}

    operator.apply(test)

    status = operator.finished("own", 240)
    assert (status["phase"], status["trials"]["passed"]) == ("Succeeded", 2), status
