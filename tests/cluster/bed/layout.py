"""The addresses, ports and names of the one-node cluster. Everything listens on loopback or on the bridge's address."""

from __future__ import annotations

NODE = "node0"
BRIDGE = "batchyard0"
GATEWAY = "10.88.0.1"
PODS = "10.88.0.0/16"
SERVICES = "10.96.0.0/16"
DOMAIN = "cluster.local"
LOOPBACK = "127.0.0.1"
API_ADDRESS = GATEWAY
API_PORT = 16443
API_URL = f"https://{API_ADDRESS}:{API_PORT}"
# Not the usual ports where they can be chosen: another etcd or API server may run on this machine.
ETCD_PORT = 12379
ETCD_PEER_PORT = 12380
CONTROLLER_MANAGER_PORT = 20257
SCHEDULER_PORT = 20259
KUBELET_PORT = 20250
KUBELET_HEALTH_PORT = 20248
PROXY_HEALTH_PORT = 20256
PROXY_METRICS_PORT = 20249
DNS_READY_PORT = 20181
KUBERAY_METRICS_PORT = 20080
KUBERAY_HEALTH_PORT = 20082
KWOK_PORT = 20247
