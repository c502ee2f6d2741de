"""Port attacks on the simulated RTL: what the owner of the chip and whoever uses it next get out of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from bitting.attack.port import Probe
from bitting.attack.streams import Stream, patience_for, reported_cycles
from bitting.check import attacks, verification
from bitting.locking.chip import ChipModel
from bitting.locking.scheme import LockScheme
from bitting.locking.transform import seal_model, unlock_program
from bitting.sim.native import NativeEngine, engine_library
from bitting.suite import figures
from bitting.suite.attack import Attack, Said
from bitting.suite.cases import Case, Material
from bitting.suite.chapters.locks import malleable_or_owned
from bitting.suite.efforts import Effort
from bitting.suite.format import Verdict
from bitting.suite.jobs import Answer, Outcome

#: Layers whose weights are read, where they can be: one shows it.
_LAYERS = 1
#: Tiles whose clocks a case's record holds, at most.
_TILES = 128
_COLUMNS = ("attack", "sought", "got", "of", "right", "queries", "clocks")
_ATTACKS, _VERIFICATION = "attacks", "verification"


class Ports(Attack):
    """What the owner of the chip tries, see `bitting.check.attacks`. Its control checks nothing: the vault `aes`, unsealed."""

    name, chapter, attacker, unit = "port attacks", "ports", attacks.OWNER, "things got"
    weak = "the vault aes with its fuse not blown, which checks no packet"

    def parts(self, case: Case, effort: Effort) -> list[dict[str, Any]]:
        """The attacks, and a verification of emulator and RTL, which is what their truth rests on."""
        if not effort.rtl or not (case.keyed or case.control):
            return []
        tried = {"kind": _ATTACKS, "edits": effort.edits}
        return [tried] if case.control else [tried, {"kind": _VERIFICATION, "samples": effort.samples}]

    def run(self, material: Material, parameters: Mapping[str, Any], seed: int) -> Outcome:
        """Findings by name, or what a verification saw."""
        if parameters["kind"] == _VERIFICATION:
            return self._verified(material, parameters["samples"])
        device, artefact = malleable_or_owned(material, seed)
        tried = attacks.port_attacks(
            artefact, device, layers=_LAYERS, edits=parameters["edits"], seed=seed, attackers=[attacks.OWNER]
        )
        return Outcome({"findings": [{key: _plain(one.to_dict()[key]) for key in (*_COLUMNS, "succeeded")} for one in tried]})

    def judge(self, case: Case, own: Sequence[Answer], control: Sequence[Answer]) -> Said:
        """Broken if any port attack got something that is right; of the control every one of them must."""
        findings = next(one.values["findings"] for one in own if one.parameters["kind"] == _ATTACKS)
        facts: Mapping[str, Any] = next((one.values for one in own if one.parameters["kind"] == _VERIFICATION), {})
        won = [one for one in findings if one["succeeded"]]
        drawn = [figures.table("Port attacks", _COLUMNS, [[one[name] for name in _COLUMNS] for one in findings])]
        if facts:
            tiles = ([float(tile[name]) for tile in facts["cycles"]] for name in ("predicted", "measured"))
            axes = "predicted by the timing law", "measured on the RTL"
            drawn.append(figures.plot("scatter", "Clocks of each tile", *axes, [figures.line("tiles", "lock", *tiles)]))
        summary = f"{len(won)} of {len(findings)} port attacks got something" + (
            f": {', '.join(one['attack'] for one in won)}."
            if won
            else f", in {sum(one['queries'] for one in findings)} queries."
        )
        broken = len(won) == len(findings) if case.control else bool(won)
        return Said(Verdict.BROKEN if broken else Verdict.HOLDS, summary, float(len(won)), drawn, case_facts=facts)

    def _verified(self, material: Material, samples: int) -> Outcome:
        """Emulator against RTL, and clocks of tiles as law and RTL have them."""
        x, labels = material.test(samples)
        artefact, device = material.locked, material.owner
        report = verification.verify(artefact, device, x, labels, threads=1)
        seen = {
            "samples": report.samples, "wrong_bits": report.wrong_logits, "wrong_cycles": report.wrong_cycles,
            "tiles": report.tiles, "clocks": report.cycles, "accuracy": report.accuracy,
        }  # fmt: skip
        chip = ChipModel.of(device)
        clear = unlock_program(artefact.program, artefact.scheme, chip)
        predicted = np.concatenate([chip.tile_cycles(layer, layer.codes) for layer in clear.layers])
        with NativeEngine(engine_library(device.spec), device.root, device.sealed) as engine:
            batch = x[: artefact.program.samples]
            patience = patience_for(engine, device.spec, Stream.of(artefact, batch))
            measured = np.array(_measured(Probe(engine, device.spec, patience), material, batch))
        chosen = np.unique(np.linspace(0, len(predicted) - 1, min(len(predicted), _TILES)).astype(int))
        tiles = [
            {"tile": int(number), "predicted": int(predicted[number]), "measured": int(measured[number])} for number in chosen
        ]
        return Outcome({"verification": seen, "cycles": tiles})


class Residue(Attack):
    """Inputs and hidden activations of the user before, see `bitting.attack.residue`. Its control sweeps nothing: `aes`."""

    name, chapter, attacker, unit = "residue", "ports", attacks.NEXT_USER, "activations got"
    weak = "the vault aes, which wipes nothing"

    def parts(self, case: Case, effort: Effort) -> list[dict[str, Any]]:
        """One job, where the RTL is run."""
        return [{"ends": "all"}] if effort.rtl and (case.keyed or case.control) else []

    def run(self, material: Material, parameters: Mapping[str, Any], seed: int) -> Outcome:
        """How many words are printed, and how many of them are right."""
        device, artefact = malleable_or_owned(material, seed)
        (found,) = attacks.port_attacks(artefact, device, seed=seed, attackers=[attacks.NEXT_USER])
        return Outcome({name: _plain(getattr(found, name)) for name in ("got", "right", "of", "queries")})

    def judge(self, case: Case, own: Sequence[Answer], control: Sequence[Answer]) -> Said:
        """Broken if any word is right."""
        (found,) = (one.values for one in own)
        summary = (
            f"After a reset, LOCK_NOW or an error the next user prints {found['right']} of {found['of']} inputs and hidden "
            f"activations of the user before, in {found['queries']} queries."
        )
        return Said(Verdict.BROKEN if found["right"] else Verdict.HOLDS, summary, float(found["right"]))


def _measured(probe: Probe, material: Material, x: np.ndarray) -> list[int]:
    """Clocks of every tile on the RTL. A sealed program that reports them is made for it, under a nonce of its own."""
    artefact, device = material.locked, material.owner
    if not artefact.scheme.seals:
        return reported_cycles(probe, artefact.scheme, artefact.locked_layers(), x)
    scheme = LockScheme.new(device.spec, artefact.scheme.fingerprint, artefact.scheme.transform, device.level)
    program = seal_model(replace(material.architecture, spec=device.spec), device, scheme, reports=True)
    commands = program.commands(scheme.packets(), x)
    return [tile.cycles for tile in probe.ask([commands], program.result_words).tiles]


def _plain(value: Any) -> Any:
    """A number or text as JSON has it."""
    return value.item() if isinstance(value, np.generic) else value
