"""A document as one HTML file that fetches nothing and runs nothing but its own two scripts.

Every text goes through `_el`, which escapes it; every specification through `_json`. A Content-Security-Policy names scripts
and style by their hashes and forbids any request, so that even a text that got through would stay text. Vega interprets its
expressions (`ast`), for the policy forbids `eval`.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from importlib import resources
from itertools import count
from typing import Any

from bitting.errors import missing_extra
from bitting.report.blocks import (
    Block,
    Bullets,
    Command,
    Document,
    Inline,
    Line,
    Link,
    Mark,
    Plot,
    Section,
    Strong,
    Table,
    Text,
)
from bitting.report.charts import CONFIG
from bitting.report.signs import SIGNS


class _Html(str):
    """Text that is HTML already; any other is escaped."""


def render(document: Document) -> str:
    """The whole page.

    Raises:
        ExtraError: if what draws the plots is missing.
    """
    style = _file("page.css")
    scripts = [_bundle(), _file("page.js")]
    policy = "; ".join((
        "default-src 'none'", f"script-src {' '.join(map(_hash, scripts))}", f"style-src {_hash(style)}",
        "base-uri 'none'", "form-action 'none'",
    ))  # fmt: skip
    meta = (
        {"charset": "utf-8"},
        {"http_equiv": "Content-Security-Policy", "content": policy},
        {"name": "viewport", "content": "width=device-width, initial-scale=1"},
        {"name": "color-scheme", "content": "light dark"},
    )
    head = _el(
        "head", *(_void("meta", **attributes) for attributes in meta), _el("title", document.title), _el("style", _Html(style))
    )
    plots = count(1)
    main = _el("main", *(_section(section, plots) for section in document.sections), id="main", tabindex="-1")
    skip = _el("a", "To the verdict", href="#main", class_="skip")
    config = _json(CONFIG, id="config")
    body = _el("body", skip, _header(document), main, config, *(_el("script", _Html(script)) for script in scripts))
    return f"<!doctype html>\n{_el('html', head, body, lang='en')}\n"


def _file(name: str) -> str:
    return (resources.files("bitting.report") / name).read_text(encoding="utf-8")


def _bundle() -> str:
    """Vega, Vega-Lite and what embeds them, as vl-convert brings them; the same for everybody with the same version of it."""
    with missing_extra("a report as a page"):
        import vl_convert
    script: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return script.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _attributes(attributes: dict[str, str]) -> str:
    return "".join(f' {name.rstrip("_").replace("_", "-")}="{html.escape(value)}"' for name, value in attributes.items())


def _el(tag: str, *inside: str, **attributes: str) -> _Html:
    """An element; `class_` is the attribute class, other underscores are hyphens."""
    inner = "".join(part if isinstance(part, _Html) else html.escape(part, quote=False) for part in inside)
    return _Html(f"<{tag}{_attributes(attributes)}>{inner}</{tag}>")


def _void(tag: str, **attributes: str) -> _Html:
    return _Html(f"<{tag}{_attributes(attributes)}>")


def _json(data: dict[str, Any], **attributes: str) -> _Html:
    """Data in a <script> that does not run: a name with `</script>` in it would end that, and begin another."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    for letter in "<>&":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return _el("script", _Html(text), type="application/json", **attributes)


def _short(spec: dict[str, Any]) -> dict[str, Any]:
    """A specification whose data is rows beside the names of their fields, numbers with six digits; page.js undoes it."""
    if "data" not in spec:
        return spec
    rows: list[dict[str, Any]] = spec["data"]["values"]
    values = [[float(f"{value:.6g}") if isinstance(value, float) else value for value in row.values()] for row in rows]
    return spec | {"data": {"fields": list(rows[0]) if rows else [], "rows": values}}


def _header(document: Document) -> _Html:
    buttons = _el("div", _el("button", "Light or dark", type="button", id="theme"),
                  _el("button", "Unfold everything", type="button", id="unfold"), class_="buttons")  # fmt: skip
    links = [_el("li", _el("a", section.title, href=f"#{section.id}")) for section in document.sections]
    contents = _el(
        "details", _el("summary", "Contents"), _el("nav", _el("ul", *links), aria_label="Contents"), class_="contents"
    )
    noscript = _el(
        "noscript",
        _el("p", "Without JavaScript nothing is drawn; the report as .md has the numbers of every plot."),
    )
    return _el("header", _el("h1", document.title), _el("p", document.lead, class_="lead"), buttons, contents, noscript)


def _section(section: Section, plots: count[int]) -> _Html:
    return _el("section", _el("h2", section.title), *(_block(block, plots) for block in section.blocks), id=section.id)


def _inline(item: Inline) -> str:
    if isinstance(item, Mark):
        kind = item.standing.replace(" ", "-")
        return _el("span", _el("span", SIGNS[item.standing], aria_hidden="true"), f" {item.standing}", class_=f"mark {kind}")
    if isinstance(item, Link):
        return _el("a", item.text, href=f"#{item.to}")
    return _el("strong", item.text) if isinstance(item, Strong) else item


def _line(line: Line) -> list[str]:
    return [_inline(item) for item in line]


def _block(block: Block, plots: count[int]) -> _Html:
    if isinstance(block, Text):
        return _el("p", *_line(block.line))
    if isinstance(block, Bullets):
        return _el("ul", *(_el("li", *_line(item)) for item in block.items))
    if isinstance(block, Table):
        return _table(block)
    if isinstance(block, Command):
        return _el("pre", _el("code", block.text), class_="scroll", role="group", aria_label="Command that makes this again")
    if isinstance(block, Plot):
        return _plot(block, next(plots))
    inside = _el("div", *(_block(inner, plots) for inner in block.blocks), class_="inside")
    unfolded = {"open": ""} if block.open else {}
    return _el("details", _el("summary", *_line(block.title)), inside, id=block.id, class_="entry", **unfolded)


def _table(table: Table) -> _Html:
    head = _el("thead", _el("tr", *(_el("th", column or "-", scope="col") for column in table.columns)))
    rows = [
        _el(
            "tr",
            *(_el("td", _inline(cell)) if index else _el("th", _inline(cell), scope="row") for index, cell in enumerate(row)),
        )
        for row in table.rows
    ]
    whole = _el("table", _el("caption", table.caption), head, _el("tbody", *rows))
    box = _el("div", whole, class_="scroll", role="group", aria_label=table.caption)
    return _el("details", _el("summary", f"{table.caption}: {len(table.rows)} rows"), box) if table.folded else box


def _plot(plot: Plot, number: int) -> _Html:
    """Of its data only what draws it: thousands of tables would not open. page.js makes the table when it is unfolded."""
    drawing = _el("div", class_="drawing", role="img", aria_label=f"{plot.title}. {plot.words}")
    numbers = _el("details", _el("summary", f"Numbers: {plot.title}"), class_="numbers")
    spec = _short(plot.spec) | {"layer": [_short(layer) for layer in plot.spec["layer"]]}
    table = {"caption": plot.table.caption, "columns": plot.table.columns, "rows": plot.table.rows}
    caption = _el("figcaption", _el("strong", plot.title), _el("span", plot.words))
    return _el("figure", caption, drawing, _json({"spec": spec, "table": table}), numbers, id=f"plot-{number}")
