"""A failed production test puts the service before back, whatever the failure was; the champion stays."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.end_to_end.conftest import Home, Project

pytestmark = pytest.mark.end_to_end

TOO_FAST = 1e-6  # milliseconds in which no service answers


def demand_the_first_serves(home: Home, ask: Any) -> None:
    live = home.live("production")
    assert live is not None
    assert live.digest == home.run("first").step("package").scraps["digest"]
    assert live.confirmed
    assert ask(home, live, home.file("first", "package"))
    assert [process.pid for process in home.services()] == [live.details["pid"]]
    assert home.champion() == "1"


def test_a_service_that_fails_its_test_gives_way_to_the_one_before_and_can_be_released_later(
    better: Home, copied: Callable[[Home], Home], altered: Project, ask: Any
) -> None:
    home = copied(better)
    altered.fix("test_production", latency_limit_ms=TOO_FAST)
    said = home.call("approve", "--by", "Ada", "--pipeline", str(altered.file), code=1)
    assert "latency" in said
    run = home.run("better")
    assert run.verdict == "failed"
    assert "production serves model version 1" in run.step("test_production").reason
    assert "production serves model version 1" in home.file("better", "index.html").read_text()
    demand_the_first_serves(home, ask)

    # The approval still holds: without that limit the same package is deployed once more, and tested.
    home.call("resume", "better")
    assert home.run("better").verdict == "released"
    assert home.champion() == "2"
    assert home.attempts("better") == better.attempts("better") | {
        "deploy_production": 2,
        "test_production": 2,
    }
    live = home.live("production")
    assert live is not None
    assert ask(home, live, home.file("better", "package"))


def test_a_run_that_is_ended_during_the_production_test_puts_the_service_before_back(
    better: Home, copied: Callable[[Home], Home], altered: Project, ask: Any, tmp_path: Path
) -> None:
    home = copied(better)
    fifo = tmp_path / "tests"
    os.mkfifo(fifo)

    def end_when_it_tests() -> None:
        with fifo.open() as opened:
            opened.read()
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=end_when_it_tests, daemon=True)
    thread.start()
    endless = f"open({str(fifo)!r}, 'w').close(); import threading; threading.Event().wait()"
    with altered.cell("07_test", endless, before="restored ="):
        home.call("approve", "--by", "Ada", "--pipeline", str(altered.file), code=128 + signal.SIGTERM)
    thread.join()
    step = home.run("better").step("test_production")
    assert step.state == "failed"
    assert "SIGTERM" in step.reason
    demand_the_first_serves(home, ask)
