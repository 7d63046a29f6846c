"""What stands in for Docker takes what the Dockerfile takes, and nothing else."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from docs.pages import CHECKOUT

STAND_IN = Path(__file__).with_name("docker_stand_in.sh")


def docker(command: str) -> subprocess.CompletedProcess[str]:
    """Run a command of Docker's in the checkout by what stands in for it."""
    words = ["sh", str(STAND_IN), *command.split()]
    return subprocess.run(words, cwd=CHECKOUT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "command",
    [
        "build --target operator --build-arg VERSION=0.1.0 --build-arg PYTHON_IMAGE=python --tag operator:0.1.0 .",
        "build --target runner -t runner:0.1.0 .",
        "build --secret id=pip-config,src=pip.conf --secret id=ca-bundle,src=ca.pem .",
        "push runner:0.1.0",
    ],
)
def test_what_the_dockerfile_takes_is_taken(command: str) -> None:
    done = docker(command)

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("build --target worker .", "the target worker"),
        ("build --build-arg VERSIO=0.1.0 .", "the argument VERSIO"),
        ("build --secret id=pip,src=pip.conf .", "the secret id=pip,src=pip.conf"),
        ("build --traget runner .", "--traget is not known"),
        ("build --target runner", "does not end with the folder"),
        ("build --tag runner:0.1.0", "does not end with the folder"),
        ("buidl .", "buidl is not known"),
    ],
)
def test_what_the_dockerfile_does_not_have_is_refused_by_its_name(command: str, why: str) -> None:
    done = docker(command)

    assert done.returncode == 2
    assert why in done.stderr
