"""The small hash, Verilated, fed with whole messages in a loop of C++."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Sequence

import numpy as np

from bitting.sim import build
from bitting.unit.cxof import DIGEST_BITS
from bitting.unit.protocol import WORD_BITS
from bitting_rtl.lib.verilog import to_verilog
from bitting_rtl.puf.small_cxof import SmallCxof

_DIGEST_WORDS = DIGEST_BITS // WORD_BITS
_HARNESS = """
#include <cstdint>
#include "Vtop.h"
#include "verilated.h"
namespace {
void clock(Vtop& top) { top.clk = !top.clk; top.eval(); }  // every edge is a clock
struct Hash {
    VerilatedContext context;
    Vtop top{&context};
    uint32_t random = 1;
    bool chance(uint32_t share) { random = random * 1664525 + 1013904223; return (random >> 24) < share; }
    Hash() {
        top.clk = 0; top.rst = 1; top.start = 0; top.wipe = 0; top.words___05Fvalid = 0; top.digest___05Fready = 0; top.eval();
        clock(top);
        top.rst = 0; top.eval();
    }
    uint32_t cleared() {
        uint32_t spent = 0;
        for (; top.busy && spent < 1000000; ++spent) clock(top);
        return spent;
    }
    // Clocks of a message, or `most` if it was left then.
    uint32_t message(const uint32_t* words, uint64_t length, uint32_t* digest, uint64_t digest_words, uint32_t share,
                     uint32_t most) {
        top.start = 1;
        clock(top);
        top.start = 0;
        uint64_t sent = 0, came = 0;
        uint32_t spent = 0;
        for (; came < digest_words && spent < most; ++spent) {
            // A sender holds what it has offered until it is taken.
            top.words___05Fvalid = sent < length && (top.words___05Fvalid || chance(share));
            const uint64_t word = sent < length ? words[sent] | uint64_t(sent + 1 == length) << 32 : 0;
            top.words___05Fpayload = top.words___05Fvalid ? word : ~word & 0x1ffffffff;  // not offered, so not it
            top.digest___05Fready = chance(share);
            top.eval();
            const bool taken = top.words___05Fvalid && top.words___05Fready;
            if (top.digest___05Fvalid && top.digest___05Fready) digest[came++] = top.digest___05Fpayload;
            clock(top);
            if (taken) { ++sent; top.words___05Fvalid = 0; }
        }
        top.words___05Fvalid = 0;
        return spent;
    }
};
}
extern "C" void hash_messages(uint64_t count, uint64_t digest_words, uint64_t share, const uint32_t* lengths,
                              const uint32_t* words, const uint32_t* wiped_after, uint32_t* digests, uint32_t* clocks) {
    Hash hash;
    for (uint64_t row = 0; row < count; ++row, digests += digest_words) {
        *clocks++ = hash.cleared();
        if (wiped_after[row]) {
            hash.message(words, lengths[row], digests, digest_words, share, wiped_after[row] - 1);
            hash.top.wipe = hash.top.start = 1;
            clock(hash.top);
            hash.top.wipe = hash.top.start = 0;
            hash.top.eval();
            clocks[-1] = hash.cleared();
        }
        *clocks++ = hash.message(words, lengths[row], digests, digest_words, share, 10000000);
        words += lengths[row];
    }
    *clocks = hash.cleared();
    hash.top.final();
}
"""


@functools.cache
def _library(label: bytes, prefix: tuple[int, ...]) -> ctypes.CDLL:
    # As in `bitting.sim.native`: with a clock at either edge the model is called half as often.
    verilog = to_verilog(SmallCxof(label, prefix), "unit").replace("always @(posedge clk)", "always @(edge clk)")
    return ctypes.CDLL(str(build.shared_library(verilog, "unit", _HARNESS)))


def digests(
    label: bytes, messages: Sequence[bytes], share: int = 256, wiped_after: Sequence[int] = (), prefix: tuple[int, ...] = ()
) -> tuple[list[bytes], list[int], list[int]]:
    """Of messages of whole words, one after another.

    Args:
        label: the customisation string.
        messages: at least one.
        share: in how many of 256 clocks a word is offered, or one of the digest taken, at random.
        prefix: words that are hashed before each message.
        wiped_after: for each message, 0, or the clock in which the same message was wiped just before, 1 the first one.

    Returns:
        Digests; clocks of each message; clocks in which the state was cleared: after reset or the wipe before each message, and
        after the last one.
    """
    lengths = np.array([len(message) * 8 // WORD_BITS for message in messages], np.uint32)
    words = np.frombuffer(b"".join(messages), "<u4").copy()
    wipes = np.array(wiped_after or [0] * len(messages), np.uint32)
    found = np.zeros((len(messages), _DIGEST_WORDS), "<u4")
    clocks = np.zeros(2 * len(messages) + 1, np.uint32)
    arrays = (ctypes.c_void_p(array.ctypes.data) for array in (lengths, words, wipes, found, clocks))
    _library(label, prefix).hash_messages(*map(ctypes.c_uint64, (len(messages), _DIGEST_WORDS, share)), *arrays)
    return [row.tobytes() for row in found], clocks[1::2].tolist(), clocks[::2].tolist()
