"""How the rights of the manifest are held against the API server's audit log."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from cluster import rights
from cluster.account import NAME, rules
from cluster.bed import control_plane
from cluster.rights import BATCHES, CLUSTER, OWN, Right

if TYPE_CHECKING:
    from pathlib import Path

CLUSTER_ROLE = [
    {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["get", "create"]},
    {"apiGroups": [""], "resources": ["secrets"], "verbs": ["create"]},
    {"apiGroups": ["apiextensions.k8s.io"], "resources": ["customresourcedefinitions"], "verbs": ["watch"]},
]
ROLE = [{"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["batchyard-read"], "verbs": ["patch"]}]


def an_entry(verb: str, resource: str, namespace: Any = "team-a", **changes: Any) -> dict[str, Any]:
    reference = {"resource": resource, "namespace": namespace}
    reference |= {name: changes.pop(name) for name in ("apiGroup", "name", "subresource") if name in changes}
    return {
        "verb": verb,
        "user": {"username": "system:serviceaccount:system:batchyard"},
        "userAgent": "batchyard",
        "requestReceivedTimestamp": "2026-01-01T00:00:10Z",
        "objectRef": reference,
        "annotations": {"authorization.k8s.io/decision": "allow"},
        **changes,
    }


def a_log(folder: Path, *entries: dict[str, Any]) -> list[Path]:
    log = folder / "audit.log"
    # As the API server writes them.
    log.write_text("".join(json.dumps(entry, separators=(",", ":")) + "\n" for entry in entries))
    return [log]


def test_each_verb_on_each_kind_is_a_right_of_its_own() -> None:
    assert rights.granted(CLUSTER_ROLE, ROLE) == {
        Right(BATCHES, "batch", "jobs", "get"),
        Right(BATCHES, "batch", "jobs", "create"),
        Right(BATCHES, "", "secrets", "create"),
        Right(CLUSTER, "apiextensions.k8s.io", "customresourcedefinitions", "watch"),
        Right(OWN, "", "secrets", "patch", "batchyard-read"),
    }


def test_a_right_that_nobody_used_is_left_over(tmp_path: Path) -> None:
    kinds = an_entry("watch", "customresourcedefinitions", "", apiGroup="apiextensions.k8s.io")
    logs = a_log(tmp_path, an_entry("get", "jobs", apiGroup="batch", name="one"), kinds)
    granted = rights.granted(CLUSTER_ROLE, ROLE)

    left = granted - rights.used(granted, rights.requests(logs))

    assert left == {
        Right(BATCHES, "batch", "jobs", "create"),
        Right(BATCHES, "", "secrets", "create"),
        Right(OWN, "", "secrets", "patch", "batchyard-read"),
    }


def test_a_right_in_the_operators_own_namespace_is_not_used_elsewhere(tmp_path: Path) -> None:
    logs = a_log(tmp_path, an_entry("patch", "secrets", "team-a", name="batchyard-read"))
    granted = rights.granted(CLUSTER_ROLE, ROLE)

    assert rights.used(granted, rights.requests(logs)) == set()


def test_a_status_is_another_kind_than_what_it_is_of(tmp_path: Path) -> None:
    logs = a_log(tmp_path, an_entry("patch", "batchtests", apiGroup="batchyard.dev", subresource="status"))

    assert [request.resource for request in rights.requests(logs)] == ["batchtests/status"]


def test_what_people_and_others_with_a_service_account_ask_for_is_not_an_operators(tmp_path: Path) -> None:
    logs = a_log(
        tmp_path,
        an_entry("create", "secrets", user={"username": "admin"}),
        an_entry("create", "secrets", userAgent="curl/8"),
        an_entry("get", "secrets", user={"username": "system:serviceaccount:team-a:reader"}),
        an_entry("get", "", objectRef=None),
    )

    assert list(rights.requests(logs)) == []


def test_what_was_forbidden_is_told_unless_its_namespace_was_deleted_before(tmp_path: Path) -> None:
    forbidden: dict[str, Any] = {"annotations": {"authorization.k8s.io/decision": "forbid"}}
    deletion = an_entry("delete", "namespaces", "", name="gone", requestReceivedTimestamp="2026-01-01T00:00:05Z")
    deletion["objectRef"] = {"resource": "namespaces", "name": "gone"}
    logs = a_log(
        tmp_path,
        an_entry("list", "pods", "gone", **forbidden, requestReceivedTimestamp="2026-01-01T00:00:01Z"),
        deletion,
        an_entry("list", "pods", "gone", **forbidden),
        an_entry("list", "pods", "team-a", **forbidden),
    )

    refused = rights.refused(rights.requests(logs), rights.Changes(logs))

    assert [(request.namespace, request.at[-3:]) for request in refused] == [("gone", "01Z"), ("team-a", "10Z")]


def test_what_is_forbidden_after_a_rolebinding_was_taken_away_is_told_only_if_it_was_given_again(
    tmp_path: Path,
) -> None:
    forbidden: dict[str, Any] = {"annotations": {"authorization.k8s.io/decision": "forbid"}}
    admin = {"user": {"username": "admin"}}

    def at(second: int) -> dict[str, Any]:
        return {"requestReceivedTimestamp": f"2026-01-01T00:00:{second:02}Z"}

    logs = a_log(
        tmp_path,
        an_entry("delete", "rolebindings", "system", **admin, **at(1)),
        an_entry("list", "pods", **forbidden, **at(2)),
        an_entry("create", "rolebindings", "system", **admin, **at(3)),
        an_entry("list", "pods", **forbidden, **at(10)),
    )

    refused = rights.refused(rights.requests(logs), rights.Changes(logs))

    assert [request.at[-3:] for request in refused] == ["10Z"]


def test_operators_of_chosen_namespaces_are_told_by_their_account(tmp_path: Path) -> None:
    some = {"user": {"username": f"system:serviceaccount:system:{NAME}"}}
    logs = a_log(tmp_path, an_entry("get", "jobs"), an_entry("create", "jobs", **some))

    assert [request.verb for request in rights.of_some_namespaces(rights.requests(logs))] == ["create"]


def test_no_rule_of_the_manifest_allows_everything() -> None:
    every = [*rules("ClusterRole"), *rules("Role")]

    assert not [rule for rule in every for words in rule.values() if "*" in words]


def test_an_audit_log_that_begins_anew_goes_on_at_its_beginning(tmp_path: Path) -> None:
    control_plane.write_configuration(tmp_path)
    log = tmp_path / "logs" / "audit.log"
    rotated = log.with_name("audit-2026-01-01T00-00-00.000.log")
    rotated.write_text("old\n")
    with log.open("a") as server:
        server.write("before\n")
        server.flush()

        control_plane.forget_requests(tmp_path)
        server.write("after\n")

    assert log.read_text() == "after\n"
    assert not rotated.exists()
