"""How the local platform serves: the part `serving` of parameters/local.yml, and the environment over it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from utils.platforms import sections
from utils.platforms.protocol import PlatformError

SECTION = "serving"
PREFIX = "MLOPS_SERVING_"
FILE = Path("parameters") / "local.yml"

TargetName = Literal["process", "containers", "kubernetes"]


class Settings(BaseModel):
    """How and where services run. The environment can give each too, as MLOPS_SERVING_TARGET and so on.

    Attributes
    ----------
    target : str
        "process", "containers" or "kubernetes".
    workers : int
        Processes of each service, sharing one port.
    replicas : int
        Containers, or pods, of each service.
    engine : str
        "auto" (whichever is there), "docker", "podman" or "buildah".
    base_image : str
        On which images are built; "" for the official slim Python image.
    registry : str
        Where images are pushed to, such as "registry.example.com/mlops"; "" keeps them in the engine.
    router_image : str
        HAProxy, which stands before the containers.
    memory : str
        Of each container at most, such as "1g" or "512m"; it is ended if it needs more.
    cpus : float
        Processors that each container may use.
    certificate : str
        A PEM file with the certificate of the containers' address, its chain and its key: the address is
        https then. "" for http.
    context, namespace : str
        Of Kubernetes. Both have to be given: what kubectl would take by itself is never used.
        "{environment}" in them stands for staging or production.
    exposure : str
        How a service on Kubernetes is reached: "cluster", from inside alone, or "load_balancer", from the
        network of the cluster.
    address : str
        Of a service on Kubernetes, where an ingress or a gateway stands before it, such as
        "https://{name}.example.com"; "" for that of its exposure. {service}, {environment}, {name} and
        {namespace} are put in.
    start_seconds : float
        How long a service may take to get ready.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    target: TargetName = "process"
    workers: Annotated[int, Field(ge=1, le=64)] = 1
    replicas: Annotated[int, Field(ge=1, le=64)] = 2
    engine: Literal["auto", "docker", "podman", "buildah"] = "auto"
    base_image: str = ""
    registry: str = ""
    router_image: str = "docker.io/library/haproxy:3.2"
    memory: Annotated[str, Field(pattern=r"^[1-9]\d*[mg]$")] = "1g"
    cpus: Annotated[float, Field(ge=0.1, le=64)] = 1.0
    certificate: str = ""
    context: str = ""
    namespace: str = ""
    exposure: Literal["cluster", "load_balancer"] = "cluster"
    address: str = ""
    start_seconds: Annotated[float, Field(gt=0)] = 90.0

    @property
    def images(self) -> bool:
        """Whether services run from images."""
        return self.target != "process"


def read() -> Settings:
    """Read the settings.

    Raises
    ------
    PlatformError
        Naming each setting that is unknown or has no allowed value, and where it was given.
    """
    given = sections.read(FILE, SECTION)
    outside = {
        name: os.environ[PREFIX + name.upper()]
        for name in Settings.model_fields
        if os.environ.get(PREFIX + name.upper())
    }
    try:
        return Settings.model_validate({**given, **outside})
    except ValidationError as error:
        faults = []
        for each in error.errors():
            name = str(each["loc"][0]) if each["loc"] else SECTION
            where = PREFIX + name.upper() if name in outside else f"{FILE}: {SECTION}.{name}"
            known = (
                f" (there are {', '.join(Settings.model_fields)})"
                if each["type"] == "extra_forbidden"
                else ""
            )
            faults.append(f"{where}: {each['msg']}{known}")
        raise PlatformError("\n".join(faults)) from None
