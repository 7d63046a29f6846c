"""Which files of the workflow's ConfigMap go where: read from the cluster when a place is made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchyard.engine.cluster_source import source_items

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchyard.apiserver.client import ApiClient
    from batchyard.kube.batches import ActiveBatch


class Sources:
    """Reads the ConfigMaps that hold workflows."""

    def __init__(self, api: ApiClient) -> None:
        """``api`` may read ConfigMaps in the namespaces of the BatchTests."""
        self._api = api

    async def items(self, batch: ActiveBatch) -> Mapping[str, str] | None:
        """Return the path of each key of the source's ConfigMap, None if the code is in the image.

        Raises ``ApiError`` if it cannot be read, ``SpecInvalid`` if a path leads out of its folder.
        """
        reference = batch.loaded.batch.spec.workflow.source.config_map_ref
        if reference is None:
            return None
        return source_items(await self._api.get("v1", "configmaps", batch.ref.namespace, reference.name))
