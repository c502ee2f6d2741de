"""What is trained against and what is held out is written down, and stays."""

import json
from pathlib import Path

import pytest

from bitting.errors import BittingError
from bitting.targets import families
from bitting.targets.accumulators import STORED
from bitting.targets.data_pruning import CRITERIA, DataPruning
from bitting.targets.families import Split, every_target, split_of, targets
from bitting.targets.formats import FloatFormat, GroupedFormat, IntegerFormat, PaletteFormat, TwiceFormat
from bitting.targets.pruning import Pruning
from bitting.targets.target import ROUNDINGS, Target

FROZEN = json.loads((Path(__file__).parents[1] / "vectors" / "targets.json").read_text())
TRAINING, HELD_OUT = targets(Split.TRAINING, 16), targets(Split.HELD_OUT, 16)


def test_what_was_written_down_stays_and_only_the_held_out_may_grow():
    now = families._table()
    for split in (Split.TRAINING, Split.CONCEDED):
        assert now[split] == FROZEN[split]
    for family, members in FROZEN[Split.HELD_OUT].items():
        for name, fields in members.items():
            assert now[Split.HELD_OUT][family][name] == fields, name
    assert set(now) == set(Split)


def test_every_target_and_every_family_is_in_exactly_one_split():
    every = every_target(16)
    assert len({target.name for target in every}) == len(every)
    settings = [tuple(vars(target).items())[2:] for target in every]  # all but its name and family
    assert len(set(settings)) == len(every)
    for split in Split:
        assert {split_of(target.family) for target in targets(split, 16)} == {split}


@pytest.mark.parametrize("bits", [8, 6, 5, 4])
def test_the_list_of_integer_formats_is_covered(bits):
    formats = [target.weights for target in every_target(16) if isinstance(target.weights, IntegerFormat)]
    assert {each.per_channel for each in formats if each.bits == bits} == {True, False}
    read = [target.activations for target in every_target(16) if isinstance(target.activations, IntegerFormat)]
    assert bits in {each.bits for each in read}
    for each in (formats, read):
        assert {one.scale for one in each} == {"max", "percentile", "mse"}
        assert {one.symmetric for one in each} == {True, False}


def test_the_rest_of_the_list_is_covered():
    every = every_target(16)
    names = {each.name for target in every for each in (target.weights, target.activations) if isinstance(each, FloatFormat)}
    assert names == {"fp16", "bf16", "fp8-e4m3", "fp8-e5m2"}
    assert {target.rounding for target in every} == set(ROUNDINGS)
    assert {target.pruning_by_data.criterion for target in every if target.pruning_by_data} == set(CRITERIA)
    assert {target.accumulator.stored for target in every if target.accumulator} == set(STORED)
    assert {target.wave for target in every} == {"fold", "clamp", "relu", "relu-clamp", "sine", "tanh"}
    assert {target.engine for target in every} == {"bitting", "onnxruntime", "torchao"}
    assert any(target.corrects_bias for target in every) and any(target.name == "fp32" for target in every)
    assert {target.pruning.kind for target in every if target.pruning} == {"2:4", "unstructured"}
    accumulators = {(target.accumulator.kind, target.accumulator.bits - 16) for target in every if target.accumulator}
    assert {("saturating", 0), ("saturating", -1), ("saturating", 1), ("wrapping", -1), ("wrapping", -2)} <= accumulators


def test_the_held_out_ones_are_unlike_those_trained_against():
    """In each dimension there is something that no objective has seen."""

    def new(get) -> set:
        return {get(target) for target in HELD_OUT} - {get(target) for target in TRAINING}

    def bits(target: Target) -> object:
        return target.weights.bits if isinstance(target.weights, IntegerFormat) else None

    assert new(bits) == {6, 5, 10, 12, 16}
    assert new(lambda target: type(target.weights)) == {GroupedFormat, PaletteFormat, TwiceFormat}
    assert new(lambda target: (target.rotated, target.spared)) == {(True, False), (False, True)}
    assert new(lambda target: getattr(target.weights, "name", None)) == {"fp8-e5m2"}
    assert new(lambda target: getattr(target.weights, "scale", None)) == {"percentile"}
    assert new(lambda target: target.rounding) == {"adaround", "gptq", "gptq-tuned"}
    assert new(lambda target: target.pruning_by_data and target.pruning_by_data.criterion) == set(CRITERIA)
    assert new(lambda target: (target.reduces_biases, target.refits)) == {(True, False), (False, True), (True, True)}
    assert new(lambda target: target.corrects_bias) == {True}
    assert new(lambda target: target.wave) == {"sine", "tanh"}
    assert new(lambda target: target.gain) >= {0.5, 2.0}
    assert new(lambda target: target.engine) == {"onnxruntime", "torchao"}
    assert new(lambda target: target.pruning and (target.pruning.kind, target.pruning.share)) >= {
        ("2:4", 0.5),
        ("unstructured", 0.9),
    }
    assert new(lambda target: target.accumulator and target.accumulator.bits) >= {14, 15, 17}
    affine = {
        t.name for t in HELD_OUT if isinstance(t.weights, IntegerFormat) and t.weights.per_channel and not t.weights.symmetric
    }
    assert affine == {"int8-channel-affine", "int4-channel-affine"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rounding": "up"}, "allowed: nearest, adaround, gptq, gptq-tuned"),
        ({"rounding": "gptq-tuned", "weights": IntegerFormat(8)}, "give it a format per channel"),
        ({"pruning": Pruning("2:4"), "pruning_by_data": DataPruning("wanda", Pruning("2:4"))}, "allowed is one of both"),
        ({"engine": "torchao", "method": "int8-weights", "reduces_biases": True}, "give it a method only"),
        ({"refits": True}, "it needs bias correction, too"),
        ({"rounding": "gptq"}, "without an integer format"),
        ({"engine": "tensorrt"}, "allowed: bitting, onnxruntime, torchao"),
        ({"engine": "torchao"}, "runtimes need one"),
        ({"engine": "torchao", "method": "int8-weights", "wave": "tanh"}, "give it a method only"),
        ({"activations": IntegerFormat(8, per_channel=True)}, "allowed is one scale a layer"),
        ({"rotated": True}, "it needs a format of weights"),
        ({"rotated": True, "rounding": "gptq", "weights": IntegerFormat(8)}, "rounding to the nearest"),
        ({"engine": "torchao", "method": "int8-weights", "spared": True}, "give it a method only"),
    ],
)
def test_a_target_that_does_not_go_together_is_refused(fields, message):
    with pytest.raises(BittingError, match=message):
        Target("x", "x", **fields)


def test_names_that_are_none_are_refused():
    with pytest.raises(BittingError, match="unknown split 'test'; allowed: training, held_out, conceded"):
        targets("test", 16)
    with pytest.raises(BittingError, match="unknown family 'int3'; allowed: half, "):
        split_of("int3")
    for name, text in (("pruning_by_data", "wanda"), ("pruning_by_data", "magnitude-0.5"), ("accumulator", "fp16-wrapped")):
        with pytest.raises(BittingError, match=f"'{text}' is no .*; allowed: "):
            families._target("x", "x", {name: text}, 16)
