"""The small hash in hardware against the one in Python and its authors' answers; its clocks; what is left after `wipe`."""

import pytest

from bitting.errors import BittingError
from bitting.fpga import flow, targets
from bitting.locking import ascon
from bitting.unit.cxof import DIGEST_BITS, MAX_LABEL_BYTES, CxofClocks, check_label
from bitting.unit.protocol import PURPOSE_PUF, PURPOSE_TABLE
from bitting_rtl.lib.verilog import to_verilog
from bitting_rtl.puf.small_cxof import MESSAGE, SmallCxof
from tb import small_cxof
from tb.ascon_reference import known_answers

DIGEST_BYTES = DIGEST_BITS // 8
LABEL = PURPOSE_PUF
CLEAR = CxofClocks.of(1).clear


def expected(label, messages):
    return [ascon.cxof(label, message, DIGEST_BYTES) for message in messages]


@pytest.mark.parametrize("label", [LABEL, PURPOSE_TABLE])
def test_messages_are_hashed_as_in_python_in_clocks_that_the_law_says(label, rng):
    lengths = [*range(1, 31), *range(1, 31)]
    messages = [rng.bytes(4 * words) for words in rng.permutation(lengths)]
    found, clocks, cleared = small_cxof.digests(label, messages)
    assert found == expected(label, messages)
    assert clocks == [CxofClocks.of(len(message) // 4).message for message in messages]
    assert set(cleared) == {CLEAR}


def test_a_prefix_is_hashed_before_each_message_and_costs_no_clock(rng):
    prefix = tuple(int(word) for word in rng.integers(0, 1 << 32, 4))
    messages = [rng.bytes(4 * words) for words in (1, 2, 5)]
    found, clocks, _ = small_cxof.digests(LABEL, messages, prefix=prefix)
    before = b"".join(word.to_bytes(4, "little") for word in prefix)
    assert found == expected(LABEL, [before + message for message in messages])
    assert clocks == [CxofClocks.of(len(message) // 4).message for message in messages]


def test_equal_clocks_for_messages_of_few_ones_and_of_many():
    messages = [bytes(20), b"\xff" * 20, bytes(19) + b"\x80", b"\x01" + bytes(19)]
    found, clocks, _ = small_cxof.digests(LABEL, messages)
    assert found == expected(LABEL, messages) and set(clocks) == {CxofClocks.of(5).message}


@pytest.mark.parametrize("size", range(MAX_LABEL_BYTES + 1))
def test_known_answers(size):
    """Those with a customisation string that fits, and a message of whole words."""
    answers = [answer for answer in known_answers("cxof128.txt.gz") if len(answer["Z"]) == size]
    answers = [answer for answer in answers if answer["Msg"] and len(answer["Msg"]) % 4 == 0]
    (label,) = {answer["Z"] for answer in answers}
    assert [len(answer["Msg"]) for answer in answers] == list(range(4, 33, 4))
    found, _, _ = small_cxof.digests(label, [answer["Msg"] for answer in answers])
    assert found == [answer["MD"][:DIGEST_BYTES] for answer in answers]


@pytest.mark.parametrize("share", [128, 16, 1])
def test_words_come_and_go_at_any_pace(share, rng):
    messages = [rng.bytes(4 * words) for words in (1, 2, 3, 8, 9, 2, 1)]
    found, clocks, cleared = small_cxof.digests(LABEL, messages, share)
    assert found == expected(LABEL, messages)
    assert all(spent > CxofClocks.of(len(message) // 4).message for spent, message in zip(clocks, messages, strict=True))
    assert set(cleared) == {CLEAR}


def test_after_a_wipe_in_any_clock_the_next_message_is_as_after_reset(rng):
    """Also in the clock of `start`, which is then not heeded."""
    messages = [rng.bytes(4 * words) for words in rng.integers(1, 5, 150)]
    whole = [CxofClocks.of(len(message) // 4).message for message in messages]
    wiped_after = [1, 2, *(int(rng.integers(1, clocks)) for clocks in whole[2:])]
    found, clocks, cleared = small_cxof.digests(LABEL, messages, wiped_after=wiped_after)
    assert found == expected(LABEL, messages) and clocks == whole and set(cleared) == {CLEAR}


def secrets(cxof):
    """Name -> register that a message's bits reach; `read` is the block RAM's own."""
    return {name: getattr(cxof, f"_{name}") for name in ("sum", "taken", "column", "read")}


def test_nothing_of_a_message_is_left_in_registers_or_the_memory(rng):
    """In Amaranth's own simulator, where every signal can be seen: two of them in step, with different messages of a word.

    Registers are compared in the clock after `wipe`, the memory when `busy` is low. The wipes are in all states, and every
    register differs before one of them; the last message is not wiped, but ends.
    """
    from amaranth import Module
    from amaranth.sim import Simulator

    top = Module()
    top.submodules += (hashes := [SmallCxof(LABEL) for _ in range(2)])
    simulator = Simulator(top)
    simulator.add_clock(1e-6)
    words = [int(word) for word in rng.integers(0, 1 << 32, 2)]
    initial = list(hashes[0].memory.data.init)
    assert not any(initial[:128]), "both states"
    rounds = CLEAR // 12
    padding = 11 * rounds + rounds // 2  # the clock that takes the word is the one before, of clocks of the message from 0 on
    wiped_after = [int(rng.integers(rounds, padding)), padding - 1, padding + 5, int(rng.integers(padding + 16, CLEAR))]
    wiped_after += [int(rng.integers(CLEAR, 2 * CLEAR)), int(rng.integers(2 * CLEAR - rounds // 2, 2 * CLEAR))]
    states: set[str] = set()
    differed: set[str] = set()

    def values(ctx):
        return [{name: ctx.get(value) for name, value in secrets(cxof).items()} for cxof in hashes]

    async def until_idle(ctx):
        clocks = 0
        while ctx.get(hashes[0].busy):
            await ctx.tick()
            clocks += 1
        for cxof in hashes:
            assert [ctx.get(row) for row in cxof.memory.data] == initial
        return clocks

    async def pulse(ctx, name):
        for cxof in hashes:
            ctx.set(getattr(cxof, name), 1)
        await ctx.tick()
        for cxof in hashes:
            ctx.set(getattr(cxof, name), 0)

    async def bench(ctx):
        for cxof, word in zip(hashes, words, strict=True):
            ctx.set(cxof.words.payload, {"data": word, "last": 1})
            ctx.set(cxof.words.valid, 1)
            ctx.set(cxof.digest.ready, 1)
        assert await until_idle(ctx) == CLEAR
        for number in wiped_after:
            await pulse(ctx, "start")
            await ctx.tick().repeat(number)
            states.update(state for state, at in hashes[0]._states.at.items() if ctx.get(at))
            one, other = values(ctx)
            differed.update(name for name in one if one[name] != other[name])
            await pulse(ctx, "wipe")
            one, other = values(ctx)
            assert one == other, f"wiped after {number} clocks of a message"
            assert await until_idle(ctx) == CLEAR
        await pulse(ctx, "start")
        assert await until_idle(ctx) == CxofClocks.of(1).message + CLEAR
        one, other = values(ctx)
        assert one == other
        assert states == {"WORDS", "PAD", "PADDED", "GIVE"}
        assert differed == set(secrets(hashes[0]))

    simulator.add_testbench(bench)
    simulator.run()


def test_a_label_that_is_too_long_is_refused():
    with pytest.raises(BittingError, match="8 bytes; allowed: up to 7"):
        check_label(bytes(8))


def test_a_message_has_a_word():
    assert MESSAGE.size == 33
    with pytest.raises(BittingError, match="0 words; allowed: 1 or more"):
        CxofClocks.of(0)


@pytest.mark.parametrize(("target", "most"), [("ecp5-25k", 99), ("ice40-up5k", 120)])
def test_it_is_small(target, most):
    area = flow.area(targets.find(target), to_verilog(SmallCxof(LABEL), "small_cxof"), "small_cxof")
    assert area.luts <= most and area.bram == 1 and area.dsp == 0
