"""What the pins of a sealed device show in clocks in which they say that nothing is there."""

import numpy as np
import pytest
from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from bitting.locking.device import Device
from bitting.locking.scheme import LockScheme
from bitting.locking.transform import seal_model
from bitting.program import packets
from bitting.program.layers import Program, dense, multilayer_perceptron
from bitting.unit.protocol import ErrorCode, fuse_words
from bitting.unit.spec import parse_spec
from bitting_rtl.engine.top import Top
from bitting_rtl.lib.build_options import COMPACT, PORTABLE
from tb.vector import Steps, VectorModel

SPEC = parse_spec("tiny:vault=ascon")
ROOT = bytes(range(16))
#: A command word that is an error at once.
NO_PACKET = np.array([0xFF], np.uint32)


class Pins:
    """A sealed device, whose result pins are watched in every clock."""

    def __init__(self, steps):
        self.steps = steps
        self.fuses = [*fuse_words(ROOT, sealed=True), 0, 0, 0]
        self.words = []  # that were valid
        self.taken = []  # of these, once each
        self.beside = set()  # what was there while nothing was
        self.takes = 1
        self.reset()

    def clock(self, **inputs):
        steps = self.steps
        self.takes = inputs.get("result_ready", self.takes)
        steps.step(clk=0, **inputs)
        if steps["result_valid"]:
            self.words.append(steps["result_data"])
            if self.takes:
                self.taken.append(steps["result_data"])
        else:
            self.beside.add(steps["result_data"])
        ready = steps["cmd_ready"]
        steps.step(clk=1, fuse_data=self.fuses[steps["fuse_address"]])
        return ready

    def reset(self):
        for _ in range(3):
            self.clock(rst=1, cmd_valid=0, result_ready=1, lock_now=0)
        self.clock(rst=0)

    def send(self, *words, after=1500):
        for word in np.concatenate(words).tolist():
            while not self.clock(cmd_valid=1, cmd_data=word):
                pass
        for _ in range(after):
            self.clock(cmd_valid=0)

    def locked(self, words, moment):
        """Words from a reset on, then so many clocks, then the switch `lock_now`, and time for what it does."""
        self.reset()
        self.forget()
        self.send(*words, after=moment)
        self.clock(lock_now=1)
        self.clock(lock_now=0)
        for _ in range(200):
            self.clock()

    def forget(self):
        self.words.clear()
        self.taken.clear()
        self.beside.clear()

    def kinds(self):
        return [kind for kind, _ in packets.split(np.array(self.words, np.uint32))]

    def silent(self):
        """Nothing but zeros, and words that had been sent."""
        return self.beside <= {0, *self.words}


@pytest.fixture(
    scope="module", params=[PORTABLE, pytest.param(COMPACT, marks=pytest.mark.slow)], ids=["with register slices", "compact"]
)
def pins(request):
    with Steps(VectorModel(Top(SPEC, options=request.param), clocked=False)) as steps:
        yield Pins(steps)


def test_a_crafted_challenge_shows_no_sum(pins):
    """An emitting tile of each code, over ones: its sums are the bitting table."""
    codes = np.arange(SPEC.codes)[:, None]
    layer = dense(codes, np.zeros(SPEC.codes), 0, 1, 0, emits=True)
    scheme = LockScheme.new(SPEC, "clock", "sealed")
    ones = packets.activations_packet(SPEC, 0, np.ones((SPEC.lanes, 1), np.int8))
    pins.reset()
    pins.forget()
    pins.send(scheme.challenge_packets()[0], ones, packets.program_packets(Program(SPEC, (layer,), 0, 1), report=True))
    assert not pins.words and pins.silent(), pins.beside


