"""Leakage through clocks: of weights and of the table, which is conceded, and of inputs, which must not be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bitting.attack import leakage, weak
from bitting.attack.streams import Stream
from bitting.locking.chip import ChipModel
from bitting.sim.native import NativeEngine, engine_library
from bitting.suite import figures
from bitting.suite.attack import Attack, Said
from bitting.suite.cases import Case, Material
from bitting.suite.chapters.locks import public_device
from bitting.suite.efforts import Effort
from bitting.suite.format import Verdict
from bitting.suite.jobs import Answer, Outcome
from bitting.unit import timing

#: Batches of each kind that the RTL runs: a clock count is exact, so that few would do.
_BATCHES = 20


class WeightsByCycles(Attack):
    """Do clocks of tiles tell small weights from others? Its control is a tile of one digit a code."""

    name, chapter, attacker, unit = "weights through cycles", "leakage", "owner of the chip", "bits a tile"

    def parts(self, case: Case, effort: Effort) -> list[dict[str, Any]]:
        """One job."""
        return [{"traces": effort.traces}] if case.locked or case.control else []

    def run(self, material: Material, parameters: Mapping[str, Any], seed: int) -> Outcome:
        """Clocks of tiles: codes of the model's first layer against codes at random, or zeros against random ones."""
        rng, count = np.random.default_rng(seed), parameters["traces"]
        device = public_device(material, material.architecture.spec.vault, seed) if material.case.control else material.owner
        chip, layer = ChipModel.of(device), material.architecture.secret[0]
        cycles = leakage.plain_cycles(material.architecture.spec)
        size = (count, layer.tile_codes)
        random = rng.integers(0, len(cycles), size)
        small = rng.choice(np.flatnonzero(cycles == cycles.min()), size)
        one, two = (cycles[codes].sum(axis=1) * layer.position_count + chip.overhead for codes in (small, random))
        return Outcome(
            {
                "t": min(abs(leakage.welch(one, two)), 1e6), "told": leakage.told_bits(two),
                "bits": float(layer.tile_codes * material.architecture.spec.code_bits),
                "small": one.tolist(), "random": two.tolist(),
            }
        )  # fmt: skip

    def judge(self, case: Case, own: Sequence[Answer], control: Sequence[Answer]) -> Said:
        """Conceded by every lock here: a tile takes as many clocks as its codes have digits."""
        (found,) = (one.values for one in own)
        role = "control" if case.control else "lock"
        series = [
            figures.values(f"{name} codes", role if name == "random" else "baseline", found[name])
            for name in ("random", "small")
        ]
        drawn = [figures.plot("histogram", "Clocks of a tile", "clocks", "tiles", series)]
        summary = (
            f"Tiles of small codes are told from random ones by their clocks (|t| {found['t']:.0f}, a leak from 4.5 on): "
            f"{found['told']:.1f} of the {found['bits']:.0f} bits of a tile."
        )
        leaks = found["t"] > leakage.THRESHOLD
        verdict = (Verdict.BROKEN if leaks else Verdict.HOLDS) if case.control else Verdict.CONCEDED if leaks else Verdict.HOLDS
        return Said(verdict, summary, found["told"], drawn)


class TableByTime(Attack):
    """The table by the clocks of one code a tile, in a challenge of one's own. Its control counts values in unary."""

    name, chapter, attacker, unit = "table from time", "leakage", "owner of the chip", "entries of the table"

    def parts(self, case: Case, effort: Effort) -> list[dict[str, Any]]:
        """One job."""
        return [{"codes": "each"}] if case.locked or case.control else []

    def run(self, material: Material, parameters: Mapping[str, Any], seed: int) -> Outcome:
        """Bits and entries that are told."""
        spec = material.architecture.spec
        if material.case.control:
            table = np.array(public_device(material, spec.vault, seed).table())
            cycles, plain = weak.unary_cycles(table), weak.unary_cycles(np.arange(spec.codes))
        else:
            cycles, plain = ChipModel.of(material.owner).cycles[0], leakage.plain_cycles(spec)
        told, total = leakage.table_bits(cycles)
        return Outcome({"told": told, "bits": total, "entries": leakage.entries_told(cycles, plain), "codes": spec.codes})

    def judge(self, case: Case, own: Sequence[Answer], control: Sequence[Answer]) -> Said:
        """Broken if most of the table is told; the cycles of codes are conceded."""
        (found,) = (one.values for one in own)
        summary = (
            f"Clocks of single codes tell {found['told']:.1f} of the {found['bits']:.1f} bits of a table, and settle "
            f"{found['entries']} of its {found['codes']} entries."
        )
        broken = 2 * found["entries"] > found["codes"]
        return Said(Verdict.BROKEN if broken else Verdict.CONCEDED, summary, float(found["entries"]))


class InputsByTime(Attack):
    """Do the clocks of a batch tell its inputs? On the RTL; its control is an engine that skips zeros."""

    name, chapter, attacker, unit = "inputs through time", "leakage", "whoever runs it", "Welch's t"

    def parts(self, case: Case, effort: Effort) -> list[dict[str, Any]]:
        """One job, where the RTL is run."""
        return [{"batches": _BATCHES}] if case.control or (case.keyed and effort.rtl) else []

    def run(self, material: Material, parameters: Mapping[str, Any], seed: int) -> Outcome:
        """Clocks of batches of zeros and of random inputs, in turn."""
        rng, count = np.random.default_rng(seed), parameters["batches"]
        program, spec = material.architecture, material.architecture.spec
        zeros = np.zeros((count, program.samples, program.sample_words), np.int8)
        random = np.asarray(rng.integers(spec.act_min, spec.act_max + 1, zeros.shape), np.int8)
        if material.case.control:
            weights = np.array(spec.values)[material.architecture.secret[0].codes[0]]
            few = [inputs[:, 0, : len(weights)] for inputs in (zeros, random)]
            clocks = [weak.skipping_cycles(weights, inputs, timing.TILE_OVERHEAD).tolist() for inputs in few]
            return Outcome({"zeros": clocks[0], "random": clocks[1]})
        device, found = material.owner, {"zeros": [], "random": []}  # type: ignore[var-annotated]
        with NativeEngine(engine_library(device.spec), device.root, device.sealed) as engine:
            for one, two in zip(zeros, random, strict=True):
                for name, inputs in (("zeros", one), ("random", two)):
                    stream = Stream.of(material.locked, inputs)
                    engine.reset()
                    words_sent = np.concatenate([stream.head, *stream.packets])
                    found[name].append(int(engine.run(words_sent, stream.result_words).cycles))
        return Outcome(found)

    def judge(self, case: Case, own: Sequence[Answer], control: Sequence[Answer]) -> Said:
        """Broken if the two differ."""
        (found,) = (one.values for one in own)
        one, two = (np.array(found[name], float) for name in ("zeros", "random"))
        t = min(abs(leakage.welch(one, two)), 1e6)
        summary = (
            f"Batches of zeros take {one.mean():.1f} clocks on average, of random inputs {two.mean():.1f} (|t| {t:.1f}, a "
            f"leak from {leakage.THRESHOLD} on), {len(one)} of each."
        )
        return Said(Verdict.BROKEN if t > leakage.THRESHOLD else Verdict.HOLDS, summary, t)
