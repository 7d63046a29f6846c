"""``show``, ``list``, ``compare`` and ``audit`` with ``--kube``: a real read API behind a fake of the API server."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from batchyard.cli.options import OPERATOR_NAMESPACE, origin_of
from command_line import Bench
from kube_cli_bench import TOKEN, UID, a_cluster_with, a_filled_bench, batch_test

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fake_api_server import FakeApiServer


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A bench whose store has one finished batch, which the tests only read."""
    return a_filled_bench(tmp_path_factory.mktemp("filled"))


@pytest.fixture
def cluster(filled: Bench) -> Iterator[FakeApiServer]:
    """A cluster whose operator has that batch."""
    with a_cluster_with(filled) as server:
        yield server


@pytest.fixture
def bench(cluster: FakeApiServer, tmp_path: Path) -> Bench:
    """The command line with a kubeconfig for that cluster and no store of its own."""
    return Bench(tmp_path, {"KUBECONFIG": str(cluster.kubeconfig(tmp_path))})


# -- the same as locally ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ["show", "small", "--trials"],
        ["show", "small", "--outcome", "Failed", "--outcome", "NotRun"],
        ["compare", "small"],
        ["compare", "small", "--limit", "1"],
        ["audit", "list", "small"],
        ["audit", "list", "small", "--limit", "0", "--severity", "warning"],
        ["audit", "list", "small", "--limit", "4"],
        ["audit", "export", "small"],
        ["audit", "export", "small", "--format", "cloudevents"],
        ["list"],
        ["show", "small", "--output", "json"],
        ["show", "small", "--trials", "--output", "json"],
        ["compare", "small", "--output", "json"],
        ["audit", "list", "small", "--output", "json"],
        ["list", "--output", "json"],
    ],
    ids=" ".join,
)
def test_what_is_printed_is_what_is_printed_of_a_store_here(filled: Bench, bench: Bench, words: list[str]) -> None:
    here, there = filled.run(*words), bench.run(*words, "--kube")

    assert (there.returncode, there.stdout) == (here.returncode, here.stdout), there.stderr


def test_a_batch_here_is_compared_with_one_of_the_cluster(filled: Bench, bench: Bench) -> None:
    found = bench.json("parity", "small", "kube:small", "--store", str(filled.store), "-n", "team-a", "--strict")

    assert (found["equivalent"], found["compared"], found["total"]) == (True, 12, 0)


def test_advice_names_the_cluster_again(filled: Bench, bench: Bench) -> None:
    here, there = filled.run("show", "small"), bench.run("show", "small", "--kube", "--context", "here")

    assert "6 of 12 trials did not pass" in there.stdout
    assert there.stdout == here.stdout.replace("--outcome Failed", "--outcome Failed --kube --context here")


def test_advice_names_the_operators_namespace_if_it_is_not_the_usual_one() -> None:
    usual, other = (origin_of("", True, "", "team-a", where) for where in (OPERATOR_NAMESPACE, "by-a"))

    assert usual.options == " --kube --namespace team-a"
    assert other.options == " --kube --namespace team-a --operator-namespace by-a"


def test_a_trial_is_shown_without_files_which_went_with_its_pod(filled: Bench, bench: Bench) -> None:
    here = filled.json("show", "small", "--trial", "yes/second/2")
    there = bench.json("show", "small", "--trial", "yes/second/2", "--kube")

    assert there == {**here, "attempts": [{**attempt, "files": ""} for attempt in here["attempts"]]}


def test_a_trial_that_the_batch_does_not_have_is_a_usage_error(bench: Bench) -> None:
    refused = bench.run("show", "small", "--trial", "yes/third/9", "--kube")

    assert refused.returncode == 2
    assert "--trials --kube`" in refused.stderr


def test_a_batch_is_found_by_the_beginning_of_its_id_too(filled: Bench, bench: Bench) -> None:
    full = filled.json("list")["batches"][0]["id"]

    assert bench.json("show", full[:8], "--kube")["batch"]["id"] == full


def test_a_batch_whose_batch_test_was_deleted_is_still_shown(cluster: FakeApiServer, bench: Bench) -> None:
    cluster.batch_tests.clear()

    assert bench.json("show", "small", "--kube")["batch"]["phase"] == "Succeeded"


def test_the_namespace_is_the_contexts_unless_another_is_named(bench: Bench) -> None:
    assert bench.run("show", "small", "--kube", "-n", "team-a", "--context", "other").returncode == 0
    for elsewhere in (["--context", "other"], ["-n", "team-b"]):
        refused = bench.run("show", "small", "--kube", *elsewhere)
        assert refused.returncode == 2
        assert 'no batch in namespace team-b has the id or name "small"' in refused.stderr


