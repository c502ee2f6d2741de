"""The decoder in hardware against the one in Python and against Linux'; its clocks; what is left of a word after `wipe`."""

import numpy as np
import pytest

from bitting.fpga import flow, targets
from bitting.puf import bch
from bitting.unit.bch import DEFAULT_CODE, BchCode, DecoderClocks
from bitting_rtl.lib.verilog import to_verilog
from bitting_rtl.puf.bch_decoder import BchDecoder
from tb import bch_decoder, bch_library
from tb.vector import Steps, VectorModel

SMALL = BchCode(4, 2)


def assert_as_python(code, words, sketches):
    """Equal bits, those of failed words too, equal failures, and the clocks that the law says, for every word."""
    found = bch_decoder.decode(code, words, sketches)
    corrected, failed = bch.decode(code, words, sketches)
    assert np.array_equal(found.corrected, corrected) and np.array_equal(found.failed, failed)
    assert set(found.clocks.tolist()) == {DecoderClocks.of(code).word}
    return corrected, failed


@pytest.mark.parametrize("t", [1, 2, 3])
def test_every_word_of_a_small_code(t):
    """All error patterns, within the radius and beyond."""
    code = BchCode(4, t)
    words = np.arange(1 << code.n)[:, None] >> np.arange(code.n) & 1
    assert_as_python(code, words, np.zeros((len(words), code.check_bits), int))


@pytest.mark.parametrize("t", [2, 3])
def test_every_syndrome_of_a_small_code(t, rng):
    """Beside a word that is none of the code's: what a changed helper asks for is corrected likewise."""
    code = BchCode(5, t)
    sketches = np.arange(1 << code.check_bits)[:, None] >> np.arange(code.check_bits) & 1
    assert_as_python(code, np.tile(rng.integers(0, 2, code.n), (len(sketches), 1)), sketches)


@pytest.mark.parametrize("code", [DEFAULT_CODE, BchCode(8, 18), BchCode(8, 31), BchCode(7, 15), BchCode(6, 1)], ids=str)
def test_words_of_larger_codes(code, rng):
    words = rng.integers(0, 2, (150, code.n))
    noisy = words ^ bch_library.errors(rng, len(words), code.n, code.t + 3)
    _, failed = assert_as_python(code, noisy, bch.syndromes(code, words))
    assert 0 < failed.sum() < len(words) or code.t == 1


