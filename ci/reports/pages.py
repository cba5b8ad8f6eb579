"""The templates, and the words and symbols that all pages share."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import (
    Environment,
    FileSystemBytecodeCache,
    FileSystemLoader,
    StrictUndefined,
    select_autoescape,
)
from markupsafe import Markup

from ci.reports import text

TEMPLATES = Path(__file__).parent / "templates"


class Sign(NamedTuple):
    """How a state shows: in a word, as a drawn icon, as a character, and in which tone."""

    word: str
    icon: str
    symbol: str
    tone: str


VERDICTS = {
    "running": Sign("Running", "running", "▶", "calm"),
    "waiting": Sign("Waiting for approval", "waiting", "◔", "wait"),
    "released": Sign("Released", "check", "✓", "good"),
    "not_better": Sign("Not better", "equal", "≈", "calm"),
    "blocked": Sign("Blocked", "block", "⊘", "bad"),
    "rejected": Sign("Rejected", "cross", "✗", "bad"),
    "failed": Sign("Failed", "cross", "✗", "bad"),
    "stopped": Sign("Stopped", "pause", "‖", "calm"),
}
STATES = {
    "pending": Sign("pending", "pending", "·", "calm"),
    "running": Sign("running", "running", "▶", "accent"),
    "succeeded": Sign("succeeded", "check", "✓", "good"),
    "skipped": Sign("skipped", "skip", "–", "calm"),
    "failed": Sign("failed", "cross", "✗", "bad"),
    "waiting": Sign("waiting", "waiting", "◔", "wait"),
}


def _compiled() -> FileSystemBytecodeCache | None:
    """Keep compiled templates where Python keeps compiled modules, if this installation can be written."""
    folder = TEMPLATES / "__pycache__"
    try:
        folder.mkdir(exist_ok=True)
    except OSError:
        return None
    return FileSystemBytecodeCache(str(folder)) if os.access(folder, os.W_OK) else None


@cache
def _environment() -> Environment:
    # HTML is escaped in every .html.j2; Markdown has its own filter.
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        bytecode_cache=_compiled(),
        autoescape=select_autoescape(enabled_extensions=("html.j2",), default=False),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["css"] = Markup((TEMPLATES / "style.css").read_text(encoding="utf-8"))  # noqa: S704
    environment.filters.update(
        {
            function.__name__: function
            for function in (
                text.duration,
                text.moment,
                text.number,
                text.percent,
                text.short,
                text.size,
                text.value,
                text.label,
                text.metric_name,
                markdown,
            )
        }
    )
    return environment


def render(template: str, **content: Any) -> str:
    """Return a page or a summary made from a template of the folder templates/.

    What UTF-8 can't hold (half of a surrogate pair, from a notebook's output) becomes a question mark.
    """
    return _environment().get_template(template).render(content).encode(errors="replace").decode()


def markdown(content: Any) -> str:
    """Escape what would be read as markup, or would break a table's row, in Markdown with HTML."""
    plain = str(content).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    for character in "\\`*_[]|#~":
        plain = plain.replace(character, "\\" + character)
    return " ".join(plain.split())
