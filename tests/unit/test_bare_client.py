"""The operator imports of the official client, and through Kopf, no more than it uses."""

from __future__ import annotations

import subprocess
import sys

import pytest

USED = "kubernetes.aio.client.rest"
UNUSED = ["requests", "google.auth", "oauthlib", "websocket", "urllib3", "kubernetes.dynamic", "kubernetes.aio.dynamic"]


def imported_by(statement: str) -> set[str]:
    """The modules that a Python of its own has after a statement."""
    script = f"{statement}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    return set(done.stdout.split())


def test_the_operator_is_imported_without_what_it_does_not_use() -> None:
    found = imported_by(f"import batchyard.cli.operator, {USED}, kubernetes.aio.config.kube_config, kopf")

    assert USED in found
    assert not found.intersection(UNUSED)


def test_a_client_that_was_imported_before_stays_whole() -> None:
    found = imported_by(f"import kubernetes, batchyard.cli.operator\nkubernetes.dynamic\nimport {USED}")

    assert "kubernetes.dynamic" in found


@pytest.mark.parametrize("package", ["no_such_package", "json.tool"])
def test_what_is_no_package_is_left_alone(package: str) -> None:
    found = imported_by(f"from batchyard.apiserver.bare import keep_bare\nkeep_bare({package!r})")

    assert package not in found
