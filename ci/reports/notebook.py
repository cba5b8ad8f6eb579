"""An executed notebook as a page that opens from disk, whatever the notebook holds."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from ci.reports import pages, text
from ci.reports.sanitizer import Sanitizer
from utils import files

if TYPE_CHECKING:
    from nbconvert.exporters import HTMLExporter
    from nbformat import NotebookNode

_ERROR_MARKER = "papermill-error-cell-tag"
_SCRAP = "application/scrapbook.scrap."
_SHOWN = (
    "text/html",
    "text/markdown",
    "image/svg+xml",
    "image/png",
    "image/jpeg",
    "text/latex",
    "text/plain",
)
_HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*$", re.MULTILINE)


def render_notebook(
    ipynb: Path, html: Path, *, title: str, back: str = "../index.html", running: bool = False
) -> Path:
    """Write an executed notebook as a self-contained page.

    Nothing in the page runs or is loaded from elsewhere: outputs are
    cleaned of scripts, images are embedded, formulas stay as they were typed.

    Parameters
    ----------
    ipynb : Path
        The notebook, complete or as far as it has got. If it is missing or
        unreadable, the page says so.
    html : Path
        Where the page shall be.
    title : str
        Its heading: the step's name.
    back : str
        Where the report is, seen from the page.
    running : bool
        Whether the notebook is still being executed.

    Returns
    -------
    Path
        `html`.
    """
    import nbformat

    try:
        document = _read(ipynb)
    except FileNotFoundError:
        return _write_empty(
            html, title, back, f"There is no notebook {ipynb.name}: the step never started it."
        )
    except (OSError, ValueError, TypeError, LookupError, AttributeError, nbformat.ValidationError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        return _write_empty(html, title, back, f"The notebook {ipynb.name} can't be read: {reason}")
    failed = _prepare(document, running=running)
    exporter = _exporter()
    exporter.register_filter("sanitized", Sanitizer(ipynb.parent))
    fragment, _ = exporter.from_notebook_node(document, resources={"metadata": {"path": str(ipynb.parent)}})
    page = pages.render(
        "notebook.html.j2",
        title=title,
        crumbs=[("Report", back), (title, "")],
        state=pages.STATES["running" if running else "failed" if failed else "succeeded"],
        facts=_facts(document, ipynb),
        notice=failed,
        cells=Markup(fragment),  # noqa: S704 - the template escapes, the sanitizer cleans
    )
    return files.write_text(html, page)


def _read(ipynb: Path) -> NotebookNode:
    import nbformat

    document: NotebookNode = nbformat.v4.reads(ipynb.read_text(encoding="utf-8"))
    # Cells that papermill or an older editor added have no id, of which nbformat would warn.
    document.nbformat, document.nbformat_minor = 4, 5
    for number, cell in enumerate(document.cells, start=1):
        cell["id"] = f"cell-{number}"
    nbformat.validate(document)
    return document


@cache
def _exporter() -> HTMLExporter:
    # nbconvert takes seconds to import; whoever only writes reports shall not wait for it.
    from nbconvert.exporters import HTMLExporter
    from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
    from traitlets.config import Config

    class Renderer(IPythonRenderer):
        """Markdown with formulas as they were typed: drawing them takes a script from the network."""

        def block_math(self, body: str) -> str:
            return f'<pre class="math">{self.escape_html(body.strip())}</pre>'

        def inline_math(self, body: str) -> str:
            return f"<code>{self.escape_html(body)}</code>"

        def latex_environment(self, name: str, body: str) -> str:
            return self.block_math(f"\\begin{{{name}}}{body}\\end{{{name}}}")

        def _embed_image_or_attachment(self, src: str) -> str:
            name = src.removeprefix("attachment:")
            if name != src and name not in self.attachments:
                return ""
            return str(super()._embed_image_or_attachment(src))

    class Exporter(HTMLExporter):
        def default_filters(self) -> Any:
            yield from super().default_filters()  # type: ignore[no-untyped-call]
            yield "markdown2html", _markdown

    import jinja2

    @jinja2.pass_context
    def _markdown(context: Any, source: str) -> str:
        attachments = context.get("cell", {}).get("attachments", {})
        renderer = Renderer(escape=False, attachments=attachments, exclude_anchor_links=True)
        return str(MarkdownWithMath(renderer=renderer).render(source))

    return Exporter(  # type: ignore[no-untyped-call]
        template_name="notebook",
        extra_template_basedirs=[str(pages.TEMPLATES)],
        config=Config({"NbConvertBase": {"display_data_priority": list(_SHOWN)}}),
    )


def _prepare(document: NotebookNode, *, running: bool) -> dict[str, Any] | None:
    """Give each cell what the template needs to know of it; return the notice of a failure, if any."""
    document.cells = [c for c in document.cells if _ERROR_MARKER not in c.metadata.get("tags", [])]
    heading, failed, divided = "", None, False
    for number, cell in enumerate(document.cells, start=1):
        about: dict[str, Any] = {"number": number, "kind": "", "divider": "", "scraps": []}
        cell.metadata["report"] = about
        if cell.cell_type == "markdown":
            headings = _HEADING.findall(cell.source)
            heading = headings[-1] if headings else heading
        if cell.cell_type != "code":
            continue
        about["scraps"] = _scraps(cell)
        cell.outputs = [output for output in cell.outputs if _shows(output)]
        _describe(cell, number, heading)
        error = next((output for output in cell.outputs if output.output_type == "error"), None)
        tags = set(cell.metadata.get("tags", []))
        kinds = [kind for kind in ("parameters", "injected-parameters") if kind in tags]
        waits = cell.execution_count is None and not cell.outputs and bool(cell.source.strip())
        if waits and (running or failed):
            kinds.append("not-run")
            if not divided:
                divided = True
                about["divider"] = (
                    "The cells below have not run yet" if running else "The cells below did not run"
                )
        if error is not None:
            message = str(error.get("evalue", "")).strip().splitlines()
            failed = {
                "text": f"Stopped in cell {number} with {error.ename}"
                + (f": {_plain(message[0]).rstrip('.')}" if message else "")
                + ".",
                "cell": number,
                "tone": "bad",
                "icon": "cross",
            }
        lines = [line for line in cell.source.splitlines() if line.strip()]
        about |= {
            "kind": " ".join(kinds),
            "open": bool(error is not None or "injected-parameters" in kinds),
            "label": {"parameters": "Parameters", "injected-parameters": "Parameters of this run"}.get(
                kinds[0] if kinds else "", "Code"
            ),
            "preview": (lines[0] if lines else "") + (" …" if len(lines) > 1 else ""),
        }
        cell.metadata["report"] = about
    return failed


def _plain(words: str) -> str:
    return re.sub("\x1b\\[[0-9;]*[A-Za-z]", "", words)


def _scraps(cell: NotebookNode) -> list[tuple[str, str]]:
    """Return what a cell glued; scrapbook's own output of it has nothing to look at."""
    found = []
    for output in cell.outputs:
        for kind, content in output.get("data", {}).items():
            if kind.startswith(_SCRAP) and isinstance(content, dict) and "name" in content:
                found.append((str(content["name"]), _scrap(content.get("data"))))
    return found


