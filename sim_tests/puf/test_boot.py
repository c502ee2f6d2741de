"""Boot of an engine with a PUF, through its ports: measured, corrected, hashed, compared; or an error that tells nothing."""

import numpy as np
import pytest

from bitting.attack import helper_data
from bitting.errors import FaultError
from bitting.locking.device import Device
from bitting.program import packets
from bitting.program.packets import PufReply
from bitting.puf.extractor import Helper
from bitting.unit.bch import BchCode
from bitting.unit.protocol import FRAME_WORDS, PUF_REPLY_WORDS, STATUS_WORDS, ErrorCode, Packet, Result
from bitting.unit.puf_clocks import boot_clocks
from bitting.unit.puf_key import DEFAULT_KEY, PufDesign, PufKey
from bitting.unit.puf_spec import PufSpec
from bitting.unit.spec import PRESETS, VaultKind
from tb.puf_chips import SMALL, Chip

REPLY = PUF_REPLY_WORDS + FRAME_WORDS
FAULT = 1 + FRAME_WORDS


@pytest.fixture(scope="module")
def chip():
    return Chip()


@pytest.fixture
def fresh(chip):
    """The chip after a reset, unsealed, with the silicon that it began with."""
    chip.__post_init__()
    return chip


def fault_of(run):
    """Code of the one FAULT that came, and nothing else."""
    ((kind, payload),) = packets.split(run.words)
    assert kind == Result.FAULT and len(payload) == 1 and payload[0] >> 8 == 0
    assert run.error == payload[0]
    return ErrorCode(int(payload[0]))


def silent(chip):
    """Whether it answers nothing any more, whatever it is sent."""
    words = [packets.status_packet(), packets.helper_packet([0] * SMALL.key.helper_words), packets.enrol_packet()]
    run = chip.send(*words, expected=1)
    return len(run.words) == 0 and run.taken == sum(map(len, words))


def test_measurements_of_an_enrolment_are_those_of_the_silicon(fresh):
    run = fresh.send(packets.enrol_packet(), expected=SMALL.key.pairs + FRAME_WORDS)
    ((kind, payload),) = packets.split(run.words)
    assert kind == Result.SUMS
    assert payload.view(np.int32).tolist() == (fresh.differences + np.array(SMALL.constants)).tolist()


def boots_as(chip, root, sealed):
    """Whether the engine behind it has this root secret: it opens what is locked to it, and gives the emulator's words."""
    from bitting.locking.scheme import LockScheme
    from bitting.sim import enrolment

    device = Device(chip.spec, root, sealed=sealed)

    class Booted:
        """The chip as it is, for an examination that begins with a reset."""

        def burn(self, root, sealed):
            raise AssertionError("nothing is burnt here")

        def reset(self):
            pass

        def run(self, commands, expected):
            return chip.send(commands, expected=expected)

    transform = "sealed" if chip.spec.vault == VaultKind.ASCON else "aes-pre"
    enrolment.known_answer(Booted(), device, LockScheme.new(chip.spec, "clock", transform, device.level))


@pytest.mark.parametrize("vault", list(VaultKind))
@pytest.mark.parametrize("sealed", [False, True])
def test_the_engine_boots_with_the_root_secret_that_python_makes(vault, sealed):
    if sealed and vault == VaultKind.AES:
        sealed = False  # it has no such fuse
    chip = Chip(PRESETS["tiny"].replace(vault=vault), sealed=sealed)
    helper, root = chip.enrolled()
    reply = chip.ask(helper)
    assert reply == PufReply(int(chip.spec.id, 16) & 0xFFFFFFFF, True, sealed, 1)
    boots_as(chip, root, sealed)


def test_up_to_t_errors_in_each_word_are_corrected_and_one_more_is_refused(fresh, rng):
    helper, root = fresh.enrolled()
    kept = np.flatnonzero(helper.mask).reshape(SMALL.key.blocks, -1)
    left_out = np.flatnonzero(helper.mask == 0)
    before = fresh.differences
    corrected = np.concatenate([*(rng.choice(word, SMALL.key.code.t, replace=False) for word in kept), left_out])
    fresh.become(fresh.flipped(corrected))
    assert fresh.ask(helper).rooted
    boots_as(fresh, root, False)
    for word in kept:
        fresh.become(before)
        fresh.become(fresh.flipped(rng.choice(word, SMALL.key.code.t + 1, replace=False)))
        assert not fresh.ask(helper).rooted


