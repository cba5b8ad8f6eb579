"""The commands: `python -m ci run`, `sweep`, `resume`, `approve`, `status`, and the others.

What a command needs is imported when it runs: `status` shall not wait for what only `run` needs.
"""

from __future__ import annotations

import os

import click

from ci.cli import compute, inspection, lifecycle, services


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def main() -> None:
    """Run the lifecycle of a model as a pipeline of notebooks.

    \b
    python -m ci run                   setup … staging, then wait at the gate
    python -m ci approve               approve, and go on to production
    python -m ci run -p alpha 0.5      another value for a parameter
    python -m ci sweep -p alpha 0.1,1  many values at once, the best goes on
    python -m ci rollback              the version before, in production again

    Exit codes: 0 released, not better, or waiting at the gate; 1 failed, blocked or rejected;
    2 wrong usage or parameters; 128+n ended by signal n.
    """  # noqa: D301 - \b is click's sign for lines to keep as they are
    if os.environ.get("NO_COLOR"):  # https://no-color.org
        click.get_current_context().color = False


for _command in (
    *(lifecycle.run, lifecycle.sweep, lifecycle.resume, lifecycle.approve, lifecycle.reject),
    *(inspection.status, inspection.report, inspection.stages, inspection.kernels),
    *(services.rollback, services.keys, services.score, services.signing_key, services.down, services.up),
    *(compute.publish, compute.retrain, compute.cancel, compute.step),
):
    main.add_command(_command)
