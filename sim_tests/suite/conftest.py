"""A small trained network, locked in several ways, for the suite to attack."""

from dataclasses import replace

import pytest

from bitting.data import datasets
from bitting.locking.device import Device
from bitting.suite.cases import Files, describe, puf_case
from bitting.suite.efforts import effort_of
from bitting.training import loop, recipes
from bitting.unit.spec import parse_spec
from tb.artefacts import locked_alike

LOCKS = {
    "sealed": ("ascon", "clock", "sealed"),
    "shuffle": ("aes", "clock", "shuffle"),
    "aes-pre": ("aes", "numeric", "aes-pre"),
}


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    """model, ascon.key, aes.key, and an artefact for each of `LOCKS`; nothing in them is drawn."""
    folder = tmp_path_factory.mktemp("locked")
    config = replace(recipes.RECIPES["digits"], hidden=(48,), epochs=25, seed=7)
    model = loop.train("base", datasets.load("digits"), config)
    model.save(folder / "model")
    for name, (vault, fingerprint, transform) in LOCKS.items():
        spec = parse_spec(f"base:vault={vault}")
        key = folder / f"{vault}.key"
        if not key.exists():
            Device(spec, bytes(range(16)), sealed=vault == "ascon").save(key)
        locked_alike(model, Device.load(key), fingerprint, transform).save(folder / name)
    return folder


@pytest.fixture(scope="session")
def files(place):
    """Files of each case by name; `open` is the one that controls are made of."""
    model = place / "model"
    found = {name: Files("digits", place / name, place / f"{vault}.key", model) for name, (vault, _, _) in LOCKS.items()}
    return {"open": Files("digits", model=model), **found}


@pytest.fixture(scope="session")
def cases(files):
    """Cases by name."""
    found = {name: describe(one, "mlp") for name, one in files.items()}
    return {**found, "puf": puf_case(found["open"])}


@pytest.fixture(scope="session")
def effort():
    """Enough for every control to be broken, and no more; no RTL."""
    return replace(
        effort_of("digits", seed=5, rtl=False),
        samples=200, shares=(0.01, 0.1), rates=(0.03,), mappings=1, repeats=3, steps=40, random_keys=40, screened=500,
        labels=(3, 30), unknown_bits=4, climbs=1, climb_steps=300, known_bits=(0, 120), partial_keys=4, questions=(300,),
        copy_steps=300, edits=5, traces=50, helper_queries=200, judged=200,
    )  # fmt: skip
