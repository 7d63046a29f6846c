"""Every command on a batch that somebody changed by hand: a clear error, and the other batches as before."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from command_line import Bench, workflow

if TYPE_CHECKING:
    from pathlib import Path

GOOD, DAMAGED = "good", "damaged"
CHILD = """
import contextlib, io, json, sys
from batchyard.cli.main import run
told = {}
for line in json.loads(sys.argv[1]):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(line.split())
    told[line] = code, out.getvalue(), err.getvalue()
json.dump(told, sys.stdout)
"""
ABOUT_ONE = (
    "show damaged", "show damaged --trials", "show damaged --trial yes/first/0", "compare damaged",
    "report damaged --out report.html", "report damaged --format junit", "resume damaged",
    "run damaged.yaml --amend damaged", "execution list damaged", "parity damaged good",
)  # fmt: skip
OF_ALL = ("list", "list --output json", "db check", "run damaged.yaml --reuse --quiet", "show good", "compare good")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A store with two finished batches."""
    made = Bench(tmp_path)
    cases = [{"name": "first", "input": {}, "expected": {"answer": "yes"}}]
    for name in (GOOD, DAMAGED):
        file = made.write(
            f"{name}.yaml", workflow=workflow("gate"), variants={"matrix": {"answer": ["yes", "no"]}}, cases=cases
        )
        document = json.loads((tmp_path / file).read_text())
        document["metadata"]["name"] = name
        (tmp_path / file).write_text(json.dumps(document))
        done = made.run("run", file, "--quiet")
        assert done.returncode == 0, done.stderr
    return made


def change(bench: Bench, statement: str) -> None:
    with closing(sqlite3.connect(bench.store)) as database, database:
        (batch_id,) = database.execute("SELECT id FROM batches WHERE name = 'damaged'").fetchone()
        for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            database.execute(f"DROP TRIGGER {name}")
        database.execute(statement, {"id": batch_id})


def told(bench: Bench, *lines: str) -> dict[str, Any]:
    """Return code, output and errors of each command, all run in one process."""
    words = [sys.executable, "-c", CHILD, json.dumps(lines)]
    done = subprocess.run(
        words, cwd=bench.folder, env=bench.environment, capture_output=True, text=True, check=True, timeout=110
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE documents SET spec = '[]' WHERE batch_id = :id",
        "UPDATE documents SET status = '{' WHERE batch_id = :id",
        "UPDATE batches SET phase = 'Undone' WHERE id = :id",
        "UPDATE batches SET accepted_at = 'soon' WHERE id = :id",
    ],
)
def test_a_damaged_batch_is_an_error_of_its_place_that_says_what_to_do(bench: Bench, statement: str) -> None:
    change(bench, statement)

    for line, (code, _, err) in told(bench, *ABOUT_ONE).items():
        assert code == 4, line
        assert "was changed or damaged: " in err, line
        assert "restore a back-up, see docs/database.md" in err, line
        assert "unexpected" not in err, line


@pytest.mark.proves("integrity")
def test_the_other_batches_are_shown_and_run_beside_a_damaged_one(bench: Bench) -> None:
    change(bench, "UPDATE documents SET status = '[]' WHERE batch_id = :id")

    found = told(bench, *OF_ALL)

    assert {line: code for line, (code, _, _) in found.items()} == dict(zip(OF_ALL, (4, 4, 1, 0, 0, 0), strict=True))
    listed = json.loads(found["list --output json"][1])
    assert [one["name"] for one in listed["batches"]] == [GOOD]
    assert len(listed["damaged"]) == 1
    assert GOOD in found["list"][1]
    assert "status is []; restore a back-up" in found["list"][2]
    assert "unreadable_document" in found["db check"][1]


def test_a_result_that_cannot_be_read_is_named_with_its_trial(bench: Bench) -> None:
    change(bench, "UPDATE attempts SET metrics = '3' WHERE batch_id = :id AND ordinal = 0")

    code, _, err = told(bench, "show damaged --trials")["show damaged --trials"]

    assert code == 4
    assert "the row of trial yes/first/0 in batch damaged-" in err
    assert "metrics is 3" in err
