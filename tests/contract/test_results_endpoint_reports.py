"""The report of a batch at the operator's read API: the file that ``batchyard report`` writes, to whoever may read."""

from __future__ import annotations

import io
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from batchyard.clock import SystemClock
from batchyard.engine.cluster_ports import ClusterRef
from batchyard.kube import read_api
from batchyard.kube.limits import Limits
from batchyard.kube.server import App, Router
from batchyard.reports.html import policy, write_html
from batchyard.reports.markdown import write_markdown
from batchyard.store.opening import open_cluster_store
from batchyard.store.pages import StoreReader
from batchyard.store.tables import cluster_batches
from batchyard.testing.store_builders import a_batch, a_running_batch
from command_line import TESTS
from endpoint_bench import served
from report_builders import HOSTILE, Made, MadeReader
from runner_bench import await_true

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path
    from typing import IO

    from batchyard.kube.read_api import Reader
    from batchyard.reports.source import Source
    from batchyard.store.cluster import SqlClusterStore
    from endpoint_bench import Served

TOKEN = "r" * 64
PATH = "/v1/read/report?reference=docs-search&namespace=team-a"
KUBE = " --kube --namespace team-a"


def app_of(reader: Reader, limits: Limits) -> App:
    return App(Router(read_api.routes(reader, TOKEN, limits), limits=limits, clock=SystemClock(), meter=None), limits)


def asking(reader: Reader, limits: Limits | None = None) -> AbstractContextManager[Served]:
    """Serve the read API over a reader."""
    return served(lambda: app_of(reader, limits or Limits()))


def allowed(endpoint: Served) -> Served:
    """Return the endpoint for one who has the token."""
    return replace(endpoint, headers={"X-Batchyard-Authorization": f"Bearer {TOKEN}"})


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Served]:
    """A read API over a batch whose names and messages are hostile."""
    with asking(MadeReader(Made(text=HOSTILE))) as running:
        yield allowed(running)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlClusterStore]:
    """A store with the ten trials of a batch that has not ended."""
    with closing(open_cluster_store(str(tmp_path / "store.db"))) as opened:
        session = a_running_batch(opened, "b1")
        opened.commit(session, results=[(result, True) for result in Made().results()], entries=[])
        yield opened


def of_namespace(store: SqlClusterStore, batch_id: str, namespace: str) -> None:
    """Let a batch be of a BatchTest in a namespace."""
    ref = ClusterRef(namespace, "nightly", f"uid-{batch_id}")
    with store.engine.begin() as connection:
        row = {"batch_id": batch_id, "namespace": ref.namespace, "name": ref.name, "uid": ref.uid}
        connection.execute(cluster_batches.insert(), row)


# -- what is told ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "content_type", "write"),
    [
        ("", "text/html; charset=utf-8", write_html),
        ("&format=html", "text/html; charset=utf-8", write_html),
        ("&format=markdown", "text/markdown; charset=utf-8", write_markdown),
    ],
)
def test_the_report_is_the_one_that_the_command_writes(
    endpoint: Served, asked: str, content_type: str, write: Callable[[Source, IO[str]], None]
) -> None:
    expected = io.StringIO()
    write(replace(Made(text=HOSTILE).source(), options=KUBE), expected)

    answered = endpoint.ask(PATH + asked)

    assert (answered.status, answered.headers["Content-Type"]) == (200, content_type)
    assert answered.body.decode() == expected.getvalue()


def test_a_batch_that_runs_gives_the_report_of_what_it_has_so_far(store: SqlClusterStore) -> None:
    with asking(StoreReader(store)) as endpoint:
        answered = allowed(endpoint).ask("/v1/read/report?reference=b1")

    assert b"<h1>No verdict yet: " in answered.body
    assert b"This file has everything about 10 of 10 trials" in answered.body
    assert b"batchyard show b1 --kube --trial ID" in answered.body


def test_what_was_lost_to_the_baseline_is_told_as_far_as_it_is_known_without_the_states() -> None:
    with asking(MadeReader(Made(cases=50), baseline="combination-1")) as endpoint:
        told = allowed(endpoint).ask(f"{PATH}&format=markdown").body.decode()

    assert "### Lost to the baseline" in told
    assert "node read failed" in told


