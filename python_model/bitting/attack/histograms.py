"""Drawn histograms: how often a tile uses each code was drawn before training, from a seed. Who knows it tests keys at sight.

Attacker: thief of the file. A key that opens a tile to another histogram than the drawn one is wrong. Under `shuffle`, which
leaves the histograms as they are, no key is needed: they tell the bitting table. What stops it: a seed of 128 secret bits; and
a sealed program, which shows nothing under a wrong key.
"""

from __future__ import annotations

import numpy as np

from bitting.artefact.artefact import Artefact
from bitting.attack.findings import Finding
from bitting.attack.screening import counts_of
from bitting.locking.chip import ChipModel
from bitting.locking.device import ROOT_BYTES, Device
from bitting.locking.sealed_program import SealedProgram
from bitting.locking.transform import unlock_with_key
from bitting.program.layers import Program
from bitting.training import balance
from bitting.training.balance import Balance
from bitting.unit.spec import SLOT_BITS, UnitSpec

_THIEF = "thief of the file"
#: Different plain weights.
SLOTS = 1 << SLOT_BITS


def drawn(spec: UnitSpec, locked: Program, seed: int) -> np.ndarray:
    """(tiles, 2^b) how often each tile of the first secret layer would use each value index, were this the seed."""
    layer = locked.secret[0]
    return balance.counts(Balance.DRAWN, spec, layer.tiles, layer.tile_codes, seed)


def tell_keys(artefact: Artefact, device: Device, seed: int, wrong_keys: int = 100, rng_seed: int = 0) -> Finding:
    """Can the right key be told by a guessed seed's histograms? Without the table: only sorted counts are compared.

    Args:
        artefact: what was stolen, for `device`.
        device: has the right key; the attacker does not, it is there to be told from wrong ones.
        seed: of the training, as the attacker guesses it.
        wrong_keys: random lock keys beside the right one.
        rng_seed: of the wrong keys.
    """
    locked, scheme = artefact.program, artefact.scheme
    if isinstance(locked, SealedProgram):
        note = "a wrong key opens no packet: there are no codes to count; the tag itself tells the one key of 2^128"
        return Finding("histogram test", _THIEF, "right keys told", 0, 1, note=note)
    chip, rng = ChipModel.of(device), np.random.default_rng(rng_seed)
    size = SLOTS if locked.secret[0].plain else locked.spec.codes
    expected = np.sort(drawn(locked.spec, locked, seed), axis=1)
    expected = np.pad(expected, ((0, 0), (size - expected.shape[1], 0)))  # plain weights of no code are never used

    def distances(key: bytes | None) -> np.ndarray:
        opened = unlock_with_key(locked, scheme, chip, key).secret[0]
        counts = counts_of(opened.codes, size)
        if len(expected) == 1:  # drawn for the whole matrix
            counts = counts.sum(axis=0, keepdims=True)
        return np.abs(np.sort(counts, axis=1) - expected).sum(axis=1)

    right = distances(None)
    wrong = np.array([distances(rng.bytes(ROOT_BYTES)) for _ in range(wrong_keys)])
    below = (right[:, None] < wrong.reshape(-1)).mean() + (right[:, None] == wrong.reshape(-1)).mean() / 2
    told = bool(right.sum() < wrong.sum(axis=1).min())
    note = f"AUC {below:.3f} over tiles, {wrong_keys} wrong keys, {scheme.transform}"
    return Finding("histogram test", _THIEF, "right keys told", int(told), 1, note=note, found=np.array([below]))


def table_of_histograms(artefact: Artefact, seed: int) -> Finding:
    """The bitting table of a program under `shuffle`: the code whose counts over all tiles are those drawn for a value.

    Returns:
        A finding of (2^b,) value indices, code -> value index; -1 where nothing fits.
    """
    locked = artefact.locked_layers()
    spec = locked.spec
    expected = drawn(spec, locked, seed)
    counts = counts_of(locked.secret[0].codes, spec.codes)
    if len(expected) == 1:
        counts = counts.sum(axis=0, keepdims=True)
    fits = (counts[:, :, None] == expected[:, None, :]).all(axis=0)  # (code, value index)
    table = np.where(fits.sum(axis=1) == 1, fits.argmax(axis=1), -1)
    got = int((table >= 0).sum())
    note = "counts of each code over all tiles, against those of the guessed seed"
    return Finding("histograms of a shuffle", _THIEF, "entries of the bitting table", got, spec.codes, note=note, found=table)
