import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from time import process_time
from typing import Any

import nbformat
import pytest
from bs4 import BeautifulSoup

from ci import reports

Make = Callable[..., nbformat.NotebookNode]
Cell = Callable[..., nbformat.NotebookNode]


@pytest.fixture
def render(tmp_path: Path) -> Callable[..., BeautifulSoup]:
    def render(notebook: nbformat.NotebookNode, **options: Any) -> BeautifulSoup:
        source = tmp_path / "run" / "notebooks" / "train.ipynb"
        source.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, source)
        html = reports.render_notebook(source, source.with_suffix(".html"), title="train", **options)
        return BeautifulSoup(html.read_text(), "html.parser")

    return render


Render = Callable[..., BeautifulSoup]


def words(page: Any) -> str:
    return " ".join(page.get_text(" ").split())


@pytest.fixture
def markdown(render: Render, make_notebook: Make) -> Callable[[str], BeautifulSoup]:
    def markdown(source: str) -> BeautifulSoup:
        notebook = make_notebook()
        notebook.cells[0].source = source
        return render(notebook)

    return markdown


@pytest.fixture
def output(render: Render, make_notebook: Make) -> Callable[[dict[str, Any]], BeautifulSoup]:
    def output(data: dict[str, Any]) -> BeautifulSoup:
        notebook = make_notebook()
        notebook.cells[5].outputs[0].data = nbformat.from_dict(data)
        return render(notebook)

    return output


def test_the_page_shows_prose_tables_plots_text_and_what_was_glued(
    render: Render, make_notebook: Make
) -> None:
    page = render(make_notebook())
    text = words(page.article)
    assert "Fits the estimator that the scenario names" in text
    assert "bmi target 0 32.1 151.0" in text
    assert "fitted in 0.01 s" in text
    assert words(page.select_one("dl.scraps")) == "estimator Ridge"
    assert len(page.select("img")) == 1


def test_a_scrap_that_is_a_list_of_records_is_only_counted(render: Render, make_notebook: Make) -> None:
    notebook = make_notebook()
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            for kind, content in output.get("data", {}).items():
                if "scrapbook" in kind:
                    content.update(name="checks", data=[{"check": "range"}, {"check": "schema"}])
    assert words(render(notebook).select_one("dl.scraps")) == "checks 2 records"


def test_the_header_names_the_step_and_leads_back_to_the_report(render: Render, make_notebook: Make) -> None:
    page = render(make_notebook(), back="../../index.html")
    assert page.h1 is not None
    assert page.h1.get_text() == "train"
    links = [a["href"] for a in page.select("header a, footer a")]
    assert links == ["../../index.html", "../../index.html"]
    assert "succeeded notebooks/02_train.ipynb 1.4 s" in words(page.select_one(".about"))


def test_code_is_folded_away_but_there_and_this_runs_parameters_stand_open(
    render: Render, make_notebook: Make
) -> None:
    page = render(make_notebook())
    folded = {words(d.select_one(".where")): d.has_attr("open") for d in page.select("details.source")}
    assert folded == {"Parameters": False, "Parameters of this run": True, "Code": False}
    assert "from utils import data" in words(page.article)
    assert page.select_one(".injected-parameters") is not None


def test_a_failed_notebook_points_to_its_cell_and_papermills_markers_are_gone(
    render: Render, make_notebook: Make
) -> None:
    page = render(make_notebook(failed=True))
    text = words(page)
    assert "An Exception was encountered" not in text
    assert "Execution stopped here" not in text
    assert "Stopped in cell 7 with ValueError: alpha must be positive. Go to cell 7" in text
    cell = page.find(id="cell-7")
    assert cell is not None
    assert "plots.residuals(model)" in words(cell)
    assert "ValueError : alpha must be positive" in words(cell)
    assert "The cells below did not run" in text
    assert "\x1b" not in text


def test_a_notebook_that_is_still_running_says_which_cells_have_not_run(
    render: Render, make_notebook: Make
) -> None:
    notebook = make_notebook()
    for cell in notebook.cells[5:]:
        cell.update(execution_count=None, outputs=[])
    page = render(notebook, running=True)
    assert "running" in words(page.select_one(".about"))
    assert words(page.article).count("The cells below have not run yet") == 1


