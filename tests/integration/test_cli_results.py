"""``list``, ``show``, ``compare``, ``audit`` and ``db`` on a store that a real run has filled."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from command_line import Bench, command, workflow

SPEC: dict[str, Any] = {
    "workflow": workflow("gate"),
    "variants": {"matrix": {"answer": ["yes", "no"]}},
    "cases": [
        {"name": "first", "input": {}, "expected": {"answer": "yes"}},
        {"name": "second", "input": {}, "expected": {"answer": "yes"}},
        {"name": "third", "input": {}, "expected": {"answer": "no"}},
    ],
    "evaluation": {"evaluators": [{"name": "exactMatch", "config": {"field": "answer"}}]},
}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A store with one finished batch, which the tests only read."""
    made = Bench(tmp_path_factory.mktemp("results"))
    done = made.run("run", made.write(**SPEC), "--quiet")
    assert done.returncode == 0, done.stderr
    return made


@pytest.fixture
def own(tmp_path: Path, bench: Bench) -> Bench:
    """A copy of that store, to be changed."""
    copy = Bench(tmp_path)
    copy.store.parent.mkdir()
    with closing(sqlite3.connect(bench.store)) as source, closing(sqlite3.connect(copy.store)) as target:
        source.backup(target)
    return copy


def batch_id(bench: Bench) -> str:
    return str(bench.json("list")["batches"][0]["id"])


# -- list and show -------------------------------------------------------------------------------------------------


def test_list_names_the_batch_with_its_phase(bench: Bench) -> None:
    shown = bench.run("list").stdout

    assert batch_id(bench) in shown
    assert "Succeeded" in shown


def test_looking_where_no_store_is_makes_none(tmp_path: Path) -> None:
    bench = Bench(tmp_path)

    listed, shown, checked = bench.run("list"), bench.run("show", "x"), bench.run("db", "check")

    assert (listed.returncode, shown.returncode, checked.returncode) == (0, 2, 0)
    assert list(tmp_path.iterdir()) == []


def test_show_ranks_the_combinations_and_names_failures(bench: Bench) -> None:
    shown = bench.run("show", "small").stdout

    assert shown.index("\nyes ") < shown.index("\nno ")
    assert "3 of 6 trials did not pass" in shown
    assert "Best: yes, score 0.6666" in shown


@pytest.mark.parametrize("reference", ["id", "prefix", "name"])
def test_a_batch_is_found_by_id_by_its_beginning_and_by_name(bench: Bench, reference: str) -> None:
    full = batch_id(bench)
    given = {"id": full, "prefix": full[:8], "name": "small"}[reference]

    assert bench.json("show", given)["batch"]["id"] == full


def test_show_lists_only_the_trials_with_the_outcome_that_is_asked_for(bench: Bench) -> None:
    failed = bench.json("show", "small", "--outcome", "Failed")["trials"]

    assert {trial["outcome"] for trial in failed} == {"Failed"}
    assert len(failed) == 3
    assert len(bench.run("show", "small", "--outcome", "Failed").stdout.splitlines()) == 4


def test_show_without_trials_has_none_in_its_document(bench: Bench) -> None:
    document = bench.json("show", "small")

    assert "trials" not in document
    assert document["counts"]["passed"] == 3


def test_show_one_trial_has_its_attempts_nodes_and_scores(bench: Bench) -> None:
    document = bench.json("show", "small", "--trial", "yes/third/0")

    (attempt,) = document["attempts"]
    assert attempt["outcome"] == "Failed"
    assert [boundary["node"] for boundary in attempt["boundaries"]] == ["wait"]
    assert attempt["scores"][0]["score"] == 0.0
    assert attempt["output"] == {"answer": "yes"}


