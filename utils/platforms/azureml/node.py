"""What a node of the published pipeline begins with: from what Azure hands to a process to `ci step`.

The compute runs it as a script of its own; the module that makes the pipeline reads it. Azure can't hand
on an empty text ("Assignment for parameter … is not specified"), and puts a backslash before some
characters of an argument. So a parameter that isn't set travels as a word, and in whatever else all that
isn't plain is percent-encoded.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote, unquote

SCRIPT = "utils/platforms/azureml/node.py"
# As a person sees it in the studio: what the parameter files say.
UNSET = "default"
RUN_VARIABLE = "MLOPS_RUN"
# By which the arguments that are the node's own are told from parameters of notebooks, whose names have none.
OWN = "--"


def encode(text: str) -> str:
    """Return a text as it can travel: not empty, and without characters that anybody reads otherwise."""
    if not text:
        return UNSET
    return f"%{ord(text[0]):02X}{text[1:]}" if text == UNSET else quote(text, safe="")


def decode(text: str) -> str:
    """Return the text that has travelled."""
    return "" if text == UNSET else unquote(text)


def arguments(own: Mapping[str, object], parameters: Mapping[str, object]) -> list[object]:
    """Return what the script is called with: names and values, one after the other.

    Parameters
    ----------
    own : mapping
        step, scenario, give, and take, run, key, where there are any.
    parameters : mapping
        Of the notebooks.
    """
    pairs = [*((OWN + name, value) for name, value in own.items()), *parameters.items()]
    return [each for pair in pairs for each in pair]


def command(words: Sequence[str], folder: Path) -> list[str]:
    """Return the command for what the script was called with.

    Parameters
    ----------
    folder : Path
        Where the process was started; below it is what the step hands on.
    """
    if len(words) % 2:
        raise SystemExit(f"Names and values are expected, one after the other, and not: {' '.join(words)}")
    pairs = dict(zip(words[::2], words[1::2], strict=True))
    own = {name: value for name, value in pairs.items() if name.startswith(OWN)}
    given = {name: decode(value) for name, value in pairs.items() if not name.startswith(OWN)}
    take = own.get("--take", "")
    return [
        *(sys.executable, "-m", "ci", "step", own["--step"]),
        *("--run", decode(own.get("--run", UNSET))),
        *("--take", str(folder / take) if take else ""),
        *("--give", str(folder / own["--give"])),
        *("--scenario", own["--scenario"]),
        *("--platform", "azureml"),
        *("--parameters", *(f"{name}={value}" for name, value in given.items() if value)),
    ]


def main() -> None:
    """Become the process of the step."""
    words = command(sys.argv[1:], Path.cwd())
    # A job that isn't of any run begins one; if a node is begun again, it is the same.
    os.environ.setdefault(RUN_VARIABLE, f"job-{os.environ.get('AZUREML_ROOT_RUN_ID', 'unknown')}")
    os.chdir(Path(__file__).resolve().parents[3])
    sys.stdout.write(" ".join(["python", *words[1:]]) + "\n")
    sys.stdout.flush()
    os.execv(words[0], words)  # noqa: S606 - there is no shell


if __name__ == "__main__":
    main()
