"""What is said of locks is so: files are looked into as a thief would."""

import dataclasses

import numpy as np
import pytest

import bitting
from bitting.errors import AuthenticityError
from bitting.locking.kinds import AES_TRANSFORMS, SEALING, Transform
from bitting.locking.sealed_program import SealedProgram
from bitting.look.hiding import Seen, hidings
from bitting.program.layers import multilayer_perceptron
from bitting.unit.spec import PRESETS
from tb.families import AES


def model_of(spec):
    rng = np.random.default_rng(8)
    weights = [rng.integers(0, 3, (8, 12)), rng.integers(0, spec.codes, (4, 8))]  # the first uses three codes only
    return bitting.Model(multilayer_perceptron(spec, weights, [np.arange(8) - 3, np.arange(4)], [1, 0]))


def said(transform):
    return {row.what: row.seen for row in hidings(transform)}


def counts(layer):
    """How often each code occurs in a tile, whatever it stands for."""
    return [sorted(np.unique(tile, return_counts=True)[1].tolist()) for tile in layer.codes]


@pytest.mark.parametrize("transform", [Transform.TABLE, *AES_TRANSFORMS])
def test_locks_of_codes_hide_codes_and_nothing_else(transform):
    model = model_of(AES["tiny"])
    device = bitting.Device.new(AES["tiny"])
    artefact = bitting.lock(model, device, "none" if transform == Transform.TABLE else "clock", transform)
    told, (locked, clear) = said(transform), (artefact.locked_layers().layers, model.program.layers)
    same = [counts(a) == counts(b) for a, b in zip(locked, clear, strict=True)]
    assert all(same) == (told["histograms of codes"] == Seen.CLEAR) and any(same) == all(same)
    for a, b in zip(locked, clear, strict=True):
        shapes = ("bias", "offsets", "in_base", "out_base", "positions", "shift")
        assert all(np.array_equal(getattr(a, name), getattr(b, name)) for name in shapes)
    clear_ones = ("biases, shifts", "constants", "positions, offsets, addresses", "sizes", "interface", "self-test")
    assert {told[name] for name in clear_ones} == {Seen.CLEAR} and told["changes of the file"] == Seen.UNNOTICED
    flipped = dataclasses.replace(locked[0], bias=locked[0].bias + 1)
    changed = dataclasses.replace(artefact.locked_layers(), layers=(flipped, *locked[1:]))
    bitting.unlock(dataclasses.replace(artefact, program=changed), device)  # nobody notices


@pytest.mark.parametrize("transform", SEALING)
def test_a_seal_hides_all_but_sizes_and_refuses_changes(transform):
    spec = PRESETS["tiny"]
    model, device = model_of(spec), bitting.Device.new(spec)
    artefact, other = bitting.lock(model, device, "clock", transform), bitting.lock(model_of(spec), device, "clock", transform)
    sealed, again = artefact.program, other.program
    assert isinstance(sealed, SealedProgram) and isinstance(again, SealedProgram)
    assert [len(a) for a in sealed.packets()] == [len(b) for b in again.packets()]
    payloads = [packet[1:] for packet in sealed.packets()]
    assert not any((a == b[1:]).all() for a, b in zip(payloads, again.packets(), strict=True)), "a new key each time"
    told = said(transform)
    assert {told[name] for name in ("weights", "biases, shifts", "histograms of codes")} == {Seen.HIDDEN}
    partly = ("constants", "positions, offsets, addresses", "sizes", "cycles of tiles")
    assert {told[name] for name in partly} == {Seen.PARTLY}
    assert told["changes of the file"] == Seen.REFUSED
    words = sealed.words.copy()
    words[-1] ^= 1
    with pytest.raises(AuthenticityError):
        bitting.unlock(dataclasses.replace(artefact, program=dataclasses.replace(sealed, words=words)), device)
