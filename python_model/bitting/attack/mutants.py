"""Chips that know the secret but compute or pace differently in one place, and what they make of a locked model.

Level of claim: key. The attacker holds the artefact and a chip (or an emulator) with the right root secret, whose timing or
arithmetic is off by the least that can be off. Inference itself then runs on honest arithmetic, in the attacker's favour: only
the key, and for `aes-clocked` the counters, feel the mutation.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch

from bitting.emulator.arithmetic import fold, wrap
from bitting.emulator.emulate import Emulator
from bitting.errors import AuthenticityError
from bitting.locking.chip import ChipModel, Fold
from bitting.locking.device import Device
from bitting.locking.scheme import LockScheme
from bitting.locking.sealed_program import SealedProgram
from bitting.locking.transform import unlock_program
from bitting.program.interface import Interface, of_program
from bitting.program.layers import Program
from bitting.unit.spec import UnitSpec

Progress = Callable[[int, int], None]


def timing_mutants(honest: ChipModel) -> Iterator[tuple[str, ChipModel]]:
    """Every code a cycle longer, every code of several cycles one shorter, and one stall more a tile or a position."""
    coded, plain = honest.cycles
    for code, cycles in enumerate(coded):
        for change, name in ((1, "longer"), (-1, "shorter")):
            if cycles + change >= 1:
                other = coded.copy()
                other[code] += change
                yield f"code {code} a cycle {name}", replace(honest, cycles=(other, plain))
    yield "a stall more in every tile", replace(honest, overhead=honest.overhead + 1)
    yield "a stall more in every position", replace(honest, position_stall=1)


def arithmetic_mutants(honest: ChipModel, table: tuple[int, ...]) -> Iterator[tuple[str, ChipModel]]:
    """Every table entry with one bit wrong, wrong folds, and an accumulator of a bit less."""
    spec, (coded, plain) = honest.spec, honest.values
    for code, index in enumerate(table):
        for bit in range(spec.code_bits):
            other = coded.copy()
            other[code] = spec.values[index ^ 1 << bit]
            yield f"table entry {code}, bit {bit} wrong", replace(honest, values=(other, plain))
    for name, wrong in _wrong_folds(spec):
        yield f"fold: {name}", replace(honest, fold=wrong)
    yield "accumulator a bit narrower", replace(honest, acc_bits=spec.acc_bits - 1)


def _wrong_folds(spec: UnitSpec) -> Iterator[tuple[str, Fold]]:
    dropped = spec.acc_bits - 1 - spec.act_bits
    yield "never inverts", lambda s, acc, shift: wrap(acc << shift, s.acc_bits - 1) >> dropped
    yield "shifts one too far", lambda s, acc, shift: fold(s, acc, shift + 1)
    yield "rounds instead of floor", lambda s, acc, shift: fold(s, acc + (1 << (dropped - 1 - shift)), shift)
    for bit in range(spec.act_bits):
        yield f"output bit {bit} inverted", _inverted(1 << bit, None)
    for value in range(spec.act_min, spec.act_max + 1):
        yield f"lowest bit wrong where the output is {value}", _inverted(1, value)


def _inverted(bits: int, value: int | None) -> Fold:
    """The fold with some output bits inverted, always or where it gives one value."""

    def wrong(spec: UnitSpec, accumulators: np.ndarray, shift: int) -> np.ndarray:
        output = fold(spec, accumulators, shift)
        return output ^ bits if value is None else np.where(output == value, output ^ bits, output)

    return wrong


@dataclass(frozen=True)
class Outcome:
    """What a family of mutants makes of a locked model.

    Attributes:
        mutants: how many.
        refused: how many of them could not open it at all (sealed programs), so that there is no answer to count.
        same_key: how many of them opened the model as the honest chip does (0: every one was noticed).
        right: accuracy of the honest chip.
        worst: the best accuracy of a mutant, which is what the owner fears; None if all refused.
        worst_name: of which mutant.
        mean: of all mutants that answered, or None.
    """

    mutants: int
    refused: int
    same_key: int
    right: float
    worst: float | None
    worst_name: str
    mean: float | None

    def to_dict(self) -> dict[str, Any]:
        """The fields by name, ready for JSON."""
        return asdict(self)


def survey(
    locked: Program | SealedProgram,
    scheme: LockScheme,
    device: Device,
    mutants: list[tuple[str, ChipModel]],
    activations: np.ndarray,
    labels: np.ndarray,
    progress: Progress | None = None,
    interface: Interface | None = None,
) -> Outcome:
    """Accuracy (`Interface.score`) of every mutant on (samples, input_words) activations; emulated."""
    x, table = torch.from_numpy(activations), device.table()
    rating = (interface or of_program(device.spec, locked.sample_words)).rating
    opened = unlock_program(locked, scheme, ChipModel.of(device))
    scores: list[tuple[float, str]] = []
    same = 0
    for done, (name, chip) in enumerate(mutants):
        with contextlib.suppress(AuthenticityError):
            clear = unlock_program(locked, scheme, chip)
            same += first_wrong_tile(opened, clear) is None
            scores.append((rating(Emulator(clear, table)(x).numpy(), labels), name))
        if progress:
            progress(done + 1, len(mutants))
    worst, worst_name = max(scores, default=(None, ""))
    mean = float(np.mean([score for score, _ in scores])) if scores else None
    refused = len(mutants) - len(scores)
    return Outcome(len(mutants), refused, same, rating(Emulator(opened, table)(x).numpy(), labels), worst, worst_name, mean)


def first_wrong_tile(right: Program, other: Program) -> int | None:
    """Number of the first tile whose codes differ, or None."""
    number = 0
    for one, two in zip(right.layers, other.layers, strict=True):
        wrong = np.flatnonzero((one.codes != two.codes).any(axis=1))
        if len(wrong):
            return number + int(wrong[0])
        number += one.tiles
    return None


def derailments(locked: Program, scheme: LockScheme, device: Device, tiles: list[int]) -> list[tuple[int, int | None]]:
    """For a single extra cycle in each of some tiles of the program: which tile is the first to open wrong."""
    honest = ChipModel.of(device)
    opened = unlock_program(locked, scheme, honest)
    return [(n, first_wrong_tile(opened, unlock_program(locked, scheme, replace(honest, glitch=n)))) for n in tiles]
