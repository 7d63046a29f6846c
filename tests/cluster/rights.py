"""What the operators may do, by the manifest, and what they did, by the API server's audit log."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from cluster.account import CLUSTER_WIDE, NAME, PEOPLE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

OWN, BATCHES, CLUSTER = "in its own namespace", "where BatchTests are", "of the cluster"
_ACCOUNTS = "system:serviceaccount:"
_MOMENT = timedelta(seconds=2)
_AGENTS = ("batchyard", "kopf/")


@dataclass(frozen=True, slots=True, order=True)
class Right:
    """One thing that is allowed; ``name`` "" is every object of the kind."""

    where: str
    group: str
    resource: str
    verb: str
    name: str = ""

    def covers(self, request: Request) -> bool:
        """Return whether this right allows the request."""
        if (self.group, self.resource, self.verb) != (request.group, request.resource, request.verb):
            return False
        if self.name not in {"", request.name}:
            return False
        # What lies in no namespace is only asked for as such; all else may be, of all namespaces at once.
        return self.where != OWN or request.namespace == request.own


@dataclass(frozen=True, slots=True)
class Request:
    """One request of an operator to the API server."""

    account: str
    own: str
    at: str
    verb: str
    group: str
    resource: str
    namespace: str
    name: str
    allowed: bool


def granted(cluster_role: Iterable[Mapping[str, Any]], role: Iterable[Mapping[str, Any]]) -> set[Right]:
    """Return every right in the rules of the manifest's ClusterRole and Role."""
    wide = {right for rule in cluster_role for right in _rights(rule, BATCHES)}
    return {
        Right(CLUSTER if right.resource in CLUSTER_WIDE else right.where, right.group, right.resource, right.verb)
        for right in wide
    } | {right for rule in role for right in _rights(rule, OWN)}


def _rights(rule: Mapping[str, Any], where: str) -> Iterator[Right]:
    for group in rule["apiGroups"]:
        for resource in rule["resources"]:
            for verb in rule["verbs"]:
                for name in rule.get("resourceNames") or [""]:
                    yield Right(where, group, resource, verb, name)


def requests(logs: Iterable[Path]) -> Iterator[Request]:
    """Return what operators asked for, of all that is in the files of an audit log."""
    found = (_request(entry) for entry in _entries(logs, f'"{_ACCOUNTS}'))
    return (request for request in found if request is not None)


def _request(entry: Mapping[str, Any]) -> Request | None:
    user, reference = entry["user"]["username"], entry.get("objectRef")
    # Whoever may log in may ask what there is to ask for; that is about no object.
    if not user.startswith(_ACCOUNTS) or not reference or "resource" not in reference:
        return None
    if not str(entry.get("userAgent", "")).startswith(_AGENTS):
        return None
    own, _, account = user.removeprefix(_ACCOUNTS).partition(":")
    if account in PEOPLE:
        return None
    resource = "/".join(filter(None, (reference["resource"], reference.get("subresource"))))
    return Request(
        account=account,
        own=own,
        at=entry["requestReceivedTimestamp"],
        verb=entry["verb"],
        group=reference.get("apiGroup", ""),
        resource=resource,
        namespace=reference.get("namespace", ""),
        name=reference.get("name", ""),
        # Others than RBAC refuse too, a namespace that is being deleted for one: not for want of a right.
        allowed=entry.get("annotations", {}).get("authorization.k8s.io/decision") != "forbid",
    )


def used(rights: Iterable[Right], made: Iterable[Request]) -> set[Right]:
    """Return the rights that somebody used: of several that allow a request, the narrowest."""
    narrowest_first = sorted(rights, key=lambda right: (right.where != OWN, not right.name))
    found = (next((right for right in narrowest_first if right.covers(request)), None) for request in made)
    return {right for right in found if right is not None}


def of_some_namespaces(made: Iterable[Request]) -> list[Request]:
    """Return the requests of operators that watch only chosen namespaces."""
    return [request for request in made if request.account == NAME]


class Changes:
    """When rights ended and were given again, by namespace: with the namespace itself, or with a RoleBinding in it."""

    def __init__(self, logs: Iterable[Path]) -> None:
        """Read them from the files of an audit log."""
        self._known: dict[str, list[tuple[datetime, bool]]] = {}
        for entry in _entries(logs, '"resource":"namespaces"', '"resource":"rolebindings"'):
            reference, given = entry["objectRef"], entry["verb"] in {"create", "patch", "update"}
            binds = reference["resource"] == "rolebindings"
            if binds or entry["verb"] == "delete":
                namespace = reference.get("namespace") or reference.get("name", "")
                at = datetime.fromisoformat(entry["requestReceivedTimestamp"])
                # What was granted is known everywhere a moment later.
                self._known.setdefault(namespace, []).append((at + _MOMENT if given else at, given))

    def ended(self, namespace: str, at: datetime) -> bool:
        """Return whether what was allowed there had ended by then."""
        before = [change for change in self._known.get(namespace, ()) if change[0] <= at]
        return bool(before) and not max(before)[1]


def refused(made: Iterable[Request], changes: Changes) -> Sequence[Request]:
    """Return what was forbidden, but for what came after the rights had ended: an operator outlives them a little."""
    return [
        request
        for request in made
        if not request.allowed
        and not any(
            changes.ended(namespace, datetime.fromisoformat(request.at))
            for namespace in (request.namespace, request.own)
        )
    ]


def _entries(logs: Iterable[Path], *marks: str) -> Iterator[dict[str, Any]]:
    for log in logs:
        with log.open(encoding="utf-8") as lines:
            for line in lines:
                if any(mark in line for mark in marks):
                    yield json.loads(line)
