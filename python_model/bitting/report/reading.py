"""Reading the file of an attack suite. Whoever made it may have made it up: everything is held to its type and range."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from bitting.errors import ResultsError
from bitting.look.plain import printable
from bitting.report.results import (
    Case,
    Claim,
    Cost,
    Figure,
    Finding,
    Kind,
    Made,
    Results,
    Role,
    Scalar,
    Series,
    Target,
    Tile,
    Verification,
)  # fmt: skip
from bitting.suite.format import FORMAT, RESULTS, Training, Verdict

#: No suite writes more; a page of it would open nowhere.
_LARGEST = 256 << 20
#: Numbers beyond it are no measurements, and a browser draws none.
_MOST = 1e300
#: Letters of a text, and how much of a wrong value an error quotes.
_TEXT, _QUOTED = 20_000, 60
_REMEDY = "have the attack suite write it again, with the same version of bitting"
_MISSING = object()
_Word = TypeVar("_Word", bound=StrEnum)


def read(run: Path) -> Results:
    """Read and check the results of a run.

    Args:
        run: its folder, or the file itself.

    Raises:
        ResultsError: if there is no such file, or it is not what a suite writes.
    """
    path = run / RESULTS if run.is_dir() else run
    try:
        if path.stat().st_size > _LARGEST:
            raise ResultsError(f"{path} has {path.stat().st_size} bytes; allowed are {_LARGEST}: {_REMEDY}")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        why = error.strerror or error
        raise ResultsError(
            f"can not read {path}: {why}; name the folder that the attack suite wrote, with {RESULTS} in it"
        ) from None
    except UnicodeDecodeError as error:
        raise ResultsError(f"{path} is no text: byte {error.start} is not UTF-8; {_REMEDY}") from None
    try:
        return _results(_Place(json.loads(text, object_pairs_hook=_unique), "", path))
    except RecursionError:
        raise ResultsError(f"{path} is nested too deeply; results are nested seven deep: {_REMEDY}") from None
    except ValueError as error:  # json's own among them, and integers of thousands of digits
        raise ResultsError(f"{path} is not JSON: {error}; {_REMEDY}") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; of two fields with one name it is not said which counts."""
    names = dict(pairs)
    if len(names) < len(pairs):
        twice = next(name for index, (name, _) in enumerate(pairs) if name in dict(pairs[:index]))
        raise ValueError(f"the field {twice[:_QUOTED]!r} stands twice in one object")
    return names


@dataclass(frozen=True)
class _Place:
    """A value in the file, and how to get there. Every method raises ResultsError for what is not allowed."""

    value: Any
    where: str
    path: Path

    def wrong(self, allowed: str) -> NoReturn:
        where = printable(self.where) or "the whole file"
        if self.value is _MISSING:
            raise ResultsError(f"{self.path}: {where} is missing; allowed is {allowed}: {_REMEDY}")
        found = repr(self.value)
        found = printable(found if len(found) <= _QUOTED else found[:_QUOTED] + "...")
        raise ResultsError(f"{self.path}: {where} is {found}; allowed is {allowed}: {_REMEDY}")

    def __getitem__(self, name: str) -> _Place:
        if not isinstance(self.value, dict):
            self.wrong("an object with fields")
        return _Place(self.value.get(name, _MISSING), f"{self.where}.{name}".lstrip("."), self.path)

    @property
    def absent(self) -> bool:
        return self.value is None or self.value is _MISSING

    def items(self) -> list[_Place]:
        if not isinstance(self.value, list):
            self.wrong("a list")
        return [_Place(item, f"{self.where}[{index}]", self.path) for index, item in enumerate(self.value)]

    def fields(self) -> dict[str, _Place]:
        if not isinstance(self.value, dict):
            self.wrong("an object with fields")
        return {printable(name): self[name] for name in self.value}

    def text(self, empty: bool = False, keep: str = "") -> str:
        """What a screen would obey (direction marks, halves of letters) is written out; `keep`: see `printable`."""
        if not isinstance(self.value, str) or len(self.value) > _TEXT or not (self.value.strip() or empty):
            self.wrong(f"a text of {0 if empty else 1} to {_TEXT} letters")
        return printable(self.value, keep)

    def text_or_none(self) -> str:
        return "" if self.absent else self.text(empty=True)

    def one_of(self, kind: type[_Word]) -> _Word:
        if not isinstance(self.value, str) or self.value not in list(kind):
            self.wrong("one of " + ", ".join(kind))
        return kind(self.value)

    def number(self, least: float = -_MOST, most: float = _MOST) -> float:
        value = self.value
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
            self.wrong(f"a number from {least:g} to {most:g}")
        return value

    def number_or_none(self, least: float = -_MOST) -> float | None:
        return None if self.absent else self.number(least)

    def share(self) -> float:
        return self.number(0, 1)

    def count(self) -> int:
        if isinstance(self.value, bool) or not isinstance(self.value, int) or not 0 <= self.value < _MOST:
            self.wrong("a whole number, 0 or more")
        return self.value

    def flag(self) -> bool:
        if not isinstance(self.value, bool):
            self.wrong("true or false")
        return self.value

    def scalar(self) -> Scalar:
        if isinstance(self.value, str):
            return self.text(empty=True)
        if self.value is None or isinstance(self.value, bool):
            return self.value
        return self.number()

    def said(self) -> str:
        """Whatever it is, in one line: settings that the report only repeats."""
        if isinstance(self.value, dict):
            return ", ".join(f"{name} {place.said()}" for name, place in self.fields().items())
        if isinstance(self.value, list):
            return ", ".join(place.said() for place in self.items())
        value = self.scalar() if self.value is not _MISSING else None
        return "" if value is None else str(value)


