"""Any component, Verilated, driven by arrays: one row of inputs a clock, one row of outputs before each edge.

For exhaustive tests: millions of rows a second.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping

import numpy as np
from amaranth.hdl import Shape
from amaranth.lib import wiring

from bitting.sim import build
from bitting_rtl.engine.export import to_verilog

_HARNESS = """
#include <cstdint>
#include <memory>
#include "Vtop.h"
#include "verilated.h"
extern "C" void run_rows(uint64_t rows, const uint64_t* inputs, uint64_t* outputs) {{
    VerilatedContext context;
    auto top = std::make_unique<Vtop>(&context);
    {reset}
    for (uint64_t row = 0; row < rows; ++row) {{
        {set_inputs}
        {clock_low}
        top->eval();
        {get_outputs}
        {clock_high}
    }}
    top->final();
}}
"""


class VectorModel:
    """A Verilated component with flat ports of at most 64 bits.

    Args:
        component: the design; ports are named as `amaranth.back.verilog` names them.
        clocked: it has a clock and a reset.
        complete: adds what the Verilog lacks.
    """

    def __init__(self, component: wiring.Component, clocked: bool, complete: Callable[[str], str] = str):
        members = {"__".join(map(str, path)): member for path, member, _ in component.signature.flatten(component)}
        widths = {name: Shape.cast(member.shape) for name, member in members.items()}
        self._inputs = [name for name, member in members.items() if member.flow == wiring.In]
        self._outputs = [name for name, member in members.items() if member.flow == wiring.Out]
        self._shapes = widths
        cpp = {name: name.replace("__", "___05F") for name in members}
        harness = _HARNESS.format(
            reset="top->clk = 0; top->rst = 1; top->eval(); top->clk = 1; top->eval(); top->rst = 0;" if clocked else "",
            set_inputs="\n        ".join(
                f"top->{cpp[n]} = inputs[row * {len(self._inputs)} + {i}];" for i, n in enumerate(self._inputs)
            ),
            get_outputs="\n        ".join(
                f"outputs[row * {len(self._outputs)} + {i}] = top->{cpp[n]};" for i, n in enumerate(self._outputs)
            ),
            clock_low="top->clk = 0;" if clocked else "",
            clock_high="top->clk = 1; top->eval();" if clocked else "",
        )
        self._library = ctypes.CDLL(str(build.shared_library(complete(to_verilog(component, "unit")), "unit", harness)))

    def run(self, **inputs: np.ndarray) -> Mapping[str, np.ndarray]:
        """(rows,) integers for each input to (rows,) signed or unsigned int64 for each output."""
        rows = len(next(iter(inputs.values())))
        assert set(inputs) == set(self._inputs), (sorted(inputs), self._inputs)
        packed = np.empty((rows, len(self._inputs)), np.uint64)
        for column, name in enumerate(self._inputs):
            packed[:, column] = np.asarray(inputs[name], np.int64).astype(np.uint64) & np.uint64(
                (1 << self._shapes[name].width) - 1
            )
        found = np.zeros((rows, len(self._outputs)), np.uint64)
        self._library.run_rows(ctypes.c_uint64(rows), ctypes.c_void_p(packed.ctypes.data), ctypes.c_void_p(found.ctypes.data))
        return {name: self._signed(found[:, column].astype(np.int64), name) for column, name in enumerate(self._outputs)}

    def _signed(self, values: np.ndarray, name: str) -> np.ndarray:
        shape = self._shapes[name]
        if not shape.signed:
            return values
        half = 1 << (shape.width - 1)
        return (values + half) % (1 << shape.width) - half
