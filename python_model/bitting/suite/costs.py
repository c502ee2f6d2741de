"""What a lock costs: the engine's area as it was synthesised, and of the artefact what can be counted exactly.

All of it beside the same network unlocked. How long it takes to lock depends on the machine, and is in docs/results.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from bitting.artefact.artefact import Artefact
from bitting.artefact.host_words import HostWords
from bitting.artefact.model import Model
from bitting.locking.chip import ChipModel
from bitting.locking.device import Device
from bitting.suite.areas import area_of
from bitting.unit.spec import UnitSpec


@dataclass(frozen=True)
class Cost:
    """Of a lock, each beside the same without it (`_twin`); None: not known.

    Attributes:
        lut4, ff, ram_bits: of the engine after synthesis.
        clocks: from the reset until the first batch is answered, counted on the RTL; the twin's: of the model in clear on
            the engine without a vault. Who attacks the RTL counts them: in a cost by itself they are None.
        later: of each batch after it, without another challenge, counted on the RTL.
        cycles: those of all tiles among them and those of the challenge, by the timing law.
        words: command words that are sent until then.
        bytes: of the file that ships; the twin's with the same self-test.
        device: what the engine was synthesised for, and when.
    """

    lut4: int | None = None
    lut4_twin: int | None = None
    ff: int | None = None
    ff_twin: int | None = None
    ram_bits: int | None = None
    ram_bits_twin: int | None = None
    clocks: int | None = None
    clocks_twin: int | None = None
    later: int | None = None
    later_twin: int | None = None
    cycles: int | None = None
    cycles_twin: int | None = None
    words: int | None = None
    words_twin: int | None = None
    bytes: int | None = None
    bytes_twin: int | None = None
    device: str | None = None


def cost_of(model: Model, artefact: Artefact, device: Device, size: int) -> Cost:
    """Of an artefact of `size` bytes, made of this model for this device."""
    area, test = area_of(artefact.program.spec), artefact.self_test
    clear = Artefact(model.program, claims=artefact.claims, self_test=test, interface=model.interface)
    batch = sum(map(sum, model.program.tile_cycles(range(model.program.spec.codes))))
    challenge = artefact.scheme.challenge
    asked = int(ChipModel.of(device).run(challenge.program, challenge.activations)[0].sum()) if challenge else 0
    return Cost(
        **({} if area is None else {name: getattr(area, name) for name in _OF_AREA}),
        cycles=asked + batch,
        cycles_twin=batch,
        words=_words(artefact),
        words_twin=_words(clear),
        bytes=size,
        bytes_twin=_bytes(clear),
        device=None if area is None else area.device,
    )


def cost_of_soft(spec: UnitSpec) -> Cost | None:
    """Of a soft lock: the engine is one without a lock, of the family that the network was trained for."""
    area = area_of(spec)
    if area is None:
        return None
    bare = {name: getattr(area, f"{name.removesuffix('_twin')}_twin") for name in _OF_AREA}
    return Cost(**bare, device=area.device)


_OF_AREA = ("lut4", "lut4_twin", "ff", "ff_twin", "ram_bits", "ram_bits_twin")


def _words(artefact: Artefact) -> int:
    words, program = HostWords.of(artefact, report=False), artefact.program
    return len(words.once) + len(words.batch(np.zeros((program.samples, program.sample_words), np.int8)))


def _bytes(artefact: Artefact) -> int:
    with TemporaryDirectory(prefix="bitting-") as folder:
        path = Path(folder) / "artefact"
        artefact.save(path)
        return path.stat().st_size