def test_hidden_sums_are_not_shown_after_an_error_nor_after_a_reset(pins):
    """The engine stops after a hidden tile; then somebody resets it, and makes it stop again."""
    device = Device(SPEC, ROOT, sealed=True)
    rng = np.random.default_rng(3)
    weights = [rng.integers(0, SPEC.codes, (3, 5)), rng.integers(0, SPEC.codes, (2, 3))]
    model = multilayer_perceptron(SPEC, weights, [np.full(3, 11), np.zeros(2)], [1, 0])
    scheme = LockScheme.new(SPEC, "numeric", "sealed")
    sealed = seal_model(model, device, scheme)
    program, layer, first, *_ = sealed.packets()
    inputs = packets.activations_packet(SPEC, 0, rng.integers(-8, 8, (SPEC.lanes, 5)).astype(np.int8))
    pins.reset()
    pins.forget()
    pins.send(scheme.packets(), program, inputs, layer, first, packets.status_packet(), NO_PACKET)
    assert pins.kinds() == [0x84, 0xFF]
    for _ in range(2):
        assert pins.steps["error"] == ErrorCode.BAD_TYPE and pins.silent(), (pins.beside, pins.words)
        pins.reset()
        pins.forget()
        pins.send(NO_PACKET)
        assert pins.kinds() == [0xFF]


def to_the_first_sums():
    """A challenge up to its first tile that emits."""
    scheme = LockScheme.new(SPEC, "numeric", "sealed")
    assert scheme.challenge
    layers = scheme.challenge.program.layers
    emitting = next(number for number, layer in enumerate(layers) if layer.emits)
    before = 2 + sum(1 + layer.tiles for layer in layers[:emitting])
    return scheme.challenge_packets()[: before + 2]


def test_an_error_within_a_challenge_ends_with_a_fault(pins):
    """Whenever the switch `lock_now` is thrown: also while sums are on their way to the vault."""
    words = to_the_first_sums()
    for moment in range(0, 120, 8):
        pins.locked(words, moment)
        assert pins.kinds() == [0xFF], moment


def test_counters_of_a_challenge_are_not_told_by_an_answer_that_an_error_overtakes(pins):
    """A STATUS_REPLY waits at the pins while the switch is thrown, which ends the challenge."""
    layer = dense(np.zeros((1, 4)), np.zeros(1), 0, 1, 0)
    scheme = LockScheme.new(SPEC, "clock", "sealed")
    ones = packets.activations_packet(SPEC, 0, np.ones((SPEC.lanes, 4), np.int8))
    tile = packets.program_packets(Program(SPEC, (layer,), 0, 4), report=True)
    pins.reset()
    pins.forget()
    pins.send(scheme.challenge_packets()[0], ones, tile)
    pins.clock(result_ready=0)
    pins.send(packets.status_packet(), after=100)
    pins.clock(lock_now=1)
    for _ in range(20):
        pins.clock(lock_now=0)
    pins.clock(result_ready=1)
    for _ in range(200):
        pins.clock()
    (kind, reply), *rest = packets.split(np.array(pins.taken, np.uint32))
    assert kind == 0x84 and not np.any(reply[1:4]) and [other for other, _ in rest] == [0xFF]


class Probed(wiring.Component):
    """The top, and beside its pins what is on the vault's bus, which a wiped vault writes over its keys."""

    def __init__(self):
        self.top = Top(SPEC)
        super().__init__({**self.top.signature.members, "probe": Out(32)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.top = self.top
        for name, member in self.top.signature.members.items():
            outer, inner = getattr(self, name), getattr(self.top, name)
            m.d.comb += inner.eq(outer) if member.flow == In else outer.eq(inner)
        return m


def probed(text):
    shown = text.replace("assign probe = 32'd0;", "assign probe = top.engine.vault.core.word;")
    assert shown != text
    return shown


def test_a_wiped_vault_writes_nothing_but_zeros_over_its_keys():
    """Whenever the switch is thrown: also while a sum waits for the vault, which then never takes it."""
    words = to_the_first_sums()
    with Steps(VectorModel(Probed(), clocked=False, complete=probed)) as steps:
        pins = Pins(steps)
        for moment in range(0, 120, 3):
            pins.locked(words, moment)
            written = set()
            for _ in range(64):
                pins.clock()
                written.add(pins.steps["probe"])
            assert written == {0}, (moment, written)
