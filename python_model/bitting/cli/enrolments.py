"""Enrolment of chips whose oscillators make the root secret, simulated or on a board."""

from __future__ import annotations

import secrets
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bitting import files
from bitting.cli import console
from bitting.cli.puf_boards import design_of_boards
from bitting.errors import BittingError, missing_extra
from bitting.unit.spec import UnitSpec

if TYPE_CHECKING:
    from bitting.locking.device import Device
    from bitting.puf.measurements import Measurements
    from bitting.sim.enrolment import Enrolment


def silicon_of(key: Path) -> Path:
    """Where the oscillators of a simulated die lie, beside its key file."""
    return key.with_name(key.name + ".silicon.npz")


def increments_of(device: Device, key: Path, silicon: Path | None) -> np.ndarray | None:
    """What the oscillators of a simulated chip advance by, in one of the measurements in its file; None without a PUF.

    Raises:
        BittingError: if there are none, or silicon of a device without a PUF.
    """
    if device.puf is None:
        if silicon:
            raise BittingError(f"--silicon {silicon}: the device of {key} has no PUF; leave it out")
        return None
    path = silicon or silicon_of(key)
    if silicon is None and not path.exists():
        raise BittingError(
            f"the device of {key} has a PUF, and {path} is missing; name the file of its oscillators with --silicon"
        )
    from bitting.puf.silicon import increments

    every = increments(device.puf.design, _load(path))
    return np.asarray(every[secrets.randbelow(len(every))])


def with_puf(path: Path, spec: UnitSpec, silicon: Path | None, port: str, constants: Path | None, json: bool) -> None:
    """Enrol a chip, and write its key file.

    Raises:
        BittingError: for a board and silicon to simulate at once; if a file can not be read or written.
        DeviceError: if the chip is sealed, has no PUF, or does not make the same secret again.
    """
    if silicon and port:
        raise BittingError("--silicon is of a chip to simulate, and --port of a board that is there; give one of them")
    if constants and not port:
        raise BittingError(
            "--constants are of boards, and a simulated chip has those of its family; add --port, or leave them out"
        )
    if port:
        device = _board(spec, port, constants)
        device.save(path)
        _tell(path, device, None, None, json)
        return
    if silicon is None and silicon_of(path).exists():
        raise BittingError(
            f"{silicon_of(path)} exists, of another chip; choose another name for the key, or give it as --silicon"
        )
    die = _die(silicon)
    device, record = _simulated(spec, die)
    kept = None
    if silicon is None:
        kept = silicon_of(path)
        die.save(kept)
    replace(device, enrolment=record.to_dict()).save(path)
    _tell(path, device, record, kept, json)


def _die(silicon: Path | None) -> Measurements:
    with missing_extra("enroll --puf", "puf"):
        from bitting.puf.silicon import simulated_die

        return _load(silicon) if silicon else simulated_die(secrets.randbits(128))


def _load(path: Path) -> Measurements:
    """Silicon from its file, which is as secret as a key file."""
    from bitting.puf import measurements

    if path.exists() and files.open_to_others(path):
        raise BittingError(f"{path} is open to others, and who has it has the key; allowed is mode 0600: chmod 600 {path}")
    return measurements.load(path)


def _simulated(spec: UnitSpec, die: Measurements) -> tuple[Device, Enrolment]:
    from bitting.puf.silicon import increments, simulated_family
    from bitting.sim import enrolment, puf_chip

    design = simulated_family()
    advances = increments(design, die)
    console.err.print("building the chip's simulation ...", style="dim")
    with puf_chip.PufChip(spec, design, advances) as chip:
        with console.progress("measurements") as done:
            root, enrolled = puf_chip.enrol(spec, design, chip.link, done)
        device = puf_chip.device_of(spec, root, enrolled)
        chip.helper = enrolled.helper
        with console.progress("self-tests") as done:
            return device, enrolment.enrol(device, chip, done)


def _board(spec: UnitSpec, port: str, constants: Path | None) -> Device:
    from bitting.cli.hosts import opened
    from bitting.sim import puf_chip
    from bitting.sim.serial_link import SerialLink

    with opened(port, measures=True) as line, console.progress(f"on {port}") as done:
        root, enrolled = puf_chip.enrol(spec, design_of_boards(constants), SerialLink(line), done)
    return puf_chip.device_of(spec, root, enrolled)


def _tell(path: Path, device: Device, record: Enrolment | None, silicon: Path | None, json: bool) -> None:
    facts = {} if record is None else record.to_dict()
    assert device.puf is not None
    key = device.puf.design.key
    if json:
        console.emit_json(
            {"spec_id": device.spec.id, "level": device.level, "pairs": key.pairs, "helper_words": key.helper_words, **facts}
        )
        return
    console.out.print(
        f"{path}: enrolled a {device.spec.name} chip ({device.spec.id}) that stores no secret; keep the file secret, it holds "
        f"what {key.pairs} pairs of oscillators make"
    )
    if silicon:
        console.out.print(f"{silicon}: its oscillators, for simulations; who has them has the key")
    if record:
        tell_record(record)
    if not device.puf.design.constants:
        console.out.print("its PUF has no constants: the key is easier to guess than 128 bits are (docs/puf.md)")
    console.out.print(f"level of claim: {device.level}; who loads a bitstream of his own onto this die reads the secret")


def tell_record(record: Enrolment) -> None:
    """What a factory saw."""
    console.out.print(f"boot {record.boot_clocks} clocks; every code's weight and time, both fingerprints, as predicted")
    console.out.print(f"known answers passed: {', '.join(record.known_answers)}")
