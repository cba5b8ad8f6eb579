"""HTML from a notebook's outputs and prose, cleaned: it may show things, but not run or load any."""

from __future__ import annotations

import base64
import mimetypes
import re
from pathlib import Path
from typing import Any

_TAGS = frozenset(
    (
        *("a", "abbr", "b", "blockquote", "br", "caption", "cite", "code", "col", "colgroup", "dd", "del"),
        *("details", "div", "dl", "dt", "em", "figcaption", "figure", "h1", "h2", "h3", "h4", "h5", "h6"),
        *("hr", "i", "img", "ins", "kbd", "li", "mark", "ol", "p", "pre", "q", "s", "samp", "section"),
        *("small", "span", "strong", "sub", "summary", "sup", "table", "tbody", "td", "tfoot", "th"),
        *("thead", "tr", "u", "ul", "var"),
    )
)
_ATTRIBUTES = frozenset(
    ("class", "colspan", "dir", "hidden", "lang", "open", "rowspan", "scope", "start", "style", "title")
)
_STYLES = frozenset(("font-style", "font-weight", "text-align", "vertical-align", "white-space"))
_IMAGE = re.compile(r"data:image/(png|jpeg|gif|webp|svg\+xml);base64,[A-Za-z0-9+/=\s]+")
_HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")


class Sanitizer:
    """Cleans the pieces of HTML of one page, in the page's order.

    Headings are moved one level down, below the page's own, and none skips a level.

    Parameters
    ----------
    folder : Path
        Where relative addresses of images begin; images below its parent are embedded.
    """

    def __init__(self, folder: Path) -> None:
        from bleach.css_sanitizer import CSSSanitizer  # type: ignore[import-untyped]
        from bleach.sanitizer import Cleaner  # type: ignore[import-untyped]

        self._folder = folder
        self._level = 1
        self._cleaner = Cleaner(
            tags=_TAGS,
            attributes=_admit,
            protocols={"http", "https", "mailto", "data"},
            strip=True,
            strip_comments=True,
            css_sanitizer=CSSSanitizer(allowed_css_properties=_STYLES, allowed_svg_properties=()),
        )

    def __call__(self, html: Any) -> str:
        """Return HTML without scripts, styles, handlers, forms, frames, and addresses to load from."""
        from bs4 import BeautifulSoup

        soup = BeautifulSoup(str(html), "html.parser")
        # The cleaner drops tags but keeps what they enclose, which here is no text to be read.
        for element in soup(["script", "style", "template", "iframe", "object", "noscript", "svg", "math"]):
            element.decompose()
        for image in soup("img"):
            address = self._embedded(str(image.get("src", "")))
            if address:
                image["src"] = address
                image["alt"] = image.get("alt") or "Image without a description"
            else:
                image.name = "span"
                image.string = f"[image: {image.get('alt') or 'not part of this page'}]"
                image.attrs = {"class": "missing"}
        for heading in soup(_HEADINGS):
            self._level = min(int(heading.name[1]) + 1, self._level + 1, 6)
            heading.name = f"h{self._level}"
        return str(self._cleaner.clean(str(soup)))

    def _embedded(self, address: str) -> str:
        """Return an image's address as a data URI, or "" if it isn't in the page or the run folder."""
        if _IMAGE.fullmatch(address):
            return address
        if ":" in address or not address:
            return ""
        path, root = (self._folder / address).resolve(), self._folder.parent.resolve()
        kind = mimetypes.guess_type(path.name)[0] or ""
        if not (path.is_relative_to(root) and kind.startswith("image/") and path.is_file()):
            return ""
        return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def _admit(tag: str, name: str, value: str) -> bool:
    if tag == "img":
        return name in ("alt", "width", "height", "class") or (
            name == "src" and bool(_IMAGE.fullmatch(value))
        )
    if tag == "a" and name == "href":
        return not value.strip().lower().startswith("data:")
    return name in _ATTRIBUTES