def test_making_reports_takes_nothing_that_the_operators_image_does_not_have() -> None:
    script = (
        "import sys\n"
        "for name in ('ray', 'langgraph', 'langchain_core', 'ormsgpack', 'pyarrow'): sys.modules[name] = None\n"
        "sys.path += sys.argv[1:]\n"
        "from batchyard.kube.read_report import FORMATS, written\n"
        "from report_builders import Made, MadeReader\n"
        "reader = MadeReader(Made(cases=50), baseline='combination-1')\n"
        "print(all(written(reader, 'b1', '', one, lambda: False) for one in FORMATS.values()))"
    )

    done = subprocess.run([sys.executable, "-c", script, str(TESTS)], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr


def test_it_is_never_packed_because_an_api_server_cannot_hand_on_every_packed_page(endpoint: Served) -> None:
    answered = endpoint.ask(PATH, headers={"Accept-Encoding": "gzip, deflate, br"})

    assert "Content-Encoding" not in answered.headers
    assert answered.body == endpoint.ask(PATH).body


def test_a_browser_is_told_to_show_it_and_to_do_nothing_else_with_it(endpoint: Served) -> None:
    headers = endpoint.ask(PATH).headers

    assert headers["Content-Security-Policy"] == f"{policy()}; frame-ancestors 'none'; sandbox allow-scripts"
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert not {"Server", "Set-Cookie", "Access-Control-Allow-Origin"} & set(headers)


# -- who may ask, and what -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("header", ["Authorization", "X-Batchyard-Authorization"])
def test_the_token_for_reading_opens_it_in_either_header(endpoint: Served, header: str) -> None:
    assert replace(endpoint, headers={}).ask(PATH, headers={header: f"Bearer {TOKEN}"}).status == 200


@pytest.mark.parametrize("given", [None, "", f"Basic {TOKEN}", f"Bearer {TOKEN}x"])
@pytest.mark.parametrize("path", [PATH, "/v1/read/report?reference=nope", "/v1/read/report?format=docx"])
def test_without_the_right_token_nothing_is_told(endpoint: Served, path: str, given: str | None) -> None:
    refused = replace(endpoint, headers={}).ask(path, headers={"X-Batchyard-Authorization": given})

    assert (refused.status, refused.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert refused.json == {"error": refused.json["error"]}


def test_a_token_in_the_address_opens_nothing(endpoint: Served) -> None:
    assert replace(endpoint, headers={}).ask(f"{PATH}&token={TOKEN}").status == 401


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"])
def test_it_can_only_be_read(endpoint: Served, method: str) -> None:
    refused = endpoint.ask(PATH, method=method)

    assert (refused.status, refused.headers["Allow"]) == (405, "GET")


@pytest.mark.parametrize("asked", ["&format=junit", "&format=", "&format=html&format=html", "&batch=b1", "&x"])
def test_what_it_does_not_take_is_refused_with_a_sentence(endpoint: Served, asked: str) -> None:
    refused = endpoint.ask(PATH + asked)

    assert refused.status == 400
    assert refused.json["error"]


def test_a_batch_is_found_as_the_other_reads_find_it(store: SqlClusterStore) -> None:
    store.create_batch(a_batch("b2", "nightly", minutes=1))
    of_namespace(store, "b2", "team-a")
    statuses = {}

    with asking(StoreReader(store)) as endpoint:
        for query in ("nightly&namespace=team-a", "b2", "nightly&namespace=team-b", "nope", "", "b"):
            statuses[query] = allowed(endpoint).ask(f"/v1/read/report?reference={query}").status

    assert statuses == {
        "nightly&namespace=team-a": 200,
        "b2": 200,
        "nightly&namespace=team-b": 404,
        "nope": 404,
        "": 404,
        "b": 409,
    }


@pytest.mark.parametrize(
    ("damage", "status", "said"),
    [
        ("UPDATE attempts SET outcome = 'Nonsense' WHERE ordinal = 3", 500, "row of trial"),
        ("DROP TABLE audit_entries", 503, "no such table"),
        ("UPDATE documents SET status = '{\"phase\": 7}'", 500, "changed or damaged"),
    ],
)
def test_a_store_that_cannot_be_read_is_no_half_report(
    store: SqlClusterStore, tmp_path: Path, damage: str, status: int, said: str
) -> None:
    with closing(sqlite3.connect(tmp_path / "store.db")) as database, database:
        database.execute(damage)

    with asking(StoreReader(store)) as endpoint:
        refused = allowed(endpoint).ask("/v1/read/report?reference=b1")

    assert refused.status == status
    assert said in refused.json["error"]


# -- what it costs the others ----------------------------------------------------------------------------------------


class Slow:
    """What a reader does before each row: it waits until it is let go on, and counts."""

    def __init__(self) -> None:
        self.rows, self.begun, self.go_on = 0, threading.Event(), threading.Event()

    def __call__(self) -> None:
        self.rows += 1
        self.begun.set()
        assert self.go_on.wait(30)


def test_while_one_is_made_others_are_answered_and_a_second_is_told_to_come_again() -> None:
    slow, answers = Slow(), []
    with asking(MadeReader(Made(), slow), Limits(readers=2, patience_seconds=0.1)) as running:
        endpoint = allowed(running)
        first = threading.Thread(target=lambda: answers.append(endpoint.ask(PATH)))
        first.start()
        assert slow.begun.wait(30)

        others = [endpoint.ask("/v1/read/batches"), endpoint.ask("/v1/read/finished?batch=b1"), endpoint.ask(PATH)]
        slow.go_on.set()
        first.join(30)

    assert [answer.status for answer in [*others, *answers]] == [200, 200, 503, 200]
    assert others[2].headers["Retry-After"] == "1"


def test_whoever_leaves_leaves_nobody_reading_for_them() -> None:
    slow, made, apps = Slow(), Made(cases=2_000), list[App]()
    limits = Limits(patience_seconds=20)

    def app() -> App:
        apps.append(app_of(MadeReader(made, slow), limits))
        return apps[0]

    with served(app) as running:
        endpoint = allowed(running)
        with closing(endpoint.connection()) as connection:
            connection.request("GET", PATH, headers=dict(endpoint.headers))
            assert slow.begun.wait(30)
        await_true(lambda: all(one.transport is None for one in apps[0].connections), "nobody is connected")

        slow.go_on.set()

        assert endpoint.ask(f"{PATH}&format=markdown").status == 200
        # The second one reads each trial once.
        assert slow.rows < 2 * made.total
