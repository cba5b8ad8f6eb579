"""Projects as small as can be, of which a retraining pipeline is published."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from utils import project
from utils.platforms.azureml import node
from utils.platforms.azureml.retraining import AzureRetraining
from utils.platforms.protocol import Progress, Stint

STEPS = ("train", "evaluate")
ENDED = ("succeeded", "failed", "cancelled")
# Stands for `python -m ci`: it writes down what it was called with, and does what a parameter asks for.
CI = """
import json, os, sys, time
from pathlib import Path

words = sys.argv[1:]
end = words.index("--parameters")
step, options = words[1], dict(zip(words[2:end:2], words[3:end:2]))
given = dict(word.split("=", 1) for word in words[end + 1:])
take = options["--take"]
told = json.loads((Path(take) / "told.json").read_text()) if take else []
told.append({"step": step, "run": options["--run"], "given": given, "platform": options["--platform"],
             "scenario": options["--scenario"], "begun": os.environ["MLOPS_RUN"],
             "azureml_run": os.environ["AZUREML_RUN_ID"],
             "poll_seconds": os.environ["MLOPS_AZUREML_POLL_SECONDS"]})
print("this is", step)
if given.get("fail") == step:
    sys.exit(1)
while given.get("hang") == step:
    time.sleep(0.05)
if given.get("keep") and step == "train":
    from utils.platforms.azureml.retraining import AzureRetraining
    from utils.platforms.azureml.workspace import Site
    retraining = AzureRetraining(Site())
    retraining.fetch(given["keep"], Path("fetched"))
    (Path("fetched") / step).touch()
    retraining.keep(given["keep"], Path("fetched"))
give = Path(options["--give"])
give.mkdir(parents=True)
(give / "told.json").write_text(json.dumps(told))
"""


def make(source: Path, digest: str = "a" * 64, *, whole: bool = False) -> Stint:
    """Write a project, and return what is to be published of it.

    Parameters
    ----------
    whole : bool
        Whether it has the project's own utils and parameters.
    """
    (source / "ci").mkdir(parents=True)
    (source / "ci" / "__init__.py").touch()
    (source / "ci" / "__main__.py").write_text(CI)
    if whole:
        leave = shutil.ignore_patterns("__pycache__")
        for name in ("utils", "parameters"):
            shutil.copytree(project.root() / name, source / name, ignore=leave)
    else:
        (source / node.SCRIPT).parent.mkdir(parents=True)
        shutil.copy(project.root() / node.SCRIPT, source / node.SCRIPT)
    return Stint(STEPS, ("alpha", "fail", "hang", "keep", "target"), digest, "diabetes", source)


def until(look: Callable[[], Any], fits: Callable[[Any], bool], seconds: float = 60) -> Any:
    """Look until what is seen fits."""
    latest = time.monotonic() + seconds
    while not fits(seen := look()):
        assert time.monotonic() < latest, f"still {seen}"
        threading.Event().wait(0.05)
    return seen


def ended(retraining: AzureRetraining, job: str, seconds: float = 60) -> Progress:
    """Return what has become of a job."""
    seen: Progress = until(lambda: retraining.progress(job), lambda seen: seen.state in ENDED, seconds)
    return seen
