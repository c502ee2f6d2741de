"""Leakage through clocks: of weights and of the table, which is conceded, and of inputs, which must not be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bitting.artefact.artefact import Artefact
from bitting.artefact.host_words import HostWords
from bitting.attack import leakage, weak
from bitting.errors import BittingError
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
#: A batch of the model on the engine without a lock, whose codes mean what they say: what the clocks of a lock are beside.
_TWIN = "of the unlocked twin"


class WeightsByCycles(Attack):
    """Do clocks of tiles tell small weights from others? Its control is the model in clear."""

    name, chapter, attacker, unit = "weights through cycles", "leakage", "owner of the chip", "bits a tile"
    weak = "the model in clear"

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
        count = len(found["small"])
        summary = (
            f"The clocks of a tile tell {found['told']:.1f} of its {found['bits']:.0f} bits (|t| {found['t']:.0f} between "
            f"{count} tiles of small and {count} of random codes, a leak from {leakage.THRESHOLD} on)"
        )
        summary += "." if case.control else ". No lock changes that: a tile takes as many clocks as its codes have digits."
        leaks = found["t"] > leakage.THRESHOLD
        verdict = (Verdict.BROKEN if leaks else Verdict.HOLDS) if case.control else Verdict.CONCEDED if leaks else Verdict.HOLDS
        return Said(verdict, summary, found["told"], drawn)


class TableByTime(Attack):
    """The table by the clocks of one code a tile, in a challenge of one's own. Its control counts values in unary."""

    name, chapter, attacker, unit = "table from time", "leakage", "owner of the chip", "entries of the table"
    weak = "an engine that counts up to the index of each value"

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
            f"Clocks of single codes, in a challenge of his own, which a device runs before it has a key, tell "
            f"{found['told']:.1f} of the {found['bits']:.1f} bits of a table, and "
            f"settle {found['entries']} of its {found['codes']} entries."
        )
        broken = 2 * found["entries"] > found["codes"]
        return Said(Verdict.BROKEN if broken else Verdict.CONCEDED, summary, float(found["entries"]))


class InputsByTime(Attack):
    """Do the clocks of a batch tell its inputs? On the RTL; its control is an engine that skips zeros."""

    name, chapter, attacker, unit = "inputs through time", "leakage", "whoever runs it", "Welch's t"
    weak = "an engine that skips what is multiplied by zero, reckoned for one tile"

    def parts(self, case: Case, effort: Effort) -> list[dict[str, Any]]:
        """One job, where the RTL is run; of the control also the clocks of the unlocked twin."""
        twin = [{"batches": _TWIN}] if case.control and effort.rtl else []
        return [{"batches": _BATCHES}, *twin] if case.control or (case.keyed and effort.rtl) else []

    def run(self, material: Material, parameters: Mapping[str, Any], seed: int) -> Outcome:
        """Clocks of batches of zeros and of random inputs, in turn."""
        program, spec = material.architecture, material.architecture.spec
        if parameters["batches"] == _TWIN:
            library = engine_library(spec, table=range(spec.codes))
            zeros = np.zeros((program.samples, program.sample_words), np.int8)
            (once,), later = _clocks(NativeEngine(library), Artefact(program), [zeros])
            return Outcome({"clocks": once, "later": later})
        rng, count = np.random.default_rng(seed), parameters["batches"]
        zeros = np.zeros((count, program.samples, program.sample_words), np.int8)
        random = np.asarray(rng.integers(spec.act_min, spec.act_max + 1, zeros.shape), np.int8)
        if material.case.control:
            weights = np.array(spec.values)[material.architecture.secret[0].codes[0]]
            few = [inputs[:, 0, : len(weights)] for inputs in (zeros, random)]
            skipping = [weak.skipping_cycles(weights, inputs, timing.TILE_OVERHEAD).tolist() for inputs in few]
            return Outcome({"zeros": skipping[0], "random": skipping[1]})
        in_turn = [inputs for pair in zip(zeros, random, strict=True) for inputs in pair]
        owner = material.owner
        chip = NativeEngine(engine_library(owner.spec), owner.root, owner.sealed)
        clocks, later = _clocks(chip, material.locked, in_turn)
        return Outcome({"zeros": clocks[::2], "random": clocks[1::2], "later": later})

    def judge(self, case: Case, own: Sequence[Answer], control: Sequence[Answer]) -> Said:
        """Broken if the two differ."""
        found = next(one.values for one in own if one.parameters["batches"] != _TWIN)
        one, two = (np.array(found[name], float) for name in ("zeros", "random"))
        t, every = min(abs(leakage.welch(one, two)), 1e6), {*one, *two}
        if len(every) == 1:
            summary = (
                f"Every batch takes {one[0]:.0f} clocks from a reset on, {len(one)} of zeros as {len(two)} of random inputs."
            )
        else:
            summary = (
                f"Batches of zeros take {one.mean():.1f} clocks on average, of random inputs {two.mean():.1f} (|t| {t:.1f}, a "
                f"leak from {leakage.THRESHOLD} on), {len(one)} of each."
            )
        twin = next((one.values for one in control if one.parameters["batches"] == _TWIN), None)
        facts: dict[str, Any] = {}
        if twin is not None and not case.control:
            facts["clocks"] = {
                "clocks": int(two.mean()), "clocks_twin": twin["clocks"],
                "later": found["later"], "later_twin": twin["later"],
            }  # fmt: skip
        return Said(Verdict.BROKEN if t > leakage.THRESHOLD else Verdict.HOLDS, summary, t, case_facts=facts)


def _clocks(chip: NativeEngine, artefact: Artefact, batches: Sequence[np.ndarray]) -> tuple[list[int], int]:
    """Of each batch on the RTL, from the reset to the last word of the answer; and of the last one, sent once more."""
    words = HostWords.of(artefact, report=False)
    with chip as engine:

        def counted(*sent: np.ndarray) -> int:
            answer = engine.run(np.concatenate(sent), words.results)
            if answer.error or len(answer.words) != words.results:
                raise BittingError(f"the RTL refuses a rightful batch (error {answer.error}): artefact and device differ")
            return int(answer.cycles)

        first = []
        for batch in batches:
            engine.reset()
            first.append(counted(words.once, words.batch(batch)))
        return first, counted(words.again, words.batch(batches[-1]))
