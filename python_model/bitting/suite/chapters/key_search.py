"""Key search: exhaustive over a stated number of bits, hill climbing, and keys that are partly known."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from bitting.artefact.self_test import SelfTest
from bitting.attack import key_search, weak
from bitting.emulator.emulate import Emulator
from bitting.locking.device import ROOT_BYTES, Device
from bitting.suite import figures
from bitting.suite.attack import Attack, Said
from bitting.suite.cases import Case, Material
from bitting.suite.chapters import chance
from bitting.suite.chapters.locks import locked_for, public_device
from bitting.suite.chapters.screening import tag_permutations
from bitting.suite.efforts import Effort
from bitting.suite.format import Verdict
from bitting.suite.jobs import Answer, Outcome, derived
from bitting.unit.spec import VaultKind

ROOT_BITS = 8 * ROOT_BYTES
#: Labelled samples that a climb is guided by.
_GUIDES = 200
#: A key search is told apart from luck by so much accuracy, 0..1, over the best of as many random networks.
ALLOWED = 0.1
COUNTS = f"More than {100 * ALLOWED:.0f} points beyond that would count."
#: What stands for a climb in jobs of luck: random networks, and random keys of the weak lock.
_NETWORKS, _KEYS = -1, -2
#: Parts of an exhaustive search that run side by side.
_PARTS = 4


class Exhaustive(Attack):
    """All values of the unknown bits. Its control is a public device of which all bits but a few are known."""

    name, chapter, attacker, unit = "exhaustive key search", "key search", "thief of the file", "key bits"
    weak = "a device of which all but a few key bits are known"

    def parts(self, case: Case, effort: Effort) -> list[dict[str, Any]]:
        """The guesses in parts: of the control all but few bits are known, and so they are of the lock."""
        if not (case.keyed or case.control):
            return []
        return [{"unknown": effort.unknown_bits, "part": part} for part in range(_PARTS)]

    def run(self, material: Material, parameters: Mapping[str, Any], seed: int) -> Outcome:
        """Whether the right guess is among those of this part; the rate is measured apart."""
        if material.case.control:
            device = public_device(material, VaultKind.ASCON, derived(seed, "device"))
            artefact = locked_for(material, device, "clock", "sealed-clocked", seed)
        else:
            device, artefact = material.owner, material.locked
        unknown, part = parameters["unknown"], parameters["part"]
        guesses = range(part << unknown - 2, (part + 1) << unknown - 2)
        test = artefact.self_test or SelfTest.of(material.architecture)
        assert test is not None
        started = time.process_time()
        right = key_search.tells_right(artefact, test)
        found = key_search.exhaustive(device, right, ROOT_BITS - unknown, guesses)
        tried = len(guesses) if found is None else found - guesses.start + 1
        operations = (
            tag_permutations(artefact) if artefact.scheme.seals else artefact.locked_layers().macs * len(test.questions)
        )
        return Outcome(
            {"found": found is not None, "operations": operations}, {"guesses": tried, "seconds": time.process_time() - started}
        )

    def judge(self, case: Case, own: Sequence[Answer], control: Sequence[Answer]) -> Said:
        """Broken if the search finds the key of the control; the lock is as strong as what is unknown of its key."""
        rate = sum(one.measured["guesses"] for one in own) / sum(one.measured["seconds"] for one in own)
        unknown = own[0].parameters["unknown"]
        found = any(one.values["found"] for one in own)
        years = key_search.core_years(ROOT_BITS, rate)
        rows = [[bits, key_search.core_years(bits, rate) * key_search.SECONDS_A_YEAR] for bits in (unknown, 32, 48, 64, 128)]
        drawn = [figures.table("Half of all keys, at the measured rate", ("unknown bits", "core-seconds"), rows)]
        operations = float(own[0].values["operations"])
        if case.control:
            summary = (
                f"With all but {unknown} bits of the key known, it is {'' if found else 'not '}found, at {rate:.0f} guesses a "
                "second."
            )
            return Said(
                Verdict.BROKEN if found else Verdict.HOLDS, summary, float(unknown) if found else 0.0, drawn, operations
            )
        summary = (
            f"All {ROOT_BITS} bits are unknown. By arithmetic: at the {rate:.0f} guesses a second of this emulator in Python, "
            f"half of 2^{ROOT_BITS} keys take {years:.1e} core-years, and on a machine 10^12 times faster {years / 1e12:.1e}. "
            f"(That the search works: told all but {unknown} bits, it {'finds' if found else 'does NOT find'} the key.)"
        )
        return Said(Verdict.HOLDS if found else Verdict.VOID, summary, 0.0, drawn, operations)


class HillClimbing(Attack):
    """Flips of key bits, kept if a few labelled samples are answered no worse. See `weak` for its controls."""

    name, chapter, attacker, unit = "hill climbing on key bits", "key search", "thief of the file", "points over luck"
    weak = "each key bit flips some codes by itself, so that a key which is nearly right is nearly as good"

    def parts(self, case: Case, effort: Effort) -> list[dict[str, Any]]:
        """A job for each climb; of the control, and of plain weights, also random networks, as many as guesses.

        Of the control also random keys of weak locks: if a lock leaves much in clear they are better than random networks.
        """
        if not (case.keyed or case.control):
            return []
        steps = {"steps": effort.climb_steps}
        climbs = [{"climb": climb, **steps} for climb in range(effort.climbs)]
        if case.control:
            climbs.append({"climb": _KEYS, **steps})
            climbs += [{**part, "last": True} for part in climbs if effort.climbed_last]
        return [*climbs, *chance.jobs(case, {"climb": _NETWORKS, **steps})]

    def run(self, material: Material, parameters: Mapping[str, Any], seed: int) -> Outcome:
        """One climb: best accuracy so far on the labelled samples, after each guess; or that of networks or keys at random."""
        x, labels = material.train(_GUIDES)
        steps, interface = parameters["steps"], material.model.interface
        if parameters["climb"] == _NETWORKS:
            return Outcome({"scores": _best_so_far(chance.scores(material, parameters, steps, seed, x, labels))})
        if material.case.control:
            # Not the seed of the climb itself, which would begin at the right key.
            right, lock = _weak(material, derived(seed, "lock"), last=parameters.get("last", False))
            right = right[: lock.used]

            def objective(key: np.ndarray) -> float:
                return _accuracy(material, lock.unlock(key), x, labels)

        else:
            right, artefact, owner = key_search.bits_of(material.owner.root), material.locked, material.owner

            def objective(key: np.ndarray) -> float:
                device = Device(owner.spec, key_search.root_of(key), sealed=owner.sealed)
                return key_search.score(artefact, device, x, lambda sums: interface.rating(sums, labels))

        if parameters["climb"] == _KEYS:
            rng = np.random.default_rng(seed)
            keys = (rng.integers(0, 2, len(right)).astype(np.uint8) for _ in range(steps))
            return Outcome({"scores": _best_so_far(map(objective, keys))})
        climbed = key_search.climb(objective, right, steps, seed)
        return Outcome({"scores": climbed.scores, "wrong_bits": climbed.wrong_bits, "bits": len(right)})

    def judge(self, case: Case, own: Sequence[Answer], control: Sequence[Answer]) -> Said:
        """Broken if a climb ends above the best of as many random networks, and random keys, by more than luck."""
        lucky = next(one.values["scores"] for one in (*own, *control) if one.parameters["climb"] == _NETWORKS)
        tried, steps = _climbs(own, lucky), len(lucky)
        best = max(tried, key=lambda one: one.gain)
        guesses = list(range(1, steps + 1))
        series = [
            *(figures.line(f"climb {one.number}{one.of}", "control" if case.control else "lock", guesses, one.scores)
              for one in tried),
            figures.line("random networks, best so far", "baseline", guesses, lucky),
            *(figures.line(f"random keys, best so far{one.of}", "baseline", guesses, one.keys)
              for one in tried if one.keys and one.number == 1),
        ]  # fmt: skip
        drawn = [figures.plot("curve", "Hill climbing", "guesses", f"accuracy on {_GUIDES} labelled samples", series)]
        if case.sealed and not best.scores[-1]:
            summary = (
                f"All {steps} guesses of each of {len(tried)} climbs were refused: no answer, nothing to climb by, and "
                f"{best.wrong} at the end.{_blind(control)}"
            )
            return Said(Verdict.HOLDS, summary, None, drawn)
        summary = (
            f"The best of {sum(one.last == best.last for one in tried)} climbs of {steps} guesses{best.of} goes from "
            f"{100 * best.scores[0]:.1f}% to {100 * best.scores[-1]:.1f}% of {_GUIDES} labelled samples, with {best.wrong} at "
            f"the end; the best of as many random networks reaches {100 * lucky[-1]:.1f}%"
            + (f", of random keys {100 * best.keys[-1]:.1f}%" if best.keys else "")
            + f". {COUNTS}{_blind(own if case.control else control)}"
        )  # fmt: skip
        return Said(Verdict.BROKEN if best.gain > ALLOWED else Verdict.HOLDS, summary, best.gain, drawn)


@dataclass(frozen=True)
class _Tried:
    """A climb beside luck.

    Attributes:
        number: from 1 on, of those of one kind of lock.
        scores: best so far, after each guess.
        wrong: bits of the key that it ended with, of those that do anything, in words.
        last: the weak lock is that of the last layer.
        keys: the best so far of random keys of a weak lock of the same kind; none of a lock.
        gain: of its end over luck.
    """

    number: int
    scores: Sequence[float]
    wrong: str
    last: bool
    keys: Sequence[float]
    gain: float

    @property
    def of(self) -> str:
        """Which weak lock, if there are two, in words."""
        return " on the last layer alone" if self.last else ""


def _climbs(answers: Sequence[Answer], lucky: Sequence[float]) -> list[_Tried]:
    """The climbs among the answers of a case, beside random networks and, of a weak lock, its random keys."""
    keys = {bool(one.parameters.get("last")): one.values["scores"] for one in answers if one.parameters["climb"] == _KEYS}
    tried = []
    for one in answers:
        if one.parameters["climb"] >= 0:
            last, scores = bool(one.parameters.get("last")), one.values["scores"]
            luck, wrong = keys.get(last, []), f"{one.values['wrong_bits']} of {one.values['bits']} key bits wrong"
            gain = scores[-1] - max([lucky[-1], *luck[-1:]])
            tried.append(_Tried(one.parameters["climb"] + 1, scores, wrong, last, luck, gain))
    return tried


def _blind(control: Sequence[Answer]) -> str:
    """That climbs find no key of all layers in so large a network, in words, if that is so; `control`: its answers."""
    lucky = next((one.values["scores"] for one in control if one.parameters["climb"] == _NETWORKS), [1.0])
    tried = _climbs(control, lucky)
    best = max((one for one in tried if not one.last), key=lambda one: one.gain, default=None)
    if best is None or best.gain > ALLOWED or not any(one.last for one in tried):
        return ""
    return (
        " (The weak lock that falls has all layers but the last in clear. Of one with such bits in all layers the best climb "
        f"ends at {100 * best.scores[-1]:.1f}%, with {best.wrong}: so large a network answers nothing until few are.)"
    )


def _best_so_far(scores: Iterable[float]) -> list[float]:
    found: list[float] = np.maximum.accumulate(list(scores)).tolist()
    return found


class PartialKeys(Attack):
    """Wrong keys of which so many bits are right and the rest is random. Its control is a key of a bit for each tile."""

    name, chapter, attacker, unit = "partly known keys", "key search", "thief of the file", "points over random networks"
    weak = "each key bit flips the codes of some tiles by itself, so that a key which is nearly right is nearly as good"

    def parts(self, case: Case, effort: Effort) -> list[dict[str, Any]]:
        """A job for each number of known bits; of the control, and of plain weights, also random networks."""
        if not (case.keyed or case.control):
            return []
        common = {"keys": effort.partial_keys, "samples": effort.samples}
        known = [{"known": bits, **common} for bits in effort.known_bits]
        return [*known, *chance.jobs(case, {"known": -1, "of": len(known), **common})]

    def run(self, material: Material, parameters: Mapping[str, Any], seed: int) -> Outcome:
        """Accuracies of so many keys, fewer where there are not so many; 0 of one that is refused."""
        known, keys, interface = parameters["known"], parameters["keys"], material.model.interface
        x, labels = material.test(parameters["samples"])
        if known < 0:
            found = chance.scores(material, parameters, keys * parameters["of"], seed, x, labels)
            return Outcome({"scores": list(found)})
        rng, unknown = np.random.default_rng(seed), (1 << ROOT_BITS - known) - 1
        guesses = dict.fromkeys(int.from_bytes(rng.bytes(ROOT_BYTES)) & unknown for _ in range(keys))
        if material.case.control:
            right, lock = _weak(material, derived(seed, "lock"))
            scores = []
            for guess in guesses:
                bits = key_search.bits_of(guess.to_bytes(ROOT_BYTES))
                tried = np.where(np.arange(ROOT_BITS) < known, right, bits)
                if (tried != right).any():
                    scores.append(_accuracy(material, lock.unlock(tried), x, labels))
            return Outcome({"scores": scores})
        owner, artefact = material.owner, material.locked
        wrong = [weak.with_known_bits(owner, known, guess) for guess in guesses]
        wrong = [device for device in wrong if device.root != owner.root]
        rate = lambda sums: interface.rating(sums, labels)  # noqa: E731
        return Outcome({"scores": [key_search.score(artefact, device, x, rate) for device in wrong]})

    def judge(self, case: Case, own: Sequence[Answer], control: Sequence[Answer]) -> Said:
        """Broken if keys that are nearly right are better than random networks by more than luck."""
        by_bits = {one.parameters["known"]: one.values["scores"] for one in own if one.parameters["known"] >= 0}
        baseline = next(one.values["scores"] for one in (*own, *control) if one.parameters["known"] < 0)
        bits = [known for known in sorted(by_bits) if by_bits[known]]
        best = [max(by_bits[known]) for known in bits]
        lucky = max(baseline)
        gain = max(best) - lucky
        role = "control" if case.control else "lock"
        series = [
            figures.line("best", role, bits, best),
            figures.line("mean", role, bits, [float(np.mean(by_bits[known])) for known in bits]),
            figures.line("best random network", "baseline", [bits[0], bits[-1]], [lucky, lucky]),
        ]
        drawn = [figures.plot("curve", "Partly known keys", "bits of the root secret that are known", "accuracy", series)]
        at, count = bits[int(np.argmax(best))], sum(map(len, by_bits.values()))
        shared = f"{count} wrong keys that share their first {bits[0]} to {bits[-1]} bits with the right one"
        if case.sealed and not max(best):
            return Said(Verdict.HOLDS, f"All {shared} were refused: no answer.", None, drawn)
        summary = (
            f"Of {shared} the best answers {100 * max(best):.1f}% ({at} bits shared); the best of {len(baseline)} random "
            f"networks {100 * lucky:.1f}%. {COUNTS}"
        )
        return Said(Verdict.BROKEN if gain > ALLOWED else Verdict.HOLDS, summary, gain, drawn)


def _weak(material: Material, seed: int, last: bool = False) -> tuple[np.ndarray, weak.BitPerTile | weak.BitPerCode]:
    """The right key of a weak lock, and the lock. `last`: it is of the last layer alone."""
    right = np.random.default_rng(seed).integers(0, 2, ROOT_BITS).astype(np.uint8)
    return right, (weak.BitPerCode if last else weak.BitPerTile).lock(material.architecture, right)


def _accuracy(material: Material, program: Any, x: np.ndarray, labels: np.ndarray) -> float:
    sums = Emulator(program, range(program.spec.codes))(torch.from_numpy(x)).numpy()
    return float(material.model.interface.rating(sums, labels))
