"""Engines of chips that know their secret but compute or pace differently in one place, for the locks to notice.

`bitting.attack.mutants` has all of them on the emulator; these few are made in the silicon.
"""

from __future__ import annotations

import pytest
from amaranth import Cat, Module, Mux, Signal
from amaranth.hdl import Value
from amaranth.lib import wiring

from bitting.unit.spec import UnitSpec
from bitting_rtl.engine.export import engine_verilog
from tb.faults import Lie, planted, slow_zero, wrong_digit


def _narrow(lane: wiring.Component, m: Module) -> Value:
    """The accumulator's top bit is a copy of the one below: it wraps a bit earlier."""
    acc = Value.cast(lane.acc)
    return Cat(acc[:-1], acc[-2])


def _reused(code: int, other: int) -> Lie:
    """One entry of the bitting table gives another code's weight."""
    return lambda buffer, m: Mux(buffer.read_code == code, other, buffer.read_code)


def _never_inverts(fold: wiring.Component, m: Module) -> Value:
    """The falling half of the wave rises."""
    shifted = Signal(len(fold.acc))
    m.d.comb += shifted.eq(fold.acc << fold.shift)
    return shifted[len(fold.acc) - 1 - len(fold.act) : -1]


#: name -> (class of the component, port, lie, which instance)
TIMING: dict[str, tuple[str, str, Lie, int | None]] = {
    "the weight 0 takes two cycles": ("Decode", "digits", slow_zero, None),
    "every tile a cycle longer": ("Sequencer", "cycles", lambda c, m: Value.cast(c.cycles) + 1, None),
    "every tile a cycle shorter": ("Sequencer", "cycles", lambda c, m: Value.cast(c.cycles) - 1, None),
    "long tiles a cycle longer": ("Sequencer", "cycles", lambda c, m: Value.cast(c.cycles) + (c.cycles > 20), None),
    "even counts a cycle longer": ("Sequencer", "cycles", lambda c, m: Value.cast(c.cycles) | 1, None),
}
ARITHMETIC: dict[str, tuple[str, str, Lie, int | None]] = {
    "a digit's sign is lost": ("Decode", "digits", wrong_digit, None),
    "table entry 3 is wrong": ("TileBuffer", "read_code", _reused(3, 2), None),
    "the accumulators are a bit narrower": ("Lane", "acc", _narrow, None),
    "the accumulator of lane 2 is a bit narrower": ("Lane", "acc", _narrow, 2),
    "the fold never inverts": ("Fold", "act", _never_inverts, None),
    "fold 1 flips a bit of one value": ("Fold", "act", lambda c, m: Value.cast(c.act) ^ (Value.cast(c.act) == 2), 1),
}


#: Each is a build or two of the simulation. CI makes one of timing, one of arithmetic, and one that no made-up challenge helps.
_ALWAYS = ("the weight 0 takes two cycles", "a digit's sign is lost", "the accumulators are a bit narrower")
NAMES = [name if name in _ALWAYS else pytest.param(name, marks=pytest.mark.thorough) for name in (*TIMING, *ARITHMETIC)]


def mutant_verilog(name: str, spec: UnitSpec) -> str:
    """Verilog of a mutant engine."""
    with planted(*(TIMING | ARITHMETIC)[name]):
        return engine_verilog(spec)
