"""Any component, Verilated: driven by arrays, one row of inputs a clock, or step by step from Python.

Arrays are for exhaustive tests: millions of rows a second. Steps are for tests whose next inputs depend on the outputs, as a
stream's do: a hundred thousand clocks a second.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping

import numpy as np
from amaranth.hdl import Shape
from amaranth.lib import wiring

from bitting.sim import build
from bitting_rtl.lib.verilog import to_verilog

_HARNESS = """
#include <algorithm>
#include <cstdint>
#include <memory>
#include "Vtop.h"
#include "verilated.h"
struct Model {{
    VerilatedContext context;
    std::unique_ptr<Vtop> top = std::make_unique<Vtop>(&context);
    Model() {{ {reset} }}
    ~Model() {{ top->final(); }}
    void step(const uint64_t* inputs, uint64_t* outputs) {{
        {set_inputs}
        {clock_low}
        top->eval();
        {get_outputs}
        {clock_high}
    }}
}};
extern "C" {{
void* model_new() {{ return new Model; }}
void model_free(void* model) {{ delete static_cast<Model*>(model); }}
void model_step(void* model, const uint64_t* inputs, uint64_t* outputs) {{ static_cast<Model*>(model)->step(inputs, outputs); }}
void run_rows(uint64_t rows, const uint64_t* inputs, uint64_t in_first, uint64_t in_words,
              uint64_t* outputs, uint64_t out_first, uint64_t out_words) {{
    Model model;
    uint64_t in[{input_words}] = {{}}, out[{output_words}] = {{}};
    for (uint64_t row = 0; row < rows; ++row) {{
        std::copy_n(inputs + row * in_words, in_words, in + in_first);
        model.step(in, out);
        std::copy_n(out + out_first, out_words, outputs + row * out_words);
    }}
}}
}}
"""


class VectorModel:
    """A Verilated component with flat ports.

    Args:
        component: the design; ports are named as `amaranth.back.verilog` names them.
        clocked: it has a clock and a reset.
        complete: adds what the Verilog lacks.
    """

    def __init__(self, component: wiring.Component, clocked: bool, complete: Callable[[str], str] = str):
        members = {"__".join(map(str, path)): member for path, member, _ in component.signature.flatten(component)}
        self.shapes = {name: Shape.cast(member.shape) for name, member in members.items()}
        self.inputs = self._places([name for name, member in members.items() if member.flow == wiring.In])
        self.outputs = self._places([name for name, member in members.items() if member.flow == wiring.Out])
        harness = _HARNESS.format(
            reset="top->clk = 0; top->rst = 1; top->eval(); top->clk = 1; top->eval(); top->rst = 0;" if clocked else "",
            set_inputs="\n        ".join(
                f"{target} = inputs[{word}] >> {shift};"
                for name, place in self.inputs.items()
                for target, word, shift in self._parts(name, place)
            ),
            get_outputs="\n        ".join(
                f"outputs[{word}] {'|' if shift else ''}= uint64_t({source}) << {shift};"
                for name, place in self.outputs.items()
                for source, word, shift in self._parts(name, place)
            ),
            clock_low="top->clk = 0;" if clocked else "",
            clock_high="top->clk = 1; top->eval();" if clocked else "",
            input_words=self.words(self.inputs),
            output_words=self.words(self.outputs),
        )
        self.library = ctypes.CDLL(str(build.shared_library(complete(to_verilog(component, "unit")), "unit", harness)))
        self.library.model_new.restype = ctypes.c_void_p

    def _places(self, names: list[str]) -> dict[str, int]:
        """Where each port begins in a row of 64-bit words."""
        places, place = {}, 0
        for name in names:
            places[name] = place
            place += self.words_of(name)
        return places

    def words_of(self, name: str) -> int:
        """How many 64-bit words a port takes in a row."""
        return -(-self.shapes[name].width // 64)

    def words(self, places: Mapping[str, int]) -> int:
        """Length of a row."""
        return sum(map(self.words_of, places))

    def _parts(self, name: str, place: int) -> list[tuple[str, int, int]]:
        """C++ expressions of a port, each with its word in the row and its lowest bit there: Verilator has arrays beyond 64."""
        expression = "top->" + name.replace("__", "___05F")
        if self.shapes[name].width <= 64:
            return [(expression, place, 0)]
        count = -(-self.shapes[name].width // 32)
        return [(f"{expression}[{index}]", place + index // 2, 32 * (index % 2)) for index in range(count)]

    def run(self, prefix: str = "", /, **inputs: np.ndarray) -> Mapping[str, np.ndarray]:
        """(rows,) integers for each input to (rows,) signed or unsigned int64 for each output. Ports of at most 64 bits.

        `prefix`: of the ports that are meant; it is left out of names. All other inputs are 0.
        """
        rows = len(next(iter(inputs.values())))
        takes, gives = ([name for name in names if name.startswith(prefix)] for names in (self.inputs, self.outputs))
        assert {prefix + name for name in inputs} == set(takes), (sorted(inputs), takes)
        assert all(self.shapes[name].width <= 64 for name in (*takes, *gives)), "wider ports: use steps"
        packed = np.empty((rows, len(takes)), np.uint64)
        for column, name in enumerate(takes):
            mask = np.uint64((1 << self.shapes[name].width) - 1)
            packed[:, column] = np.asarray(inputs[name.removeprefix(prefix)], np.int64).astype(np.uint64) & mask
        given = np.zeros((rows, len(gives)), np.uint64)
        # The ports of a component lie side by side in a row.
        self.library.run_rows(
            ctypes.c_uint64(rows),
            *(ctypes.c_void_p(packed.ctypes.data), ctypes.c_uint64(self.inputs[takes[0]]), ctypes.c_uint64(len(takes))),
            *(ctypes.c_void_p(given.ctypes.data), ctypes.c_uint64(self.outputs[gives[0]]), ctypes.c_uint64(len(gives))),
        )
        return {
            name.removeprefix(prefix): self._signed(given[:, column].astype(np.int64), name)
            for column, name in enumerate(gives)
        }

    def _signed(self, values: np.ndarray, name: str) -> np.ndarray:
        shape = self.shapes[name]
        if not shape.signed:
            return values
        half = 1 << (shape.width - 1)
        return (values + half) % (1 << shape.width) - half


class Steps:
    """A model of its own, fresh from reset, clock by clock. Inputs keep their values until they are set again.

    Args:
        prefix: what the names of all its ports begin with, to be left out here.
    """

    def __init__(self, model: VectorModel, prefix: str = ""):
        self._model = model
        self._prefix = prefix
        self._handle = ctypes.c_void_p(model.library.model_new())
        self._inputs = (ctypes.c_uint64 * model.words(model.inputs))()
        self._outputs = (ctypes.c_uint64 * model.words(model.outputs))()

    def __enter__(self) -> Steps:
        return self

    def __exit__(self, *error: object) -> None:
        self._model.library.model_free(self._handle)

    def step(self, **inputs: int) -> None:
        """A clock: with these inputs, outputs are as they are before its edge."""
        for name, value in inputs.items():
            name = self._prefix + name
            place = self._model.inputs[name]
            value = int(value) & (1 << self._model.shapes[name].width) - 1
            for word in range(self._model.words_of(name)):
                self._inputs[place + word] = value >> 64 * word & (1 << 64) - 1
        self._model.library.model_step(self._handle, self._inputs, self._outputs)

    def __getitem__(self, output: str) -> int:
        """An output in the last clock, as unsigned bits."""
        output = self._prefix + output
        place = self._model.outputs[output]
        return sum(self._outputs[place + word] << 64 * word for word in range(self._model.words_of(output)))
