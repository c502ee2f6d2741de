"""A challenge made up so that a chip which computes or paces wrongly answers it as the right chip answers the right one.

Attacker: counterfeiter, who has the root secret and the RTL, and chips that differ in some place. Where only the answers enter
the lock key, constant tiles give any answers he wants. What stops it: every word of the challenge enters the key.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import numpy as np

from bitting.artefact.artefact import Artefact
from bitting.attack.findings import Finding
from bitting.attack.port import Probe, Reply, clear_layer, waiting
from bitting.attack.streams import Stream
from bitting.locking.challenge import Challenge
from bitting.locking.chip import ChipModel
from bitting.locking.keys import lock_key
from bitting.locking.kinds import Fingerprint
from bitting.locking.scheme import LockScheme
from bitting.program import packets
from bitting.program.layers import Layer, Program
from bitting.unit import timing
from bitting.unit.spec import UnitSpec

#: Runs a program in clear: (tiles,) cycles and (emitting tiles, L) sums.
Measure = Callable[[Program, np.ndarray], tuple[np.ndarray, np.ndarray]]

#: How far from the law the cycles of a counterfeit's tiles may be.
_OFF = (0, -1, 1, -2, 2)
#: Numbers of positions that are tried for one number of cycles.
_WAYS = 3


def measured_on(probe: Probe) -> Measure:
    """What a chip shows in clear, with reports; of the vault `aes`, before CHALLENGE."""

    def measure(program: Program, activations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        first = packets.activations_packet(program.spec, program.input_base, activations)
        reply = probe.ask([first, packets.program_packets(program)], packets.result_words(program))
        return np.array([tile.cycles for tile in reply.tiles]), reply.sums

    return measure


def answers(measure: Measure, challenge: Challenge, fingerprint: Fingerprint) -> np.ndarray:
    """What a challenge's answers are: (tiles,) cycles, or (emitting tiles, L) sums."""
    return measure(challenge.program, challenge.activations)[fingerprint == Fingerprint.NUMERIC]


def craft(spec: UnitSpec, fingerprint: Fingerprint, wanted: np.ndarray, measure: Measure) -> Challenge | None:
    """A challenge of constants that a chip answers as wanted; None if none of those tried does.

    Args:
        spec: of the family.
        fingerprint: which answers count.
        wanted: as `answers` gives them.
        measure: of the chip that is to answer.
    """
    if fingerprint == Fingerprint.CLOCK:
        return _of_cycles(spec, wanted, measure)
    challenge = _of_sums(spec, wanted)
    return challenge if np.array_equal(answers(measure, challenge, fingerprint), wanted) else None


def _of_cycles(spec: UnitSpec, wanted: np.ndarray, measure: Measure) -> Challenge | None:
    """For each count a tile of constants that takes it on this chip."""
    nothing = np.zeros((spec.lanes, 1), np.int8)
    menu: dict[int, Layer] = {}
    for count in np.unique(wanted).tolist():
        tried = [layer for off in _OFF for layer in _lasting(spec, count - timing.TILE_OVERHEAD + off)]
        taken = measure(Program(spec, tuple(tried), 0, 1), nothing)[0] if tried else np.empty(0)
        right = [layer for layer, shown in zip(tried, taken, strict=True) if shown == count]
        if not right:
            return None
        menu[count] = right[0]
    return Challenge(Program(spec, tuple(menu[count] for count in wanted.tolist()), 0, 1), nothing)


