"""Long operations: they show how they go, bear an outage, can be interrupted, and never take for ever."""

from collections.abc import Callable
from typing import Any

import pytest
import requests

from utils.platforms.azureml import waiting
from utils.platforms.protocol import PlatformError


class Clock:
    """A time that passes only while somebody waits."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(waiting, "time", made)
    return made


def looking(*states: Any) -> Callable[[], tuple[Any, str]]:
    """Return looks that find these states in turn, the last for ever; an exception is raised."""
    left = list(states)

    def look() -> tuple[Any, str]:
        state = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(state, BaseException):
            raise state
        return ("result" if state == "ready" else None), state

    return look


def wait(look: Callable[[], tuple[Any, str]], said: list[str], timeout: float = 3600, **others: Any) -> Any:
    return waiting.wait_for("The thing", look, timeout=timeout, interval=5, say=said.append, **others)


def test_each_change_is_told_and_the_result_given_back(clock: Clock) -> None:
    said: list[str] = []
    assert wait(looking("queued", "queued", "running", "ready"), said) == "result"
    assert said == ["The thing: queued, 0 s", "The thing: running, 10 s", "The thing: ready, 15 s"]


def test_whatever_takes_long_shows_that_it_lives(clock: Clock) -> None:
    said: list[str] = []
    wait(looking(*["running"] * 40, "ready"), said)
    assert said[:3] == [
        "The thing: running, 0 s",
        "The thing: running, 65 s",
        "The thing: running, 2 min 10 s",
    ]


def test_an_outage_of_minutes_is_borne_and_told(clock: Clock) -> None:
    said: list[str] = []
    cut = requests.ConnectionError("cut")
    assert wait(looking("running", *[cut] * 30, "ready"), said) == "result"
    assert "The thing: no answer now (the connection), 5 s" in said


def test_an_outage_that_does_not_end_is_an_error(clock: Clock) -> None:
    with pytest.raises(requests.ConnectionError):
        wait(looking("running", requests.ConnectionError("cut")), [])
    assert clock.now - 1000 < waiting.PATIENCE + 60


def test_an_operation_that_has_failed_is_an_error_at_once(clock: Clock) -> None:
    with pytest.raises(PlatformError, match="it failed"):
        wait(looking("running", PlatformError("it failed")), [])
    assert clock.now == 1005


def test_after_its_time_it_goes_on_in_azure_and_the_message_says_how_to_go_on(clock: Clock) -> None:
    with pytest.raises(PlatformError) as refused:
        wait(looking("running"), [], timeout=60, resume="resume the run")
    told = str(refused.value)
    assert told.startswith(
        "The thing has taken longer than 60 s (last: running). It goes on in Azure: resume the run"
    )
    assert "timeouts in parameters/azureml.yml" in told


def test_whoever_interrupts_is_told_how_to_go_on(clock: Clock) -> None:
    said: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        wait(looking("running", KeyboardInterrupt()), said)
    assert said[-1].startswith("The thing goes on in Azure: run the same command again")
