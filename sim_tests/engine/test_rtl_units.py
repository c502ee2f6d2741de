"""Every component of the data path against golden, exhaustively."""

import functools

import numpy as np
import pytest

from bitting.emulator import arithmetic
from bitting.fpga import gates, targets
from bitting.unit import golden
from bitting.unit.spec import PRESETS
from bitting_rtl.engine.decode import LATENCY, Decode, digits_rom
from bitting_rtl.engine.fold import Fold
from bitting_rtl.engine.mac import Lane
from bitting_rtl.lib.build_options import COMPACT, ECP5
from bitting_rtl.lib.crc import CRC_OF_RIGHT, Crc32
from bitting_rtl.lib.layouts import digits_layout
from bitting_rtl.lib.register_slice import RegisterSlice
from tb.units import Units
from tb.vector import VectorModel


@functools.cache
def design(name):
    """All components of a spec that are tested here, in one design, so that Verilator and the compiler run once a spec."""
    spec = PRESETS[name]
    parts = {
        "fold": Fold(spec),
        "fold_compact": Fold(spec, COMPACT),
        "decode": Decode(spec, table(spec)),
        "decode_plain": Decode(spec),
    }
    if name != "wide":  # that has too many pairs to try
        parts |= {"lane": Lane(spec), "lane_compact": Lane(spec, COMPACT), "lane_ecp5": Lane(spec, ECP5)}
    if name == "tiny":
        parts |= {"crc": Crc32(), "crc_of_halves": Crc32(16), "register_slice": RegisterSlice(16)}
    return VectorModel(Units(parts), clocked=True, complete=functools.partial(gates.with_models, targets.find("ecp5-25k")))


def table(spec):
    return np.random.default_rng(1).permutation(spec.codes).tolist()


def run(name, unit, **inputs):
    """Outputs of a component, a row a clock."""
    return design(name).run(unit + "__", **inputs)


def lane_rows(spec):
    """Every (code, activation) pair, digit by digit: rows for the lane, and the golden accumulator after each code."""
    unit = golden.Unit(spec, tuple(range(spec.codes)))
    rows, expected = [], []
    for index in range(spec.codes):
        for x in range(spec.act_min, spec.act_max + 1):
            bias = (index * 37 + x * 101) % (1 << spec.acc_bits)
            steps = list(unit.steps([index], [x], bias))
            for number, step in enumerate(steps):
                digit = step.digit
                rows.append(
                    (x, digit.exponent if digit else 0, bool(digit and digit.negative), digit is None, number == 0, bias)
                )
                expected.append(step.after)
    return np.array(rows), np.array(expected)


@pytest.mark.parametrize(
    "unit", ["lane", "lane_compact", "lane_ecp5"], ids=["in words", "in stages", "carry cells of the ECP5"]
)
@pytest.mark.parametrize("name", ["tiny", "base"])
def test_lane_computes_every_code_times_every_activation(name, unit):
    spec = PRESETS[name]
    rows, expected = lane_rows(spec)
    count = len(rows)
    x, exponent, negative, zero, first, bias = rows.T
    pad = np.zeros(2, np.int64)
    found = run(
        name,
        unit,
        x=np.concatenate([x, pad]),
        exponent=np.concatenate([exponent, pad]),
        negative=np.concatenate([negative, pad]),
        zero=np.concatenate([zero, pad]),
        # load, accumulate and origin belong to the digit of the clock before
        load=np.concatenate([[0], first, [0]]),
        accumulate=np.concatenate([[0], np.ones(count, np.int64), [0]]),
        origin=np.concatenate([[0], np.where(first, bias, (1 << spec.acc_bits) - 1), [0]]),
    )["acc"]
    expected = expected % (1 << spec.acc_bits)
    assert np.array_equal(found[2 : count + 2], expected), "latency is two clocks, one digit a clock"


