"""What a trial on Ray costs beside the same work in Ray's own tasks, as a script of a few lines would do it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from plain_parts import FOLDER

LEAST_SHARE = 0.8


@pytest.mark.timeout(300)
@pytest.mark.proves("p0-ray-stub")
def test_trials_on_ray_reach_four_fifths_of_the_rate_of_rays_own_tasks() -> None:
    command = [sys.executable, "-m", "benchmarks.ray_overhead", "--trials", "40", "--rounds", "3"]

    done = subprocess.run(command, cwd=FOLDER.parent, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    ratios = json.loads(done.stdout)["ratioOfTrialsOnRay"]
    (share,) = (ratio for name, ratio in ratios.items() if "run the same graph" in name)
    assert share >= LEAST_SHARE, done.stdout
