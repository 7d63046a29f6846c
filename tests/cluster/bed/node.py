"""The node of the one-node cluster: containerd, kubelet, kube-proxy and CoreDNS, and their configuration."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from cluster.bed import layout
from cluster.bed.probes import answers
from cluster.bed.programs import Program
from cluster.bed.running import succeeds

if TYPE_CHECKING:
    from pathlib import Path

    from cluster.bed.tools import Tools

PAUSE_IMAGE = "local/pause:1"

_CONTAINERD = """\
version = 2
root = "{state}/containerd/root"
state = "{state}/containerd/state"
[grpc]
  address = "{socket}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{state}/containerd/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  # Without CAP_SYS_RESOURCE a negative score would kill every sandbox.
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "{state}/registries"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{state}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
"""

# Every image is imported. Asking for one that was not shall fail at once, on every machine, and ask nobody.
_NO_REGISTRY = """\
server = "http://127.0.0.1:1"
[host."http://127.0.0.1:1"]
  capabilities = ["pull", "resolve"]
"""

_COREFILE = """\
.:53 {{
  bind {gateway}
  errors
  ready {loopback}:{ready_port}
  kubernetes {domain} in-addr.arpa {{
    kubeconfig {kubeconfig}
    pods insecure
  }}
  cache 2
}}
"""


def socket(state: Path) -> Path:
    """Return where containerd listens."""
    return state / "containerd.sock"


def write_configuration(state: Path, kubeconfig: Path) -> str:
    """Write the files that the node's programs read, and return what stands in them."""
    files = {
        "cni/10-batchyard.conflist": json.dumps(_network(state), indent=1),
        "containerd.toml": _CONTAINERD.format(state=state, socket=socket(state), pause=PAUSE_IMAGE),
        "registries/_default/hosts.toml": _NO_REGISTRY,
        "kubelet.json": json.dumps(_kubelet_configuration(state), indent=1),
        "Corefile": _COREFILE.format(
            gateway=layout.GATEWAY,
            loopback=layout.LOOPBACK,
            ready_port=layout.DNS_READY_PORT,
            domain=layout.DOMAIN,
            kubeconfig=kubeconfig,
        ),
    }
    for name, text in files.items():
        (state / name).parent.mkdir(parents=True, exist_ok=True)
        (state / name).write_text(text, encoding="utf-8")
    return "".join(files.values())


def containerd(state: Path, configuration: str) -> Program:
    """Return the program that runs containers."""
    address = str(socket(state))
    return Program(
        "containerd",
        ("containerd", "--config", str(state / "containerd.toml")),
        state,
        ready=lambda: succeeds("ctr", "-a", address, "version"),
        configuration=configuration,
    )


def programs(tools: Tools, state: Path, kubeconfig: Path, configuration: str) -> list[Program]:
    """Return what runs on the node beside containerd; each needs only the API server."""
    return [
        _kubelet(tools, state, kubeconfig, configuration),
        _proxy(tools, state, kubeconfig, configuration),
        _dns(tools, state, configuration),
    ]


def _kubelet(tools: Tools, state: Path, kubeconfig: Path, configuration: str) -> Program:
    command = (
        tools.program("kube", "kubelet"),
        f"--config={state / 'kubelet.json'}",
        f"--kubeconfig={kubeconfig}",
        f"--hostname-override={layout.NODE}",
        f"--node-ip={layout.GATEWAY}",
        f"--root-dir={state / 'kubelet'}",
        f"--cert-dir={state / 'kubelet-keys'}",
    )
    ready = f"http://{layout.LOOPBACK}:{layout.KUBELET_HEALTH_PORT}/healthz"
    return Program("kubelet", command, state, lambda: answers(ready), configuration=configuration)


def _proxy(tools: Tools, state: Path, kubeconfig: Path, configuration: str) -> Program:
    command = (
        tools.program("kube", "kube-proxy"),
        f"--kubeconfig={kubeconfig}",
        f"--hostname-override={layout.NODE}",
        "--proxy-mode=iptables",
        f"--cluster-cidr={layout.PODS}",
        # Pods share one bridge: an answer that went by the bridge alone would never be translated back.
        "--masquerade-all",
        "--conntrack-max-per-core=0",
        f"--healthz-bind-address={layout.LOOPBACK}:{layout.PROXY_HEALTH_PORT}",
        f"--metrics-bind-address={layout.LOOPBACK}:{layout.PROXY_METRICS_PORT}",
    )
    ready = f"http://{layout.LOOPBACK}:{layout.PROXY_HEALTH_PORT}/healthz"
    return Program("kube-proxy", command, state, lambda: answers(ready), configuration=configuration)


def _dns(tools: Tools, state: Path, configuration: str) -> Program:
    command = (tools.program("coredns", "coredns"), "-conf", str(state / "Corefile"))
    ready = f"http://{layout.LOOPBACK}:{layout.DNS_READY_PORT}/ready"
    return Program("coredns", command, state, lambda: answers(ready), configuration=configuration)


def _network(state: Path) -> dict[str, object]:
    addresses = {
        "type": "host-local",
        "dataDir": str(state / "addresses"),
        "ranges": [[{"subnet": layout.PODS}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    bridge = {"type": "bridge", "bridge": layout.BRIDGE, "isGateway": True, "ipMasq": False, "hairpinMode": True}
    plugins = [{**bridge, "ipam": addresses}, {"type": "portmap", "capabilities": {"portMappings": True}}]
    return {"cniVersion": "0.4.0", "name": "batchyard", "plugins": plugins}


def _kubelet_configuration(state: Path) -> dict[str, object]:
    keys = state / "keys"
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": layout.GATEWAY,
        "port": layout.KUBELET_PORT,
        "readOnlyPort": 0,
        "healthzBindAddress": layout.LOOPBACK,
        "healthzPort": layout.KUBELET_HEALTH_PORT,
        "containerRuntimeEndpoint": f"unix://{socket(state)}",
        "podLogsDir": str(state / "pod-logs"),
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(keys / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(keys / "node.crt"),
        "tlsPrivateKeyFile": str(keys / "node.key"),
        "clusterDNS": [layout.GATEWAY],
        "clusterDomain": layout.DOMAIN,
        # No systemd and perhaps cgroup v1: leave the tree of cgroups alone. A container's own limits still hold.
        "cgroupDriver": "cgroupfs",
        "cgroupsPerQOS": False,
        "enforceNodeAllocatable": [],
        "failCgroupV1": False,
        "failSwapOn": False,
        "localStorageCapacityIsolation": False,
        # The machine's own resolver is not the pods' business.
        "resolvConf": "",
        "maxPods": 200,
        "serializeImagePulls": False,
        "evictionHard": {
            "memory.available": "100Mi",
            "nodefs.available": "1%",
            "imagefs.available": "1%",
            "nodefs.inodesFree": "1%",
        },
        # Images can only be imported again by the bed: never collect them.
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "kubeAPIQPS": 100,
        "kubeAPIBurst": 200,
    }
