"""What the tests put in the place of commands that cannot run as they are typed, each with the reason.

Everything else that is a command block of the documentation runs exactly as it stands there; for `docker` see
``docker_stand_in.sh``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class StandIn:
    """Another command in the place of what a pattern finds; ``{name}`` in it is a value of the test."""

    pattern: str
    instead: str
    reason: str
    pages: str = ""
    """A pattern for the pages that it is for; all by default."""


_NEWEST = (
    "batchyard list --limit 1 --output json"
    """ | python3 -c 'import json, sys; print(json.load(sys.stdin)["batches"][0]["id"])'"""
)
_EXECUTION = (
    "batchyard execution list docs-search --output json"
    """ | python3 -c 'import json, sys; print(json.load(sys.stdin)["executions"][0]["execution"])'"""
)
_PAUSED = (
    "batchyard execution run batchtest.yaml --combination bm25-first --case leftover-items --break-before read"
    """ --output json | python3 -c 'import json, sys; print(json.load(sys.stdin)["execution"])'"""
)
_HEAD = """tail -n 1 trail.jsonl | python3 -c 'import json, sys; print(json.load(sys.stdin)["head"])'"""

STAND_INS = (
    StandIn(
        r"^make (setup|demo|docs|golden)$",
        r"make -o .venv/.ready \1",
        "the environment is the one that the tests run in, which `make setup` made",
    ),
    StandIn(
        r"^make demo$",
        "make --dry-run demo",
        "README.md's own runs it whole, and once is enough",
        pages="docs/start-local.md",
    ),
    StandIn(
        r"^batchyard run examples/docs_search/batchtest.yaml$",
        "batchyard validate examples/docs_search/batchtest.yaml",
        "README.md's demo runs this file whole, and once is enough",
        pages="examples/docs_search/README.md",
    ),
    StandIn(r"^make test$", "make --dry-run test", "these tests are part of it"),
    StandIn(r"^make bench\b.*", "make --dry-run bench", "15 minutes on a machine that does nothing else"),
    StandIn(
        r"benchmarks/run\.py --(quick|only)",
        r"benchmarks/run.py --help --\1",
        "needs the peers and a machine that does nothing else",
    ),
    StandIn(
        r"benchmarks\.ray_overhead --trials 200 --rounds 5",
        "benchmarks.ray_overhead --help",
        "a minute and a half, and test_ray_rate runs a small one",
    ),
    StandIn(
        r"^batchyard (operator|worker)\b.*",
        r"\g<0> --help",
        "they serve until they are stopped; the cluster's tests run both. `--help` still refuses an unknown option",
    ),
    StandIn(r"^batchyard resume docs-search-3f9k2x", f'batchyard resume "$({_NEWEST})"', "ids are given by chance"),
    StandIn(
        r"^(batchyard audit verify --file trail.jsonl --head) 41c0\.\.\.",
        rf"batchyard audit export docs-search > trail.jsonl; \1 $({_HEAD})",
        "the example stands before the one that exports",
    ),
    StandIn(
        r"^batchyard parity \S+ kube:.*",
        "batchyard parity --help",
        "it wants one batch here and one in a cluster; docs/parity.md compares such two",
        pages="docs/cli.md",
    ),
    StandIn(
        r"^batchyard execution (?:resume .*--answer|pause).*",
        "batchyard execution resume --help",
        "no execution of the example asks, and none runs meanwhile; docs/executions.md answers one",
        pages="docs/cli.md",
    ),
    StandIn(
        r"^(batchyard execution (?:resume|stop)) x-4k2m9q7a",
        rf'\1 "$({_PAUSED})"',
        "the examples before have ended the one that there was",
        pages="docs/cli.md",
    ),
    StandIn(r"x-4k2m9q7a", f'"$({_EXECUTION})"', "ids are given by chance", pages="docs/cli.md"),
    StandIn(
        r"^batchyard import .*",
        r"\g<0> --help",
        "files of other tools that the example has not; docs/importing.md has some. It still refuses an unknown option",
        pages="docs/cli.md",
    ),
    StandIn(
        r"^batchyard run batchtest.yaml --amend docs-search",
        r"rm report.html junit.xml && batchyard run batchtest.yaml --quiet && \g<0>",
        "the examples before have left files among the code and run it on Ray: both must be as they were",
        pages="docs/cli.md",
    ),
    StandIn(r"\$GITHUB_STEP_SUMMARY", "summary.md", "GitHub sets it", pages="docs/cli.md"),
    StandIn(r"postgresql://me@db/batchyard", "'{postgres}'", "the tests have a PostgreSQL of their own"),
    StandIn(
        r"^batchyard bundle .* --provider KubeRay --workers 4\b",
        r"\g<0> --name on-ray",
        "a namespace has one BatchTest of a name, and the example before has made it",
        pages="docs/cli.md",
    ),
    StandIn(
        r"^batchyard bundle .* \| kubectl apply -f -$",
        r"\g<0> && kubectl wait --for=condition=Finished bt/docs-search --timeout=5m",
        "the examples that follow look at its results at once",
        pages="docs/cli.md",
    ),
    StandIn(
        r"^docker run --rm --entrypoint cat (\S+) (\S+)",
        r"kubectl run image-file -n default --rm --attach --quiet --restart=Never --image=\1 --command -- cat \2",
        "the cluster has the images, and there is no Docker",
    ),
    StandIn(
        r"^helm upgrade .* --set postgresql.existingSecret=.*",
        r"\g<0> --dry-run=server",
        "no PostgreSQL that pods can reach; test_deployed has one",
    ),
    StandIn(r"\bteam-a\b", "{namespace}", "a namespace of the tests"),
)

_IMAGE = re.compile(r"[\w.-]+/batchyard/(operator|runner):[\w.]+")

IMAGE_FILES = ("deploy", "charts")
"""The folders of the checkout whose files name the images."""


def as_it_runs(page: str, text: str, values: Mapping[str, str]) -> str:
    """Return a command as the tests run it."""
    for one in STAND_INS:
        if not one.pages or re.search(one.pages, page):
            text = re.sub(one.pattern, _filled(one.instead, values), text)
    return with_images(text, values)


def files_as_they_are(checkout: Path, values: Mapping[str, str]) -> None:
    """Let the manifests of a checkout name the images of the tests, as a reader's name those that they pushed."""
    for folder in IMAGE_FILES:
        for path in (checkout / folder).rglob("*"):
            if path.is_file() and path.suffix in {".yaml", ".md"}:
                path.write_text(with_images(path.read_text(encoding="utf-8"), values), encoding="utf-8")


def with_images(text: str, values: Mapping[str, str]) -> str:
    """Return a text that names the images of the tests where it names ours; as it is where there are none."""
    text = _IMAGE.sub(lambda found: values.get(found[1], found[0]), text)
    if "registry" in values:
        # The chart names the registry and the tag apart.
        text = re.sub(r"registry\.(mycompany\.example|example\.com)", values["registry"], text)
        text = re.sub(r'((?:new)?[tT]ag): (?:""|0\.1\.0)$', rf"\1: {values['tag']}", text, flags=re.MULTILINE)
    return text


def _filled(text: str, values: Mapping[str, str]) -> str:
    for name, value in values.items():
        text = text.replace(f"{{{name}}}", value)
    return text
