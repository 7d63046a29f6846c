"""etcd, the API server, the controller manager and the scheduler of the one-node cluster."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from cluster.bed import layout
from cluster.bed.probes import answers
from cluster.bed.programs import Program

if TYPE_CHECKING:
    from pathlib import Path

    from cluster.bed.tools import Tools

_AUDIT_LOG = "audit.log"
_WRITES = ["create", "update", "patch", "delete", "deletecollection"]
# Tests count what a batch costs the API server: every write, with who made it; not the cluster's own heartbeats. And
# they hold what operators may do against what they did: of those that log in with a ServiceAccount's token here.
_AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {"level": "Metadata", "userGroups": ["system:serviceaccounts"]},
        {"level": "None", "namespaces": ["kube-node-lease", "kube-system"]},
        {"level": "Metadata", "verbs": _WRITES},
        {"level": "None"},
    ],
}


def write_configuration(state: Path) -> str:
    """Write the files that the control plane reads, and return what stands in them."""
    text = json.dumps(_AUDIT_POLICY, indent=1)
    (state / "audit-policy.json").write_text(text, encoding="utf-8")
    (state / "logs").mkdir(exist_ok=True)
    # A log that is there is added to at its end, wherever that is by then; see ``forget_requests``.
    (state / "logs" / _AUDIT_LOG).touch()
    return text


def forget_requests(state: Path) -> None:
    """Begin the audit log anew; the API server may run."""
    for log in (state / "logs").glob("audit*.log"):
        if log.name == _AUDIT_LOG:
            os.truncate(log, 0)
        else:
            log.unlink()


def programs(tools: Tools, state: Path, kubeconfig: Path, configuration: str) -> list[Program]:
    """Return the programs in the order in which they need one another."""
    return [
        _etcd(tools, state),
        _api_server(tools, state, configuration),
        _controller_manager(tools, state, kubeconfig, configuration),
        _scheduler(tools, state, kubeconfig, configuration),
    ]


def _etcd(tools: Tools, state: Path) -> Program:
    client = f"http://{layout.LOOPBACK}:{layout.ETCD_PORT}"
    peer = f"http://{layout.LOOPBACK}:{layout.ETCD_PEER_PORT}"
    command = (
        tools.program("etcd", "server"),
        f"--data-dir={state / 'etcd'}",
        "--unsafe-no-fsync",  # a cluster for tests: losing it costs ten seconds
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--quota-backend-bytes=4294967296",
        "--auto-compaction-mode=periodic",
        "--auto-compaction-retention=5m",
    )
    return Program("etcd", command, state, ready=lambda: answers(f"{client}/health"))


def _api_server(tools: Tools, state: Path, configuration: str) -> Program:
    keys = state / "keys"
    command = (
        tools.program("kube", "kube-apiserver"),
        f"--etcd-servers=http://{layout.LOOPBACK}:{layout.ETCD_PORT}",
        f"--bind-address={layout.API_ADDRESS}",
        f"--advertise-address={layout.API_ADDRESS}",
        f"--secure-port={layout.API_PORT}",
        f"--service-cluster-ip-range={layout.SERVICES}",
        f"--tls-cert-file={keys / 'apiserver.crt'}",
        f"--tls-private-key-file={keys / 'apiserver.key'}",
        f"--client-ca-file={keys / 'ca.crt'}",
        f"--service-account-key-file={keys / 'sa.pub'}",
        f"--service-account-signing-key-file={keys / 'sa.key'}",
        f"--service-account-issuer=https://kubernetes.default.svc.{layout.DOMAIN}",
        f"--kubelet-client-certificate={keys / 'admin.crt'}",
        f"--kubelet-client-key={keys / 'admin.key'}",
        f"--kubelet-certificate-authority={keys / 'ca.crt'}",
        "--kubelet-preferred-address-types=InternalIP",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",  # beside the defaults, PodSecurity among them
        "--allow-privileged=true",
        f"--audit-policy-file={state / 'audit-policy.json'}",
        f"--audit-log-path={state / 'logs' / _AUDIT_LOG}",
        "--audit-log-maxsize=500",
        "--profiling=false",
    )
    ready = f"{layout.API_URL}/readyz"
    return Program(
        "kube-apiserver",
        command,
        state,
        ready=lambda: answers(ready),
        deadline=120,
        # It drains for a minute when watches are open, and holds its port. All it knows is in etcd: let it die.
        grace=2,
        configuration=configuration,
    )


def _controller_manager(tools: Tools, state: Path, kubeconfig: Path, configuration: str) -> Program:
    keys = state / "keys"
    command = (
        tools.program("kube", "kube-controller-manager"),
        f"--kubeconfig={kubeconfig}",
        f"--service-account-private-key-file={keys / 'sa.key'}",
        f"--root-ca-file={keys / 'ca.crt'}",
        f"--cluster-signing-cert-file={keys / 'ca.crt'}",
        f"--cluster-signing-key-file={keys / 'ca.key'}",
        f"--bind-address={layout.LOOPBACK}",
        f"--secure-port={layout.CONTROLLER_MANAGER_PORT}",
        "--leader-elect=false",
        "--kube-api-qps=200",
        "--kube-api-burst=400",
    )
    ready = f"https://{layout.LOOPBACK}:{layout.CONTROLLER_MANAGER_PORT}/healthz"
    return Program("kube-controller-manager", command, state, lambda: answers(ready), configuration=configuration)


def _scheduler(tools: Tools, state: Path, kubeconfig: Path, configuration: str) -> Program:
    command = (
        tools.program("kube", "kube-scheduler"),
        f"--kubeconfig={kubeconfig}",
        f"--bind-address={layout.LOOPBACK}",
        f"--secure-port={layout.SCHEDULER_PORT}",
        "--leader-elect=false",
        "--kube-api-qps=200",
        "--kube-api-burst=400",
    )
    ready = f"https://{layout.LOOPBACK}:{layout.SCHEDULER_PORT}/healthz"
    return Program("kube-scheduler", command, state, lambda: answers(ready), configuration=configuration)
