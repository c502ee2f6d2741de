"""What a factory does with a chip that has a PUF: what it refuses, and that it boots."""

import numpy as np
import pytest

from bitting.errors import DeviceError
from bitting.program import packets
from bitting.puf import silicon
from bitting.puf.population import Population
from bitting.sim import puf_chip
from bitting.sim.puf_chip import PufChip
from bitting.unit.bch import BchCode
from bitting.unit.puf_key import PufDesign, PufKey
from bitting.unit.puf_spec import PufSpec
from bitting.unit.spec import PRESETS

TINY = PRESETS["tiny"]
#: Short, with the oscillators of a simulated population.
DESIGN = PufDesign(PufKey(BchCode(5, 3), blocks=2, kept=24, pairs=64), PufSpec(64, window=128, settle=8))
POPULATION = Population()


@pytest.fixture(scope="module")
def family():
    return silicon.for_family(DESIGN, POPULATION.boards(60, 1, oscillators=128, reads=2))


@pytest.fixture(scope="module")
def chip(family):
    die = POPULATION.boards(1, 7, oscillators=128, reads=30)
    with PufChip(TINY, family, silicon.increments(family, die)) as made:
        yield made


def test_an_enrolled_chip_boots_and_is_the_device(chip, family):
    steps = []
    root, enrolled = puf_chip.enrol(TINY, family, chip.link, lambda done, of: steps.append((done, of)))
    assert steps == [(done + 1, 12) for done in range(12)]
    device = puf_chip.device_of(TINY, root, enrolled)
    assert device.sealed and device.level == "die"
    chip.helper = enrolled.helper
    try:
        chip.burn(bytes(16), sealed=True)
        status = chip.run(packets.status_packet(), 7).words
        ((_, payload),) = packets.split(status)
        assert payload[4] == 0b10001, "booted, and sealed"
        with pytest.raises(DeviceError, match="it is sealed, and a sealed device measures for nobody"):
            puf_chip.enrol(TINY, family, chip.link)
        chip.helper = (*enrolled.helper[:-1], enrolled.helper[-1] ^ 1)
        with pytest.raises(DeviceError, match="could not make its root secret again"):
            chip.reset()
    finally:
        chip.helper = ()
        chip.burn(bytes(16), sealed=False)


class Link:
    """Answers what it is told to."""

    def __init__(self, *answers):
        self.answers = list(answers)

    def reset(self):
        pass

    def run(self, commands, expected, /):
        return self.answers.pop(0)


def reply(spec_id=int(TINY.id, 16) & 0xFFFFFFFF, state=0):
    return packets.frame(0x89, np.array([spec_id, state], np.uint32))


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ([packets.frame(0x84, np.zeros(5, np.uint32))], "it has no PUF; load a bitstream"),
        ([np.zeros(0, np.uint32)], "it has no PUF"),
        ([reply(spec_id=1)], "its family's id ends in 00000001"),
        ([reply(state=2)], "it is sealed"),
        ([reply(), packets.frame(0x8A, np.zeros(5, np.uint32))], "asked for 64 sums, it gave something else"),
        (
            [reply(), *[packets.frame(0x8A, np.arange(1, 65, dtype=np.uint32))] * 8, reply(state=1 << 8)],
            "did not make its root secret in boot 1 of 4",
        ),
    ],
)
def test_chips_that_are_not_fit_are_refused(family, answers, said):
    with pytest.raises(DeviceError, match=said):
        puf_chip.enrol(TINY, family, Link(*answers))


def test_silicon_counts_as_it_was_measured(family):
    """Every difference of the RTL's counts is that of the frequencies, to within what whole counts can be wrong by."""
    die = POPULATION.boards(1, 8, oscillators=128, reads=6)
    advances = silicon.increments(family, die)
    assert advances.shape == (6, 64, 1, 2)
    counts = advances.astype(np.int64) * DESIGN.measured.window >> 24
    hz = die.frequency_hz[0].astype(float).reshape(64, 2, 6).transpose(2, 0, 1)
    assert np.abs(counts[:, :, 0] - hz * DESIGN.measured.window / silicon.CLOCK_HZ).max() <= 1
    assert len(set(family.constants)) > 5, "pairs of one layout differ in the mean"
