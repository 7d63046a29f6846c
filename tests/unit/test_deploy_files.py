"""The files of ``deploy/`` and of the chart that are made from other files of the checkout."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
import yaml
from deploy_files import ROOT, deploy_files

from batchyard import __version__

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("path", sorted(deploy_files()), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_generated_file_is_what_it_is_made_from(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == deploy_files()[path], "run `make golden` and read the diff"


def test_the_commands_for_operators_choose_the_pods_of_the_base_and_no_test_of_the_chart() -> None:
    pages = [*(ROOT / "docs" / "runbook").glob("*.md"), ROOT / "docs" / "upgrade.md"]
    base = yaml.safe_load((ROOT / "deploy" / "kustomize" / "base" / "deployment.yaml").read_text(encoding="utf-8"))

    commands = [line for page in pages for line in page.read_text(encoding="utf-8").splitlines() if line[:2] == "$ "]

    labels = base["spec"]["template"]["metadata"]["labels"]
    selectors = {selector for line in commands for selector in re.findall(r" -l (app\S+)", line)}
    assert selectors == {",".join(f"{key}={value}" for key, value in labels.items())}
    assert labels["app.kubernetes.io/component"] == "operator"
    # Of a Deployment's pods kubectl takes one, the standby maybe.
    assert not [line for line in commands if "logs" in line and "deployment/" in line]


@pytest.mark.parametrize("name", ["operator", "runner"])
def test_what_is_deployed_names_the_images_of_this_version_and_no_registry_that_there_is(name: str) -> None:
    text = (ROOT / "deploy" / "operator.yaml").read_text(encoding="utf-8")

    named = re.findall(rf"\S*batchyard/{name}\S*", text)

    assert [image.strip('"}') for image in named] == [f"registry.example.com/batchyard/{name}:{__version__}"]
