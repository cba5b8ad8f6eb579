"""What a notebook shows is short, rounded and safe."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup

from utils import tables

DIGEST = "0123456789abcdef" * 4


def html(table: tables.Table) -> BeautifulSoup:
    return BeautifulSoup(table._repr_html_(), "html.parser")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (float("nan"), "–"),
        (pd.NA, "–"),
        ("", "–"),
        ([], "–"),
        (True, "yes"),
        (np.bool_(False), "no"),
        (57.391420, "57.39"),
        (np.float64(-0.00005874), "-5.874e-05"),
        (0.0, "0"),
        (123456.7, "123,457"),
        (float("inf"), "inf"),
        (12345, "12,345"),
        (np.int64(7), "7"),
        (["age", "sex"], "age, sex"),
        ({"r2": 0.512345, "rows": 3}, "r2: 0.5123, rows: 3"),
        (DIGEST, "0123456789ab…"),
        ("sklearn:diabetes", "sklearn:diabetes"),
    ],
)
def test_a_value_is_written_for_a_person(value: object, text: str) -> None:
    assert tables.shown(value) == text


def test_numbers_stand_right_and_words_left() -> None:
    table = html(tables.rows([{"segment": "age > 3", "rows": 5}, {"segment": "age < 3", "rows": None}]))
    sides = [head["style"] for head in table("th", scope="col")]
    assert sides == ["text-align: left", "text-align: right"]


def test_columns_are_chosen_ordered_and_named() -> None:
    table = html(tables.rows([{"a": 1, "b": 2, "c": 3}], {"c": "third", "a": "first"}))
    assert [cell.text for cell in table("th", scope="col")] == ["third", "first"]
    assert [cell.text for cell in table.select("tbody th, tbody td")] == ["3", "1"]


def test_a_frame_is_shown_without_its_index() -> None:
    table = html(tables.rows(pd.DataFrame({"x": [1.5]}, index=["hidden"])))
    assert "hidden" not in table.text
    assert "1.5" in table.text


def test_a_check_says_by_a_sign_and_a_word_whether_it_passed() -> None:
    table = html(tables.rows([{"check": "range", "passed": True}, {"check": "drift", "passed": False}]))
    assert [cell.text for cell in table("td")] == ["✓ yes", "✗ no"]


def test_a_digest_is_cut_short_and_whole_under_the_pointer() -> None:
    cell = html(tables.facts({"digest": DIGEST})).td
    assert cell is not None
    assert cell.text == "0123456789ab…"
    assert cell["title"] == DIGEST


def test_facts_have_no_headings_but_a_caption() -> None:
    table = html(tables.facts({"rows": 442}, caption="The data"))
    assert table.thead is None
    assert table.caption is not None
    assert table.caption.text == "The data"


def test_what_is_shown_is_text_and_never_markup() -> None:
    evil = "<script>alert(1)</script>"
    text = tables.rows([{evil: evil}], caption=evil)._repr_html_()
    assert "<script" not in text


def test_no_rows_are_a_table_too() -> None:
    assert html(tables.rows([])).table is not None
    assert repr(tables.rows([], caption="None yet")) == "None yet"


def test_without_html_it_is_plain_text() -> None:
    assert repr(tables.facts({"rows": 442, "metric": "r2"})).split() == ["rows", "442", "metric", "r2"]
    assert repr(tables.rows([{"rows": 442}])).split() == ["rows", "442"]


def test_a_long_text_among_many_is_cut_short_but_a_fact_never_is() -> None:
    long = "because " * 60
    cell = html(tables.rows([{"check": "missing columns", "observed": long}])).td
    assert cell is not None
    assert len(cell.text) == 160
    assert cell["title"] == long
    fact = html(tables.facts({"reason": long})).td
    assert fact is not None
    assert fact.text == long
