"""Engines with a PUF, Verilated, and silicon for them: pairs of oscillators whose differences are chosen."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from bitting.locking.device import Device, EnrolledPuf
from bitting.program import packets
from bitting.program.packets import PufReply
from bitting.puf import counting
from bitting.puf.extractor import FuzzyExtractor, Helper
from bitting.sim.native import NativeEngine, Run, puf_library
from bitting.unit.bch import BchCode
from bitting.unit.protocol import FRAME_WORDS, PUF_REPLY_WORDS
from bitting.unit.puf_key import PufDesign, PufKey
from bitting.unit.puf_spec import FRACTION_BITS, PufSpec
from bitting.unit.spec import PRESETS, UnitSpec

#: Two words of a shortened code, of three quarters of the pairs; constants, some of them negative.
SMALL = PufDesign(
    PufKey(BchCode(5, 3), blocks=2, kept=24, pairs=64),
    PufSpec(pairs=64, window=64, settle=16, reads=2),
    tuple((-1) ** pair * (pair % 5) for pair in range(64)),
)
#: Frequency of the first oscillator of each pair, in those of the clock.
_SPEED = 4


@dataclass
class Chip:
    """A simulated chip with silicon of its own.

    Attributes:
        differences: (pairs,) what is counted of each pair, less its constant, in every measurement.
    """

    spec: UnitSpec = PRESETS["tiny"]
    design: PufDesign = SMALL
    seed: int = 1
    sealed: bool = False
    engine: NativeEngine = field(init=False)
    differences: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.engine = NativeEngine(puf_library(self.spec, self.design), sealed=self.sealed)
        rng = np.random.default_rng(self.seed)
        sizes = rng.permutation(np.arange(2, self.design.key.pairs + 2)) * 2  # no two are alike, and none is weak
        self.become(np.where(rng.random(len(sizes)) < 0.5, sizes, -sizes))

    def become(self, differences: np.ndarray) -> None:
        """Other silicon, and a reset."""
        measured = self.design.measured
        constants = np.array(self.design.constants or [0] * measured.pairs)
        sums = differences + constants
        first = np.full((len(sums), measured.reads), _SPEED * measured.window)
        second = first.copy()
        second[:, 0] -= sums  # what is counted in all reads together
        increments = (np.stack([first, second], 2) << FRACTION_BITS) // measured.window + 1
        found = [counting.total(measured, [(int(a), int(b)) for a, b in reads]) for reads in increments]
        assert found == sums.tolist(), "the silicon is what was asked for"
        self.differences = differences
        self.engine.set_oscillators(increments)

    @property
    def bits(self) -> np.ndarray:
        """(pairs,) the response."""
        return (self.differences > 0).astype(np.uint8)

    @property
    def extractor(self) -> FuzzyExtractor:
        """Of its family."""
        return FuzzyExtractor(self.spec, self.design.key)

    def enrolled(self) -> tuple[Helper, bytes]:
        """Helper data and root secret, in Python."""
        helper = self.extractor.enrol(self.differences)
        return helper, self.extractor.reproduce(self.bits, helper)

    @property
    def device(self) -> Device:
        """As its owner has it."""
        helper, root = self.enrolled()
        return Device(self.spec, root, sealed=self.sealed, puf=EnrolledPuf(self.design, tuple(helper.words())))

    def flipped(self, pairs: np.ndarray) -> np.ndarray:
        """Its differences, with the signs of some pairs turned."""
        turned = self.differences.copy()
        turned[pairs] = -turned[pairs]
        return turned

    def send(self, *packet: np.ndarray, expected: int) -> Run:
        """Words to the chip, as it is now."""
        return self.engine.run(np.concatenate(packet), expected, quiet_limit=1 << 19)

    def ask(self, helper: Helper) -> PufReply:
        """What it answers to helper data, and keeps the clocks that it took."""
        run = self.send(packets.helper_packet(helper.words()), expected=PUF_REPLY_WORDS + FRAME_WORDS)
        self.clocks = run.cycles
        return PufReply.of(run.words)
