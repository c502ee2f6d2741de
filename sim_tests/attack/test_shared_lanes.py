"""Lanes that share a sample are no lock: the port tells everything under the vault `aes`, and of a sealed device nothing."""

import numpy as np
import pytest

import bitting
from bitting.check import attacks
from bitting.locking.device import Device
from bitting.unit.spec import parse_spec
from tb.banded import banded_model

ROOT = bytes(range(5, 21))
#: Engines that `sim_tests/check/test_bands.py` builds.
FAMILY = "tiny:lanes=8,stripes=4,scratch_words=1024"


def locked(vault, transform):
    spec = parse_spec(f"{FAMILY},vault={vault}")
    device = Device(spec, ROOT, sealed=vault == "ascon")
    return bitting.lock(banded_model(spec), device, "clock", transform), device


@pytest.mark.parametrize("transform", ["aes-clocked", "shuffle"])
def test_the_vault_aes_tells_everything(transform):
    artefact, device = locked("aes", transform)
    found = {(one.attack, one.sought): one for one in attacks.port_attacks(artefact, device, edits=4)}
    for (attack, _), one in found.items():
        assert one.succeeded, attack
        if attack in ("table read-out", "weight extraction", "injection", "cut short", "residue"):
            assert one.right == one.got, (attack, one.right, one.got, one.of)
    read = next(one for (attack, _), one in found.items() if attack == "weight extraction")
    assert read.right == read.of == sum(layer.codes.size for layer in artefact.locked_layers().secret)


def test_a_sealed_device_tells_nothing():
    artefact, device = locked("ascon", "sealed-clocked")
    found = list(attacks.port_attacks(artefact, device, edits=8))
    assert len(found) >= 7 and not any(one.succeeded for one in found), [one.attack for one in found if one.succeeded]


def test_a_chip_without_the_secret_answers_if_it_is_told_the_secret():
    artefact, device = locked("ascon", "sealed-clocked")
    other = attacks.clone_attack(artefact, device, np.random.default_rng(1).bytes(16))
    same = attacks.clone_attack(artefact, device, ROOT)
    assert (other.got, same.got, same.of) == (0, 2, 2)
