"""The templates for CI systems and the GitHub action: their shell steps are taken out and run in a project.

What no machine without network can do is not done: the step that installs with pip has a stand-in, a `python` that
knows of no other package than those that are here, and the marketplace's actions are left out.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from command_line import Bench, workflow

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CI = Path(__file__).parents[2] / "ci"
ACTION = yaml.safe_load((CI / "github" / "action.yml").read_text(encoding="utf-8"))
_INPUT = re.compile(r"\$\{\{\s*inputs\.([\w-]+)\s*\}\}")
_OUTPUT = re.compile(r"\$\{\{\s*steps\.run\.outputs\.([\w-]+)\s*\}\}")
_JENKINS = re.compile(r"sh '(.*)'$", re.MULTILINE)
pytestmark = pytest.mark.timeout(300)


@dataclass(frozen=True)
class Project:
    """A user's checkout with a BatchTest, and `python` and `batchyard` as the installation would leave them."""

    folder: Path

    def sh(self, script: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a step as runners do: bash, ended by the first error, also within a pipe."""
        environment = {**Bench(self.folder).environment, **env}
        environment["PATH"] = f"{self.folder / 'bin'}:{environment['PATH']}"
        command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script]
        return subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False, timeout=200
        )


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "bin").mkdir()
    python = shlex.quote(sys.executable)
    stand_ins = {
        "python": f'#!/bin/sh\n[ "$2" = pip ] && {{ echo "$@" > installed; exit 0; }}\nexec {python} "$@"\n',
        "batchyard": f'#!/bin/sh\nexec {python} -m batchyard "$@"\n',
    }
    for name, text in stand_ins.items():
        (tmp_path / "bin" / name).write_text(text, encoding="utf-8")
        (tmp_path / "bin" / name).chmod(0o755)
    return Project(tmp_path)


def failing() -> dict[str, Any]:
    return {"workflow": workflow("picky"), "gate": {"minSuccessRate": 1}, "variants": {"matrix": {"a": ["x"]}}}


def act(project: Project, **inputs: str) -> tuple[list[int], Mapping[str, str]]:
    """Run the action's steps as GitHub does; return the exit code of each that ran and the outputs."""
    given = {name: str(one.get("default", "")) for name, one in ACTION["inputs"].items()} | inputs
    outputs: dict[str, str] = {}
    codes: list[int] = []
    paths = {name: str(project.folder / name) for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
    for step in ACTION["runs"]["steps"]:
        if "outputs.batch" in step.get("if", "") and not outputs.get("batch"):
            continue
        env = {
            name: _OUTPUT.sub(lambda match: outputs.get(match[1], ""), _INPUT.sub(lambda match: given[match[1]], value))
            for name, value in step.get("env", {}).items()
        }
        codes.append(project.sh(step["run"], GITHUB_ACTION_PATH=str(CI / "github"), **paths, **env).returncode)
        written = Path(paths["GITHUB_OUTPUT"])
        lines = written.read_text(encoding="utf-8").splitlines() if written.exists() else []
        outputs.update(line.partition("=")[::2] for line in lines)
        if codes[-1]:
            break
    return codes, outputs


def test_the_action_passes_with_the_verdict_and_shows_the_result(project: Project) -> None:
    Bench(project.folder).write("batchtest.yaml")

    codes, outputs = act(project, file="batchtest.yaml")

    assert codes == [0, 0, 0, 0]
    assert (outputs["exit-code"], outputs["phase"]) == ("0", "Succeeded")
    assert (project.folder / "GITHUB_STEP_SUMMARY").read_text(encoding="utf-8").startswith("## Passed")
    assert reported(project) == {"x": 2, "y": 2, "batch": 1}
    assert (project.folder / "installed").read_text(encoding="utf-8").strip().endswith("ci/github/../..")


def test_the_action_fails_with_the_verdict_after_it_has_shown_the_result(project: Project) -> None:
    Bench(project.folder).write("batchtest.yaml", **failing())

    codes, outputs = act(project, file="batchtest.yaml", package="batchyard==0.1.0")

    assert codes == [0, 0, 0, 1]
    assert outputs["phase"] == "Failed"
    assert (project.folder / "GITHUB_STEP_SUMMARY").read_text(encoding="utf-8").startswith("## Failed")
    assert "batchyard==0.1.0" in (project.folder / "installed").read_text(encoding="utf-8")


def test_the_action_fails_as_the_command_does_if_there_is_nothing_to_show(project: Project) -> None:
    codes, outputs = act(project, file="gone.yaml")

    assert codes == [0, 0, 2]
    assert outputs["batch"] == ""


def reported(project: Project) -> dict[str, int]:
    """Return how many tests each suite of the JUnit file has, after looking at the report for people."""
    page = (project.folder / "batchyard-report.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    suites = ET.parse(project.folder / "batchyard-junit.xml").getroot()  # noqa: S314 - our own
    return {suite.attrib["name"]: int(suite.attrib["tests"]) for suite in suites}


def template(name: str) -> Any:
    return yaml.safe_load((CI / "templates" / name).read_text(encoding="utf-8"))


def steps_of(system: str) -> tuple[Sequence[str], Mapping[str, str]]:
    """Return a template's shell steps and the variables it sets."""
    match system:
        case "gitlab-ci.yml":
            job = template(system)["batchyard"]
            return [*job["before_script"], *job["script"]], job["variables"]
        case "azure-pipelines.yml":
            found = template(system)
            return [step["bash"] for step in found["steps"] if "bash" in step], found["variables"]
        case "circleci.yml":
            job = template(system)["jobs"]["batchyard"]
            runs = [step["run"]["command"] for step in job["steps"] if isinstance(step, dict) and "run" in step]
            return runs, job["environment"]
        case _:
            text = (CI / "templates" / system).read_text(encoding="utf-8")
            # The stand-ins are on the path, not in a virtual environment that pip would fill.
            return [found.replace(".venv/bin/", "") for found in _JENKINS.findall(text)], {
                "BATCHTEST": "batchtest.yaml"
            }


SYSTEMS = ["gitlab-ci.yml", "azure-pipelines.yml", "circleci.yml", "Jenkinsfile"]


def test_every_template_is_exercised() -> None:
    assert {path.name for path in (CI / "templates").iterdir()} == {*SYSTEMS, "github-actions.yml"}


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_steps_of_a_template_run_and_end_as_the_verdict_does(project: Project, system: str) -> None:
    Bench(project.folder).write("batchtest.yaml", **failing())
    steps, variables = steps_of(system)
    [script] = [step for step in steps if "batchyard run" in step]
    install = steps[0].replace("python -m venv .venv && ", "")

    installed = project.sh(install).returncode
    ran = project.sh(script, **variables)

    assert installed == 0
    assert ran.returncode == 1, ran.stderr
    result = json.loads((project.folder / "batchyard-result.json").read_text(encoding="utf-8"))
    assert result["batch"]["reason"] in {"GateFailed", "AllTrialsFailed"}
    assert reported(project) == {"x": 2, "gate": 1, "batch": 1}


def test_what_azure_shows_on_the_page_of_a_run_is_the_summary_that_was_written(project: Project) -> None:
    (project.folder / "batchyard-summary.md").touch()
    steps, _ = steps_of("azure-pipelines.yml")

    said = project.sh(steps[-1]).stdout.strip()

    assert said.startswith("##vso[task.uploadsummary]/")
    assert Path(said.partition("]")[2]).samefile(project.folder / "batchyard-summary.md")


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_template_keeps_and_shows_what_its_steps_write(system: str) -> None:
    text = (CI / "templates" / system).read_text(encoding="utf-8")
    [run] = [step for step in steps_of(system)[0] if "batchyard run" in step]

    counts = {name: text.count(name) - run.count(name) for name in re.findall(r"batchyard-[a-z]+\.[a-z]+", text)}

    assert counts.keys() >= {"batchyard-report.html", "batchyard-junit.xml", "batchyard-result.json"}
    assert all(name in run for name in counts)
    # Azure and CircleCI keep no store.
    assert {name for name, elsewhere in counts.items() if not elsewhere} <= {"batchyard-results.db"}


@pytest.mark.parametrize(
    ("schema", "file"),
    [
        ("github-actions", "github/action.yml"),
        ("github-workflows", "templates/github-actions.yml"),
        ("gitlab-ci", "templates/gitlab-ci.yml"),
        ("azure-pipelines", "templates/azure-pipelines.yml"),
        ("circle-ci", "templates/circleci.yml"),
    ],
)
def test_a_file_is_as_the_published_schema_of_its_system_has_it(schema: str, file: str) -> None:
    # Some of the published patterns are none that a strict reader of Unicode takes.
    options = ["--regex-variant", "nonunicode", "--builtin-schema", f"vendor.{schema}"]
    command = [sys.executable, "-m", "check_jsonschema", *options, str(CI / file)]

    checked = subprocess.run(command, capture_output=True, text=True, check=False)

    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_workflow_of_github_calls_the_action_with_inputs_that_it_has() -> None:
    steps = template("github-actions.yml")["jobs"]["gate"]["steps"]
    call = next(step for step in steps if "ci/github@" in step.get("uses", ""))

    assert call["with"].keys() <= ACTION["inputs"].keys()
    assert {name for name, one in ACTION["inputs"].items() if one.get("required")} <= call["with"].keys()
    kept = next(step for step in steps if "upload-artifact" in step.get("uses", ""))["with"]["path"].split()
    assert kept == [ACTION["inputs"][name]["default"] for name in ("report", "junit", "result", "store")]
