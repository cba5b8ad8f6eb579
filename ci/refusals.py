"""What commands say when they refuse, and the exit codes they end with."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator

import click

FAILED, USAGE = 1, 2


@contextlib.contextmanager
def refusals() -> Iterator[None]:
    """Turn every refusal into its message and its exit code."""
    try:
        yield
    except KeyboardInterrupt as stop:
        number = signal.Signals(getattr(stop, "number", signal.SIGINT))
        click.echo(f"Stopped by {number.name}.", err=True)
        sys.exit(128 + number)
    except BrokenPipeError:
        # Whoever read what is printed has had enough; what Python would still write at its end is for nobody.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
    except Exception as error:
        code = _exit_code(error)
        if code is None:
            raise
        text = str(error)
        if isinstance(error, OSError):
            from utils import project

            text = f"{error.strerror or error} ({error.filename or project.home()})."
        click.echo(f"Error: {text}", err=True)
        sys.exit(code)


def _exit_code(error: Exception) -> int | None:
    """Return the exit code of a refusal; None for an error that is none."""
    from ci.continuation import StageError
    from ci.declarations import ParameterError
    from ci.kernels import ServerError
    from ci.pipeline import PipelineError
    from ci.reporter import ReportError
    from ci.runs import RunError
    from utils.approvals import ApprovalError
    from utils.files import PrivacyError
    from utils.platforms.protocol import PlatformError
    from utils.signatures import SignatureError

    if isinstance(error, ParameterError | PipelineError | StageError | RunError):
        return USAGE
    untrusted = isinstance(error, ApprovalError | SignatureError | PrivacyError)
    failed = isinstance(error, PlatformError | ReportError | ServerError | OSError)
    return FAILED if untrusted or failed else None
