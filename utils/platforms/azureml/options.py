"""What can be set of the platform on Azure, with its defaults; `settings` reads it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

_ID = r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"
_MACHINE = (
    r"(?i)^$|^/subscriptions/[^/]+/resourceGroups/[^/]+/providers/Microsoft.Compute/virtualMachines/[^/]+$"
)
_COUNT = Annotated[int, Field(ge=0, le=1000)]
_DAY = "(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day"
_SECONDS = Annotated[float, Field(gt=0)]


class Part(BaseModel):
    """Settings that belong together."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Machine(Part):
    """A virtual machine of your own that trains, where `compute.target` is "vm".

    Attributes
    ----------
    resource : str
        Its full id, "/subscriptions/…/providers/Microsoft.Compute/virtualMachines/name".
    port : int
        Of its SSH server.
    user : str
        Whom SSH logs in.
    key_file : str
        The private key's file, where it is attached from. Azure ML gets the key; a password is never taken.
    """

    resource: Annotated[str, Field(pattern=_MACHINE)] = ""
    port: Annotated[int, Field(ge=1, le=65535)] = 22
    user: str = ""
    key_file: str = ""


class Compute(Part):
    """What trains.

    Attributes
    ----------
    target : str
        "cluster" (made where there is none, and empty while nothing runs), "vm" (your own, attached), or
        "local": the process that asks trains itself; the rest of the platform is Azure's all the same.
    name : str
        Of the cluster, or of the attached machine, in the workspace.
    size : str
        Of a cluster's nodes, such as "Standard_DS3_v2".
    min_nodes, max_nodes : int
        How many a cluster keeps, and how many it may have.
    idle_seconds : int
        After which a node without work is given back.
    priority : str
        "dedicated", or "lowpriority": cheaper, and may be taken away.
    vm : Machine
        The machine, where the target is "vm".
    """

    target: Literal["cluster", "vm", "local"] = "cluster"
    name: Annotated[str, Field(pattern=r"^[a-zA-Z](?:[a-zA-Z0-9-]{0,22}[a-zA-Z0-9])?$")] = "cpu-cluster"
    size: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]+$")] = "Standard_DS3_v2"
    min_nodes: _COUNT = 0
    max_nodes: Annotated[int, Field(ge=1, le=1000)] = 2
    idle_seconds: Annotated[int, Field(ge=60, le=86400)] = 300
    priority: Literal["dedicated", "lowpriority"] = "dedicated"
    vm: Machine = Machine()


class Software(Part):
    """The registered software environment of the trainings.

    Attributes
    ----------
    name : str
        In the workspace.
    base_image : str
        On which it is built; "" for the one that the SDK has chosen.
    """

    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9._-]{0,254}$")] = "mlops-notebooks"
    base_image: str = ""


class Scoring(Part):
    """Scoring images.

    Attributes
    ----------
    base_image : str
        On which they are built; "" for the one that the SDK has chosen.
    """

    base_image: str = ""


class Aci(Part):
    """Staging: one container.

    Attributes
    ----------
    cpu : float
        Processors.
    memory_gb : float
        Memory, in gigabytes.
    """

    cpu: Annotated[float, Field(ge=0.1, le=4)] = 1.0
    memory_gb: Annotated[float, Field(ge=0.1, le=16)] = 1.0


class Aks(Part):
    """Production: a Kubernetes cluster.

    Attributes
    ----------
    name : str
        By which the workspace knows the cluster.
    attach : str
        The full id of a managed cluster that exists, "/subscriptions/…/managedClusters/name", or its name
        where it is in the same resource group. "" for none.
    create : bool
        Whether one is made where the workspace has none. It costs from then on, whether used or not.
    size : str
        Of its nodes.
    nodes : int
        How many it is made with.
    purpose : str
        "fast" for production, which demands at least 12 virtual processors, or "dev".
    leaf_label : str
        The first part of its address, with which Microsoft's certificate is asked for: https then. "" for
        http.
    cpu, memory_gb : float
        Of each replica.
    replicas : int
        How many a service begins with, and at least has.
    max_replicas : int
        How many it may have.
    """

    name: Annotated[str, Field(pattern=r"^[a-zA-Z][a-zA-Z0-9-]{0,14}[a-zA-Z0-9]$")] = "aks-mlops"
    attach: str = ""
    create: bool = False
    size: str = "Standard_D3_v2"
    nodes: Annotated[int, Field(ge=1, le=1000)] = 3
    purpose: Literal["fast", "dev"] = "fast"
    leaf_label: Annotated[str, Field(pattern=r"^([a-z](?:[a-z0-9-]{0,40}[a-z0-9])?)?$")] = ""
    cpu: Annotated[float, Field(ge=0.1, le=64)] = 0.5
    memory_gb: Annotated[float, Field(ge=0.1, le=512)] = 1.0
    replicas: Annotated[int, Field(ge=1, le=1000)] = 2
    max_replicas: Annotated[int, Field(ge=1, le=1000)] = 10


