"""The retraining pipeline as a graph: a node for each step, which hands the run folder on to the next."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from utils.platforms.azureml import node, settings
from utils.platforms.protocol import PlatformError, Stint

if TYPE_CHECKING:
    from utils.platforms.azureml.workspace import Site

# The run whose folder the first node fetches, and what tells a job from every other.
RUN, KEY = "run", "job_key"
# A node takes things with names of their own, such as Target; to the SDK, upper and lower case are the same.
_OURS = "given_"


def demand(stint: Stint) -> None:
    """Refuse a stint that the pipeline can't be made of.

    Raises
    ------
    PlatformError
        If it has no steps, lacks the file that nodes begin with, or has a parameter whose name is taken.
    """
    taken = sorted({RUN, KEY} & set(stint.parameters))
    if taken:
        raise PlatformError(
            f"A notebook's parameter can't be called {taken[0]} on the platform azureml, whose pipeline has "
            "one of that name: rename it."
        )
    if not stint.steps:
        raise PlatformError(
            "A pipeline without steps can't be published: give steps 'remote: true' in pipeline.yml."
        )
    if not (stint.source / node.SCRIPT).is_file():
        raise PlatformError(
            f"The project's files lack {node.SCRIPT}, with which each step begins on Azure's compute."
        )


def version(stint: Stint, *around: str) -> str:
    """Return what a published pipeline is known by: its stint's digest, and one of what it runs in and on."""
    content = json.dumps([around, settings.carried()])
    return f"{stint.digest[:16]}-{hashlib.sha256(content.encode()).hexdigest()[:8]}"


def build(site: Site, stint: Stint, environment: Any, compute: tuple[str, str]) -> Any:
    """Return the SDK's pipeline, of which nothing is in Azure yet.

    Parameters
    ----------
    environment : azureml.core.Environment
        The software that its nodes have, in a container.
    compute : tuple of (str, str)
        Where they run: its name and its type, as Azure ML calls that.
    """
    from azureml.core import RunConfiguration
    from azureml.pipeline.core import Pipeline, PipelineParameter
    from azureml.pipeline.steps import PythonScriptStep

    configuration = RunConfiguration()
    configuration.environment = environment
    configuration.docker.use_docker = True
    configuration.target = compute[0]
    configuration.environment_variables = settings.carried()
    parameters = {name: PipelineParameter(name, node.UNSET) for name in (RUN, KEY, *stint.parameters)}
    make = partial(
        PythonScriptStep,
        script_name=node.SCRIPT,
        params={_OURS + name: parameter for name, parameter in parameters.items()},
        compute_target=compute,
        runconfig=configuration,
        source_directory=str(stint.source),
        allow_reuse=False,
    )
    nodes: list[Any] = []
    before: Any = None
    for step in stint.steps:
        after = _handed_on(step, site.datastore)
        inputs = [before.as_download(f"before_{step}")] if before is not None else []
        words = _arguments(stint, step, inputs)
        nodes.append(make(name=step, arguments=words, inputs=inputs, outputs=[after]))
        before = after
    return Pipeline(
        site.workspace, steps=nodes, description=describe(stint), default_datastore=site.datastore
    )


def describe(stint: Stint) -> str:
    """Return for a person what the pipeline is; the whole digest is in it."""
    return (
        f"Retrains {stint.scenario}: {', '.join(stint.steps)}. Of project files with digest {stint.digest}."
    )


def assignments(stint: Stint, run: str, parameters: Mapping[str, str], key: str) -> dict[str, str]:
    """Return the values that a job is submitted with, as they travel.

    Raises
    ------
    PlatformError
        If there is no such parameter.
    """
    unknown = sorted(set(parameters) - set(stint.parameters))
    if unknown:
        raise PlatformError(
            f"The retraining pipeline of {stint.scenario} has no parameter {', '.join(unknown)}; there are: "
            f"{', '.join(stint.parameters)}."
        )
    given = {name: text for name, text in parameters.items() if text}
    return {name: node.encode(text) for name, text in {RUN: run, KEY: key, **given}.items()}


def _arguments(stint: Stint, step: str, inputs: Sequence[Any]) -> list[object]:
    """Return what the script of a node is called with, as the SDK takes it."""
    own: dict[str, object] = {"step": step, "scenario": stint.scenario, "give": _folder(step)}
    if inputs:
        own["take"] = inputs[0]
    own |= {name: f"parameter:{_OURS}{name}" for name in (RUN, KEY)}
    return node.arguments(own, {name: f"parameter:{_OURS}{name}" for name in stint.parameters})


def _handed_on(step: str, datastore: Any) -> Any:
    """Return the run folder on its way from a node to the next.

    A node writes it to its machine's own disk, from where it is uploaded when the step has ended: a mounted
    store of blobs can neither rename nor link files. In this mode Azure ML hands on no address of it to the
    process, which gets the path itself.
    """
    from azureml.pipeline.core import PipelineData

    return PipelineData(
        f"after_{step}",
        datastore=datastore,
        output_mode="upload",
        output_path_on_compute=_folder(step),
        is_directory=True,
    )


def _folder(step: str) -> str:
    return f"handed_on/{step}"
