"""What `bitting inspect` says of a file: exact where it can be known, a bound that holds where it can not."""

import json
import stat

import numpy as np
import pytest

import bitting
from bitting.locking.kinds import AES_TRANSFORMS, SEALING, Transform
from bitting.look import inspection
from bitting.program import lowering
from bitting.program.layers import multilayer_perceptron
from bitting.sim import session
from bitting.unit.spec import PRESETS
from tb.command import bitting as command
from tb.command import error_of
from tb.families import AES


def dense_model(spec):
    rng = np.random.default_rng(2)
    weights = [rng.integers(0, spec.codes, size) for size in ((9, 23), (5, 9))]
    return bitting.Model(multilayer_perceptron(spec, weights, [np.zeros(9), np.zeros(5)], [1, 0]), {"dataset": "digits"})


def convolutional_model(spec):
    """A padded window, an average, a sum of two, and logits."""
    rng = np.random.default_rng(3)
    codes = [rng.integers(0, spec.codes, shape).astype(np.uint8) for shape in ((2, 1, 3, 3), (2, 2, 1, 1), (3, 18))]
    operations: list[lowering.Operation] = [
        lowering.Product("a", ("input",), codes[0], np.zeros(2, np.int32), padding=(1, 1)),
        lowering.Pool("b", ("a",), (2, 2), (2, 2), (0, 0), 1, 0),
        lowering.Product("c", ("b",), codes[1], np.zeros(2, np.int32)),
        lowering.Add("d", ("b", "c"), (1, 1), np.zeros(2, np.int32), 0),
        lowering.Product("e", ("d",), codes[2], np.zeros(3, np.int32), emits=True),
    ]
    return bitting.Model(lowering.lower(spec, (1, 6, 6), operations))


def test_predicted_cycles_are_those_of_the_rtl():
    spec = AES["tiny"]
    for model in (dense_model(spec), convolutional_model(spec)):
        device = bitting.Device.new(spec)
        artefact = bitting.lock(model, device)
        ran = session.simulate(artefact, device, np.zeros((1, model.program.input_words), np.int8))
        tiles = sum(layer.tiles for layer in model.program.layers)
        found = inspection.of_model(model, Transform.AES_CLOCKED)
        assert found.cycles.known and found.cycles.least == sum(ran.tile_cycles[-tiles:])
        shares = [found.share(layer) for layer in found.layers]
        assert sum(share for share in shares if share) == pytest.approx(1)


@pytest.mark.parametrize("transform", [*AES_TRANSFORMS, *SEALING])
@pytest.mark.parametrize("build", [dense_model, convolutional_model])
def test_bounds_without_the_key_hold(build, transform):
    spec = PRESETS["tiny"] if transform in SEALING else AES["tiny"]
    model = build(spec)
    known = inspection.of_model(model, transform)
    found = inspection.of_artefact(bitting.lock(model, bitting.Device.new(spec), "clock", transform))
    assert len(found.layers) == len(known.layers) and not found.cycles.known
    bounds = [(layer.cycles, exact.cycles) for layer, exact in zip(found.layers, known.layers, strict=True)]
    for bound, exactly in [(found.cycles, known.cycles), *bounds]:
        assert bound.least <= exactly.least and (bound.most is None or exactly.least <= bound.most)
    for layer, exact in zip(found.layers, known.layers, strict=True):
        assert layer.tiles == exact.tiles and layer.codes.most is not None
        assert layer.codes.least <= exact.codes.least <= layer.codes.most < layer.codes.least + 2
    if transform in SEALING:
        assert found.cycles.most is None and {layer.positions for layer in found.layers} == {None}
        assert [tenant.until for tenant in found.tenants] == [None]
    else:
        assert found.tenants == known.tenants and found.cycles.most is not None
        assert all(layer.cycles.known for layer in found.layers if layer.kind in ("zeros", "copy", "sum of 4"))


def test_kinds_are_told_in_words():
    kinds = [layer.kind for layer in inspection.of_model(convolutional_model(PRESETS["tiny"]), Transform.SEALED).layers]
    assert kinds == ["zeros", "copy", "window", "sum of 4", "window", "sum of 2", "dense, emits"]


