"""Where the trials run: the provider, the isolation, environment values and the parts only a cluster uses.

Not for making the place; that is ``batchyard.environments``.
"""

from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from batchyard.model.spec_base import RAY_VERSION_PATTERN, EnvName, SpecModel, fault
from batchyard.model.spec_workload import ConfigMapName, ConfigMapRef, Resources
from batchyard.model.trial import JSON


class Provider(StrEnum):
    """Who makes the place where trials run."""

    IN_PROCESS = "InProcess"
    KUBE_RAY = "KubeRay"
    RAY = "Ray"


class Isolation(StrEnum):
    """What stands between two trials of a runner."""

    PROCESS = "Process"
    THREAD = "Thread"


class Reuse(StrEnum):
    """When a RayCluster of an earlier batch is taken again."""

    NEVER = "Never"
    SAME_SPEC = "SameSpec"


class SecretRef(SpecModel):
    """A Secret in the BatchTest's own namespace."""

    name: ConfigMapName = Field(description="Name of the Secret.")


class EnvFrom(SpecModel):
    """Environment variables from an object in the cluster; exactly one of the references."""

    secret_ref: SecretRef | None = Field(default=None, description="Secret whose keys become variables.")
    config_map_ref: ConfigMapRef | None = Field(default=None, description="ConfigMap whose keys become variables.")
    prefix: Annotated[str, StringConstraints(max_length=253)] = Field(default="", description="Put before every key.")

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.secret_ref is None) == (self.config_map_ref is None):
            raise fault(
                "names no object" if self.secret_ref is None else "names more than one object",
                "write exactly one of secretRef and configMapRef",
            )
        return self


class RayHead(SpecModel):
    """The head of the RayCluster."""

    resources: Resources | None = Field(default=None, description="What the head's pod asks for.")
    ray_start_params: dict[str, str] = Field(default_factory=dict, description="Options of `ray start`.")
    template: dict[str, JSON] = Field(default_factory=dict, description="Overlay on the head's pod template.")


class RayWorkers(SpecModel):
    """The workers of the RayCluster."""

    replicas: int = Field(default=2, ge=1, le=1000, description="How many worker pods there are.")
    resources: Resources | None = Field(default=None, description="What each worker's pod asks for.")
    ray_start_params: dict[str, str] = Field(default_factory=dict, description="Options of `ray start`.")
    template: dict[str, JSON] = Field(default_factory=dict, description="Overlay on the workers' pod template.")


class KubeRay(SpecModel):
    """The RayCluster that the KubeRay provider makes."""

    ray_version: Annotated[str, StringConstraints(pattern=RAY_VERSION_PATTERN)] = Field(
        default="", description="Version of Ray in the image; empty takes the operator's default."
    )
    image: Annotated[str, StringConstraints(max_length=1024)] = Field(
        default="", description="Image of head and workers; empty takes the workflow's image or the operator's default."
    )
    head: RayHead = Field(default_factory=RayHead, description="The head of the cluster.")
    workers: RayWorkers = Field(default_factory=RayWorkers, description="The workers of the cluster.")
    runtime_env: dict[str, JSON] = Field(default_factory=dict, description="Ray's runtime environment of the job.")
    keep_on_failure: bool = Field(
        default=False, description="Whether the cluster of a failed batch is kept for inspection."
    )
    reuse: Reuse = Field(default=Reuse.NEVER, description="When a cluster left by an earlier batch is taken again.")


class Environment(SpecModel):
    """The place where trials run."""

    provider: Provider = Field(default=Provider.IN_PROCESS, description="Who makes the place.")
    isolation: Isolation = Field(
        default=Isolation.PROCESS,
        description="Process: deadlines are enforced by killing. Thread: deadlines hold at node boundaries only.",
    )
    env: dict[EnvName, str] = Field(
        default_factory=dict, max_length=256, description="Environment variables of every trial, in plain text."
    )
    env_from: tuple[EnvFrom, ...] = Field(
        default=(), max_length=64, description="Environment variables from Secrets and ConfigMaps, in a cluster."
    )
    kube_ray: KubeRay | None = Field(default=None, description="The RayCluster; only with provider KubeRay.")
    template: dict[str, JSON] = Field(
        default_factory=dict, description="Overlay on the pod template: nodeSelector, tolerations and the like."
    )