def test_it_takes_the_same_clocks_whatever_was_measured_and_however_it_ends(fresh, rng):
    """For the same helper data: right, corrected, too far, another chip."""
    helper, _ = fresh.enrolled()
    before, clocks, outcomes = fresh.differences, set(), []
    for errors in (0, 1, 6, 12, 64):
        fresh.become(before)
        fresh.become(fresh.flipped(rng.choice(SMALL.key.pairs, errors, replace=False)))
        outcomes.append(fresh.ask(helper).rooted)
        clocks.add(fresh.clocks)
    assert outcomes[0] and not outcomes[-1] and len(clocks) == 1
    wrong = Helper(helper.mask, helper.syndromes, bytes(16))
    fresh.become(before)
    assert not fresh.ask(wrong).rooted
    assert clocks == {fresh.clocks}


def masks(key, rng):
    """Name -> (pairs,) masks: those that an enrolment makes, and others, with too few ones or too many."""
    first = np.arange(key.pairs) < key.bits
    chosen = np.isin(np.arange(key.pairs), rng.choice(key.pairs, key.bits, replace=False))
    some, none = rng.random(key.pairs) < 0.3, np.zeros(key.pairs)
    return {"first": first, "last": first[::-1], "chosen": chosen, "some": some, "none": none, "all": none == 0}


def boots_in_the_clocks_of_the_schedule(chip, rng):
    for name, mask in masks(chip.design.key, rng).items():
        helper = Helper(mask.astype(np.uint8), chip.enrolled()[0].syndromes, bytes(16))
        chip.engine.reset()
        chip.ask(helper)
        assert chip.clocks == boot_clocks(chip.design, mask.tolist()), name


def test_a_boot_takes_the_clocks_of_the_schedule(fresh, rng):
    """Here the hash takes longest, or the measurement of the pairs that fill a word."""
    boots_in_the_clocks_of_the_schedule(fresh, rng)


@pytest.mark.slow
@pytest.mark.thorough
def test_a_boot_of_the_chosen_code_takes_the_clocks_of_the_schedule(rng):
    """Here the measurement takes longest, as on a board."""
    quick = PufSpec(DEFAULT_KEY.pairs, window=1024, settle=16)
    boots_in_the_clocks_of_the_schedule(Chip(design=PufDesign(DEFAULT_KEY, quick)), rng)


def test_attempts_are_counted_and_a_later_one_may_succeed(fresh, rng):
    helper, root = fresh.enrolled()
    for attempt in range(1, 4):
        assert fresh.ask(Helper(helper.mask, helper.syndromes, rng.bytes(16))) == PufReply(
            int(fresh.spec.id, 16) & 0xFFFFFFFF, False, False, attempt
        )
    status = PufReply.of(fresh.send(packets.status_packet(), expected=REPLY).words)
    assert (status.attempts, status.rooted) == (3, False)
    assert fresh.ask(helper) == PufReply(status.spec_id, True, False, 4)
    boots_as(fresh, root, False)
    fresh.engine.reset()
    assert PufReply.of(fresh.send(packets.status_packet(), expected=REPLY).words).attempts == 0


def test_every_changed_bit_of_helper_data_is_refused(fresh):
    helper, _ = fresh.enrolled()
    words = helper.words()
    for place in range(len(words)):
        for bit in (0, 13, 31):
            changed = [word ^ (1 << bit if at == place else 0) for at, word in enumerate(words)]
            run = fresh.send(packets.helper_packet(changed), expected=REPLY)
            assert not PufReply.of(run.words).rooted, (place, bit)
    assert fresh.ask(helper).rooted


@pytest.mark.parametrize("ones", [0, 1, 20, 63])
def test_masks_that_keep_too_few_or_too_many_end_like_others(fresh, ones):
    """Nothing hangs: what is missing is zeros, what is too much is left out. Afterwards the right ones work."""
    helper, _ = fresh.enrolled()
    mask = (np.arange(SMALL.key.pairs) <= ones).astype(np.uint8) * (ones > 0)
    assert not fresh.ask(Helper(mask, helper.syndromes, helper.check)).rooted
    assert fresh.ask(helper).rooted


def test_a_sealed_device_refuses_enrolment(fresh):
    fresh.engine.burn(bytes(16), sealed=True)
    assert fault_of(fresh.send(packets.enrol_packet(), expected=FAULT)) == ErrorCode.BAD_ORDER
    assert silent(fresh)