def _lasting(spec: UnitSpec, cycles: int) -> Iterator[Layer]:
    """Tiles of constants that take so many cycles by the law, or a cycle more or less a position; they write the last word."""
    factors = (count for count in range(1, spec.scratch_words) if cycles > 0 and cycles % count == 0)
    for positions in itertools.islice((count for count in factors if cycles // count <= _longest(spec)), _WAYS):
        for off in (0, -1, 1):
            if 1 <= cycles // positions + off <= _longest(spec):
                codes = _constants(spec, cycles // positions + off)
                yield replace(waiting(spec, (1, positions)), codes=codes[None, :], offsets=np.zeros(len(codes), np.int32))


def _longest(spec: UnitSpec) -> int:
    return spec.tile_codes * max(map(len, spec.plain_digits))


def _constants(spec: UnitSpec, cycles: int) -> np.ndarray:
    """At most a tile of constants that take so many cycles: ones, and as many as needed of the slowest."""
    taken = [len(digits) for digits in spec.plain_digits]
    slowest = int(np.argmax(taken))
    slow = max(0, -(-(cycles - spec.tile_codes) // (taken[slowest] - 1)))
    return np.array([slowest] * slow + [1] * (cycles - slow * taken[slowest]), np.uint8)


def _of_sums(spec: UnitSpec, wanted: np.ndarray) -> Challenge:
    """Tiles of one constant 1 and many of a large power of two; activations put the wanted sum together in each lane."""
    large = 1 << (spec.plain_bits - 2)
    share = spec.act_max
    rest = (wanted + large // 2) % large - large // 2
    quotient = (wanted - rest) // large
    parts = -(-int(np.abs(quotient).max()) // share)
    cells = [rest]
    for _ in range(parts):
        cells.append(np.clip(quotient, -share, share))
        quotient = quotient - cells[-1]
    tiles, count = len(wanted), 1 + parts
    activations = np.stack(cells, axis=1).transpose(2, 0, 1).reshape(spec.lanes, tiles * count).astype(np.int8)
    codes = np.tile(np.array([1, *[large] * parts]), (tiles, 1))
    layer = clear_layer(spec, codes, reads=count * np.arange(tiles))
    return Challenge(Program(spec, (layer,), 0, tiles * count), activations)


def keys_derived(scheme: LockScheme, honest: ChipModel, mutants: Iterable[tuple[str, ChipModel]]) -> list[str]:
    """Names of the chips (on the emulator) that derive the honest chip's lock key, each with a challenge of its own."""
    assert scheme.challenge is not None
    wanted = answers(honest.run, scheme.challenge, scheme.fingerprint)
    right, names = lock_key(scheme, honest), []
    for name, chip in mutants:
        challenge = craft(honest.spec, scheme.fingerprint, wanted, chip.run)
        if challenge and lock_key(replace(scheme, challenge=challenge), chip) == right:
            names.append(name)
    return names


def deceive(probe: Probe, artefact: Artefact, x: np.ndarray, rightful: Reply, wanted: np.ndarray, measure: Measure) -> Finding:
    """Run an artefact with a made-up challenge.

    Args:
        probe: the chip that is to open it: a counterfeit, or the right one.
        artefact: locked with a key.
        x: (samples, input_words) int8, at most L samples.
        rightful: what the right device answers to them.
        wanted: what it answers to the right challenge.
        measure: of the counterfeit, or of one like it.

    Returns:
        A finding of (samples,) answers of the chip; `got`: of how many all sums are those of the right device.
    """
    scheme = artefact.scheme
    challenge = craft(probe.spec, scheme.fingerprint, wanted, measure)
    samples, reply, note = len(x), None, "no constant tiles give the answers"
    if challenge:
        stream = Stream.of(replace(artefact, scheme=replace(scheme, challenge=challenge)), x)
        reply = stream.sent(probe)
        note = f"{len(challenge.program.layers)} layers of constants in the place of the challenge"
    said, got = np.full(samples, -1), 0
    if reply and reply.sums.shape == rightful.sums.shape:
        said = reply.sums.argmax(axis=0)[:samples]
        got = int((reply.sums == rightful.sums).all(axis=0)[:samples].sum())
    return Finding.of_probe(
        probe, "crafted challenge", "counterfeiter", "answers as of the right device", got, samples, note, said
    )
