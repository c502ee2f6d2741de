"""Which targets there are, by family, and which of them may be trained against: read from `families.toml`."""

from __future__ import annotations

import functools
import re
import tomllib
from dataclasses import replace
from enum import StrEnum
from importlib import resources
from typing import Any

from bitting.errors import BittingError
from bitting.targets.accumulators import STORED, Accumulator
from bitting.targets.data_pruning import CRITERIA, DataPruning
from bitting.targets.formats import (
    FLOATS,
    SCALES,
    FloatFormat,
    Format,
    GroupedFormat,
    IntegerFormat,
    PaletteFormat,
    TwiceFormat,
)
from bitting.targets.pruning import Pruning
from bitting.targets.target import Target

_INTEGER = re.compile(rf"int(\d+)-(tensor|channel)(-affine)?(?:-({'|'.join(SCALES)}))?")
_GROUPS = re.compile(r"(int\d+(?:-affine)?)-group(\d+)")
_PALETTE = re.compile(r"palette(\d+)")
_FLOAT = re.compile(rf"({'|'.join(FLOATS)})(?:-(tensor|channel))?")
_TWICE = re.compile(r"two-(int\d+-.*)")
_BY_DATA = re.compile(rf"({'|'.join(CRITERIA)})-(2:4|0\.\d+)(-refit)?")
_STORED = re.compile(rf"({'|'.join(FLOATS)})(?:-({'|'.join(STORED)}))?")
_ACCUMULATOR = re.compile(r"(wrapping|saturating)([+-]?)(\d+)")


class Split(StrEnum):
    """What a target is for."""

    TRAINING = "training"
    """Objectives may sample it."""
    HELD_OUT = "held_out"
    """Never seen in training."""
    CONCEDED = "conceded"
    """Exact emulation: no soft lock stops it."""


def parse_format(text: str) -> Format:
    """Read `int4-channel-affine-mse`, `fp16`, `fp8-e4m3-channel`.

    Raises:
        BittingError: if it is no format.
    """
    if found := _INTEGER.fullmatch(text):
        return IntegerFormat(int(found[1]), found[3] is None, found[2] == "channel", found[4] or "max")
    if found := _GROUPS.fullmatch(text):
        bits, _, affine = found[1].partition("-")
        return GroupedFormat(IntegerFormat(int(bits[3:]), not affine, per_channel=True), int(found[2]))
    if found := _PALETTE.fullmatch(text):
        return PaletteFormat(int(found[1]))
    if (found := _TWICE.fullmatch(text)) and isinstance(integers := parse_format(found[1]), IntegerFormat):
        return TwiceFormat(integers)
    if found := _FLOAT.fullmatch(text):
        return FloatFormat(found[1], "max" if found[1].startswith("fp8") else "power", found[2] == "channel")
    raise BittingError(
        f"{text!r} is no number format; allowed: intB-tensor or intB-channel, then -affine, then -percentile or -mse; "
        f"intB-groupN or intB-affine-groupN; two- and such an integer format; paletteB; "
        f"{', '.join(FLOATS)}, then -tensor or -channel"
    )


@functools.cache
def _table() -> dict[str, dict[str, dict[str, dict[str, Any]]]]:
    return tomllib.loads(resources.files("bitting.targets").joinpath("families.toml").read_text())


def targets(split: Split | str, acc_bits: int) -> tuple[Target, ...]:
    """The targets of a split, in the order of the file.

    Args:
        split: which.
        acc_bits: W of the unit: accumulators are so much wider or narrower.

    Raises:
        BittingError: if there is no such split.
    """
    if split not in list(Split):
        raise BittingError(f"unknown split {split!r}; allowed: {', '.join(Split)}")
    return tuple(
        _target(name, family, fields, acc_bits)
        for family, members in _table()[split].items()
        for name, fields in members.items()
    )


def every_target(acc_bits: int) -> tuple[Target, ...]:
    """The targets of all splits. Arguments as of `targets`."""
    return tuple(target for split in Split for target in targets(split, acc_bits))


@functools.cache
def split_of(family: str) -> Split:
    """Where a family is.

    Raises:
        BittingError: if there is none of this name.
    """
    for split in Split:
        if family in _table()[split]:
            return split
    known = ", ".join(name for split in Split for name in _table()[split])
    raise BittingError(f"unknown family {family!r}; allowed: {known}")


def _target(name: str, family: str, fields: dict[str, Any], acc_bits: int) -> Target:
    given = dict(fields)
    target = Target(
        name,
        family,
        weights=_optional(given, "weights"),
        activations=_optional(given, "activations"),
        accumulator=_accumulator(given.pop("accumulator", ""), acc_bits),
        pruning=_pruning(given.pop("pruning", None)),
        pruning_by_data=_by_data(given.pop("pruning_by_data", "")),
        engine=given.pop("engine", "bitting"),
        method=given.pop("method", ""),
        wave=given.pop("wave", "fold"),
        gain=given.pop("gain", 1.0),
    )
    return replace(target, **given)


def _optional(fields: dict[str, Any], name: str) -> Format | None:
    text = fields.pop(name, "")
    return parse_format(text) if text else None


def _pruning(given: str | float | None) -> Pruning | None:
    if given is None:
        return None
    return Pruning(given) if isinstance(given, str) else Pruning("unstructured", given)


def _by_data(text: str) -> DataPruning | None:
    """`wanda-0.5`, `sparsegpt-2:4-refit`."""
    if not text:
        return None
    found = _BY_DATA.fullmatch(text)
    if not found:
        raise BittingError(
            f"{text!r} is no pruning by data; allowed: {', '.join(CRITERIA)}, then -2:4 or a share as -0.5, then -refit"
        )
    pattern = _pruning(found[2] if found[2] == "2:4" else float(found[2]))
    assert pattern
    return DataPruning(found[1], pattern, bool(found[3]))


def _accumulator(text: str, acc_bits: int) -> Accumulator | None:
    """`fp16`, `fp16-scaled`; `saturating-1` is one bit narrower than the unit's, `wrapping32` has 32."""
    if not text:
        return None
    if found := _STORED.fullmatch(text):
        return Accumulator(found[1], stored=found[2] or "steps")
    found = _ACCUMULATOR.fullmatch(text)
    if not found:
        raise BittingError(
            f"{text!r} is no accumulator; allowed: wrapping or saturating with -N, +N or N, or a float format, then "
            f"{' or '.join('-' + each for each in STORED)}"
        )
    bits = int(found[3])
    return Accumulator(found[1], acc_bits + int(found[2] + found[3]) if found[2] else bits)