def wrong_packets():
    """Name -> words that no engine takes before it has a root secret, and the error."""
    helper = packets.helper_packet([0] * SMALL.key.helper_words)
    broken = helper.copy()
    broken[3] ^= 1
    reserved = packets.status_packet()
    reserved[0] |= 1 << 9
    return {
        "challenge": (packets.frame(Packet.CHALLENGE, np.zeros(5, np.uint32)), ErrorCode.BAD_ORDER),
        "activations": (packets.frame(Packet.ACTIVATIONS, np.zeros(5, np.uint32)), ErrorCode.BAD_ORDER),
        "start": (packets.unlock_packet(), ErrorCode.BAD_ORDER),
        "unknown": (packets.frame(0x77, np.zeros(0, np.uint32)), ErrorCode.BAD_TYPE),
        "reserved": (reserved, ErrorCode.BAD_FIELD),
        "short": (packets.helper_packet([0] * (SMALL.key.helper_words - 1)), ErrorCode.BAD_LENGTH),
        "long": (packets.helper_packet([0] * (SMALL.key.helper_words + 1)), ErrorCode.BAD_LENGTH),
        "status with payload": (packets.frame(Packet.STATUS, np.zeros(1, np.uint32)), ErrorCode.BAD_LENGTH),
        "crc": (broken, ErrorCode.BAD_CRC),
        "lock now": (packets.frame(Packet.LOCK_NOW, np.zeros(0, np.uint32)), ErrorCode.LOCKED),
    }


@pytest.mark.parametrize("name", wrong_packets())
def test_whatever_else_comes_before_is_an_error_and_then_silence(fresh, name):
    words, error = wrong_packets()[name]
    helper, _ = fresh.enrolled()
    assert fault_of(fresh.send(words, expected=FAULT)) == error
    assert silent(fresh)
    fresh.engine.reset()
    assert fresh.ask(helper).rooted


def test_a_host_that_does_not_look_sees_the_failure_and_then_an_error(fresh):
    """It sent everything at once: the packets behind the helper data wait until the attempt has ended."""
    helper, _ = fresh.enrolled()
    wrong = Helper(helper.mask, helper.syndromes, bytes(16))
    run = fresh.send(packets.helper_packet(wrong.words()), packets.unlock_packet(), expected=REPLY + FAULT)
    assert not PufReply.of(run.words[:REPLY]).rooted
    with pytest.raises(FaultError, match="BAD_ORDER"):
        packets.parse_results(run.words[REPLY:])
    fresh.engine.reset()
    run = fresh.send(
        packets.helper_packet(helper.words()), packets.status_packet(), expected=REPLY + STATUS_WORDS + FRAME_WORDS
    )
    kinds = [kind for kind, _ in packets.split(run.words)]
    assert kinds == [Result.PUF_REPLY, Result.STATUS_REPLY]


def test_nothing_waits_for_a_slow_host(fresh, rng):
    """Words come and go at any pace: the same words come."""
    from bitting.sim.native import Stalls

    helper, _ = fresh.enrolled()
    commands = np.concatenate([packets.enrol_packet(), packets.helper_packet(helper.words()), packets.status_packet()])
    expected = SMALL.key.pairs + FRAME_WORDS + REPLY + STATUS_WORDS + FRAME_WORDS
    at_once = fresh.engine.run(commands, expected, quiet_limit=1 << 18)
    fresh.engine.reset()
    slow = fresh.engine.run(commands, expected, Stalls(3, 200, 200), quiet_limit=1 << 18)
    assert np.array_equal(at_once.words, slow.words) and len(slow.words) == expected


@pytest.mark.slow
def test_the_code_of_a_key_works_too():
    """A word of 255 bits, 204 of which are kept of 256 pairs."""
    design = PufDesign(PufKey(BchCode(8, 4), kept=204, pairs=256), PufSpec(pairs=256, window=256, settle=16))
    chip = Chip(design=design, seed=3)
    helper, root = chip.enrolled()
    kept = np.flatnonzero(helper.mask)
    chip.become(chip.flipped(np.random.default_rng(4).choice(kept, 4, replace=False)))
    assert chip.ask(helper).rooted
    boots_as(chip, root, False)


@pytest.mark.slow
def test_the_published_attacks_learn_nothing_through_the_ports(fresh):
    """Of their controls they learn what they are after (test_helper_data.py). Here all but the right words look alike."""
    helper, _ = fresh.enrolled()

    def ask(words):
        reply = PufReply.of(fresh.send(packets.helper_packet(words), expected=REPLY).words)
        if reply.rooted:
            fresh.engine.reset()
        return bytes(1) if reply.rooted else None

    moved = helper_data.moved_mask(ask, SMALL.key, helper.words(), seed=6)
    assert moved.of > 10 and moved.got == 0
    added = helper_data.unreliable_bits(ask, SMALL.key, helper.words(), queries=200, seed=7)
    assert (added.got, added.of) == (0, 200) and np.ptp(added.found[: SMALL.key.kept]) == 0
    swapped = helper_data.relations(ask, helper.words())
    assert swapped.got == 0
    assert ask(helper.words()) is not None
