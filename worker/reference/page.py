"""The reference page: the contract, the state diagram, every cell and every message, in one file.

It needs nothing but itself, and no JavaScript.
"""

import json
import re
from collections.abc import Iterable
from html import escape
from itertools import pairwise
from typing import Any, Final

from markdown_it import MarkdownIt

from schemas.contract import OK, CommandName, EventName
from schemas.events import Event
from worker.core.table import TABLE, Rule, column_of
from worker.reference.json_schemas import schemas
from worker.reference.life import Life, calls, life_of, outcome
from worker.reference.states import drawn

#: How the contract's page shows the diagram.
_IMAGE: Final = re.compile(r'<img src="states\.svg"[^>]*>')

_UNCHANGED: Final = {
    Rule.UNCHANGED: "unchanged",
    Rule.TOGGLE: "unchanged if it is so already",
}

_STYLE: Final = """\
:root { color-scheme: light dark; --text: #1f2328; --soft: #59636e; --line: #d1d9e0;
  --ground: #ffffff; --raised: #f6f8fa; --link: #0550ae; --ok: #116329; --no: #9a3412 }
@media (prefers-color-scheme: dark) {
  :root { --text: #e6edf3; --soft: #9198a1; --line: #3d444d; --ground: #0d1117; --raised: #151b23;
    --link: #79b8ff; --ok: #7ee787; --no: #f5a97f }
}
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 72rem; padding: 2rem 1.25rem 6rem; background: var(--ground);
  color: var(--text); font: 16px/1.6 system-ui, sans-serif }
h1, h2, h3 { line-height: 1.25 }
h2 { margin-top: 3rem; padding-bottom: .3rem; border-bottom: 1px solid var(--line) }
a { color: var(--link) }
nav { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; margin: 1rem 0 2rem }
code, pre { font: 13px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace }
pre { overflow-x: auto; padding: .75rem 1rem; border-radius: 8px; background: var(--raised) }
.wide { overflow-x: auto }
table { border-collapse: collapse; margin: 1rem 0; font-size: 14px }
th, td { padding: .4rem .65rem; border: 1px solid var(--line); text-align: left;
  vertical-align: top }
th { background: var(--raised) }
h4 { margin: 2rem 0 .5rem }
h4 code { font-size: 15px }
td b { font-weight: normal; white-space: nowrap }
small { display: block; color: var(--soft) }
.ok { color: var(--ok) }
.no { color: var(--no) }
svg { display: block; width: 100%; height: auto; margin: 1.5rem 0 }
details { margin: .5rem 0 1.5rem }
summary { cursor: pointer; color: var(--soft) }
"""


def page(contract: str) -> str:
    """Return the page.

    Args:
        contract: The contract's own page, in Markdown.
    """
    parser = MarkdownIt("commonmark").enable("table")
    tokens = parser.parse(contract)
    headings: list[str] = []
    for opening, text in pairwise(tokens):
        if opening.type == "heading_open" and opening.tag == "h2":
            opening.attrSet("id", _anchor(text.content))
            headings.append(text.content)
    body: str = parser.renderer.render(tokens, parser.options, {})
    title, _, rest = body.partition("</h1>")
    more = {"Every command in every state": _cells(), "Every message": _messages()}
    links = (f'<a href="#{_anchor(each)}">{escape(each)}</a>' for each in (*headings, *more))
    sections = (f'<h2 id="{_anchor(each)}">{each}</h2>\n{text}' for each, text in more.items())
    return f"""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Call control: the wire contract</title>
<style>
{_STYLE}</style>
</head>
<body>
{title}</h1>
<nav>
{_lines(links)}
</nav>
{_wide(_IMAGE.sub(lambda _: drawn(), rest))}
{_lines(sections)}
</body>
</html>
"""


def _anchor(heading: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", heading.lower()).strip("-")


def _wide(html: str) -> str:
    """Let tables that are wider than the page be moved."""
    return html.replace("<table>", '<div class="wide"><table>').replace(
        "</table>", "</table></div>"
    )


def _cells() -> str:
    head = "".join(f"<th>{escape(life)}</th>" for life in Life)
    rows = (
        f"<tr><th><code>{name}</code></th>{''.join(_cell(life, name) for life in Life)}</tr>"
        for name in CommandName
    )
    reasons = "".join(f"<td><small>{escape(_conflict(life))}</small></td>" for life in Life)
    return _wide(
        "<p>On a network that grants everything. <code>call</code> takes its time on a real one:"
        " the call is dialing, and perhaps ringing, until it is answered.</p>\n"
        f"<table>\n<tr><th></th>{head}</tr>\n"
        f"{_lines(rows)}\n<tr><th>reason of a 409</th>{reasons}</tr>\n</table>"
    )


def _cell(life: Life, name: CommandName) -> str:
    cell, decision = TABLE[name][column_of(calls()[life])], outcome(life, name)
    *overtaken, answer = decision.events
    notes = [f"the <code>{_asked(event)}</code> gets {event.status}" for event in overtaken]
    if cell.rule in _UNCHANGED:
        notes.append(_UNCHANGED[cell.rule])
    elif answer.status == OK and (after := life_of(decision.call)) is not life:
        notes.append(f"→ {escape(after)}")
    if cell.from_offerer:
        notes.append("409 from another endpoint")
    said = (
        f'<code class="ok">{answer.name}</code> <b>{answer.status} {escape(answer.reason)}</b>'
        if answer.status == OK
        else f'<span class="no">{answer.status} {escape(answer.reason.partition(":")[0])}</span>'
    )
    return f"<td>{said}{''.join(f'<small>{note}</small>' for note in notes)}</td>"


def _asked(event: Event) -> str:
    return (event.answers.call_control if event.answers else None) or ""


def _conflict(life: Life) -> str:
    reasons = [outcome(life, name).events[-1] for name in CommandName]
    return next((each.reason for each in reasons if each.status not in (OK, 481)), "")


def _messages() -> str:
    names = schemas()
    kinds = {
        "Commands": [name for name in names if name.startswith("command.")],
        "Actions": [name for name in names if name.startswith("action.")],
        "Network reports": [name for name in names if name.startswith("report.")],
        "Events": [f"event.{name}" for name in EventName],
        "Whatever is read": ["incoming"],
    }
    return _lines(
        f"<h3>{kind}</h3>\n{_lines(_message(name, names[name]) for name in these)}"
        for kind, these in kinds.items()
    )


def _message(name: str, schema: dict[str, Any]) -> str:
    shown = schema["examples"][:1]
    return (
        f'<h4 id="{name}"><code>{schema["title"]}</code></h4>\n'
        f"<p>{_plain(schema['description'])}</p>\n"
        f"{_lines(_json(example) for example in shown)}\n"
        f'<details><summary><a href="json/{name}.json">{name}.json</a></summary>\n'
        f"{_json(schema)}\n</details>"
    )


def _plain(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def _json(value: Any) -> str:
    return f"<pre>{escape(json.dumps(value, indent=2, ensure_ascii=False), quote=False)}</pre>"


def _lines(parts: Iterable[str]) -> str:
    return "\n".join(parts)
