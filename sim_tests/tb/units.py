"""Components of the engine that are tested one by one, in one design, so that Verilator and the compiler run only once."""

from __future__ import annotations

import functools

from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import Out, connect, flipped

from bitting.unit.spec import PRESETS
from bitting_rtl.engine.depacketise import Depacketise
from bitting_rtl.engine.results import Results
from bitting_rtl.engine.sequencer import Sequencer
from bitting_rtl.engine.tile_buffer import TileBuffer
from tb.vector import Steps, VectorModel

#: Small, so that counters reach their ends often.
SPEC = PRESETS["tiny"].replace(tile_codes=32, scratch_words=64, lanes=8)


class _Units(wiring.Component):
    """Each component with its own ports, unconnected."""

    def __init__(self) -> None:
        self._parts: dict[str, wiring.Component] = {
            "depacketise": Depacketise(SPEC),
            "sequencer": Sequencer(SPEC),
            "in_order": TileBuffer(SPEC, shuffles=False),
            "shuffled": TileBuffer(SPEC, shuffles=True),
            "results": Results(SPEC),
        }
        super().__init__({name: Out(part.signature) for name, part in self._parts.items()})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for name, part in self._parts.items():
            m.submodules[name] = part
            connect(m, flipped(getattr(self, name)), part)
        return m


@functools.cache
def _model() -> VectorModel:
    return VectorModel(_Units(), clocked=True)


def unit(name: str) -> Steps:
    """One of the components, fresh from reset."""
    return Steps(_model(), name + "__")
