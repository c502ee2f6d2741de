"""What a report is made of, whatever it is written as: every page and every Markdown file holds the same of these."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from bitting.report.verdicts import Standing


@dataclass(frozen=True)
class Mark:
    """How something stands, as a word with a sign of its own: never told by colour alone."""

    standing: Standing


@dataclass(frozen=True)
class Link:
    """Text that leads to a place in the same report; `to`: the id of a section or an entry."""

    text: str
    to: str


@dataclass(frozen=True)
class Strong:
    """Text that must be seen first."""

    text: str


#: What stands in a line or a cell.
Inline = str | Mark | Link | Strong
Line = tuple[Inline, ...]


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    line: Line


@dataclass(frozen=True)
class Bullets:
    """A list."""

    items: tuple[Line, ...]


@dataclass(frozen=True)
class Table:
    """Rows of cells; the first cell names its row. `folded`: a page shows it when asked."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Inline, ...], ...]
    folded: bool = False


@dataclass(frozen=True)
class Plot:
    """A picture (`spec`: Vega-Lite, which has all its data in it), what it shows in words, and its data as a table."""

    title: str
    words: str
    spec: dict[str, Any] = field(hash=False)
    table: Table


@dataclass(frozen=True)
class Command:
    """A command of a shell."""

    text: str


@dataclass(frozen=True)
class Entry:
    """Something that can be folded away; `open`: it is not, at first."""

    id: str
    title: Line
    open: bool
    blocks: tuple[Block, ...]


Block = Text | Bullets | Table | Plot | Command | Entry


@dataclass(frozen=True)
class Section:
    """A chapter."""

    id: str
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Document:
    """A report; `lead`: how it was made, in one line."""

    title: str
    lead: str
    sections: tuple[Section, ...]
