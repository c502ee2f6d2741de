"""Components of the engine that are tested one by one, in one design, so that Verilator and the compiler run only once."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from amaranth import Module
from amaranth.hdl import Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from bitting_rtl.engine.control import Control
from bitting_rtl.engine.depacketise import Depacketise
from bitting_rtl.engine.intake import Intake, SealedIntake
from bitting_rtl.engine.results import Results
from bitting_rtl.engine.sequencer import Sequencer
from bitting_rtl.engine.sweep import Sweep
from bitting_rtl.engine.tile_buffer import TileBuffer
from tb.families import AES
from tb.vector import Steps, VectorModel

#: Small, so that counters reach their ends often.
SPEC = AES["tiny"].replace(tile_codes=32, scratch_words=64, lanes=8)


class _Packets(wiring.Component):
    """The parser behind its intake, connected as in the engine: command words in, the parser's ports out."""

    def __init__(self) -> None:
        self._intake, self._parser = Intake(), Depacketise(SPEC)
        between = ("words", "complete", "right", "done")
        ports = {name: member for name, member in self._parser.signature.members.items() if name not in between}
        super().__init__({"cmd": self._intake.signature.members["cmd"], **ports})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.intake, m.submodules.parser = intake, parser = self._intake, self._parser
        connect(m, flipped(self.cmd), intake.cmd)
        connect(m, intake.words, parser.words)
        for name, member in self.signature.members.items():
            if name not in ("cmd", "busy"):
                _pass(m, getattr(self, name), getattr(parser, name), member)
        m.d.comb += [
            parser.complete.eq(intake.complete),
            parser.right.eq(intake.right),
            intake.taken.eq(parser.done),
            intake.halt.eq(self.halt),
            self.busy.eq(parser.busy | intake.busy),
        ]
        return m


class _Sweep(wiring.Component):
    """A sweep, and the parser whose registers count for it; no packet comes."""

    def __init__(self) -> None:
        sealed = SPEC.replace(vault="ascon")
        self._sweep, self._parser = Sweep(sealed), Depacketise(sealed)
        members = self._parser.signature.members
        super().__init__(
            {"start": In(1), "active": Out(1), "item_index": members["item_index"], "act_addr": members["act_addr"]}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.sweep, m.submodules.parser = sweep, parser = self._sweep, self._parser
        m.d.comb += [
            sweep.start.eq(self.start),
            parser.sweep_begins.eq(self.start),
            parser.sweep.eq(sweep.active),
            self.active.eq(sweep.active),
        ]
        for counter, address in ((parser.item_index, sweep.item), (parser.act_addr, sweep.word)):
            m.d.comb += address.eq(counter)
        m.d.comb += [self.item_index.eq(parser.item_index), self.act_addr.eq(parser.act_addr)]
        return m


def _pass(m: Module, outer: Any, inner: Any, member: wiring.Member) -> None:
    """A port of a component is that of one within it."""
    if member.is_signature:
        connect(m, flipped(outer), inner)
    elif member.flow is In:
        m.d.comb += Value.cast(inner).eq(Value.cast(outer))
    else:
        m.d.comb += Value.cast(outer).eq(Value.cast(inner))


class Units(wiring.Component):
    """Each component with its own ports, unconnected: the port `x` of the part `name` is `name__x`."""

    def __init__(self, parts: Mapping[str, wiring.Component]):
        self._parts = parts
        super().__init__({name: Out(part.signature) for name, part in parts.items()})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for name, part in self._parts.items():
            m.submodules[name] = part
            connect(m, flipped(getattr(self, name)), part)
        return m


@functools.cache
def _model() -> VectorModel:
    parts = {
        "packets": _Packets(),
        "sealed_intake": SealedIntake(),
        "control": Control(),
        "sweep": _Sweep(),
        "sequencer": Sequencer(SPEC),
        "in_order": TileBuffer(SPEC, shuffles=False),
        "shuffled": TileBuffer(SPEC, shuffles=True),
        "results": Results(SPEC),
    }
    return VectorModel(Units(parts), clocked=True)


def unit(name: str) -> Steps:
    """One of the components, fresh from reset."""
    return Steps(_model(), name + "__")