def _scrap(data: Any) -> str:
    """Return a scrap in a line; a list of records is for programs, and shown by the notebook's own tables."""
    if isinstance(data, list) and data and all(isinstance(item, dict) for item in data):
        return text.count(len(data), "record")
    return text.value(data, 400)


def _shows(output: NotebookNode) -> bool:
    if output.output_type in ("stream", "error"):
        return True
    return any(kind in output.get("data", {}) for kind in _SHOWN)


def _describe(cell: NotebookNode, number: int, heading: str) -> None:
    """Give each image a text for those who can't see it; an author's own one stays."""
    fallback = f"Plot in cell {number}" + (f", under “{heading}”" if heading else "")
    for output in cell.outputs:
        for kind in ("image/png", "image/jpeg", "image/svg+xml"):
            if kind in output.get("data", {}):
                given = output.metadata.setdefault(kind, {})
                given["alt"] = given.get("alt") or cell.metadata.get("alt") or fallback
                if kind == "image/svg+xml" and not isinstance(output.data[kind], str):
                    output.data[kind] = "".join(output.data[kind])


def _facts(document: NotebookNode, ipynb: Path) -> list[str]:
    about = document.metadata.get("papermill", {})
    code = [cell for cell in document.cells if cell.cell_type == "code" and cell.source.strip()]
    ran = sum(cell.execution_count is not None for cell in code)
    source = str(about.get("input_path") or "")
    facts = [
        source or ipynb.name,
        text.duration(about["duration"]) if text.is_number(about.get("duration")) else "",
        text.moment(str(about["start_time"])) if about.get("start_time") else "",
        f"{ran} of {text.count(len(code), 'code cell')} ran"
        if ran < len(code)
        else text.count(len(code), "code cell"),
    ]
    return [fact for fact in facts if fact]


def _write_empty(html: Path, title: str, back: str, reason: str) -> Path:
    notice = {"text": reason, "cell": None, "tone": "calm", "icon": "block"}
    crumbs = [("Report", back), (title, "")]
    page = pages.render(
        "notebook.html.j2", title=title, crumbs=crumbs, state=None, facts=[], notice=notice, cells=""
    )
    return files.write_text(html, page)