@pytest.mark.slow
@pytest.mark.parametrize("count", [20_000, pytest.param(100_000, marks=pytest.mark.thorough)])
def test_many_words_of_the_default_code(count, rng):
    """Words of the code with 0 to t + 3 errors, and every tenth one random: as Python decodes them, and Linux."""
    code = DEFAULT_CODE
    message = rng.integers(0, 2, (count, code.k))
    message[:, bch_library.message_bits(code) :] = 0
    words = bch.encode(code, message)
    used = code.check_bits + bch_library.message_bits(code)
    noisy = words.copy()
    noisy[:, :used] ^= bch_library.errors(rng, count, used, code.t + 3)
    noisy[::10, :used] = rng.integers(0, 2, (count // 10, used))
    corrected, failed = assert_as_python(code, noisy, np.zeros((count, code.check_bits), int))
    theirs, their_failed = bch_library.decode(code, noisy)
    assert np.array_equal(failed, their_failed)
    assert np.array_equal(corrected[~failed], theirs[~failed])
    near = (noisy != words).sum(axis=1) <= code.t
    assert near.sum() > count // 2 and not failed[near].any() and np.array_equal(corrected[near], words[near])
    assert failed[~near].all(), "one in two million is mistaken for another word"


class Decoder:
    """The small code's decoder, clock by clock."""

    def __init__(self, steps):
        self.steps = steps
        self.step()

    def step(self, **inputs):
        still = {"wipe": 0, "word__valid": 0, "sketch__valid": 0, "corrected__ready": 0}
        self.steps.step(**still | inputs)

    def decode(self, word, sketch, rng=None):
        """(bits, failed, clocks); with `rng`, bits are offered and taken now and then."""
        sent, bits, clocks = 0, [], 0
        for _ in range(20_000):
            offers, takes = (rng is None or rng.random() < 0.3 for _ in range(2))
            self.step(
                word__valid=offers and sent < len(word), word__payload=word[min(sent, len(word) - 1)],
                sketch__valid=sent < len(sketch), sketch__payload=int(bch.packed(sketch[None])[0, 0]), corrected__ready=takes,
            )  # fmt: skip
            taken = self.steps["word__ready"] and offers and sent < len(word)
            clocks += bool(clocks or taken)
            sent += bool(taken)
            if self.steps["corrected__valid"] and takes:
                bits.append(self.steps["corrected__payload"])
            if self.steps["done"]:
                return bits, bool(self.steps["failed"]), clocks
        raise AssertionError("it never ended")


@pytest.fixture(scope="module")
def model():
    return VectorModel(BchDecoder(SMALL), clocked=True)


def cases(rng, count):
    words = rng.integers(0, 2, (count, SMALL.n)).astype(np.uint8)
    sketches = bch.syndromes(SMALL, words ^ bch_library.errors(rng, count, SMALL.n, SMALL.t + 2))
    return words, sketches, *bch.decode(SMALL, words, sketches)


def test_words_pass_at_any_pace(model, rng):
    with Steps(model) as steps:
        decoder = Decoder(steps)
        for word, sketch, corrected, failed in zip(*cases(rng, 100), strict=True):
            bits, said, _ = decoder.decode(word, sketch, rng)
            assert bits == corrected.tolist() and said == failed


def test_after_a_wipe_in_any_clock_the_next_word_is_as_after_reset(model, rng):
    clocks = DecoderClocks.of(SMALL)
    words, sketches, corrected, failed = cases(rng, clocks.clear + clocks.word + 1)
    with Steps(model) as steps:
        decoder = Decoder(steps)
        for number, (word, sketch) in enumerate(zip(words, sketches, strict=True)):
            sent = 0
            for _ in range(number):
                decoder.step(
                    word__valid=sent < SMALL.n, word__payload=int(word[sent % SMALL.n]), corrected__ready=1,
                    sketch__valid=1, sketch__payload=int(bch.packed(sketch[None])[0, 0]),
                )  # fmt: skip
                sent += bool(steps["word__ready"] and sent < SMALL.n)
            decoder.step(wipe=1)
            for _ in range(clocks.clear):
                decoder.step()
                assert not (steps["word__ready"] or steps["corrected__valid"] or steps["done"])
            bits, said, spent = decoder.decode(word, sketch)
            assert (bits, said, spent) == (corrected[number].tolist(), failed[number], clocks.word)


def secrets(decoder):
    """Name -> register that a word's bits reach."""
    single = ("x", "y", "sum", "added", "grows", "scale", "discrepancy", "degree")
    return {**{name: getattr(decoder, f"_{name}") for name in single}, **{up.name: up for up in decoder._up}}


def test_nothing_of_a_word_is_left_in_registers_or_memories_after_a_wipe(rng):
    """In Amaranth's own simulator, where every signal can be seen: two decoders in step, one with errors and one without.

    Registers are compared in the clock after `wipe`, memories when a bit is taken again. The wipes are in all clocks of both
    inner states and in some of the others, and every register differs before one of them: so each has something to lose.
    """
    from amaranth import Module
    from amaranth.sim import Simulator

    clocks = DecoderClocks.of(SMALL)
    words = bch.encode(SMALL, rng.integers(0, 2, (2, SMALL.k)))
    words[1] = 1 - words[0]
    words[1, [3, 10]] ^= 1
    top = Module()
    top.submodules += (decoders := [BchDecoder(SMALL) for _ in words])
    simulator = Simulator(top)
    simulator.add_clock(1e-6)
    searches = clocks.load + clocks.locate
    wiped_after = [*range(0, clocks.load, 9), *range(4, clocks.load, 11), *range(clocks.load, searches + 12)]
    wiped_after += range(searches + 12, searches + clocks.search, 7)
    states: set[str] = set()
    differed: set[str] = set()

    def values(ctx):
        return [{name: ctx.get(register) for name, register in secrets(decoder).items()} for decoder in decoders]

    async def step(ctx, wipe=0):
        for decoder, word in zip(decoders, words, strict=True):
            ctx.set(decoder.wipe, wipe)
            ctx.set(decoder.word.payload, int(word[ctx.get(decoder._position) % SMALL.n]))
        await ctx.tick()

    async def bench(ctx):
        for decoder in decoders:
            for valid in (decoder.word.valid, decoder.sketch.valid, decoder.corrected.ready):
                ctx.set(valid, 1)
        for number in [0, *wiped_after]:  # the first one only clears
            for _ in range(number):
                await step(ctx)
            states.update(state for state, at in decoders[0]._states.at.items() if ctx.get(at))
            one, other = values(ctx)
            differed.update(name for name in one if one[name] != other[name])
            await step(ctx, wipe=1)
            one, other = values(ctx)
            assert one == other, f"wiped after {number} clocks of a word"
            for _ in range(clocks.clear):
                await step(ctx)
            one, other = ([[ctx.get(row) for row in memory.data] for memory in decoder.memories] for decoder in decoders)
            assert ctx.get(decoders[0].word.ready) and one == other, f"wiped after {number} clocks of a word"
        assert states == set(decoders[0]._states.at) and differed == set(secrets(decoders[0]))

    simulator.add_testbench(bench)
    simulator.run()


@pytest.mark.slow
@pytest.mark.parametrize(("target", "most"), [("ecp5-25k", 320), ("ice40-up5k", 350)])
def test_it_is_small(target, most):
    area = flow.area(targets.find(target), to_verilog(BchDecoder(), "bch_decoder"), "bch_decoder")
    assert area.luts <= most and area.bram == 2 and area.dsp == 0
