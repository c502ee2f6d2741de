"""The attacks of `bitting.attack`, on the Verilated RTL of a device; and, by who knows the truth, how much of each is right."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from bitting.artefact.artefact import Artefact
from bitting.artefact.model import Model
from bitting.attack import (
    clone,
    crafted_challenge,
    extraction,
    histograms,
    injection,
    mutants,
    packet_order,
    residue,
    retraining,
    table_readout,
    tampering,
    two_files,
)
from bitting.attack.findings import Finding
from bitting.attack.port import Port, Probe, printing
from bitting.attack.streams import Stream, patience_for
from bitting.emulator.emulate import Emulator
from bitting.errors import LockError
from bitting.locking.chip import ChipModel
from bitting.locking.device import Device
from bitting.locking.kinds import Fingerprint, Transform
from bitting.locking.transform import restore_program, unlock_program
from bitting.program import bands
from bitting.sim.native import NativeEngine, engine_library
from bitting.training.balance import Balance

#: Who attacks through ports, as docs/threats.md calls them.
OWNER, COUNTERFEITER, NEXT_USER = PORT_ATTACKERS = ("owner of the chip", "counterfeiter", "whoever uses it next")

#: Called with (what is tried, done, of how much).
Progress = Callable[[str, int, int], None]


def _silent(what: str, done: int, total: int) -> None:
    """No progress is told."""


def random_inputs(artefact: Artefact, seed: int) -> np.ndarray:
    """(samples, sample_words) int8 activations of a batch: attackers need no data."""
    spec = artefact.program.spec
    size = artefact.program.samples, artefact.program.sample_words
    return np.random.default_rng(seed).integers(spec.act_min, spec.act_max + 1, size).astype(np.int8)


def port_attacks(
    artefact: Artefact,
    device: Device,
    *,
    port: Port | None = None,
    layers: int | None = None,
    edits: int = 0,
    seed: int = 0,
    attackers: Collection[str] = PORT_ATTACKERS,
    progress: Progress = _silent,
) -> Iterator[Finding]:
    """Everything that owners of the chip, counterfeiters and later users try, one finding after another.

    Args:
        artefact: locked with a key, for `device`.
        device: the one that is attacked; attackers get its port, and the counterfeiter its root secret.
        port: of the device; by default a simulation of it.
        layers: how many layers' weights are read; by default all.
        edits: random edits of the program, beside the rest.
        seed: of inputs and edits.
        attackers: only what these of `PORT_ATTACKERS` try.
        progress: told of what takes long.

    Raises:
        LockError: if the artefact has no lock key, or is not for this device.
    """
    if not artefact.scheme.keyed:
        raise LockError("the artefact has no lock key, so anyone with the device's table reads it; lock it with a fingerprint")
    device.require_spec(artefact.program.spec, "the artefact")
    prepared = _PortAttacks(artefact, device, seed, progress)
    return prepared.on(port, layers, edits, attackers) if port else prepared.simulated(layers, edits, attackers)


class _PortAttacks:
    """The attacks, and the truth beside them."""

    _port: Port
    _patience: int

    def __init__(self, artefact: Artefact, device: Device, seed: int, progress: Progress):
        self._artefact, self._device, self._seed, self._progress = artefact, device, seed, progress
        self._x = random_inputs(artefact, seed)
        self._codes = restore_program(artefact.program, artefact.scheme, device)
        self._clear = unlock_program(artefact.program, artefact.scheme, ChipModel.of(device))

    def simulated(self, layers: int | None, edits: int, attackers: Collection[str]) -> Iterator[Finding]:
        """On a simulation of the device, which is built if need be."""
        with NativeEngine(engine_library(self._device.spec), self._device.root, self._device.sealed) as engine:
            yield from self.on(engine, layers, edits, attackers)

    def on(self, port: Port, layers: int | None, edits: int, attackers: Collection[str]) -> Iterator[Finding]:
        """On a port of the device."""
        self._port = port
        self._patience = patience_for(port, self._device.spec, Stream.of(self._artefact, self._x))
        if OWNER in attackers:
            yield from self._of_owner(layers, edits)
        if COUNTERFEITER in attackers:
            yield self._crafted()
        if NEXT_USER in attackers:
            yield self._residue()

    def _of_owner(self, layers: int | None, edits: int) -> Iterator[Finding]:
        sealed, x = self._artefact.scheme.seals, self._x
        yield table_readout.read_table(self._probe()).judged(np.array(self._device.table()))
        if sealed:
            yield tampering.tamper(self._probe(), self._artefact, x)
        else:
            done = lambda layer, total: self._progress("weight extraction", layer, total)  # noqa: E731
            finding = extraction.extract(self._probe(), self._artefact, layers=layers, progress=done)
            yield finding.judged(retraining.flat_codes(self._codes)[: finding.of])
        if injection.applies(self._artefact):
            finding = injection.inject(self._probe(), self._artefact, x)
            yield finding if sealed else finding.judged(self._codes.layers[-1].codes.reshape(-1))
        yield packet_order.reorder(self._probe(), self._artefact, x)
        hidden = packet_order.hidden_addresses(self._clear)
        if len(hidden):
            yield packet_order.cut_short(self._probe(), self._artefact, x, hidden).judged(self._printed(hidden))
        if edits:
            told = lambda done, total: self._progress("random edits", done, total)  # noqa: E731
            yield tampering.edit(self._probe(), self._artefact, x, edits, seed=self._seed, progress=told)

    def _residue(self) -> Finding:
        program = self._artefact.program
        inputs = program.input_base + np.arange(program.input_words)
        hidden = packet_order.hidden_addresses(self._clear)
        left = np.stack([self._printed(np.concatenate([inputs, hidden]))] * len(residue.ENDINGS))
        return residue.read_residue(self._probe(), self._artefact, self._x, hidden).judged(left)

    def _probe(self) -> Probe:
        return Probe(self._port, self._device.spec, self._patience)

    def _crafted(self) -> Finding:
        """On the right chip: another challenge, which it answers as the right one."""
        scheme, probe = self._artefact.scheme, self._probe()
        assert scheme.challenge is not None
        law = ChipModel.of(self._device).run
        measure = law if scheme.seals else crafted_challenge.measured_on(probe)
        wanted = crafted_challenge.answers(measure, scheme.challenge, scheme.fingerprint)
        rightful = Stream.of(self._artefact, self._x).sent(self._probe())
        return crafted_challenge.deceive(probe, self._artefact, self._x, rightful, wanted, measure)

    def _printed(self, addresses: np.ndarray) -> np.ndarray:
        """(n, L) scratch words of every lane before the last layer, emulated."""
        hidden = tuple(layer for layer in self._clear.layers if not layer.emits)
        program = replace(self._clear, layers=(*hidden, printing(self._device.spec, addresses)))
        lanes = torch.from_numpy(bands.split(self._x, program.picture, program.spec.stripes))
        printed: np.ndarray = Emulator(program, self._device.table()).accumulators(lanes)[-1].numpy().T
        return printed


def clone_attack(artefact: Artefact, device: Device, root: bytes, *, seed: int = 0) -> Finding:
    """What a chip of the same RTL with another root secret opens, on simulations of both chips.

    Args:
        artefact: locked with a key, for `device`.
        device: the right one; the attacker is told its answers to the challenge, in his favour.
        root: (16,) bytes, burnt into his chip.
        seed: of inputs.

    Raises:
        LockError: if the artefact has no lock key, or is not for this device.
    """
    if artefact.scheme.challenge is None:
        raise LockError("the artefact has no lock key, so no chip needs a secret to open it; lock it with a fingerprint")
    device.require_spec(artefact.program.spec, "the artefact")
    x, library, spec = random_inputs(artefact, seed), engine_library(device.spec), device.spec
    stream = Stream.of(artefact, x)
    with NativeEngine(library, device.root, device.sealed) as engine:
        patience = patience_for(engine, spec, stream)
        rightful = stream.sent(Probe(engine, spec, patience))
    wanted = crafted_challenge.answers(ChipModel.of(device).run, artefact.scheme.challenge, artefact.scheme.fingerprint)
    own = ChipModel.of(replace(device, root=root))
    with NativeEngine(library, root, device.sealed) as engine:
        return clone.impersonate(Probe(engine, spec, patience), artefact, x, rightful, wanted, own.run)


def mutant_attacks(artefact: Artefact, device: Device) -> Finding:
    """The emulated counterfeits of `bitting.attack.mutants`, each with a challenge made up for it.

    Those of timing for the fingerprint `clock`, those of arithmetic for `numeric`.
    """
    honest, scheme = ChipModel.of(device), artefact.scheme
    timed = scheme.fingerprint == Fingerprint.CLOCK
    chips = list(mutants.timing_mutants(honest) if timed else mutants.arithmetic_mutants(honest, device.table()))
    opened = crafted_challenge.keys_derived(scheme, honest, chips)
    missed = [name for name, _ in chips if name not in opened]
    note = f"emulated mutants of {'timing' if timed else 'arithmetic'}" + (f"; not: {missed[0]}" if len(missed) == 1 else "")
    return Finding("crafted challenge", "counterfeiter", "mutants with the lock key", len(opened), len(chips), note=note)


def file_attacks(
    artefact: Artefact,
    claims: Mapping[str, Any],
    second: Artefact | None = None,
    device: Device | None = None,
    model: Model | None = None,
    *,
    seed: int = 0,
    progress: Progress = _silent,
) -> Iterator[Finding]:
    """Everything that thieves of files try.

    Args:
        artefact: what was stolen.
        claims: as they stand in its file.
        second: another artefact for the same device.
        device: the one that they are for, to tell right keys from wrong ones and to run mixes; no thief has it.
        model: the unlocked one, to tell what is right.
        seed: a guess at that of the training, if the claims do not say it; and of inputs.
        progress: told of what takes long.
    """
    config = claims.get("config")
    given = config if isinstance(config, Mapping) else {}
    epochs = 2 * int(given.get("epochs", 0))
    truth = None if model is None else retraining.flat_codes(model.program)
    yield retraining.retrain_as(artefact, claims, truth, lambda done: progress("retraining", done, epochs))
    guess = given.get("seed")
    guess = seed if guess is None else int(guess)
    if device is not None:
        yield histograms.tell_keys(artefact, device, guess)
    if artefact.scheme.transform == Transform.SHUFFLE and given.get("balance", Balance.DRAWN) == Balance.DRAWN:
        finding = histograms.table_of_histograms(artefact, guess)
        yield finding.judged(np.array(device.table())) if device else finding
    if artefact.scheme.transform == Transform.SHUFFLE:
        return  # neither a keystream nor the cycles of a tile would tell anything of two
    if second is not None:
        yield two_files.two_time_pad(artefact, second)
    if second is not None and device is not None:
        x = random_inputs(artefact, seed)
        with NativeEngine(engine_library(device.spec), device.root, device.sealed) as engine:
            patience = max(patience_for(engine, device.spec, Stream.of(one, x)) for one in (artefact, second))
            yield two_files.mix_versions(Probe(engine, device.spec, patience), artefact, second, x)
