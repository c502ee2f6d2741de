"""`bitting attack port` and `bitting attack file`, as a user runs them."""

import json

import numpy as np
import pytest

from bitting.artefact import container
from bitting.artefact.artefact import Artefact, lock
from bitting.artefact.model import Model
from bitting.locking.device import Device
from bitting.program.layers import multilayer_perceptron
from bitting.unit.spec import parse_spec
from tb.command import bitting, error_of

UNSIGNED = "--allow-unsigned"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """For each vault a key, a model, and two artefacts of it."""
    place = tmp_path_factory.mktemp("attacks")
    rng = np.random.default_rng(3)
    for vault in ("aes", "ascon"):
        spec = parse_spec(f"tiny:vault={vault}")
        weights = [rng.integers(0, spec.codes, shape) for shape in ((8, 16), (10, 8))]
        model = Model(multilayer_perceptron(spec, weights, [np.zeros(8), np.zeros(10)], [1, 0]))
        model.save(place / f"{vault}.model")
        device = Device.new(spec)
        device.save(place / f"{vault}.key")
        for number in range(2):
            lock(model, device).save(place / f"{vault}{number}")
    table = lock(Model.load(place / "aes.model"), Device.load(place / "aes.key"), "none", "table")
    table.save(place / "table")
    return place


def attacked(*words):
    return {one["attack"]: one for one in json.loads(bitting("attack", *words, UNSIGNED, "--json").stdout)}


def test_through_the_port_everything_of_one_vault_and_nothing_of_the_other(folder):
    found = attacked("port", folder / "aes0", "--device", folder / "aes.key", "--layers", 1)
    extracted = found["weight extraction"]
    assert extracted["succeeded"] and extracted["right"] == extracted["of"] == 8 * 16
    assert extracted["seconds"] == pytest.approx(extracted["clocks"] / 1e8)
    found = attacked("port", folder / "ascon0", "--device", folder / "ascon.key", "--edits", 10)
    assert not any(one["succeeded"] for one in found.values()) and found["random edits"]["of"] == 10
    text = bitting("attack", "port", folder / "ascon0", "--device", folder / "ascon.key", UNSIGNED).stdout
    assert "0 of 16" in text and "BAD_TAG" in text and "level of claim: key" in text


def test_in_files(folder):
    for vault in ("aes", "ascon"):
        options = ("--device", folder / f"{vault}.key", "--model", folder / f"{vault}.model")
        found = attacked("file", folder / f"{vault}0", folder / f"{vault}1", *options)
        assert set(found) == {"retraining", "histogram test", "two-time pad", "version mix"}
        assert not any(found[name]["succeeded"] for name in ("retraining", "two-time pad", "version mix"))


def test_claims_of_earlier_versions_are_read_from_the_file(folder, tmp_path):
    """Artefacts of today drop a seed; a file that has one is attacked with it."""
    contents = container.load(folder / "aes0", Artefact.KIND)
    claims = {"dataset": "digits", "config": {"seed": 5, "epochs": 0, "hidden": [8], "batch_size": 32}}
    header = {name: value for name, value in contents.header.items() if name not in ("format", "kind", "spec", "spec_id")}
    container.save(tmp_path / "old", Artefact.KIND, contents.spec(), header | {"claims": claims}, contents.tensors)
    found = attacked("file", tmp_path / "old")
    assert found["retraining"]["got"] > 0 and "seed among the claims" in found["retraining"]["note"]


def test_mistakes_are_told(folder):
    port = ("attack", "port", folder / "table", "--device", folder / "aes.key", UNSIGNED)
    assert "no lock key" in error_of(*port)
    assert "they differ in vault" in error_of("attack", "port", folder / "aes0", "--device", folder / "ascon.key", UNSIGNED)
    assert "they differ in vault" in error_of("attack", "file", folder / "aes0", "--device", folder / "ascon.key", UNSIGNED)
    assert "is not signed" in error_of("attack", "file", folder / "aes0")
    assert "of the same vault" in error_of("attack", "file", folder / "aes0", folder / "ascon0", UNSIGNED)


@pytest.fixture(scope="module")
def soft(tmp_path_factory):
    """A small network with a soft lock, of a seed that is the same in every run: how well it answers is asked below."""
    path = tmp_path_factory.mktemp("soft") / "model.safetensors"
    network = ("--soft", "quantisation", "--hidden", "32,16", "--epochs", 8, "--seed", 0)
    bitting("train", "--data", "digits", "--spec", "soft", *network, "-o", path)
    return path


def test_conversions_of_a_network_in_clear(soft):
    options = ("attack", "conversions", soft, "--family", "int8", "--family", "exact", "--samples", 200)
    stolen, known = (json.loads(bitting(*options, "--repair", name, "--json").stdout) for name in ("nothing", "merged"))
    assert {each["family"] for each in stolen["results"]} == {"int8", "exact"} and stolen["samples"] == 200
    for found, least, most in ((stolen, 0, 0.4), (known, 0.6, 1)):
        integers = [each["accuracy"] for each in found["results"] if each["family"] == "int8"]
        assert found["authorised"] > 0.7 and len(integers) == 4 and least <= max(integers) <= most
    assert stolen["unlabelled"] == 512 and known["changed"] and not stolen["changed"]
    idle = bitting("attack", "conversions", soft, "--family", "exact", "--samples", 20, "--repair", "filled").stdout
    assert "--repair filled found nothing to do" in " ".join(idle.split())
    text = bitting(*options[:5], "--samples", 50, "--unlabelled", 20).stdout
    assert "20 unlabelled samples seen" in " ".join(text.split())
    assert "int8" in text and "sine" not in text and "level of claim: family" in text


def test_the_claim_of_a_soft_lock_is_shown(soft):
    assert "soft lock, as the file claims: quantisation; no key" in bitting("inspect", soft).stdout
    assert json.loads(bitting("inspect", soft, "--json").stdout)["soft"] == "quantisation"


def test_mistakes_about_conversions_are_told(soft):
    assert "--family int7 is unknown; allowed: half, fp8" in error_of("attack", "conversions", soft, "--family", "int7")
    for count in (0, 513):
        wrong = error_of("attack", "conversions", soft, "--unlabelled", count)
        assert f"--unlabelled {count} samples; allowed are 1 to 512" in wrong
    message = error_of("attack", "conversions", soft, "--family", "int8", "--repair", "prayer")
    assert "--repair prayer is unknown; allowed: nothing, merged, shrunk, filled" in message