def test_a_missing_notebook_gives_a_page_that_explains(tmp_path: Path) -> None:
    html = reports.render_notebook(tmp_path / "train.ipynb", tmp_path / "train.html", title="train")
    page = BeautifulSoup(html.read_text(), "html.parser")
    assert "There is no notebook train.ipynb" in page.get_text()
    assert page.select_one("a[href='../index.html']") is not None


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"nbformat": 4}', "\x00\xff", '{"cells": [1], "nbformat": 4}']
)
def test_an_unreadable_notebook_gives_a_page_that_explains(tmp_path: Path, content: str) -> None:
    (tmp_path / "train.ipynb").write_text(content)
    html = reports.render_notebook(tmp_path / "train.ipynb", tmp_path / "train.html", title="train")
    assert "The notebook train.ipynb can&#39;t be read" in html.read_text()


HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg onload=alert(1)><script>alert(1)</script></svg>",
    "<a href='javascript:alert(1)'>x</a>",
    "<a href='data:text/html,<script>alert(1)</script>'>x</a>",
    "<iframe src='https://example.org'></iframe>",
    "<style>@import url(https://example.org/x.css); body {display: none}</style>",
    "<div style='background: url(https://example.org/x.png); position: fixed'>x</div>",
    "<link rel=stylesheet href=https://example.org/x.css>",
    "<form action=https://example.org><input name=a><button>x</button></form>",
    "<img src='https://example.org/x.png' alt='a cat'>",
    "<base href=https://example.org>",
    "<meta http-equiv=refresh content='0;url=https://example.org'>",
    "<math><mi xlink:href='javascript:alert(1)'>x</mi></math>",
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'></noscript>",
    "<object data=https://example.org></object><embed src=https://example.org>",
    "<video src=https://example.org/x.mp4 autoplay></video>",
]


def demand_harmless(page: BeautifulSoup) -> None:
    forbidden = "script, iframe, link, object, embed, form, input, button, base, video, [http-equiv], math"
    assert not page.select(forbidden)
    assert len(page.select("style")) == 1
    assert not page.select("article svg")
    for element in page.find_all(True):
        assert not [name for name in element.attrs if name.startswith("on")]
        assert str(element.get("src", "data:image/")).startswith("data:image/")
        assert "url(" not in str(element.get("style", ""))
        assert "position" not in str(element.get("style", ""))
        assert not str(element.get("href", "")).lower().startswith(("javascript:", "data:"))


@pytest.mark.parametrize("html", HOSTILE)
def test_html_from_outputs_can_neither_run_nor_load_anything(
    output: Callable[[dict[str, Any]], BeautifulSoup], html: str
) -> None:
    page = output({"text/html": f"<p>before</p>{html}<p>after</p>"})
    demand_harmless(page)
    assert "before" in words(page.article)
    assert "after" in words(page.article)


@pytest.mark.parametrize("html", HOSTILE)
def test_html_in_prose_can_neither_run_nor_load_anything(
    markdown: Callable[[str], BeautifulSoup], html: str
) -> None:
    demand_harmless(markdown(f"before\n\n{html}\n\nafter"))
    demand_harmless(markdown(f"inline {html} html"))


@pytest.mark.parametrize("kind", ["application/javascript", "application/vnd.jupyter.widget-view+json"])
def test_scripts_and_widgets_are_left_out(
    output: Callable[[dict[str, Any]], BeautifulSoup], kind: str
) -> None:
    content = {"model_id": "x"} if kind.endswith("json") else "alert(1)"
    page = output({kind: content})
    demand_harmless(page)
    assert "alert(1)" not in words(page)


def test_hostile_text_stays_text(render: Render, make_notebook: Make) -> None:
    hostile = "</pre><script>alert(1)</script>"
    notebook = make_notebook(failed=True)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.source = f"x = 1  # {hostile}"
            for made in cell.outputs:
                if made.output_type == "error":
                    made.update(ename=hostile, evalue=hostile, traceback=[hostile])
    page = render(notebook)
    demand_harmless(page)
    assert page.get_text().count(hostile) >= 8


