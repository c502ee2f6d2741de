"""What two artefacts of one device tell that each alone does not: the sum of two programs under one keystream, and mixes.

Attacker: thief of many files; for mixes also owner of the chip. What stops it: a nonce for every artefact, drawn by the
function that locks, which makes another lock key; and, for mixes of a sealed program, the tags.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bitting.artefact.artefact import Artefact
from bitting.attack.findings import Finding
from bitting.attack.port import FAULT_PACKET, Probe
from bitting.attack.streams import Stream, reported_cycles
from bitting.errors import LockError
from bitting.locking.kinds import Transform
from bitting.locking.sealed_program import SealedProgram
from bitting.unit.spec import SLOT_BITS

_THIEF = "thief of many files"
#: Standard deviations above chance from which on two ciphertexts are under one keystream, and the chance of that.
_SIGNIFICANT, _CHANCE = 6.0, 1e-9


def two_time_pad(first: Artefact, second: Artefact) -> Finding:
    """Add two programs of the same shape. Versions of one model agree in many places; under one keystream that shows.

    Of one model for two devices nothing need agree, for each reads codes by its own table; but the sum of two codes is then one
    value for each weight, so some sums are more frequent than others.

    Returns:
        A finding of the sum (exclusive or) of codes, or of sealed words; `got` is all of them, or 0 if it looks like chance.

    Raises:
        LockError: if the programs have other shapes, or are shuffled: nothing is added to their codes.
    """
    if Transform.SHUFFLE in (first.scheme.transform, second.scheme.transform):
        raise LockError("a shuffle adds no keystream to codes; give artefacts with another transform")
    if isinstance(first.program, SealedProgram) != isinstance(second.program, SealedProgram):
        raise LockError("one of the artefacts is sealed, the other is not; give two of the same vault")
    if isinstance(first.program, SealedProgram) and isinstance(second.program, SealedProgram):
        one, two, bits, what = *(_sealed_payloads(item.program) for item in (first, second)), 32, "sums of words"
    else:
        one, two = (
            np.concatenate([layer.codes.reshape(-1) for layer in item.locked_layers().secret]) for item in (first, second)
        )
        plain = first.locked_layers().secret[0].plain
        bits, what = SLOT_BITS if plain else first.program.spec.code_bits, "sums of codes"
    if len(one) != len(two):
        raise LockError(f"the artefacts have {len(one)} and {len(two)} codes; this attack needs two of one shape")
    added = one ^ two
    share, chance = float((added == 0).mean()), 2.0**-bits
    spread = (chance * (1 - chance) / len(added)) ** 0.5
    p = _uneven(added, bits)
    reused = share > chance + _SIGNIFICANT * spread + 1 / len(added) or p < _CHANCE
    note = (
        f"{100 * share:.2f}% equal, by chance {100 * chance:.2f}%, sums as even as by chance with p = {p:.2g}: "
        f"{'one keystream' if reused else 'unrelated'}"
    )
    return Finding("two-time pad", _THIEF, what, len(added) * reused, len(added), note=note, found=added)


def _uneven(added: np.ndarray, bits: int) -> float:
    """P of the chi-square test that codes, or the bytes of words, are all equally frequent."""
    from scipy.stats import chisquare

    parts, size = (added, 1 << bits) if bits <= 8 else (np.ascontiguousarray(added).view(np.uint8), 256)
    return float(chisquare(np.bincount(parts, minlength=size)).pvalue)


def _sealed_payloads(program: object) -> np.ndarray:
    assert isinstance(program, SealedProgram)
    return np.concatenate([packet[1:] for packet in program.packets()])


def mix_versions(probe: Probe, first: Artefact, second: Artefact, x: np.ndarray) -> Finding:
    """Run the first layers of one artefact and the others of another, under the first one's challenge.

    Tiles take their cycles whatever the input, so reports say which opened as they do at home (of a shuffle they say nothing:
    the order of codes changes no cycles). A sealed program has none: there any answer but the rightful one counts.

    Returns:
        A finding of (mixes,) booleans: the mix was opened.
    """
    if isinstance(first.program, SealedProgram):
        opened = _sealed_mixes(probe, first, second, x)
    else:
        opened = _open_mixes(probe, first, second, x)
    note = "first layers of one version, others of another"
    return Finding.of_probe(probe, "version mix", _THIEF, "mixes opened", sum(opened), len(opened), note, np.array(opened))


def _sealed_mixes(probe: Probe, first: Artefact, second: Artefact, x: np.ndarray) -> list[bool]:
    one, two = Stream.of(first, x), Stream.of(second, x)
    rightful = one.sent(probe).words
    places = range(2, min(len(one.packets), len(two.packets)))
    mixes = [one.changed([*one.packets[:place], *two.packets[place:]]) for place in places]
    return [mix.sent(probe, FAULT_PACKET).tells_more_than(rightful) for mix in mixes]


def _open_mixes(probe: Probe, first: Artefact, second: Artefact, x: np.ndarray) -> list[bool]:
    layers = first.locked_layers().layers, second.locked_layers().layers
    if [layer.codes.shape for layer in layers[0]] != [layer.codes.shape for layer in layers[1]]:
        raise LockError("the artefacts have layers of other shapes; this attack needs two versions of one network")
    home = reported_cycles(probe, second.scheme, second.locked_layers(), x)
    opened = []
    for place in range(1, len(layers[0])):
        mix = replace(first.locked_layers(), layers=(*layers[0][:place], *layers[1][place:]))
        cycles = reported_cycles(probe, first.scheme, mix, x)
        start = sum(layer.tiles for layer in layers[0][:place])
        opened.append(len(cycles) == len(home) and cycles[start:] == home[start:])
    return opened
