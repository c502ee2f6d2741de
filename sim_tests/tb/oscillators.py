"""A PUF in simulations: boards to measure, rows of inputs for it, what came out, and rings of LUTs with a delay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from bitting.puf.counting import Read, increment
from bitting.unit.puf_spec import FRACTION_BITS, PufSpec
from bitting_rtl.puf.measurement import Response
from tb.vector import VectorModel

Board = list[list[Read]]  # increments: pair by pair, its reads


def drawn(puf: PufSpec, rng: np.random.Generator) -> Board:
    """Frequencies from the slowest to the fastest, some of them alike; pairs differ by little."""
    low, high = int(puf.slowest * (1 << FRACTION_BITS)), puf.fastest << FRACTION_BITS
    first = rng.integers(low, high, (puf.pairs, puf.reads), endpoint=True)
    second = np.clip(first + rng.integers(-(1 << FRACTION_BITS) // 32, (1 << FRACTION_BITS) // 32, first.shape), low, high)
    second[::3] = first[::3]
    second[1::4], first[1::4] = high, low  # the largest difference there is
    return [[(int(a), int(b)) for a, b in zip(*pair, strict=True)] for pair in zip(first, second, strict=True)]


def of_frequencies(puf: PufSpec, hz: np.ndarray, clock_hz: int) -> Board:
    """(oscillators, reads) in Hz; a pair is two neighbours of a row, as the oscillators are numbered."""
    pairs = hz[: 2 * puf.pairs, : puf.reads].reshape(puf.pairs, 2, puf.reads)
    return [[(increment(puf, int(a), clock_hz), increment(puf, int(b), clock_hz)) for a, b in pair.T] for pair in pairs]


def model(puf: PufSpec, constants: Sequence[int] = ()) -> VectorModel:
    """The response with recorded counting, Verilated."""
    return VectorModel(Response(puf, None, constants), clocked=True)


def loading(puf: PufSpec, board: Board) -> dict[str, np.ndarray]:
    """Rows of inputs that fill the memory."""
    words = np.array(board, np.int64).reshape(-1, 2)
    return {"load_address": np.arange(len(words)), "load_first": words[:, 0], "load_second": words[:, 1]}


def rows(puf: PufSpec, board: Board, clocks: int) -> dict[str, np.ndarray]:
    """Rows of inputs: the memory is filled, then follow so many clocks, the first with `measure`, in which bits are taken."""
    words = loading(puf, board)
    begin = len(words["load_address"])
    inputs = {name: np.concatenate([values, np.zeros(clocks, np.int64)]) for name, values in words.items()}
    row = np.arange(begin + clocks)
    return {**inputs, "load": row < begin, "measure": row == begin, "forget": 0 * row, "bits__ready": 0 * row + 1}


def bits_of(given: Mapping[str, np.ndarray], ready: np.ndarray, begin: int) -> tuple[list[int], list[int], list[int]]:
    """Bits, their `last`, and the clocks after `measure` in which they were taken."""
    (taken,) = np.nonzero(given["bits__valid"] & ready)
    payload = given["bits__payload"][taken]
    return (payload & 1).tolist(), (payload >> 1).tolist(), (taken - begin).tolist()
