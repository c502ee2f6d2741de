"""A document as Markdown: the same words and numbers, with a table where the page has a plot."""

from __future__ import annotations

import re
from collections.abc import Sequence

from bitting.report.blocks import Block, Bullets, Command, Document, Entry, Inline, Line, Link, Mark, Plot, Strong, Table, Text
from bitting.report.signs import SIGNS


def render(document: Document) -> str:
    """The whole file."""
    parts = [f"# {_plain(document.title)}", _start(_plain(document.lead))]
    for section in document.sections:
        parts.append(f'<a id="{section.id}"></a>\n\n## {_plain(section.title)}')
        parts.append(written(section.blocks))
    return "\n\n".join(part for part in parts if part) + "\n"


def written(blocks: Sequence[Block]) -> str:
    """Some blocks of a page of one's own."""
    return "\n\n".join(_block(block) for block in blocks)


def _plain(text: str) -> str:
    """Text from a file, in which Markdown and HTML find nothing."""
    return re.sub(r"([\\`*_{}\[\]<>#|!~&$])", r"\\\1", text)


def _start(text: str) -> str:
    """At the start of a line a dash or a number would begin a list."""
    return re.sub(r"^(\s*)([-+=]|\d+(?=[.)]))", lambda found: f"{found[1]}{_escaped_start(found[2])}", text)


def _escaped_start(mark: str) -> str:
    return f"{mark}\\" if mark.isdigit() else f"\\{mark}"


def _inline(item: Inline) -> str:
    if isinstance(item, Mark):
        return f"{SIGNS[item.standing]} **{item.standing}**"
    if isinstance(item, Link):
        return f"[{_plain(item.text)}](#{item.to})"
    return f"**{_plain(item.text.strip())}**" + " " * item.text.endswith(" ") if isinstance(item, Strong) else _plain(item)


def _line(line: Line) -> str:
    return _start("".join(_inline(item) for item in line).strip())


def _block(block: Block) -> str:
    if isinstance(block, Text):
        return _line(block.line)
    if isinstance(block, Bullets):
        return "\n".join(f"* {_line(item)}" for item in block.items)
    if isinstance(block, Table):
        return _table(block)
    if isinstance(block, Command):
        fence = "`" * max(3, 1 + max(map(len, re.findall("`+", block.text)), default=0))
        return f"{fence}sh\n{block.text}\n{fence}"
    if isinstance(block, Plot):
        return f"**{_plain(block.title)}**: {_plain(block.words)}\n\n{_table(block.table)}"
    return _entry(block)


def _entry(entry: Entry) -> str:
    inside = "\n\n".join(_block(block) for block in entry.blocks)
    return f'<a id="{entry.id}"></a>\n\n### {_line(entry.title)}\n\n{inside}'


def _table(table: Table) -> str:
    rows = [" | ".join(map(_inline, row)) for row in table.rows]
    lines = [" | ".join(_plain(column) or "-" for column in table.columns), "|".join("---" for _ in table.columns), *rows]
    return f"{_start(_plain(table.caption))}:\n\n" + "\n".join(f"| {line} |" for line in lines)
