"""The BCH decoder, Verilated, fed with whole words in a loop of C++: a hundred thousand of them take about a minute."""

from __future__ import annotations

import ctypes
import functools
from dataclasses import dataclass

import numpy as np

from bitting.puf import bch
from bitting.sim import build
from bitting.unit.bch import BchCode
from bitting_rtl.lib.verilog import to_verilog
from bitting_rtl.puf.bch_decoder import BchDecoder

_HARNESS = """
#include <cstdint>
#include "Vtop.h"
#include "verilated.h"
namespace {
void clock(Vtop& top) { top.clk = !top.clk; top.eval(); }  // every edge is a clock
}
extern "C" void decode_words(uint64_t count, uint64_t n, uint64_t word_words, uint64_t sketch_words, const uint32_t* words,
                             const uint32_t* sketches, uint32_t* corrected, uint8_t* failed, uint32_t* clocks) {
    VerilatedContext context;
    Vtop top(&context);
    top.clk = 0; top.rst = 1; top.wipe = 0; top.corrected___05Fready = 1; top.eval();
    clock(top);
    top.rst = 0;
    for (uint64_t row = 0; row < count; ++row, words += word_words, sketches += sketch_words, corrected += word_words) {
        uint64_t sent = 0, used = 0, came = 0;
        uint32_t spent = 0;
        bool changed = true;
        for (uint64_t patience = 0; patience < 1000000; ++patience) {
            top.word___05Fvalid = sent < n;
            top.word___05Fpayload = sent < n ? words[sent / 32] >> sent % 32 & 1 : 0;
            top.sketch___05Fvalid = used < sketch_words;
            top.sketch___05Fpayload = used < sketch_words ? sketches[used] : 0;
            if (changed) top.eval();
            const bool taken = sent < n && top.word___05Fready, word = used < sketch_words && top.sketch___05Fready;
            spent += spent || taken;
            if (top.corrected___05Fvalid) {
                corrected[came / 32] |= uint32_t(top.corrected___05Fpayload) << came % 32;
                ++came;
            }
            const bool done = top.done;
            if (done) failed[row] = top.failed | (came != n || sent != n || used != sketch_words) << 1;
            clock(top);
            sent += taken;
            used += word;
            changed = taken || word;
            if (done) break;
        }
        clocks[row] = spent;
    }
    top.final();
}
"""


@dataclass(frozen=True)
class Decoded:
    """(count, n) bits, (count,) whether it failed, (count,) clocks from the first bit taken to `done`."""

    corrected: np.ndarray
    failed: np.ndarray
    clocks: np.ndarray


@functools.cache
def _library(code: BchCode) -> ctypes.CDLL:
    # As in `bitting.sim.native`: with a clock at either edge the model is called half as often.
    verilog = to_verilog(BchDecoder(code), "unit").replace("always @(posedge clk)", "always @(edge clk)")
    return ctypes.CDLL(str(build.shared_library(verilog, "unit", _HARNESS)))


def decode(code: BchCode, words: np.ndarray, sketches: np.ndarray) -> Decoded:
    """The RTL's answers for (count, n) noisy bits and (count, n - k) kept syndromes; bits always offered, always taken."""
    count = len(words)
    noisy, kept = (np.ascontiguousarray(bch.packed(bits)) for bits in (words, sketches))
    corrected = np.zeros((count, code.word_words), bch.WORDS)
    failed, clocks = np.full(count, 0xFF, np.uint8), np.zeros(count, np.uint32)
    sizes = (count, code.n, code.word_words, code.syndrome_words)
    arrays = (noisy, kept, corrected, failed, clocks)
    _library(code).decode_words(*map(ctypes.c_uint64, sizes), *(ctypes.c_void_p(array.ctypes.data) for array in arrays))
    assert failed.max(initial=0) <= 1, "it sent or took another number of bits or words, or never ended"
    return Decoded(bch.unpacked(corrected, code.n), failed.astype(bool), clocks)
