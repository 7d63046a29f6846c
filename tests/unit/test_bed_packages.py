"""What the test bed installs does not begin to run by itself."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from cluster.bed.packages import no_service_starts

if TYPE_CHECKING:
    from pathlib import Path


def test_while_packages_are_installed_no_service_may_start_and_afterwards_all_is_as_before(tmp_path: Path) -> None:
    policy = tmp_path / "policy-rc.d"

    with no_service_starts(policy):
        answer = subprocess.run([policy, "prometheus", "start"], check=False).returncode

    # "Action forbidden by policy", in Debian's words.
    assert answer == 101
    assert not policy.exists()


def test_a_machines_own_policy_is_left_alone(tmp_path: Path) -> None:
    policy = tmp_path / "policy-rc.d"
    policy.write_text("its own")

    with no_service_starts(policy):
        during = policy.read_text()

    assert during == policy.read_text() == "its own"
