"""The pipeline, as parameters/pipeline.yml declares it, validated as a whole before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ci.declarations import Declaration, ParameterError, declared
from ci.texts import nearest, read_yaml
from utils import project

ScrapType = Literal["str", "int", "float", "bool", "list", "dict", "outcome"]
OUTCOMES = ("promote", "not_better", "blocked")
# Among what a step reads: not a parameter, but the version in production.
CHAMPION = "champion"
# The run itself gives these three to each notebook that takes them.
RUN_PARAMETERS = ("scenario", "platform", "run_dir")


class PipelineError(ValueError):
    """The pipeline's file is wrong; the message has a line for each mistake."""


class _Declared(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Step(_Declared):
    """One step: a notebook, what it takes from earlier steps and what it gives.

    Attributes
    ----------
    notebook : str
        Its name without the ending.
    stage : str
        The job of CI that it belongs to.
    gives : dict
        The type of each scrap that it must glue.
    takes : dict
        For a parameter the upstream scrap that feeds it, as "step.scrap".
    parameters : dict
        Parameters that the pipeline fixes for this step; nothing overrides them.
    when : dict
        Upstream scraps and the value that each must have; otherwise the step is skipped.
    gate : str
        "" or the upstream scrap with the digest that a person has to approve first.
    reuse : bool
        Whether an earlier result may be taken for it. Not where it has effects outside the run folder.
    reads : list of str
        Parameters that are addresses of files whose content counts for that; "champion" for the version in
        production.
    on_failure : str
        "" or what is done with the step's environment when it fails: `restore` puts the last confirmed
        service back, `remove` takes down what is there.
    retries : int
        How often a failed notebook is tried again.
    cell_timeout : int
        Seconds that one cell may take.
    memory_mb : int
        What its kernel may have, in MB; 0 for no limit. Services that it starts inherit the limit.
    remote : bool
        Whether it runs on the platform's own compute, where there is one.
    """

    notebook: str
    stage: str
    gives: dict[str, ScrapType] = Field(default_factory=dict)
    takes: dict[str, str] = Field(default_factory=dict)
    parameters: dict[str, Any] = Field(default_factory=dict)
    when: dict[str, Any] = Field(default_factory=dict)
    gate: str = ""
    reuse: bool = True
    reads: list[str] = Field(default_factory=list)
    on_failure: Literal["", "restore", "remove"] = ""
    retries: int = Field(default=0, ge=0, le=10)
    cell_timeout: int = Field(default=600, gt=0)
    memory_mb: int = Field(default=0, ge=0)
    remote: bool = False

    @property
    def upstream(self) -> set[str]:
        """The steps whose scraps this step needs."""
        gates = [self.gate] if self.gate else []
        return {address.partition(".")[0] for address in (*self.takes.values(), *self.when, *gates)}


class _File(_Declared):
    notebooks: str
    preload: list[str] = Field(default_factory=list)
    steps: dict[str, Step] = Field(min_length=1)


class Pipeline:
    """A validated pipeline.

    Attributes
    ----------
    file : Path
        Its own.
    folder : Path
        Where that is, and the scenarios' and platforms' beside it.
    notebooks : Path
        The folder of its notebooks.
    steps : dict of Step
        By name, in the order in which they run.
    declarations : dict
        For each notebook the parameters that it declares.
    preload : list of str
        Modules that the notebooks import, to be imported once for all of them.
    """

    def __init__(self, file: Path) -> None:
        content = _read(file)
        self.file = file
        self.folder = file.resolve().parent
        self.notebooks = (self.folder / content.notebooks).resolve()
        self.steps: Mapping[str, Step] = content.steps
        self.preload = content.preload
        self.declarations: dict[str, dict[str, Declaration]] = {}
        problems = self._inspect() or self._problems()
        if problems:
            raise PipelineError("\n".join(f"{file.name}: {problem}" for problem in problems))

    @property
    def stages(self) -> list[str]:
        """The stages, in order."""
        return list(dict.fromkeys(step.stage for step in self.steps.values()))

    @property
    def remote(self) -> list[str]:
        """The steps that run on the platform's own compute, where there is one; they follow one another."""
        return [name for name, step in self.steps.items() if step.remote]

    def beneath(self, step: str) -> list[str]:
        """Return all steps that a step builds on, in the order in which they run."""
        found = set(self.steps[step].upstream)
        for name in reversed(list(self.steps)):
            if name in found:
                found |= self.steps[name].upstream
        return [name for name in self.steps if name in found]

    @property
    def fixed(self) -> set[str]:
        """Names of parameters that no file and no command line may set."""
        return {name for step in self.steps.values() for name in step.parameters} | set(RUN_PARAMETERS)

    def notebook(self, step: str) -> Path:
        """Return the path of a step's notebook."""
        return self.notebooks / f"{self.steps[step].notebook}.ipynb"

    def parameter_file(self, name: str) -> Path:
        """Return the file of a scenario or platform: a path to a YAML file, or a name beside pipeline.yml."""
        if name.endswith((".yml", ".yaml")):
            return Path(name).resolve()
        return self.folder / f"{name}.yml"

    def select(self, stage: str | None, until: str | None) -> list[str]:
        """Return the steps of a stage, or all up to a step or else the end of a stage of that name.

        Raises
        ------
        PipelineError
            If there is no step or stage of that name.
        """
        names = list(self.steps)
        if stage is not None:
            if stage not in self.stages:
                raise PipelineError(f"There is no stage {stage!r}; the stages are: {', '.join(self.stages)}.")
            return [name for name in names if self.steps[name].stage == stage]
        if until is None:
            return names
        if until in names:
            return names[: names.index(until) + 1]
        ends = [i for i, name in enumerate(names) if until == self.steps[name].stage]
        if not ends:
            raise PipelineError(
                f"There is no step or stage {until!r}; the steps are: {', '.join(names)}; "
                f"the stages: {', '.join(self.stages)}."
            )
        return names[: ends[-1] + 1]

    def _inspect(self) -> list[str]:
        problems = []
        for notebook in dict.fromkeys(step.notebook for step in self.steps.values()):
            try:
                self.declarations[notebook] = declared(self.notebooks / f"{notebook}.ipynb")
            except ParameterError as error:
                problems.append(str(error))
        return problems

    def _problems(self) -> list[str]:
        problems: list[str] = []
        earlier: dict[str, Step] = {}
        for name, step in self.steps.items():
            addresses = [*step.takes.values(), *step.when, *([step.gate] if step.gate else [])]
            problems += [
                f"step {name}: {problem}" for a in addresses if (problem := self._missing(a, earlier))
            ]
            problems += [f"step {name}: {problem}" for problem in (*self._clashes(step), *self._unread(step))]
            if step.on_failure and "environment" not in step.parameters:
                problems.append(f"step {name}: on_failure needs the step's environment among its parameters.")
            stages = [other.stage for other in earlier.values()]
            if step.stage in stages and stages[-1] != step.stage:
                problems.append(f"step {name}: the steps of stage {step.stage} must follow one another.")
            earlier[name] = step
        return [*problems, *self._scattered()]

    def _scattered(self) -> list[str]:
        """Say which of the steps that run on the platform's compute can't."""
        names, remote = list(self.steps), self.remote
        problems = [
            f"step {name}: remote steps must follow one another, and {name} lies between."
            for name in (names[names.index(remote[0]) : names.index(remote[-1])] if remote else ())
            if name not in remote
        ]
        for name in remote:
            if self.steps[name].gate:
                problems.append(f"step {name}: it has a gate, so that it can't be remote.")
            if self.steps[name].on_failure:
                problems.append(f"step {name}: it has on_failure, so that it can't be remote.")
        return problems

    def _unread(self, step: Step) -> list[str]:
        """Say which of the things that a step reads are no parameters that could hold an address."""
        known = self.declarations[step.notebook]
        problems = []
        for name in step.reads:
            if name not in (*known, CHAMPION):
                problems.append(f"it reads {name!r}, but {step.notebook} takes no such parameter")
                problems[-1] += nearest(name, [*known, CHAMPION])
            elif name != CHAMPION and known[name].annotation != "str":
                problems.append(
                    f"it reads {name}, which is {known[name].annotation}, not the address of a file."
                )
        return problems

    def _missing(self, address: str, earlier: Mapping[str, Step]) -> str:
        upstream, _, scrap = address.partition(".")
        if upstream in earlier:
            known = earlier[upstream].gives
            return "" if scrap in known else f"{upstream} gives no scrap {scrap!r}{nearest(scrap, known)}"
        if upstream in self.steps:
            return f"it needs {address}, but {upstream} doesn't come before it: that would be a cycle."
        return f"it needs {address}, but there is no step {upstream!r}{nearest(upstream, self.steps)}"

    def _clashes(self, step: Step) -> list[str]:
        known = self.declarations[step.notebook]
        problems = []
        for name in [*step.takes, *step.parameters]:
            if name not in known:
                problems.append(f"{step.notebook} takes no parameter {name!r}{nearest(name, known)}")
        for name, value in step.parameters.items():
            if name in known:
                try:
                    known[name].check(value)
                except ValueError as error:
                    problems.append(f"parameter {name} = {value!r}: {error}.")
        for name, address in step.takes.items():
            upstream, _, scrap = address.partition(".")
            given = self.steps[upstream].gives.get(scrap) if upstream in self.steps else None
            if name in known and given is not None and not _fits(given, known[name].annotation):
                problems.append(
                    f"{address} is {given}, but {step.notebook}'s {name} is {known[name].annotation}."
                )
        return problems


def default_file() -> Path:
    """Return the project's own pipeline.yml."""
    return project.root() / "parameters" / "pipeline.yml"


def _read(file: Path) -> _File:
    try:
        return _File.model_validate(read_yaml(file.read_text(encoding="utf-8")))
    except OSError as error:
        raise PipelineError(f"{file} can't be read: {error.strerror}.") from error
    except yaml.YAMLError as error:
        raise PipelineError(f"{file} is not YAML: {error}") from error
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors()]
        raise PipelineError("\n".join(f"{file.name}: {line}" for line in lines)) from error


def _fits(scrap: str, annotation: str) -> bool:
    kind = annotation.partition("[")[0]
    return kind == {"outcome": "str"}.get(scrap, scrap) or (scrap, kind) == ("int", "float")
