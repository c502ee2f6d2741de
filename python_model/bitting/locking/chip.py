"""What a chip really does, right or wrong: weights and cycles of its codes, its fold, its width. Fingerprints are taken of it.

An honest chip follows golden and timing; a mutant differs in one place (`bitting.attack.mutants`). Small and exact, in numpy
integers; whole networks run on `bitting.emulator.emulate`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bitting.emulator.arithmetic import fold, line, wrap
from bitting.locking.challenge import Challenge
from bitting.locking.device import Device
from bitting.locking.kinds import Fingerprint
from bitting.program.layers import Layer, Program
from bitting.unit import timing
from bitting.unit.spec import UnitSpec

#: (spec, accumulators, shift) -> activations, all int64.
Fold = Callable[[UnitSpec, np.ndarray, int], np.ndarray]


@dataclass(frozen=True, eq=False)
class ChipModel:
    """A chip.

    Attributes:
        fingerprint_key: what it absorbs fingerprints under; secret.
        values, cycles: weight and MAC cycles of each code, for codes of the table and (second) plain weights; int64.
        overhead: cycles of a tile beside its codes.
        position_stall: cycles of a position beside its codes.
        acc_bits: width of the accumulator.
        fold: its activation function.
        glitch: number of a tile of the locked program that takes a cycle more, or None.
    """

    spec: UnitSpec
    fingerprint_key: bytes
    values: tuple[np.ndarray, np.ndarray]
    cycles: tuple[np.ndarray, np.ndarray]
    overhead: int
    position_stall: int
    acc_bits: int
    fold: Fold
    glitch: int | None = None

    def __repr__(self) -> str:
        return f"ChipModel({self.spec.name})"

    @classmethod
    def of(cls, device: Device) -> ChipModel:
        """The honest chip of a device."""
        meanings = [device.spec.decoding(device.table(), plain) for plain in (False, True)]
        return cls(
            spec=device.spec,
            fingerprint_key=device.fingerprint_key(),
            values=(np.array(meanings[0].values, np.int64), np.array(meanings[1].values, np.int64)),
            cycles=(np.array(meanings[0].cycles, np.int64), np.array(meanings[1].cycles, np.int64)),
            overhead=timing.TILE_OVERHEAD,
            position_stall=0,
            acc_bits=device.spec.acc_bits,
            fold=fold,
        )

    def tile_cycles(self, layer: Layer, codes: np.ndarray) -> np.ndarray:
        """(tiles,) cycles for (tiles, K) codes run as those of `layer`."""
        once = self.cycles[layer.plain][codes].sum(axis=1) + self.position_stall
        return once * layer.position_count + self.overhead

    def run(self, program: Program, activations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A program in clear.

        Args:
            program: its codes are those of this chip's table.
            activations: (lanes, input_words).

        Returns:
            (tiles,) cycles, and (emitting tiles, lanes) accumulators.
        """
        scratch = np.zeros((len(activations), self.spec.scratch_words), np.int64)
        scratch[:, program.input_base : program.input_base + program.input_words] = activations
        cycles, emitted = [], []
        for layer in program.layers:
            cycles.append(self.tile_cycles(layer, layer.codes))
            weights = self.values[layer.plain][layer.codes]
            addresses = layer.position_offsets()[:, None] + layer.offsets[None, :]
            start, words = layer.band
            gathered = line(scratch, layer.band, layer.edge, self.spec.stripes) if words else scratch
            addresses = addresses - (start - words if words else 0)
            sums = np.zeros((len(activations), layer.position_count), np.int64)
            for tile in range(layer.tiles):
                x = gathered[:, layer.in_base[tile] + addresses]  # (L, positions, K)
                begin = sums if tile % layer.parts else layer.bias[tile]
                sums = wrap(x @ weights[tile] + begin, self.acc_bits)
                if (tile + 1) % layer.parts:
                    continue  # the next tile goes on with the sums
                if layer.emits:
                    emitted.append(sums[:, 0])
                else:
                    out = layer.out_base[tile] + layer.out_position_offsets()
                    scratch[:, out] = self.fold(self.spec, sums, layer.shift)
        return np.concatenate(cycles), np.array(emitted)

    def fingerprint(self, challenge: Challenge, kind: Fingerprint) -> np.ndarray:
        """The uint32 words the chip absorbs: cycles of all tiles ("clock"), or accumulators of emitting ones ("numeric")."""
        cycles, accumulators = self.run(challenge.program, challenge.activations)
        words = cycles if kind == Fingerprint.CLOCK else accumulators.reshape(-1)
        return (words & 0xFFFFFFFF).astype(np.uint32)
