"""Sealed engines with one defence planted out: an attack that only this defence stops is seen to succeed without it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import numpy as np
from amaranth import C, Module
from amaranth.hdl import Value
from amaranth.lib import wiring

from bitting.locking import sealing
from bitting.unit.spec import UnitSpec
from bitting_rtl.engine.export import engine_verilog
from tb.faults import Lie, planted


def _always(value: int) -> Lie:
    def lie(component: wiring.Component, m: Module) -> Value:
        return C(value)

    return lie


#: name -> (class of the component, port, lie)
WEAK: dict[str, tuple[str, str, Lie]] = {
    "any tag will do": ("AsconVault", "authentic", _always(1)),
    "packets are not counted": ("Depacketise", "number", _always(0)),
    "nothing is swept": ("Sweep", "active", _always(0)),
}


def weak_verilog(name: str, spec: UnitSpec) -> str:
    """Verilog of a weak engine."""
    with planted(*WEAK[name], None):
        return engine_verilog(spec)


@contextmanager
def sealed_without_numbers() -> Iterator[None]:
    """Within the block programs are sealed and opened as for an engine that does not count packets."""
    right = sealing.nonces
    with patch.object(sealing, "nonces", lambda headers, numbers, cycles: right(headers, np.zeros_like(numbers), cycles)):
        yield
