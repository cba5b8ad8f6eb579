"""Write the reports of runs whose ids come on standard input, one on a line, until it closes.

`ci.reporter` starts it. Whatever came meanwhile is done at once: only a run's latest state is worth a page.
At the end one line of JSON says what went wrong, if anything did.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
from queue import SimpleQueue

from ci import reports, runs


def main() -> None:
    """Read ids, write reports."""
    with contextlib.suppress(OSError):
        os.nice(19)  # the notebooks go first
    told: SimpleQueue[str] = SimpleQueue()
    threading.Thread(target=_read, args=(told,), daemon=True).start()
    problem = ""
    open_still = True
    while open_still:
        waiting = [told.get()]
        while not told.empty():
            waiting.append(told.get())
        open_still = "" not in waiting
        for run_id in dict.fromkeys(filter(None, waiting)):
            try:
                reports.refresh(runs.load(run_id))
                problem = ""
            except Exception as error:
                problem = f"{type(error).__name__}: {error}"
    if problem:
        print(json.dumps({"problem": problem}))


def _read(told: SimpleQueue[str]) -> None:
    for line in sys.stdin:
        told.put(line.strip())
    told.put("")


if __name__ == "__main__":
    main()
