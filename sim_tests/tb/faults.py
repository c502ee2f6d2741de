"""Engines with one planted fault each: a component of the data path is wrapped, and one of its ports lies.

A fault is found only if it changes something, so each is small and rare: one lane, one code, one bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

from amaranth import C, Module, Mux, Signal
from amaranth.hdl import Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, connect, flipped

from bitting.unit.spec import UnitSpec
from bitting_rtl.engine import aes_locks, sealed_locks
from bitting_rtl.engine import engine as engine_module
from bitting_rtl.engine.export import engine_verilog

#: What makes the components of an engine.
_MAKERS = (engine_module, aes_locks, sealed_locks)

#: Given the wrapped component and the module to add logic to, returns what a port shows instead.
Lie = Callable[[wiring.Component, Module], Value]


def wrapped(component: type[wiring.Component], port: str, lie: Lie, only: int | None = None) -> Any:
    """A class that stands in for `component` with one output replaced; `only`: just in the n-th instance made."""

    class Wrapper(wiring.Component):
        made = 0

        def __init__(self, *arguments: object, **options: object):
            self._inner = component(*arguments, **options)
            self._faulty = only is None or Wrapper.made == only
            Wrapper.made += 1
            super().__init__(dict(self._inner.signature.members.items()))

        def elaborate(self, platform: object) -> Module:
            m = Module()
            m.submodules.inner = inner = self._inner
            for name, member in self.signature.members.items():
                if member.is_signature:  # a stream: passed through
                    connect(m, flipped(getattr(self, name)), getattr(inner, name))
                    continue
                mine, theirs = Value.cast(getattr(self, name)), Value.cast(getattr(inner, name))
                if member.flow == In:
                    m.d.comb += theirs.eq(mine)
                elif name == port and self._faulty:
                    m.d.comb += mine.eq(lie(inner, m))
                else:
                    m.d.comb += mine.eq(theirs)
            return m

    return Wrapper


def slow_zero(inner: wiring.Component, m: Module) -> Value:
    """The weight 0 takes two cycles; no sum changes."""
    faulty = Signal.like(inner.digits)
    m.d.comb += faulty.eq(inner.digits)
    with m.If(inner.digits.zero):
        m.d.comb += faulty.last.eq(1)
    return Value.cast(faulty)


def wrong_digit(inner: wiring.Component, m: Module) -> Value:
    """A first digit -2^1 reads +2^1."""
    digits = inner.digits
    faulty = Signal.like(digits)
    m.d.comb += faulty.eq(digits)
    with m.If((digits.digits[0].exponent == 1) & ~digits.zero):
        m.d.comb += faulty.digits[0].negative.eq(0)
    return Value.cast(faulty)


def _late_write(inner: wiring.Component, m: Module) -> Value:
    """Writes to some addresses go one too far."""
    address = inner.write_addr
    return Mux(address[:4] == 5, address + 1, address)


#: name -> (class of the component, port, lie, which instance, stage the search must name)
FAULTS: dict[str, tuple[str, str, Lie, int | None, str]] = {
    "lane 2 loses the carry of its adder": ("Lane", "acc", lambda c, m: Value.cast(c.acc) & ~(1 << 6), 2, "mac lane"),
    "lane 1 sees activations one too small": (
        "Lane", "acc", lambda c, m: Mux(Value.cast(c.acc)[3:6] == 5, Value.cast(c.acc) ^ 1, Value.cast(c.acc)), 1, "mac lane",
    ),
    "a digit's sign is lost": ("Decode", "digits", wrong_digit, None, "decode"),
    "the weight 0 takes two cycles": ("Decode", "digits", slow_zero, None, "timing"),
    "fold 3 flips a bit of one value": ("Fold", "act", lambda c, m: Value.cast(c.act) ^ (Value.cast(c.act) == 2), 3, "fold"),
    "a write goes one address too far": ("Sequencer", "write_addr", _late_write, None, "fold"),
    "a gather address loses a bit": (
        "Sequencer", "read_addr", lambda c, m: Value.cast(c.read_addr) & ~(1 << 4), None, "activation read",
    ),
    "a code is read from the wrong place": (
        "TileBuffer", "read_code", lambda c, m: Mux(c.read_code == 3, 5, c.read_code), None, "decode",
    ),
    "the bias loses its lowest bit": (
        "TileBuffer", "tile", lambda c, m: Value.cast(c.tile) & ~(1 << c.tile.shape()["bias"].offset), None, "bias load",
    ),
    "an activation byte is stuck": (
        "Depacketise", "act_data", lambda c, m: Value.cast(c.act_data) | 4, None, "activation read",
    ),
    "a byte of the keystream has a stuck bit": ("Vault", "byte", lambda c, m: Value.cast(c.byte) | 8, None, "unlock"),
    "a tile's count is one short": ("Sequencer", "cycles", lambda c, m: Value.cast(c.cycles) - 1, None, "timing"),
}  # fmt: skip


def _lane(of: int, wrong: Callable[[wiring.Component], Value]) -> Lie:
    """One lane takes something else of the scratch memory, or of beyond its sample."""

    def lie(inner: wiring.Component, m: Module) -> Value:
        faulty = Signal.like(inner.word)
        m.d.comb += [faulty.eq(inner.word), faulty[of].eq(wrong(inner))]
        return Value.cast(faulty)

    return lie


#: The same, of engines whose lanes share samples, four each.
BAND_FAULTS: dict[str, tuple[str, str, Lie, int | None, str]] = {
    "lane 1 never takes the activation of lane 0": (
        "Neighbours", "word", _lane(1, lambda c: Mux(c.after, c.read[2], c.read[1])), None, "activation read",
    ),
    "lane 2 takes its own activation where lane 3's is meant": (
        "Neighbours", "word", _lane(2, lambda c: Mux(c.before, c.read[1], c.read[2])), None, "activation read",
    ),
    "before the first band is the last lane of the sample before": (
        "Neighbours", "word", _lane(4, lambda c: Mux(c.before, c.read[3], Mux(c.after, c.read[5], c.read[4]))), None,
        "activation read",
    ),
    "after the last band is the first lane of the next sample": (
        "Neighbours", "word", _lane(3, lambda c: Mux(c.after, c.read[4], Mux(c.before, c.read[2], c.read[3]))), None,
        "activation read",
    ),
    "what lies after the band is read in the own lane": ("Sequencer", "after", lambda c, m: C(0), None, "activation read"),
    "what lies before the band is read in the own lane": ("Sequencer", "before", lambda c, m: C(0), None, "activation read"),
}  # fmt: skip


@contextmanager
def planted(attribute: str, port: str, lie: Lie, only: int | None) -> Iterator[None]:
    """Within the block, engines have `wrapped` components; somewhere one must be made."""
    makers = [module for module in _MAKERS if hasattr(module, attribute)]
    component = wrapped(getattr(makers[0], attribute), port, lie, only)
    with ExitStack() as stack:
        for module in makers:
            stack.enter_context(patch.object(module, attribute, component))
        yield
    assert component.made > (only or 0), f"no {attribute} was wrapped"


def faulty_verilog(name: str, spec: UnitSpec) -> tuple[str, str]:
    """Verilog of an engine with a planted fault, and the stage that must be named."""
    component, port, lie, only, stage = (FAULTS | BAND_FAULTS)[name]
    with planted(component, port, lie, only):
        return engine_verilog(spec), stage
