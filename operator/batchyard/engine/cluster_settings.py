"""What a batch in a cluster runs with beyond its spec: its code in a ConfigMap, its pods. Pure.

Packages and Python are the image's, which stands for them. Not for comparing (``decide.amending``).
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from batchyard.engine.cluster_source import source_items
from batchyard.engine.settings import digests_of
from batchyard.model.setting import Setting

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchyard.engine.sources import LoadedBatch
    from batchyard.model.trial import JSON


def cluster_setting(
    loaded: LoadedBatch, config_maps: Mapping[str, Mapping[str, JSON]], place: str, pods: Mapping[str, str]
) -> Setting:
    """Return what a batch that was read from the cluster would run with; ``config_maps`` has that of its code.

    ``pods`` is what decides what its pods are, by name.
    """
    reference = loaded.batch.spec.workflow.source.config_map_ref
    if reference is None:
        return Setting(place=place, pods=pods)
    found = config_maps[reference.name]
    if found.get("immutable") is not True:
        # Each pod mounts it as it is when the pod begins.
        unknown = (
            f"ConfigMap {reference.name} can change while the batch runs; `batchyard bundle` makes it with "
            "immutable: true"
        )
        return Setting(place=place, pods=pods, unknown=unknown)
    texts, binary = found.get("data") or {}, found.get("binaryData") or {}
    contents = {key: text.encode() for key, text in texts.items()}
    contents |= {key: base64.b64decode(text) for key, text in binary.items()}
    files = {path: contents[key] for key, path in source_items(found).items()}
    return Setting(*digests_of(files), place=place, pods=pods)
