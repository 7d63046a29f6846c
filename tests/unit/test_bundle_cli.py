"""``batchyard bundle`` as it is typed: what goes to standard output, what does not, and how the YAML is written."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest
import yaml

from batchyard.cli.manifests import yaml_text
from batchyard.engine.config_maps import Owner, code_map
from bundle_bench import a_batch_test, a_file, bundled
from command_line import Bench, command

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_yaml_documents_are_printed_for_kubectl(bench: Bench) -> None:
    path = a_file(bench.folder, description="ü: yes")

    done = bench.run("bundle", str(path))

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("# Made by `batchyard bundle`: 4 trials (4 combinations x 1 case)\n---\n")
    assert list(yaml.safe_load_all(done.stdout)) == list(bundled(path).objects)


def test_the_same_files_give_the_same_bytes_whatever_the_file_is_called_and_the_terminal_can_show(bench: Bench) -> None:
    path = a_file(bench.folder, description="ü")

    first = subprocess.run(command("bundle", str(path)), env=bench.environment, capture_output=True, check=True).stdout
    plain = {**bench.environment, "LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONHASHSEED": "7"}
    second = subprocess.run(
        command("bundle", "batch.yaml"), cwd=bench.folder, env=plain, capture_output=True, check=True
    ).stdout

    assert first == second
    assert "ü".encode() in first


def test_one_list_is_printed_as_json(bench: Bench) -> None:
    path = a_file(bench.folder)

    document = bench.json("bundle", str(path), "--provider", "KubeRay", "--workers", "2", "--namespace", "team-a")

    assert (document["apiVersion"], document["kind"]) == ("v1", "List")
    assert [item["kind"] for item in document["items"]] == ["ConfigMap", "BatchTest"]
    assert document["items"][1]["spec"]["environment"]["kubeRay"]["workers"]["replicas"] == 2
    assert {item["metadata"]["namespace"] for item in document["items"]} == {"team-a"}


def test_of_a_file_with_faults_nothing_is_printed_but_the_faults(bench: Bench) -> None:
    path = a_file(bench.folder, repeats=0, environment={"provider": "Ray"})

    done = bench.run("bundle", str(path), "--workers", "2")

    assert (done.returncode, done.stdout) == (2, "")
    assert "3 faults" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_faults_are_a_document_when_json_is_asked_for(bench: Bench) -> None:
    path = a_file(bench.folder, repeats=0)

    document = bench.json("bundle", str(path), exit_code=2)

    assert [fault["path"] for fault in document["error"]["faults"]] == ["spec.repeats"]


@pytest.mark.parametrize(
    "arguments",
    [["--provider", "Ray"], ["--provider", "x"], ["--workers", "-1"], ["--workers", "1001"], ["--workers", "x"], ["y"]],
)
def test_options_that_are_none_are_usage_errors(bench: Bench, arguments: list[str]) -> None:
    path = a_file(bench.folder)

    done = bench.run("bundle", str(path), *arguments)

    assert (done.returncode, done.stdout) == (2, "")


def test_a_file_that_is_not_there_is_a_fault(bench: Bench) -> None:
    done = bench.run("bundle", "nowhere.yaml")

    assert (done.returncode, done.stdout) == (2, "")


def test_standard_input_is_bundled(bench: Bench) -> None:
    path = a_file(bench.folder)

    done = bench.run("bundle", "-", "--name", "other", stdin=path.read_text())

    assert yaml.safe_load(done.stdout.split("---\n")[-1])["metadata"]["name"] == "other"


def test_notices_go_to_standard_error(bench: Bench) -> None:
    path = a_file(bench.folder)
    (bench.folder / "facts.db").write_text("")

    done = bench.run("bundle", str(path))

    assert "facts.db" in done.stderr
    assert "left out" not in done.stdout


def test_a_reader_may_go_away_early(bench: Bench) -> None:
    path = a_file(bench.folder)
    (bench.folder / "words.txt").write_text("word\n" * 100_000)

    with subprocess.Popen(
        command("bundle", str(path)), env=bench.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        said = process.stderr.read()

    assert process.returncode == 0
    assert b"Traceback" not in said
    assert b"Broken" not in said


# -- YAML --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        *("a", "a\n", "a\n\n", "\n", "\n\n", "\na", "a \n \n", "", " "),
        *(" a\n", "\ta", "a\n\tb\n", "---\n", "a: b\n# c", '"\\', "ü"),
    ],
)
@pytest.mark.parametrize("loader", [yaml.SafeLoader, yaml.CSafeLoader])
def test_a_file_is_written_as_it_is(text: str, loader: type[yaml.SafeLoader]) -> None:
    made = code_map(Owner("demo"), {"first": text.encode(), "second": b"x"})

    assert list(yaml.load_all(yaml_text([made, made], "two"), Loader=loader)) == [made, made]


def test_a_file_can_be_read_by_people() -> None:
    made = code_map(Owner("demo"), {"graph.py": b"def build(variants):\n\treturn 1  \n\n\nX = '\xc3\xbc'\n"})

    assert yaml_text([made], "x").endswith(
        "data:\n  graph.py: |\n    def build(variants):\n    \treturn 1  \n\n\n    X = 'ü'\n"
    )


@pytest.mark.parametrize("word", ["y", "No", "1e3", "0o17", "012", "0x1f", "null", "~", "1:30", "=", "2024-01-01"])
def test_words_that_some_reader_takes_for_something_else_are_quoted(word: str) -> None:
    document = a_batch_test(initialState={word: word})

    text = yaml_text([document], "x")

    assert f'"{word}": "{word}"' in text
    assert yaml.safe_load(text) == document


def test_no_two_places_share_a_value_by_an_alias() -> None:
    shared = {"a": [1]}

    text = yaml_text([a_batch_test(initialState={"x": shared, "y": shared})], "x")

    assert json.dumps(yaml.safe_load(text)["spec"]["initialState"]) == '{"x": {"a": [1]}, "y": {"a": [1]}}'
    assert "&" not in text