def test_no_batches_in_a_namespace_is_said_so(bench: Bench) -> None:
    listed = bench.run("list", "--kube", "-n", "team-b")

    assert (listed.returncode, listed.stdout) == (0, "")
    assert "no batches in namespace team-b" in listed.stderr


# -- the trail and what the status says of it ------------------------------------------------------------------------


def test_a_trail_is_held_against_the_status_of_the_batch_test(filled: Bench, bench: Bench) -> None:
    here = filled.json("audit", "verify", "small")
    there = bench.json("audit", "verify", "small", "--kube")

    assert there == {**here, "anchored": 3}
    assert "status anchors it at entry 3" in bench.run("audit", "verify", "small", "--kube").stdout


@pytest.mark.parametrize("entries", [3, 10_000])
def test_a_trail_that_is_not_the_one_in_the_status_is_broken(
    cluster: FakeApiServer, bench: Bench, entries: int
) -> None:
    status = cluster.batch_tests["team-a", "small"]["status"]
    status["audit"] = {"entries": entries, "dropped": 0, "head": "0" * 64}

    verified = bench.run("audit", "verify", "small", "--kube")

    assert verified.returncode == 1
    assert ("it was rewritten" if entries == 3 else "entries are missing at the end") in verified.stdout


def test_a_trail_without_a_batch_test_says_that_nothing_anchors_it(cluster: FakeApiServer, bench: Bench) -> None:
    cluster.batch_tests.clear()

    verified = bench.run("audit", "verify", "small", "--kube")

    assert verified.returncode == 0
    assert "no BatchTest's status anchors it" in verified.stdout


def test_a_trail_whose_batch_test_may_not_be_read_says_so_and_not_that_nothing_anchors_it(
    cluster: FakeApiServer, bench: Bench
) -> None:
    cluster.refused = {"batchtests"}

    verified = bench.run("audit", "verify", "small", "--kube")

    assert verified.returncode == 0
    assert "not held against the BatchTest's status: you may not read BatchTest" in verified.stdout
    document = bench.json("audit", "verify", "small", "--kube")
    assert document["anchored"] is None
    assert 'resources: ["batchtests"]' in document["anchorHidden"]


# -- when not all can be had -----------------------------------------------------------------------------------------


AWAY = {
    "the operator's pod is away": ({"operator": None}, "no endpoints available"),
    "the operator is not installed": ({"has_operator": False}, "--operator-namespace"),
    "its Secret was deleted": ({"has_operator": False}, "somebody deleted the Secret, then try again in a minute"),
    "its Secret may not be read": (
        {"refused": {"secrets"}},
        'resources: ["secrets"], resourceNames: ["batchyard-read"]',
    ),
    "its Service may not be reached": ({"refused": {"services/proxy"}}, 'resources: ["services/proxy"]'),
    "its token is another": ({"read_token": "other"}, "no token that is right here"),
}


@pytest.mark.parametrize(("change", "said"), AWAY.values(), ids=AWAY.keys())
def test_show_falls_back_on_the_status_of_the_batch_test(
    cluster: FakeApiServer, bench: Bench, change: dict[str, Any], said: str
) -> None:
    for name, value in change.items():
        setattr(cluster, name, value)

    shown = bench.run("show", "small", "--kube")

    assert shown.returncode == 0, shown.stderr
    assert said in shown.stderr
    assert "Finished is True (Succeeded): all is done" in shown.stdout
    assert "small: Succeeded" in shown.stdout


@pytest.mark.parametrize(("change", "said"), AWAY.values(), ids=AWAY.keys())
@pytest.mark.parametrize("words", [["show", "small", "--trials"], ["compare", "small"], ["audit", "verify", "small"]])
def test_what_only_the_operator_knows_is_an_error_that_says_what_now(
    cluster: FakeApiServer, bench: Bench, words: list[str], change: dict[str, Any], said: str
) -> None:
    for name, value in change.items():
        setattr(cluster, name, value)

    refused = bench.run(*words, "--kube")

    assert (refused.returncode, refused.stdout) == (4, "")
    assert refused.stderr.startswith("error: ")
    assert said in refused.stderr


def test_the_document_of_a_status_has_its_conditions(cluster: FakeApiServer, bench: Bench) -> None:
    cluster.operator = None

    document = bench.json("show", "small", "--kube")

    assert document["batch"]["phase"] == "Succeeded"
    assert [condition["type"] for condition in document["conditions"]] == ["Finished"]
    assert "trials" not in document


