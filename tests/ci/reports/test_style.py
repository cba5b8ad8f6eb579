"""What every page has in common: contrast, structure, no need for colour, script or network."""

import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup

from ci import reports
from ci.reports import pages
from ci.runs import Run

CSS = (pages.TEMPLATES / "style.css").read_text()
ON_PAPER = [
    "ink",
    "soft",
    "accent",
    "good",
    "bad",
    "wait",
    "calm",
    "code-keyword",
    "code-text",
    "code-number",
]
PAIRS = (
    [(name, surface) for name in ON_PAPER for surface in ("paper", "raised")]
    + [(tone, f"{tone}-tint") for tone in ("accent", "good", "bad", "wait", "calm")]
    + [(text, f"{tone}-tint") for text in ("ink", "accent") for tone in ("good", "bad", "wait", "calm")]
)


def variables(theme: str) -> dict[str, str]:
    light, dark, print_ = re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)
    found = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{3,6});", light))
    chosen = {"light": "", "dark": dark, "print": print_}[theme]
    return found | dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{3,6});", chosen))


def luminance(colour: str) -> float:
    """Relative luminance (https://www.w3.org/TR/WCAG22/#dfn-relative-luminance)."""
    digits = colour.removeprefix("#")
    digits = "".join(digit * 2 for digit in digits) if len(digits) == 3 else digits
    shares = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    linear = [s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("theme", ["light", "dark", "print"])
@pytest.mark.parametrize(("front", "back"), PAIRS)
def test_text_is_readable_in_every_theme(theme: str, front: str, back: str) -> None:
    colours = variables(theme)
    high, low = sorted((luminance(colours[front]), luminance(colours[back])), reverse=True)
    assert (high + 0.05) / (low + 0.05) >= 4.5


def test_every_variable_that_is_used_is_defined() -> None:
    used = set(re.findall(r"var\(--([a-z-]+)", CSS))
    assert used - set(re.findall(r"--([a-z-]+):", CSS)) == set()


def test_the_sheet_loads_nothing_and_serves_dark_phone_and_print() -> None:
    assert not re.search(r"url\(|@import|https?:", CSS)
    assert "prefers-color-scheme: dark" in CSS
    assert "max-width: 40rem" in CSS
    assert "@media print" in CSS
    assert ":focus-visible" in CSS
    assert "prefers-reduced-motion" in CSS


@pytest.fixture(params=["run", "failed run", "index", "empty index", "notebook", "missing notebook"])
def page(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    make_run: Callable[..., Run],
    make_notebook: Callable[..., nbformat.NotebookNode],
) -> BeautifulSoup:
    kind = request.param
    source = tmp_path / "x" / "train.ipynb"
    if kind.endswith("run"):
        verdict = "failed" if kind.startswith("failed") else "waiting"
        path = reports.write(make_run(verdict, "b"), previous=make_run("released", "a"))
    elif kind.endswith("index"):
        path = reports.write_index([] if "empty" in kind else [make_run("released", n) for n in ("a", "b")])
    else:
        if kind == "notebook":
            source.parent.mkdir()
            nbformat.write(make_notebook(), source)
        path = reports.render_notebook(source, source.with_suffix(".html"), title="train")
    return BeautifulSoup(path.read_text(), "html.parser")


def test_pages_have_a_language_a_title_a_viewport_and_landmarks(page: BeautifulSoup) -> None:
    assert page.html is not None
    assert page.html["lang"] == "en"
    assert page.title is not None
    assert page.title.get_text().strip()
    assert page.select_one("meta[name=viewport]") is not None
    assert len(page.select("main")) == 1
    assert page.select("body > a.skip")[0]["href"] == "#main"


def test_headings_begin_at_one_and_skip_no_level(page: BeautifulSoup) -> None:
    levels = [int(heading.name[1]) for heading in page.select("h1, h2, h3, h4, h5, h6")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_images_have_texts_and_drawings_titles(page: BeautifulSoup) -> None:
    assert all(image.get("alt") for image in page.select("img"))
    for drawing in page.select("svg"):
        if drawing.find_parent("svg") is None and drawing.get("aria-hidden") != "true":
            assert drawing["role"] == "img"
            for attribute in ("aria-labelledby", "aria-describedby"):
                assert page.find(id=str(drawing[attribute])) is not None


def test_tables_of_reports_have_captions_and_scoped_headers(page: BeautifulSoup) -> None:
    for table in page.select("section table"):
        assert table.caption is not None
        assert all(header.get("scope") for header in table.select("th"))
        assert table.find_parent(attrs={"role": "region", "tabindex": "0"}) is not None


def test_ids_are_unique_and_references_exist(page: BeautifulSoup) -> None:
    ids = [element["id"] for element in page.select("[id]")]
    assert len(ids) == len(set(ids))
    for element in page.select("[aria-labelledby]"):
        assert str(element["aria-labelledby"]) in ids
    for link in page.select("a[href^='#'], use"):
        assert str(link["href"]).removeprefix("#") in ids


def test_colour_never_carries_a_state_alone(page: BeautifulSoup) -> None:
    for sign in page.select(".sign"):
        assert sign.select_one("svg use") is not None
        assert sign.get_text().strip()


def test_no_page_needs_a_script(page: BeautifulSoup) -> None:
    assert not page.select("script, noscript")
    assert not [e for e in page.find_all(True) if any(name.startswith("on") for name in e.attrs)]
