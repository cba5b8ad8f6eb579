"""The data itself: each scenario's is what its reference profile says, and damaged data is caught."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from utils import data, profiles, project, sanity

FILES = Path(__file__).resolve().parent.parent / "data"


def scenarios() -> dict[str, dict[str, Any]]:
    """Return the parameters of each scenario that names data and a profile."""
    found = {
        path.stem: yaml.safe_load(path.read_text(encoding="utf-8"))
        for path in sorted((project.root() / "parameters").glob("*.yml"))
    }
    return {
        name: content for name, content in found.items() if content and {"data", "profile"} <= content.keys()
    }


@pytest.mark.parametrize("name", scenarios())
def test_the_data_of_a_scenario_is_what_its_profile_says(name: str) -> None:
    scenario = scenarios()[name]
    identifiers = [*scenario.get("key", []), scenario.get("group", ""), scenario.get("time", "")]
    frame = data.load(scenario["data"], scenario["target"], scenario.get("drop", []))
    profile = profiles.load(project.root() / scenario["profile"])
    sanity.demand(sanity.check(frame, profile, scenario["target"], identifiers=identifiers))


@pytest.mark.parametrize(
    ("damage", "failing"),
    [
        ("good", set()),
        (
            "schema",
            {("schema", "bmi"), ("schema", "s6"), ("schema", "age"), ("schema", "body_mass_index")},
        ),
        ("missing", {("missing values", "bmi")}),
        ("distribution", {("distribution", "bmi")}),
    ],
)
def test_each_damaged_file_is_caught_for_its_own_reason_and_no_other(
    damage: str, failing: set[tuple[str, str]]
) -> None:
    frame = data.load(str(FILES / f"diabetes_{damage}.csv"), "target")
    profile = profiles.load(project.root() / "parameters" / "diabetes.profile.json")
    checks = sanity.check(frame, profile, "target")
    assert {(each.check, each.column) for each in sanity.failed(checks)} == failing
