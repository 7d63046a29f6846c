"""Every command of the documentation that needs no cluster runs as it stands; ``tests/cluster`` has the others."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from docs.pages import Block, Page, Place, every_page, with_commands
from docs.shell import Shell, faults_of
from docs.stand_ins import STAND_INS

if TYPE_CHECKING:
    from pathlib import Path

# A page's commands are many short ones.
pytestmark = pytest.mark.timeout(900)

# Blocks of other kinds: a reader types what is in none of them.
NOT_TYPED = {"text", "yaml", "json", "python", "lua", "promql", "toml", "dockerfile"}


@pytest.mark.parametrize("page", with_commands(Place.LOCAL), ids=lambda page: page.name)
def test_every_command_of_a_page_runs_as_it_stands_there(page: Page, tmp_path: Path, postgres_url: str) -> None:
    shell = Shell(tmp_path, page, {"postgres": postgres_url}, {})

    ran = shell.run(page.commands(Place.LOCAL), seconds=840)

    assert ran
    assert not faults_of(ran)


@pytest.mark.parametrize("page", every_page(), ids=lambda page: page.name)
def test_whatever_is_to_be_typed_stands_in_a_block_whose_commands_are_run(page: Page) -> None:
    fences = [line.strip() for line in page.text.splitlines() if line.lstrip().startswith("```")]
    opened = [fence.removeprefix("```") for fence in fences[::2]]

    consoles = [block for block in page.blocks if block.language == "console"]
    run = [command for place in Place for command in page.commands(place)]

    assert fences[1::2] == ["```"] * len(opened)
    assert [block.language for block in page.blocks] == opened
    assert not {*opened} - NOT_TYPED - {"console"}, "write commands into a block of kind console, with `$ ` before each"
    assert not [line for block in page.blocks for line in block.stray_commands()], "write these into one too"
    assert len(run) == sum(len(re.findall(r"^\$ ", block.text, re.MULTILINE)) for block in consoles)


@pytest.mark.parametrize(
    "line",
    [
        "batchyard run more.yaml --reuse",
        "$ kubectl get batchtests",
        "  - helm package charts/batchyard",
        "docker build .",
        "make demo",
        "python -m pip wheel .",
    ],
)
def test_a_command_in_a_block_that_is_not_run_is_found(line: str) -> None:
    assert Block("text", f"first\n{line}\n", 1).stray_commands() == [line]
    assert Block("console", f"$ {line}\n", 1).stray_commands() == []


@pytest.mark.parametrize(
    "line",
    [
        "batchyard show [OPTIONS] {BATCH}",
        "batchyard run ──┬─ leader thread 0",
        "kubectl apply ──► API server",
        "batchyard: {enabled: true}",
        "RUN pip install --requirement /tmp/requirements.txt",
    ],
)
def test_usage_lines_drawings_and_files_are_no_commands(line: str) -> None:
    assert Block("text", f"{line}\n", 1).stray_commands() == []


def test_every_stand_in_stands_in_for_a_command_that_a_page_has() -> None:
    typed = [(page.name, command.text) for page in every_page() for place in Place for command in page.commands(place)]

    unused = [
        one.pattern
        for one in STAND_INS
        if not any(re.search(one.pages, name) and re.search(one.pattern, text) for name, text in typed)
    ]

    assert not unused