@pytest.mark.parametrize("unit", ["fold", "fold_compact"], ids=["in words", "in stages"])
@pytest.mark.parametrize("name", ["tiny", "base", "wide"])
def test_fold_of_every_accumulator_with_every_shift(name, unit):
    spec = PRESETS[name]
    accumulators = np.arange(1 << spec.acc_bits)
    for shift in range(spec.max_shift + 1):
        found = run(name, unit, acc=accumulators, shift=np.full_like(accumulators, shift))["act"]
        # golden.fold over arrays: the same formula, so that 2^W values take no minutes; golden itself is checked on a sample
        shifted = arithmetic.wrap(accumulators << shift, spec.acc_bits)
        low = arithmetic.wrap(shifted, spec.acc_bits - 1)
        quarter = 1 << (spec.acc_bits - 2)
        folded = np.where((shifted >= -quarter) & (shifted < quarter), low, ~low) >> (spec.acc_bits - 1 - spec.act_bits)
        assert np.array_equal(found, folded)
        for acc in accumulators[:: max(1, len(accumulators) // 500) | 1]:
            assert found[acc] == golden.fold(spec, golden.wrap(int(acc), spec.acc_bits), shift)


@pytest.mark.parametrize("name", ["tiny", "base", "wide"])
def test_decode_gives_the_digits_of_every_code_some_steps_later(name):
    spec = PRESETS[name]
    rng = np.random.default_rng(2)
    codes = np.concatenate([np.arange(spec.codes), rng.integers(0, spec.codes, 2000)])
    step = (rng.random(len(codes)) < 0.7).astype(np.int64)
    still = dict.fromkeys(("owned", "addr", "write", "write_addr", "write_data"), np.zeros_like(codes))
    found = run(name, "decode", code=codes, step=step, plain=np.zeros_like(codes), **still)["digits"]
    rom, value = [constant.as_bits() for constant in digits_rom(spec)], table(spec)
    taken = np.flatnonzero(step)
    for earlier, later in zip(taken, taken[LATENCY:], strict=False):
        assert found[later] == rom[value[codes[earlier]]]


@pytest.mark.parametrize("name", ["tiny", "base"])
def test_decode_gives_digits_that_add_up_to_every_plain_weight(name):
    spec = PRESETS[name]
    codes = np.append(np.arange(1 << spec.plain_bits), [0] * LATENCY)
    ones, zeros = np.ones_like(codes), np.zeros_like(codes)
    still = dict.fromkeys(("owned", "addr", "write", "write_addr", "write_data"), zeros)
    found = run(name, "decode_plain", code=codes, step=ones, plain=ones, **still)["digits"]
    layout = digits_layout(spec)
    for code in range(1 << spec.plain_bits):
        form = layout.from_bits(int(found[code + LATENCY]))
        count = 0 if form.zero else form.last + 1
        digits = [form.digits[i] for i in range(count)]
        weight = sum((-1 if digit.negative else 1) << digit.exponent for digit in digits)
        assert weight == golden.wrap(code, spec.plain_bits)
        assert spec.decoding((), plain=True).cycles[code] == form.last + 1


@pytest.mark.parametrize(("name", "bits"), [("crc", 32), ("crc_of_halves", 16)])
def test_crc_is_the_one_of_zlib(name, bits):
    import zlib

    words = np.random.default_rng(3).integers(0, 1 << bits, 200)
    valid = np.random.default_rng(4).random(len(words)) < 0.7
    clears = np.arange(len(words)) % 30 == 29
    valid &= ~clears
    crcs = run("tiny", name, data=words, valid=valid, clear=clears)["crc"]
    begun = 0
    for row in range(len(words) - 1):
        begun = row + 1 if clears[row] else begun
        message = words[begun : row + 1][valid[begun : row + 1]].astype(f"<u{bits // 8}").tobytes()
        assert crcs[row + 1] == zlib.crc32(message)


@pytest.mark.parametrize(("name", "bits"), [("crc", 32), ("crc_of_halves", 16)])
def test_a_message_and_its_crc_leave_the_residue(name, bits, rng):
    """What an intake looks for."""
    import zlib

    message = rng.integers(0, 1 << bits, 2 * int(rng.integers(1, 20)))
    crc = zlib.crc32(message.astype(f"<u{bits // 8}").tobytes())
    behind = [crc] if bits == 32 else [crc & 0xFFFF, crc >> 16]
    words = np.concatenate([message, behind, [0]])
    valid = np.arange(len(words)) < len(words) - 1
    seen = run("tiny", name, data=words, valid=valid, clear=0 * words)["crc"]
    assert seen[-1] == CRC_OF_RIGHT and CRC_OF_RIGHT not in seen[:-1]


def test_register_slice_loses_and_repeats_nothing():
    rng = np.random.default_rng(4)
    rows = 20_000
    # Offer fresh data every clock: what was taken is known afterwards from `ready`.
    payload = rng.integers(0, 1 << 16, rows)
    valid, ready = rng.random(rows) < 0.6, rng.random(rows) < 0.5
    found = run("tiny", "register_slice", i__payload=payload, i__valid=valid.astype(int), o__ready=ready.astype(int))
    went_in = payload[valid & (found["i__ready"] == 1)]
    came_out = found["o__payload"][(found["o__valid"] == 1) & ready]
    assert len(came_out) > rows // 4
    assert 0 <= len(went_in) - len(came_out) <= 2
    assert np.array_equal(came_out, went_in[: len(came_out)])
    stalled = found["o__valid"][:-1].astype(bool) & ~ready[:-1]
    assert np.array_equal(found["o__payload"][1:][stalled], found["o__payload"][:-1][stalled]), "held until taken"
