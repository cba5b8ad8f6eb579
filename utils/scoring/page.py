"""The page that a person sees who opens the service's address: what it takes, what it gives, how to ask."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from .loading import Loaded

_STYLE = """
:root { color-scheme: light dark;
  --ink: #1b1f24; --paper: #fff; --soft: #57606a; --line: #d0d7de; --code: #f3f5f7 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6edf3; --paper: #0f1419; --soft: #9aa4af; --line: #30363d; --code: #1a2027 }
}
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 48rem; padding: 1.5rem 1rem 4rem;
  background: var(--paper); color: var(--ink); font: 1rem/1.55 system-ui, sans-serif }
h1 { font-size: 1.6rem; margin: 0; overflow-wrap: anywhere }
h2 { font-size: 1.1rem; margin: 2rem 0 .5rem }
p.about { color: var(--soft); margin: .25rem 0 0; overflow-wrap: anywhere }
table { border-collapse: collapse; width: 100% }
caption { text-align: left; color: var(--soft); padding-bottom: .25rem }
th, td { text-align: left; vertical-align: top; padding: .35rem .75rem .35rem 0;
  border-bottom: 1px solid var(--line) }
td code { overflow-wrap: anywhere }
div.wide { overflow-x: auto }
pre { background: var(--code); border: 1px solid var(--line); border-radius: 6px;
  padding: .75rem; overflow-x: auto }
code { font: .9em/1.5 ui-monospace, monospace }
a { color: inherit }
@media print { pre { white-space: pre-wrap } }
"""


def render(loaded: Loaded, *, keys: bool) -> bytes:
    """Write the page. It fetches nothing from elsewhere.

    Parameters
    ----------
    loaded : Loaded
    keys : bool
        Whether API keys are asked for.

    Returns
    -------
    bytes
        HTML, UTF-8.
    """
    schema, identity = loaded.scorer.schema, loaded.identity
    output = schema["output"]
    names = [column["name"] for column in schema["inputs"]]
    record = {"data": [dict(zip(names, loaded.example, strict=True))]}
    body = _compact({"data": [loaded.example]})
    answer = _compact({"result": loaded.scorer.score(body)})
    asked = ", with a key" if keys else ""
    title = f"{identity.name}, version {identity.version}"
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<main>
<h1>{escape(title)}</h1>
<p class="about">Predicts <strong>{escape(str(output["name"]))}</strong>: {_kind(output)}.
Package <code>{identity.digest[:12]}</code>.</p>
<h2>Inputs</h2>
{_inputs(schema["inputs"], loaded.example)}
<h2>How to ask</h2>
<p>With the address of this page{" and an API key" if keys else ""} in the shell:</p>
<pre tabindex="0"><code>{escape(_curl(body, keys))}</code></pre>
<p>It answers, one prediction for each row:</p>
<pre tabindex="0"><code>{escape(answer)}</code></pre>
<p>Rows may be given by column name instead; what may be missing may be left out or null:</p>
<pre tabindex="0"><code>{escape(json.dumps(record, indent=2, ensure_ascii=False))}</code></pre>
<h2>More</h2>
<ul>
<li><a href="openapi.json">openapi.json</a>: all requests and answers, for programs</li>
<li><a href="health/ready">health/ready</a>: whether it is ready, and which package answers</li>
<li><a href="metrics">metrics</a>: what was asked and how it went, for Prometheus{asked}</li>
</ul>
</main>
</body>
</html>
""".encode()


def _kind(output: Mapping[str, Any]) -> str:
    if "classes" not in output:
        return "a number"
    return "one of " + ", ".join(f"<code>{escape(_compact(label))}</code>" for label in output["classes"])


def _inputs(inputs: Sequence[Mapping[str, Any]], example: Sequence[Any]) -> str:
    rows = "".join(
        f'<tr><th scope="row">{escape(column["name"])}</th><td>{escape(column["type"])}</td>'
        f"<td>{'yes' if column['nullable'] else 'no'}</td>"
        f"<td><code>{escape(_compact(value))}</code></td></tr>\n"
        for column, value in zip(inputs, example, strict=True)
    )
    return (
        '<div class="wide" tabindex="0"><table>\n<caption>In the order of a row.</caption>\n<thead><tr>'
        '<th scope="col">Column</th><th scope="col">Type</th><th scope="col">May be missing</th>'
        f'<th scope="col">Example</th></tr></thead>\n<tbody>\n{rows}</tbody>\n</table></div>'
    )


def _curl(body: str, keys: bool) -> str:
    # The page has no script that could tell its own address.
    key = ' \\\n  -H "Authorization: Bearer $KEY"' if keys else ""
    quoted = body.replace("'", "'\\''")
    return f"curl \"$ADDRESS/score\" \\\n  -H 'Content-Type: application/json'{key} \\\n  -d '{quoted}'"


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