def test_a_markdown_attachment_and_a_plot_of_the_run_are_embedded(
    markdown: Callable[[str], BeautifulSoup], tmp_path: Path
) -> None:
    (tmp_path / "run" / "model").mkdir(parents=True)
    (tmp_path / "run" / "model" / "plot.png").write_bytes(b"\x89PNG")
    (tmp_path / "secret.png").write_bytes(b"\x89PNG")
    page = markdown("![the plot](../model/plot.png) ![no](../../secret.png) ![gone](attachment:gone.png)")
    images = page.select(".prose img")
    assert [image["alt"] for image in images] == ["the plot"]
    assert str(images[0]["src"]).startswith("data:image/png;base64,")
    assert "[image: no] [image: gone]" in words(page)


def test_every_image_has_a_text_the_authors_own_if_there_is_one(render: Render, make_notebook: Make) -> None:
    notebook = make_notebook()
    assert render(notebook).select("img")[0]["alt"] == "Plot in cell 7, under “The data”"
    notebook.cells[6].outputs[1].metadata = nbformat.from_dict({"image/png": {"alt": "residuals <scatter>"}})
    assert render(notebook).select("img")[0]["alt"] == "residuals <scatter>"


def test_an_svg_is_embedded_as_an_image_so_that_it_runs_no_script(
    output: Callable[[dict[str, Any]], BeautifulSoup],
) -> None:
    page = output(
        {"image/svg+xml": "<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"}
    )
    demand_harmless(page)
    assert str(page.select("img")[0]["src"]).startswith("data:image/svg+xml;base64,")


def test_formulas_stay_as_they_were_typed(markdown: Callable[[str], BeautifulSoup]) -> None:
    page = markdown("inline $a < b$ and\n\n$$\\sum_i x_i$$\n\n\\begin{align}x\\end{align}")
    text = words(page.article)
    assert "a < b" in text
    assert "\\sum_i x_i" in text
    assert "\\begin{align}x\\end{align}" in text


def test_markdown_latex_and_plain_text_outputs_are_shown(
    output: Callable[[dict[str, Any]], BeautifulSoup],
) -> None:
    assert output({"text/markdown": "**bold**"}).select_one(".outputs strong") is not None
    assert "E = mc^2" in words(output({"text/latex": "$E = mc^2$"}))
    assert "Ridge()" in words(output({"text/plain": "Ridge()"}))


@pytest.mark.parametrize("failed", [False, True])
def test_headings_go_down_one_level_at_a_time_below_the_pages_own(
    render: Render, make_notebook: Make, failed: bool
) -> None:
    notebook = make_notebook(failed=failed)
    notebook.cells[-1].update(cell_type="code")
    levels = [int(h.name[1]) for h in render(notebook).select("h1, h2, h3, h4, h5, h6")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_a_long_notebook_is_rendered_in_less_than_a_second(render: Render, make_notebook: Make) -> None:
    notebook = make_notebook()
    notebook.cells = notebook.cells * 5
    notebook.cells = [nbformat.from_dict({**cell, "id": f"c{n}"}) for n, cell in enumerate(notebook.cells)]
    render(notebook)  # the first one imports nbconvert
    start = process_time()
    render(notebook)
    assert process_time() - start < 1


def test_cells_without_an_id_are_rendered_without_a_warning(tmp_path: Path, make_notebook: Make) -> None:
    notebook = make_notebook()
    for cell in notebook.cells:
        del cell["id"]
    source = tmp_path / "train.ipynb"
    source.write_text(json.dumps(notebook))
    page = reports.render_notebook(source, tmp_path / "train.html", title="train").read_text()
    assert "fitted in 0.01 s" in page


def test_raw_and_empty_cells_are_harmless(render: Render, make_notebook: Make) -> None:
    notebook = make_notebook()
    raw: Cell = nbformat.v4.new_raw_cell
    code: Cell = nbformat.v4.new_code_cell
    notebook.cells += [raw("<script>alert(1)</script>"), code("")]
    demand_harmless(render(notebook))