class Schedule(Part):
    """When the retraining pipeline is run by itself.

    Attributes
    ----------
    frequency : str
        "minute", "hour", "day", "week" or "month"; "" for never.
    interval : int
        Of so many of these.
    at : str
        The time of day, "02:30", where the frequency is day or week.
    week_days : str
        The days of the week, "Monday, Thursday", where the frequency is week.
    start : str
        Not before this, "2027-01-31T02:30:00".
    time_zone : str
        Of these times, by its name on Windows, such as "W. Europe Standard Time".
    """

    frequency: Literal["", "minute", "hour", "day", "week", "month"] = ""
    interval: Annotated[int, Field(ge=1, le=1000)] = 1
    at: Annotated[str, Field(pattern=r"^(([01]?\d|2[0-3]):[0-5]\d)?$")] = ""
    week_days: Annotated[str, Field(pattern=rf"^({_DAY}(, *{_DAY})*)?$")] = ""
    start: Annotated[str, Field(pattern=r"^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)?$")] = ""
    time_zone: str = "UTC"

    @property
    def days(self) -> tuple[str, ...]:
        """The days of the week, each by itself."""
        return tuple(day.strip() for day in self.week_days.split(",") if day.strip())

    @property
    def words(self) -> str:
        """When, for a person."""
        every = f"every {f'{self.interval} {self.frequency}s' if self.interval > 1 else self.frequency}"
        at = f" at {self.at} {self.time_zone}" if self.at else ""
        return f"{every}{f' on {self.week_days}' if self.week_days else ''}{at}" if self.frequency else ""


class Retraining(Part):
    """The published retraining pipeline.

    Attributes
    ----------
    endpoint : str
        Its name; its address stays while versions come and go. "{scenario}" is put in.
    schedule : Schedule
        When it is run by itself.
    """

    endpoint: Annotated[str, Field(pattern=r"^[a-zA-Z0-9{][a-zA-Z0-9{}_-]*$")] = "retrain-{scenario}"
    schedule: Schedule = Schedule()


class Timeouts(Part):
    """How long each long operation may take, in seconds.

    Attributes
    ----------
    workspace, compute, nodes, cluster, environment, image, deployment : float
        Making the workspace; making or attaching compute; its first node; the Kubernetes cluster; building
        the software environment; building a scoring image; a service getting healthy.
    """

    workspace: _SECONDS = 1200.0
    compute: _SECONDS = 900.0
    nodes: _SECONDS = 1200.0
    cluster: _SECONDS = 2400.0
    environment: _SECONDS = 5400.0
    image: _SECONDS = 3600.0
    deployment: _SECONDS = 1800.0


class Settings(Part):
    """Where on Azure, and how big. The environment can give each, as MLOPS_AZUREML_COMPUTE_SIZE and so on.

    Attributes
    ----------
    subscription : str
        The subscription's id; also AZURE_SUBSCRIPTION_ID.
    resource_group : str
        Made where there is none; also AZURE_RESOURCE_GROUP.
    workspace : str
        Its name, made where there is none; also AZUREML_WORKSPACE.
    region : str
        Where things are made that are not there yet, such as "westeurope".
    tenant : str
        Whose users and applications sign in; also AZURE_TENANT_ID. "" where whoever signs in knows it.
    compute, environment, scoring, aci, aks, retraining, timeouts : Part
        See there.
    poll_seconds : float
        How often a long operation is looked at.
    """

    subscription: Annotated[str, Field(pattern=rf"^$|{_ID}")] = ""
    resource_group: Annotated[str, Field(pattern=r"^$|^[\w().-]{0,89}[\w()-]$")] = ""
    workspace: Annotated[str, Field(pattern=r"^$|^[A-Za-z0-9][A-Za-z0-9_-]{1,32}$")] = ""
    region: Annotated[str, Field(pattern=r"^[A-Za-z0-9 ]*$")] = ""
    tenant: str = ""
    compute: Compute = Compute()
    environment: Software = Software()
    scoring: Scoring = Scoring()
    aci: Aci = Aci()
    aks: Aks = Aks()
    retraining: Retraining = Retraining()
    timeouts: Timeouts = Timeouts()
    poll_seconds: Annotated[float, Field(gt=0, le=60)] = 5.0
