"""The pages in a real browser: on a phone nothing has to be scrolled sideways, and nothing is fetched."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest

from ci import reports
from ci.runs import Run

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PHONE = 390  # CSS pixels

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")

# Chromium's own window can't be as narrow as a phone, a frame in it can.
FRAME = """<!doctype html><title>measuring</title>
<iframe id="phone" src="{page}" width="{width}" height="800" style="border:0"></iframe>
<script>
addEventListener("load", () => {{
  const framed = document.getElementById("phone");
  const loaded = framed.contentWindow.performance.getEntriesByType("resource").map(entry => entry.name);
  const wide = framed.contentDocument.documentElement.scrollWidth;
  const fetched = loaded.filter(name => !name.startsWith("data:"));
  document.body.textContent = "width " + wide + " loaded " + fetched.length;
}});
</script>"""


def measure(page: Path, profile: Path) -> tuple[int, int]:
    """Return how wide a page is on a phone, in CSS pixels, and how many other files it has loaded."""
    assert CHROMIUM is not None
    frame = page.with_name("frame.html")
    frame.write_text(FRAME.format(page=page.name, width=PHONE))
    shown = subprocess.run(
        [
            CHROMIUM,
            *(
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--no-first-run",
                "--disable-sync",
            ),
            *(
                "--disable-background-networking",
                "--disable-component-update",
                "--hide-scrollbars",
            ),
            "--allow-file-access-from-files",
            *(f"--user-data-dir={profile}", "--virtual-time-budget=5000", "--dump-dom", frame.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    ).stdout
    found = re.search(r"width (\d+) loaded (\d+)", shown)
    assert found, shown[:2000]
    return int(found[1]), int(found[2])


@pytest.mark.parametrize("verdict", ["waiting", "failed"])
def test_a_report_fits_a_phone_and_fetches_nothing(
    make_run: Callable[..., Run], tmp_path: Path, verdict: str
) -> None:
    page = reports.write(make_run(verdict), previous=None)
    assert measure(page, tmp_path / "profile") == (PHONE, 0)


def test_the_index_fits_a_phone_and_fetches_nothing(make_run: Callable[..., Run], tmp_path: Path) -> None:
    page = reports.write_index([make_run("released"), make_run("not_better", run_id="20261124-101502-3fa2")])
    assert measure(page, tmp_path / "profile") == (PHONE, 0)


def test_a_notebook_fits_a_phone_and_fetches_nothing(
    make_notebook: Callable[..., nbformat.NotebookNode], tmp_path: Path
) -> None:
    document: Any = make_notebook(failed=True)
    nbformat.write(document, tmp_path / "train.ipynb")
    page = reports.render_notebook(tmp_path / "train.ipynb", tmp_path / "train.html", title="train")
    assert measure(page, tmp_path / "profile") == (PHONE, 0)