def test_tenants_have_what_is_read_for_as_long_as_it_is_read():
    program = convolutional_model(PRESETS["tiny"]).program
    found = list(inspection.tenants(program))
    owner = dict.fromkeys(range(program.input_base, program.input_base + program.input_words), -1)
    last = {-1: -1}
    for number, layer in enumerate(program.layers):  # word by word, as the engine does
        for tile in range(layer.tiles):
            for position in layer.position_offsets():
                for offset in layer.offsets:
                    last[owner[int(layer.in_base[tile] + position + offset)]] = number
        if not layer.emits:
            owner |= dict.fromkeys(layer.written().tolist(), number)
            last[number] = number
    assert {tenant.since: tenant.until for tenant in found} == last
    for tenant in found:
        layer = program.layers[tenant.since]
        words = set(layer.written().tolist()) if tenant.since >= 0 else set(range(*input_region(program)))
        assert (tenant.first, tenant.last, tenant.words) == (min(words), max(words), len(words))


def input_region(program):
    return program.input_base, program.input_base + program.input_words


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("inspect")
    model = dense_model(PRESETS["tiny"])
    model.save(path / "model")
    bitting.lock(model, bitting.Device.new(PRESETS["tiny"])).save(path / "artefact")
    return path


def test_an_artefact_is_inspected_without_a_key(folder):
    told = json.loads(command("inspect", folder / "artefact", "--json", "--clock", 50).stdout)
    assert told["clock_mhz"] == 50 and [layer["tiles"] for layer in told["layers"]] == [9, 5] and told["clocks"]["most"] is None
    text = command("inspect", folder / "artefact").stdout
    assert "at least" in text and "clock x sealed-clocked" in text and "not signed" in text and "caution:" in text


def test_a_model_s_clocks_are_told_at_the_example_clock(folder):
    told = json.loads(command("inspect", folder / "model", "--json").stdout)
    text = command("inspect", folder / "model", "--clock", 20).stdout
    clocks = told["clocks"]["least"]
    assert (
        told["clocks"]["most"] == clocks
        and f"about {clocks} clocks" in text
        and f"about {clocks / 20:.1f} us at 20 MHz" in text
    )


def test_constants_that_follow_one_another_are_told_together(tmp_path):
    spec = PRESETS["tiny"]
    copies: list[lowering.Operation] = [
        lowering.Pool(name, (of,), (1, 1), (1, 1), (0, 0), 1, 0) for of, name in zip(("input", *"abc"), "abcd", strict=True)
    ]
    codes = np.random.default_rng(1).integers(0, spec.codes, (3, 36)).astype(np.uint8)
    logits = lowering.Product("e", ("d",), codes, np.zeros(3, np.int32), emits=True)
    model = bitting.Model(lowering.lower(spec, (1, 6, 6), [*copies, logits]))
    model.save(tmp_path / "model")
    told = json.loads(command("inspect", tmp_path / "model", "--json").stdout)["layers"]
    assert [layer["constant"] for layer in told] == [True] * 4 + [False]
    short, every = (command("inspect", tmp_path / "model", *option).stdout for option in ((), ("--all",)))
    assert "0..3" in short and "4 of constants" in short and "4 layers of constants are told together" in short
    assert f" {sum(layer['cycles']['least'] for layer in told[:4])} " in short
    assert "of constants" not in every and every.count("copy") == 4


def test_pictures_of_models_are_for_their_owner_and_of_artefacts_for_everyone(folder):
    for name, mode, shown in (("model", 0o600, "23 -&gt; 9"), ("artefact", 0o644, "at least")):
        picture = folder / f"{name}.svg"
        command("inspect", folder / name, "-o", picture)
        assert stat.S_IMODE(picture.stat().st_mode) == mode and shown in picture.read_text()


def test_what_can_not_be_inspected_is_named(folder):
    assert "a plot ends in .svg, .png or .html" in error_of("inspect", folder / "model", "-o", folder / "x.pdf")
    assert "allowed: sealed, sealed-clocked, table" in error_of("inspect", folder / "model", "--transform", "shuffle")
    assert "can not read" in error_of("inspect", folder / "absent")
