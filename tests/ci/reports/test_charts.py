import re

import pytest
from bs4 import BeautifulSoup

from ci.reports import charts


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (-2.7, 0.4, [-2.0, -1.0, 0.0]),
        (0.0, 1.0, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (120.0, 980.0, [200.0, 400.0, 600.0, 800.0]),
        (5.0, 5.0, [5.0]),
    ],
)
def test_axes_are_marked_at_round_numbers(low: float, high: float, expected: list[float]) -> None:
    assert charts.ticks(low, high) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("estimate", "low", "high"), [(0.0, 0.0, 0.0), (1e-9, -1e-9, 2e-9), (-1e6, -2e6, 3e6), (0.5, 0.5, 0.5)]
)
@pytest.mark.parametrize("minimum", [None, 0.0, 0.1])
def test_any_interval_stays_within_the_drawing(
    estimate: float, low: float, high: float, minimum: float | None
) -> None:
    drawing = charts.difference(
        estimate=estimate,
        low=low,
        high=high,
        lower_is_better=False,
        metric="AUC",
        opponent="baseline",
        minimum=minimum,
        confidence="95 %",
        places=2,
    )
    places = [float(place) for place in re.findall(r'="(-?[\d.]+)%"', drawing)]
    assert places
    assert all(0 <= place <= 100 for place in places)


def test_text_in_a_drawing_is_escaped() -> None:
    points = [charts.Point("1 Jan", "<b>&", "other", value, None) for value in (1.0, 1.0)]
    drawing = charts.history(points, metric="<script>", direction="", name="h")
    assert not BeautifulSoup(drawing, "html.parser").select("script, b")
