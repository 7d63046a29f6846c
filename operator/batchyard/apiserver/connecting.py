"""Finds the cluster that is meant and logs in, by the official client's configuration. Not for talking (``client``)."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchyard.apiserver.bare import keep_bare
from batchyard.apiserver.client import ApiClient
from batchyard.model.errors import EnvironmentUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

keep_bare("kubernetes")
keep_bare("kubernetes.aio")

_SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


async def connect(context: str | None = None, *, service_account: Path = _SERVICE_ACCOUNT) -> ApiClient:
    """Return a client for this pod's cluster, or for the current (or named) context of the kubeconfig.

    ``service_account`` is the folder that a pod has its token in. Raises ``EnvironmentUnavailable`` if no cluster is
    configured.
    """
    from kubernetes.aio.client.configuration import Configuration
    from kubernetes.aio.config.config_exception import ConfigException
    from kubernetes.aio.config.incluster_config import InClusterConfigLoader
    from kubernetes.aio.config.kube_config import list_kube_config_contexts, load_kube_config

    configuration = Configuration()
    try:
        if context is None and (service_account / "token").exists():
            InClusterConfigLoader(  # type: ignore[no-untyped-call]
                token_filename=str(service_account / "token"), cert_filename=str(service_account / "ca.crt")
            ).load_and_set(configuration)
            configuration.refresh_api_key_hook = _reading(service_account / "token")  # type: ignore[assignment]
            namespace = (service_account / "namespace").read_text().strip()
        else:
            await load_kube_config(  # type: ignore[no-untyped-call]
                context=context, client_configuration=configuration
            )
            contexts, current = list_kube_config_contexts()  # type: ignore[no-untyped-call]
            chosen = current if context is None else next(one for one in contexts if one["name"] == context)
            namespace = chosen["context"].get("namespace") or "default"
    except (ConfigException, OSError) as err:
        raise EnvironmentUnavailable(
            f"no cluster is configured: {err}; set KUBECONFIG, or choose a context with --context"
        ) from err
    return ApiClient(configuration, namespace)


def _reading(token: Path) -> Callable[[Any], None]:
    """Return a hook that reads the token anew for every request: kubelet replaces it before it runs out."""

    def read(configuration: Any) -> None:
        # While the file is being replaced the old token is still good.
        with suppress(OSError):
            configuration.api_key["BearerToken"] = f"Bearer {token.read_text().strip()}"

    return read
