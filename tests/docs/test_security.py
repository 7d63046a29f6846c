"""What the security model says of the operator's rights is what the manifest gives it."""

from __future__ import annotations

import re
from pathlib import Path

from cluster import rights
from cluster.account import rules
from cluster.rights import BATCHES, CLUSTER, OWN, Right

SECURITY = Path(__file__).parents[2] / "docs" / "security.md"
PLACES = {"where BatchTests are": BATCHES, "the cluster": CLUSTER, "its own namespace": OWN}


def rights_in_the_table() -> list[Right]:
    """Return each right that the page's table has, one for each verb."""
    _, _, table = SECURITY.read_text(encoding="utf-8").partition("<!-- rights -->")
    rows = re.findall(r"^\| (.+) \| (\S+) \| (\S+?)(?: `(\S+)`)? \| ([a-z, ]+) \| .+ \|$", table, re.MULTILINE)
    return [
        Right(PLACES[place], "" if group == "core" else group, kind, verb, name)
        for place, group, kind, name, verbs in rows
        if place in PLACES
        for verb in verbs.split(", ")
    ]


def test_the_table_of_rights_is_the_manifests() -> None:
    found = rights_in_the_table()

    assert len(found) == len(set(found))
    assert set(found) == rights.granted(rules("ClusterRole"), rules("Role"))