def test_a_batch_test_that_was_applied_again_is_not_shown_as_its_predecessor(
    cluster: FakeApiServer, filled: Bench, bench: Bench
) -> None:
    applied = batch_test(filled, uid="another")
    applied["status"] = {"phase": "Pending", "message": "waiting"}
    cluster.batch_tests["team-a", "small"] = applied

    shown = bench.run("show", "small", "--kube")

    assert "not accepted this BatchTest yet" in shown.stderr
    assert "small: Pending: waiting" in shown.stdout
    assert "kubectl wait batchtest small --for=condition=Finished" in shown.stdout


def test_a_refused_batch_test_is_found_under_the_uid_of_its_generation(
    cluster: FakeApiServer, filled: Bench, bench: Bench
) -> None:
    cluster.batch_tests["team-a", "small"] = batch_test(filled, uid=UID.partition("#")[0])

    assert bench.run("show", "small", "--kube").stderr == ""


def test_a_batch_test_without_a_status_is_shown_as_pending(cluster: FakeApiServer, filled: Bench, bench: Bench) -> None:
    cluster.operator = None
    applied = batch_test(filled)
    del applied["status"]
    cluster.batch_tests["team-a", "small"] = applied

    assert "small: Pending" in bench.run("show", "small", "--kube").stdout


def test_batch_tests_that_may_not_be_read_hide_nothing_that_the_operator_may_tell(
    cluster: FakeApiServer, bench: Bench
) -> None:
    cluster.refused = {"batchtests"}

    assert bench.run("show", "small", "--kube").returncode == 0


def test_when_nothing_may_be_read_the_first_missing_rule_is_named(cluster: FakeApiServer, bench: Bench) -> None:
    cluster.refused = {"batchtests", "secrets"}

    refused = bench.run("show", "small", "--kube")

    assert refused.returncode == 4
    assert 'apiGroups: ["batchyard.dev"], resources: ["batchtests"], verbs: ["get"]' in refused.stderr


def test_a_cluster_that_knows_no_batch_tests_is_said_so(cluster: FakeApiServer, bench: Bench) -> None:
    cluster.knows_batch_tests = False

    refused = bench.run("show", "small", "--kube")

    assert refused.returncode == 4
    assert "batchtests.batchyard.dev" in refused.stderr
    assert "install" in refused.stderr


def test_an_unknown_batch_is_a_usage_error(bench: Bench) -> None:
    refused = bench.run("show", "nope", "--kube", "--output", "json")

    assert refused.returncode == 2
    assert json.loads(refused.stdout)["error"]["type"] == "BatchNotFound"


# -- no cluster at all -----------------------------------------------------------------------------------------------


def test_without_a_kubeconfig_the_way_to_one_is_named(tmp_path: Path) -> None:
    refused = Bench(tmp_path).run("show", "small", "--kube")

    assert refused.returncode == 4
    assert "KUBECONFIG" in refused.stderr


def test_a_context_that_does_not_exist_is_named(bench: Bench) -> None:
    refused = bench.run("list", "--kube", "--context", "prod")

    assert refused.returncode == 4
    assert "prod" in refused.stderr


def test_an_api_server_that_does_not_answer_is_named(bench: Bench) -> None:
    refused = bench.run("show", "small", "--kube", "--context", "nowhere")

    assert refused.returncode == 4
    assert "http://127.0.0.1:1" in refused.stderr


def test_credentials_that_are_not_accepted_are_said_so(cluster: FakeApiServer, bench: Bench, tmp_path: Path) -> None:
    cluster.kubeconfig(tmp_path, user="nobody")

    refused = bench.run("show", "small", "--kube")

    assert refused.returncode == 4
    assert "credentials" in refused.stderr


@pytest.mark.parametrize(
    "options", [["--kube", "--store", "x.db"], ["--namespace", "team-a"], ["--context", "here"]], ids=" ".join
)
def test_options_that_contradict_each_other_are_a_usage_error(bench: Bench, options: list[str]) -> None:
    refused = bench.run("show", "small", *options)

    assert refused.returncode == 2
    assert "--kube" in refused.stderr


def test_no_token_is_ever_printed(cluster: FakeApiServer, bench: Bench) -> None:
    cluster.operator = None

    said = bench.run("--debug", "show", "small", "--trials", "--kube")

    assert TOKEN not in said.stdout + said.stderr


def test_a_local_command_imports_nothing_of_a_cluster(filled: Bench) -> None:
    script = (
        "import sys; from batchyard.cli.main import run; run(['show', 'small']);"
        "sys.exit(any(name in sys.modules for name in ('kubernetes', 'aiohttp', 'batchyard.cli.kube')))"
    )

    assert subprocess.run([sys.executable, "-c", script], env=filled.environment, check=False).returncode == 0
