"""A simulated chip whose root secret silicon makes, and what a factory does with one, simulated or on a board."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

import numpy as np

from bitting.errors import DeviceError, FaultError, SimulationError
from bitting.locking.device import ROOT_BYTES, Device, EnrolledPuf
from bitting.program import packets
from bitting.puf.extractor import FuzzyExtractor
from bitting.sim.native import NativeEngine, Run, puf_library
from bitting.sim.session import Link
from bitting.unit.protocol import FRAME_WORDS, PUF_REPLY_WORDS, Result
from bitting.unit.puf_key import PufDesign
from bitting.unit.spec import UnitSpec, VaultKind

#: Measurements that an enrolment averages, and boots that it tries afterwards.
MEASUREMENTS, BOOTS = 8, 4
_REPLY_WORDS = PUF_REPLY_WORDS + FRAME_WORDS


class PufChip:
    """A simulation with oscillators. Every reset goes on to the next measurement that was recorded of them.

    `run` and `reset` are those of `NativeEngine`; once `helper` has been set, a reset also boots the chip with it.

    Args:
        spec: of the unit.
        design: of its PUF.
        increments: (measurements, pairs, reads, 2), as `bitting.puf.silicon.increments` gives.
        sealed: the fuse of that name is blown.
    """

    def __init__(self, spec: UnitSpec, design: PufDesign, increments: np.ndarray, sealed: bool = False):
        self._engine = NativeEngine(puf_library(spec, design), sealed=sealed)
        self._clocks = 2 * design.measured.clocks
        self._increments = increments
        self._measurement = 0
        self.helper: tuple[int, ...] = ()

    def __enter__(self) -> PufChip:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._engine.close()

    def burn(self, root: bytes, sealed: bool) -> None:
        """Blow the fuse `sealed`, or not, and reset; there is none for a root secret."""
        self._engine.burn(bytes(ROOT_BYTES), sealed)
        self.reset()

    def reset(self) -> None:
        """Reset, and boot if there are helper data.

        Raises:
            DeviceError: if it does not boot with them.
        """
        self._engine.set_oscillators(self._increments[self._measurement % len(self._increments)])
        self._measurement += 1
        if self.helper and not packets.PufReply.of(self.run(packets.helper_packet(self.helper), _REPLY_WORDS).words).rooted:
            raise DeviceError("the chip could not make its root secret again; it is not fit for use, take another one")

    def run(self, commands: np.ndarray, expected: int) -> Run:
        """Words to the chip; it may be silent as long as a measurement takes."""
        return self._engine.run(commands, expected, quiet_limit=self._clocks + (1 << 22))

    @property
    def link(self) -> Link:
        """The chip as a board is seen; a reset does not boot it."""
        return _ChipLink(self)


@dataclass(frozen=True)
class _ChipLink:
    chip: PufChip

    def reset(self) -> None:
        kept, self.chip.helper = self.chip.helper, ()
        self.chip.reset()
        self.chip.helper = kept

    def run(self, commands: np.ndarray, expected: int, /) -> np.ndarray:
        return self.chip.run(commands, expected).words


def enrol(
    spec: UnitSpec, design: PufDesign, link: Link, progress: Callable[[int, int], None] = lambda done, of: None
) -> tuple[bytes, EnrolledPuf]:
    """Measure a chip that is not sealed, make its helper data, and see that it boots with them.

    Args:
        spec: of the unit.
        design: of the chip's PUF.
        link: to it.
        progress: called with the number of steps done, and of all.

    Returns:
        The root secret, and what the chip makes it from.

    Raises:
        DeviceError: if it is sealed, has no PUF or another family's, or does not make the same root secret again.
        BittingError, SimulationError: if it does not answer, or not as an engine does.
    """
    steps = MEASUREMENTS + BOOTS
    sums = measured(spec, design, link, MEASUREMENTS, lambda done, _: progress(done, steps))
    differences = np.mean(sums, 0) - np.array(design.constants or [0] * design.key.pairs)
    extractor = FuzzyExtractor(spec, design.key)
    helper = extractor.enrol(differences)
    root = extractor.reproduce(differences > 0, helper)
    enrolled = EnrolledPuf(design, tuple(helper.words()))
    for step in range(BOOTS):
        link.reset()
        if not packets.PufReply.of(link.run(packets.helper_packet(enrolled.helper), _REPLY_WORDS)).rooted:
            raise DeviceError(
                f"the chip was not enrolled: it did not make its root secret in boot {step + 1} of {BOOTS}; its oscillators "
                "are too noisy, or its bitstream is of another design: take another chip"
            )
        progress(MEASUREMENTS + step + 1, steps)
    return root, enrolled


def measured(
    spec: UnitSpec,
    design: PufDesign,
    link: Link,
    measurements: int,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> np.ndarray:
    """(measurements, pairs) int64 sums of a chip that is not sealed, first less second of each pair, constants not taken off.

    Raises:
        DeviceError: if it is sealed, or has no PUF or another family's.
        BittingError, SimulationError: if it does not answer, or not as an engine does.
    """
    _require_open(spec, link)
    sums = []
    for step in range(measurements):
        link.reset()
        sums.append(_sums(design, link))
        progress(step + 1, measurements)
    return np.array(sums)


def _require_open(spec: UnitSpec, link: Link) -> None:
    link.reset()
    try:
        reply = packets.PufReply.of(link.run(packets.status_packet(), _REPLY_WORDS))
    except FaultError:
        raise
    except SimulationError:
        raise DeviceError("the chip was not enrolled: it has no PUF; load a bitstream of `bitting board --puf`") from None
    if reply.spec_id != spec.id_word:
        raise DeviceError(
            f"the chip was not enrolled: its family's id ends in {reply.spec_id:08x}, wanted is {spec.name!r} ({spec.id}); "
            "name the family that it has with --spec"
        )
    if reply.sealed:
        raise DeviceError(
            "the chip was not enrolled: it is sealed, and a sealed device measures for nobody; enrol before, with the "
            "bitstream that `bitting board --puf --enrolment` makes"
        )


def _sums(design: PufDesign, link: Link) -> np.ndarray:
    """(pairs,) of one measurement."""
    packed = list(packets.split(link.run(packets.enrol_packet(), design.key.pairs + FRAME_WORDS)))
    if [(kind, len(payload)) for kind, payload in packed] != [(Result.SUMS, design.key.pairs)]:
        raise DeviceError(
            f"the chip was not enrolled: asked for {design.key.pairs} sums, it gave something else; is its PUF of this design?"
        )
    return packed[0][1].astype(np.uint32).view(np.int32).astype(np.int64)


def device_of(spec: UnitSpec, root: bytes, enrolled: EnrolledPuf) -> Device:
    """The device that was enrolled, as it will be sold: sealed, if its vault has that fuse."""
    return Device(spec, root, sealed=spec.vault == VaultKind.ASCON, puf=enrolled)