def _results(file: _Place) -> Results:
    if file["format"].value != FORMAT:
        file["format"].wrong(repr(FORMAT))
    cases = tuple(_case(place) for place in file["cases"].items())
    known: dict[str, int] = {}
    for index, case in enumerate(cases):
        if case.id in known:
            file["cases"].items()[index]["id"].wrong(f"an id of its own; cases[{known[case.id]}] has this one")
        known[case.id] = index
    return Results(_made(file["made"]), cases, tuple(_finding(place, known) for place in file["findings"].items()))


def _made(place: _Place) -> Made:
    return Made(
        version=place["version"].text(),
        commit=place["commit"].text_or_none(),
        suite=place["suite"].text(),
        budget=place["budget"].said(),
        seed=place["seed"].said(),
        started=place["started"].text(),
        seconds=place["seconds"].number(0),
        job_seconds=place["job_seconds"].number_or_none(0),
        tools={name: tool.said() for name, tool in place["tools"].fields().items()},
        unfinished=0 if place["unfinished"].absent else place["unfinished"].count(),
        not_run=() if place["not_run"].absent else tuple(name.text() for name in place["not_run"].items()),
    )


def _case(place: _Place) -> Case:
    return Case(
        id=place["id"].text(),
        data=place["data"].text(),
        network=place["network"].text(),
        spec=place["spec"].text(),
        vault=place["vault"].text_or_none(),
        fingerprint=place["fingerprint"].text_or_none(),
        transform=place["transform"].text_or_none(),
        soft=place["soft"].text_or_none(),
        level=place["level"].one_of(Claim),
        holds=place["holds"].text(),
        authorised=place["authorised"].share(),
        twin=None if place["twin"].absent else place["twin"].share(),
        chance=place["chance"].share(),
        seeds=tuple(seed.said() for seed in place["seeds"].items()),
        verification=None if place["verification"].absent else _verification(place["verification"]),
        targets=tuple(_target(target) for target in place["targets"].items()),
        cycles=tuple(_tile(tile) for tile in place["cycles"].items()),
        cost=None if place["cost"].absent else _cost(place["cost"]),
        trainings=() if place["trainings"].absent else tuple(_training(item) for item in place["trainings"].items()),
    )


def _training(place: _Place) -> Training:
    return Training(place["authorised"].share(), place["twin"].share())


def _target(place: _Place) -> Target:
    return Target(place["name"].text(), place["family"].text(), place["held_out"].flag(), place["metric"].share())


def _tile(place: _Place) -> Tile:
    return Tile(place["tile"].said(), place["predicted"].count(), place["measured"].count())


def _verification(place: _Place) -> Verification:
    known = ("samples", "wrong_bits", "wrong_cycles")
    more: Mapping[str, Scalar] = {name: item.said() for name, item in place.fields().items() if name not in known}
    samples, bits, cycles = (place[name].count() for name in known)
    return Verification(samples, bits, cycles, more)


def _cost(place: _Place) -> Cost:
    device = place["device"].text_or_none() or None
    numbers = {item.name: place[item.name].number_or_none(0) for item in fields(Cost) if item.name != "device"}
    return Cost(device=device, **numbers)


def _finding(place: _Place, cases: Mapping[str, int]) -> Finding:
    case, control = place["case"].text(), place["control"].flag()
    if case not in cases and not control:  # a weak lock need not be a case of its own
        place["case"].wrong("the id of a case" + (f", as {next(iter(cases))!r}" if cases else ", and there is none"))
    return Finding(
        case=case,
        attack=place["attack"].text(),
        chapter=place["chapter"].text(),
        attacker=place["attacker"].text(),
        control=control,
        verdict=place["verdict"].one_of(Verdict),
        gain=place["gain"].number_or_none(),
        unit=place["unit"].text_or_none(),
        summary=place["summary"].text(),
        seed=place["seed"].said(),
        seconds=place["seconds"].number_or_none(0),
        guess_operations=place["guess_operations"].number_or_none(0),
        command=place["command"].text(keep="\n"),
        figures=tuple(_figure(figure) for figure in place["figures"].items()),
        weak=place["weak"].text_or_none(),
    )


def _figure(place: _Place) -> Figure:
    kind = place["kind"].one_of(Kind)
    title = place["title"].text()
    if kind == Kind.TABLE:
        columns = tuple(column.text(empty=True) for column in place["columns"].items())
        if not columns:
            place["columns"].wrong("a list of one column or more")
        rows = []
        for row in place["rows"].items():
            cells = row.items()
            if len(cells) != len(columns):
                row.wrong(f"a list of {len(columns)} cells, one a column")
            rows.append(tuple(cell.scalar() for cell in cells))
        return Figure(kind, title, columns=columns, rows=tuple(rows))
    series = tuple(_series(item, kind) for item in place["series"].items())
    return Figure(kind, title, place["x"].text(), place["y"].text_or_none(), series)


def _series(place: _Place, kind: Kind) -> Series:
    name, role = place["name"].text(), place["role"].one_of(Role)
    if kind == Kind.HISTOGRAM:
        return Series(name, role, values=tuple(value.number() for value in place["values"].items()))
    x, y = (tuple(value.number() for value in place[axis].items()) for axis in ("x", "y"))
    if len(x) != len(y):
        place["y"].wrong(f"as many numbers as x has, {len(x)}")
    return Series(name, role, x, y)