def test_show_one_trial_names_the_folder_of_its_kept_files(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    file = bench.write(
        workflow={"factory": "writer:build", "source": {"path": "."}}, cases=[{"name": "one"}], repeats=1
    )
    (tmp_path / "writer.py").write_text(
        "from pathlib import Path\n"
        "from langgraph.graph import START, StateGraph\n"
        "def fail(state):\n"
        "    Path('evidence.txt').write_text('here')\n"
        "    raise RuntimeError('as it should')\n"
        "def build(variants):\n"
        "    graph = StateGraph(dict)\n"
        "    graph.add_node('fail', fail)\n"
        "    graph.add_edge(START, 'fail')\n"
        "    return graph\n",
        encoding="utf-8",
    )
    bench.run("run", file)

    (attempt,) = bench.json("show", "small", "--trial", "x/one/0")["attempts"]

    assert attempt["reason"] == "NodeRaised", attempt
    assert (tmp_path / attempt["files"] / "evidence.txt").read_text(encoding="utf-8") == "here"


@pytest.mark.parametrize("trial", ["yes/third/1", "yes/nope/0", "nope", "yes/third/-1", "yes/third/0/0", "yes/third/٣"])
def test_a_trial_that_the_batch_does_not_have_is_a_usage_error(bench: Bench, trial: str) -> None:
    assert bench.run("show", "small", "--trial", trial).returncode == 2


def test_of_a_batch_whose_process_was_killed_everything_counts_the_results(own: Bench) -> None:
    before = own.json("show", "small")
    stale = {"phase": "Running", "trials": {"total": 6, "pending": 2, "running": 2, "passed": 1, "failed": 1}}
    with closing(sqlite3.connect(own.store)) as database, database:
        database.execute("UPDATE batches SET phase = 'Running', message = '2 of 6', completed_at = NULL")
        database.execute("UPDATE documents SET status = ?", [json.dumps(stale)])

    shown, listed = own.json("show", "small", "--trials"), own.run("report", "small", "--format", "csv").stdout
    told, written = own.run("show", "small").stdout, own.run("report", "small", "--format", "markdown").stdout

    assert len(shown["trials"]) == len(listed.splitlines()) - 1 == 6
    assert {name: shown["counts"][name] for name in ("pending", "running", "passed")} == {
        "pending": 0,
        "running": 0,
        "passed": before["counts"]["passed"],
    }
    assert (shown["combinations"], shown["failures"]) == (before["combinations"], before["failures"])
    assert "6 of 6 trials finished" in told
    assert written.startswith("## No verdict yet&#58; 6 of 6 trials have ended.")


def test_compare_shows_case_by_case_who_passed(bench: Bench) -> None:
    shown = bench.run("compare", "small").stdout
    matrix = bench.json("compare", "small")["matrix"]

    row = next(line for line in shown.splitlines() if line.startswith("third"))
    assert row.split() == ["third", "0.0%", "100.0%"]
    assert {(cell["case"], cell["combination"]): cell["successRate"] for cell in matrix}["first", "yes"] == 1.0


def test_compare_shows_as_many_cases_as_asked_and_says_how_many_more_there_are(bench: Bench) -> None:
    shown = bench.run("compare", "small", "--limit", "1").stdout

    assert "2 more cases" in shown
    assert "third" not in shown


def test_compare_says_how_sure_the_differences_are(bench: Bench) -> None:
    shown = bench.run("compare", "small").stdout
    compared = bench.json("compare", "small")

    (contrast,) = compared["contrasts"]
    assert {compared["against"], contrast["combination"]} == {"yes", "no"}
    assert (contrast["cases"], contrast["confidence"]) == (3, 0.95)
    assert contrast["low"] < contrast["estimate"] < contrast["high"]
    assert f"against {compared['against']}" in shown
    assert compared["reliability"] == []  # no case was repeated


# -- audit ---------------------------------------------------------------------------------------------------------


def test_audit_list_is_filtered_by_type_trial_severity_and_number(bench: Bench) -> None:
    def types(*options: str) -> list[str]:
        return [entry["type"] for entry in bench.json("audit", "list", "small", *options)["entries"]]

    assert types("--type", "BatchAccepted", "--type", "BatchFinished") == ["BatchAccepted", "BatchFinished"]
    assert types("--trial", "no/third/0") == ["TrialPassed"]
    assert types("--severity", "warning") == ["TrialFailed"] * 3
    assert types("--limit", "1") == ["BatchFinished"]
    assert len(types("--limit", "0")) == len(types())


def test_a_trail_that_was_not_touched_is_intact(bench: Bench) -> None:
    verified = bench.run("audit", "verify", "small")

    assert verified.returncode == 0
    assert "intact" in verified.stdout


CHANGES = {
    "changed": "UPDATE audit_entries SET message = 'all was well' WHERE seq = 4",
    "missing": "DELETE FROM audit_entries WHERE seq = 4",
    "no type at all": "UPDATE audit_entries SET type = 'Invented' WHERE seq = 4",
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_trail_that_was_changed_ends_with_1_and_names_the_entry(own: Bench, change: str) -> None:
    with closing(sqlite3.connect(own.store)) as database, database:
        for (trigger,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            database.execute(f"DROP TRIGGER {trigger}")
        database.execute(change)

    verified = own.run("audit", "verify", "small")

    assert verified.returncode == 1
    assert "BROKEN" in verified.stdout
    assert "entry 4" in verified.stdout


def test_an_export_is_verified_without_a_store(bench: Bench, tmp_path: Path) -> None:
    elsewhere = Bench(tmp_path)
    (tmp_path / "trail.jsonl").write_text(bench.run("audit", "export", "small").stdout, encoding="utf-8")
    head = bench.json("show", "small")["audit"]["head"]

    whole = elsewhere.run("audit", "verify", "--file", "trail.jsonl", "--head", head)
    other = elsewhere.run("audit", "verify", "--file", "trail.jsonl", "--head", "0" * 64)

    assert (whole.returncode, other.returncode) == (0, 1)


def test_an_export_with_a_changed_byte_ends_with_1(bench: Bench, tmp_path: Path) -> None:
    content = bench.run("audit", "export", "small").stdout.encode()
    (tmp_path / "trail.jsonl").write_bytes(content.replace(b"Passed", b"\xffassed", 1))

    verified = Bench(tmp_path).run("audit", "verify", "--file", "trail.jsonl")

    assert verified.returncode == 1
    assert "BROKEN" in verified.stdout


def test_the_trail_is_exported_as_cloud_events_too(bench: Bench) -> None:
    lines = bench.run("audit", "export", "small", "--format", "cloudevents").stdout.splitlines()

    events = [json.loads(line) for line in lines]
    assert all(event["specversion"] == "1.0" for event in events)
    assert events[0]["type"] == "dev.batchyard.BatchAccepted"


# -- db ------------------------------------------------------------------------------------------------------------


def test_db_upgrade_makes_a_store_and_says_from_what_to_what(tmp_path: Path) -> None:
    bench = Bench(tmp_path)

    before, made, after = bench.json("db", "current"), bench.json("db", "upgrade"), bench.json("db", "current")

    assert (before["current"], made["before"], after["current"]) == (None, None, made["newest"])
    assert bench.store.is_file()


def test_db_check_finds_nothing_wrong_with_a_good_store(bench: Bench) -> None:
    assert bench.json("db", "check")["findings"] == []


def test_db_check_ends_with_1_if_rows_lost_their_batch(own: Bench) -> None:
    with closing(sqlite3.connect(own.store)) as database, database:
        database.execute("UPDATE attempts SET batch_id = 'gone' WHERE ordinal = 0")

    assert any(finding["severity"] == "critical" for finding in own.json("db", "check", exit_code=1)["findings"])


def test_db_check_repairs_after_it_made_a_copy_and_says_what_is_left(own: Bench) -> None:
    (name,) = [one["id"] for one in own.json("list")["batches"]]
    with closing(sqlite3.connect(own.store)) as database, database:
        database.execute("INSERT INTO documents SELECT 'gone', spec, status FROM documents")
        database.execute("UPDATE attempts SET batch_id = 'lost' WHERE ordinal = 0")

    refused = own.json("db", "check", "--repair", exit_code=1)
    with closing(sqlite3.connect(own.store)) as database, database:
        database.execute("UPDATE attempts SET batch_id = ? WHERE ordinal = 0", (name,))
    told = own.json("db", "check", "--repair")

    assert [(one["batch"], one["what"]) for one in told["repaired"]] == [
        ("gone", "rows that belonged to nothing were deleted")
    ]
    assert Path(told["backup"]).is_file()
    assert [one["kind"] for one in told["left"] if one["severity"] == "critical"] == []
    # What seems to be nobody's is left while a batch lacks a result, which no repair makes up.
    assert refused["repaired"] == []
    left = {finding["kind"] for finding in refused["left"] if finding["severity"] == "critical"}
    assert left == {"contradicted_results", "dangling_rows", "foreign_key", "missing_results"}


def test_another_programs_database_is_refused_with_4(bench: Bench, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "other.db")) as database, database:
        database.execute("CREATE TABLE theirs (id)")

    refused = bench.run("list", "--store", str(tmp_path / "other.db"))

    assert refused.returncode == 4
    assert "belongs to another program" in refused.stderr


# -- size ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def large(own: Bench) -> Bench:
    """A store whose batch has 100,000 trials, all but six of them copies of one row."""
    with closing(sqlite3.connect(own.store)) as database, database:
        columns = [row[1] for row in database.execute("PRAGMA table_info(attempts)")]
        chosen = ", ".join("n" if name == "ordinal" else name for name in columns)
        numbers = "WITH RECURSIVE numbers(n) AS (SELECT 6 UNION ALL SELECT n + 1 FROM numbers WHERE n < 99999)"
        copies = f"SELECT {chosen} FROM attempts, numbers WHERE ordinal = 0"  # noqa: S608
        database.execute(f"{numbers} INSERT INTO attempts ({', '.join(columns)}) {copies}")
    return own


def measured(bench: Bench, *arguments: str) -> tuple[float, int, int]:
    """Return the seconds, the peak memory in MiB and the lines printed of one command."""
    began = time.monotonic()
    process = subprocess.Popen(command(*arguments), cwd=bench.folder, env=bench.environment, stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout as lines:
        printed = sum(1 for _ in lines)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return time.monotonic() - began, usage.ru_maxrss // 1024, printed


def test_show_of_a_hundred_thousand_trials_answers_as_fast_as_one_that_finds_nothing(large: Bench) -> None:
    pairs = [(seconds_of(large, "show", "small"), seconds_of(large, "show", "nothing", code=2)) for _ in range(3)]

    assert min(found / nothing for found, nothing in pairs) < 2


def seconds_of(bench: Bench, *words: str, code: int = 0) -> float:
    """Return how long the command takes."""
    began = time.monotonic()
    assert bench.run(*words).returncode == code
    return time.monotonic() - began


def test_a_hundred_thousand_trials_are_printed_in_flat_memory(large: Bench) -> None:
    few = measured(large, "show", "small", "--outcome", "Failed", "--output", "json")
    many = measured(large, "show", "small", "--trials", "--output", "json")

    assert many[2] > 100_000
    assert many[1] < few[1] + 30


def test_a_hundred_thousand_trials_are_listed_in_flat_memory(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    few = measured(bench, "expand", bench.write("few.yaml", repeats=1))
    many = measured(bench, "expand", bench.write("many.yaml", repeats=25_000))

    assert many[2] == 100_000
    assert many[1] < few[1] + 30
