"""Attacks through the ports of the RTL: each succeeds where its defence is missing, and fails on a sealed device."""

import functools
from dataclasses import replace

import numpy as np
import pytest

from bitting.artefact.artefact import Artefact, lock
from bitting.artefact.model import Model
from bitting.attack import crafted_challenge, extraction, injection, mutants, packet_order, residue, table_readout, tampering
from bitting.attack.port import PATIENCE, Probe, Reply, waiting
from bitting.attack.questions import answer, questions
from bitting.attack.retraining import flat_codes
from bitting.attack.streams import Stream, patience_for
from bitting.check import attacks
from bitting.errors import LockError, SimulationError
from bitting.locking.chip import ChipModel
from bitting.locking.device import Device
from bitting.locking.kinds import AES_TRANSFORMS, FINGERPRINTS, SEALING
from bitting.program.layers import multilayer_perceptron
from bitting.sim.native import NativeEngine, engine_library, library_of
from bitting.unit.spec import parse_spec
from bitting_rtl.engine.export import TOP
from tb.mutants import NAMES, TIMING, mutant_verilog
from tb.programs import table_program
from tb.weak import sealed_without_numbers, weak_verilog

OPEN, SEALED = parse_spec("tiny:vault=aes"), parse_spec("tiny:vault=ascon")
ROOT = bytes(range(1, 17))
SIZES = (20, 9, 8, 10)


def device_of(spec, sealed=None):
    return Device(spec, ROOT, sealed=spec.vault == SEALED.vault if sealed is None else sealed)


def model_of(spec, seed=1, sizes=SIZES):
    rng = np.random.default_rng(seed)
    weights = [rng.integers(0, spec.codes, (outputs, inputs)) for inputs, outputs in zip(sizes, sizes[1:], strict=False)]
    biases = [rng.integers(-100, 100, len(matrix)) for matrix in weights]
    return Model(multilayer_perceptron(spec, weights, biases, [2, *[0] * (len(weights) - 1)]))


def artefact_of(spec, fingerprint, transform):
    return lock(model_of(spec), device_of(spec), fingerprint, transform)


#: What the hidden layers of the sealed model write: attackers know the architecture.
HIDDEN = packet_order.hidden_addresses(model_of(SEALED).program)


@pytest.fixture(scope="module")
def engines():
    """A right device of each vault."""
    with (
        NativeEngine(engine_library(OPEN), ROOT) as aes,
        NativeEngine(engine_library(SEALED), ROOT, sealed=True) as ascon,
    ):
        yield {OPEN.vault: aes, SEALED.vault: ascon}


def probe_of(engines, spec):
    return Probe(engines[spec.vault], spec)


def by_name(found):
    return {finding.attack: finding for finding in found}


@pytest.mark.parametrize(("fingerprint", "transform"), [(f, t) for f in FINGERPRINTS for t in AES_TRANSFORMS])
def test_everything_falls_with_the_vault_aes(engines, fingerprint, transform):
    """The table, every weight of every layer, another challenge, the last layer, hidden activations, the last user's inputs."""
    artefact = artefact_of(OPEN, fingerprint, transform)
    found = by_name(attacks.port_attacks(artefact, device_of(OPEN), port=engines[OPEN.vault]))
    for name in ("table read-out", "weight extraction", "injection", "cut short", "residue"):
        assert found[name].right == found[name].got == found[name].of > 0, name
        assert found[name].clocks > 0 and found[name].words > 0
    assert found["weight extraction"].of == artefact.locked_layers().parameters
    assert found["crafted challenge"].got == OPEN.lanes and found["packet order"].got == found["packet order"].of


@pytest.mark.parametrize(("fingerprint", "transform"), [("clock", SEALING[1]), ("numeric", SEALING[0])])
def test_nothing_falls_on_a_sealed_device(engines, fingerprint, transform):
    artefact = artefact_of(SEALED, fingerprint, transform)
    found = list(attacks.port_attacks(artefact, device_of(SEALED), port=engines[SEALED.vault], edits=60))
    assert len(found) == 8 and not [one for one in found if one.succeeded or one.got]
    assert all("refused" in one.note for one in found)


@pytest.mark.parametrize(("spec", "transform"), [(OPEN, "aes-clocked"), (OPEN, "shuffle"), (SEALED, "sealed-clocked")])
@pytest.mark.parametrize("fingerprint", FINGERPRINTS)
def test_a_chip_without_the_secret_opens_nothing_and_one_with_it_opens_all(spec, fingerprint, transform):
    """Whatever it answers to the challenge: the vault `aes` falls to a made-up one only where the secret is known."""
    artefact = artefact_of(spec, fingerprint, transform)
    found = attacks.clone_attack(artefact, device_of(spec), bytes(16))
    assert found.got == 0 and not found.succeeded and found.queries == 2, found.note
    assert attacks.clone_attack(artefact, device_of(spec), ROOT).got == spec.lanes


def test_a_program_that_is_silent_for_long_is_waited_for(engines):
    """Its first tile takes 90 000 clocks. Who stops waiting before the rightful answer comes has attacked nothing."""
    spec, device = OPEN, device_of(OPEN)
    program = model_of(spec).program
    slow = replace(program, layers=(waiting(spec, (300, 300)), *program.layers))
    artefact = lock(Model(slow), device, "clock", "aes-pre")
    stream = Stream.of(artefact, attacks.random_inputs(artefact, 0))
    assert not len(stream.sent(probe_of(engines, spec)).words)
    assert patience_for(engines[spec.vault], spec, stream) == 4 * PATIENCE, "twice what is enough"
    found = by_name(attacks.port_attacks(artefact, device, port=engines[spec.vault], attackers=attacks.PORT_ATTACKERS[1:]))
    assert found["crafted challenge"].got == spec.lanes and found["residue"].right == found["residue"].of > 0
    assert attacks.clone_attack(artefact, device, ROOT).got == spec.lanes


def test_a_chip_that_does_not_answer_its_own_stream_is_not_attacked(engines):
    device = replace(device_of(SEALED), root=bytes(16))
    artefact = lock(model_of(SEALED), device, "clock", "sealed")
    with pytest.raises(SimulationError, match="refused it with BAD_TAG: attack the chip"):
        patience_for(engines[SEALED.vault], SEALED, Stream.of(artefact, attacks.random_inputs(artefact, 0)))


def test_the_table_is_read_where_the_fuse_is_not_blown(engines):
    device = device_of(SEALED, sealed=False)
    with NativeEngine(engine_library(SEALED), ROOT) as bench:
        found = table_readout.read_table(Probe(bench, SEALED))
    assert np.array_equal(found.found, device.table()) and found.got == SEALED.codes


def test_weights_are_found_only_if_they_are_there(engines):
    """On another device the same artefact gives other weights: what is read is read off the chip."""
    artefact = lock(model_of(OPEN), Device(OPEN, bytes(16)), "clock", "aes-pre")
    found = extraction.extract(probe_of(engines, OPEN), artefact)
    truth = np.concatenate([layer.codes.reshape(-1) for layer in model_of(OPEN).program.layers])
    assert (found.found == truth).mean() < 0.3
    one = extraction.extract(probe_of(engines, OPEN), artefact_of(OPEN, "clock", "aes-pre"), layers=1)
    assert np.array_equal(one.found, truth[: SIZES[0] * SIZES[1]])


@pytest.mark.parametrize("transform", ["aes-pre", "aes-clocked"])
def test_weights_of_layers_of_every_shape_are_found(engines, transform):
    """Several positions, strides, chains, constants between: none of it is in the way."""
    for seed in range(6):
        program = table_program(OPEN, np.random.default_rng(seed))
        artefact = lock(Model(program), device_of(OPEN), "clock", transform)
        found = extraction.extract(probe_of(engines, OPEN), artefact)
        assert np.array_equal(found.found, flat_codes(program)), seed


@pytest.mark.parametrize("name", ["tiny", "base", "wide"])
def test_questions_tell_all_weights_apart(name):
    spec = parse_spec(f"{name}:vault=aes")
    weights = np.array(spec.values)[list(Device(spec, ROOT).table())]
    for shift, flips in ((0, True), (spec.max_shift, True), (spec.max_shift, False)):
        asked = questions(spec, shift, 4, weights, flips)
        seen = np.concatenate([answer(spec, shift, question, weights) for question in asked], axis=1)
        assert len(np.unique(seen, axis=0)) == spec.codes
        assert flips or not any(question.flip for question in asked)
        assert all(spec.act_min <= x <= spec.act_max for question in asked for x in question.activations)


def test_edits_with_a_right_crc_go_through_where_there_is_no_tag(engines):
    artefact = artefact_of(OPEN, "clock", "aes-pre")
    x = attacks.random_inputs(artefact, 0)
    found = tampering.edit(probe_of(engines, OPEN), artefact, x, 40)
    assert 5 < found.got < 40 and found.queries > 40
    again = tampering.edit(probe_of(engines, OPEN), artefact, x, 40)
    assert np.array_equal(found.found, again.found)


def test_a_long_program_is_changed_at_packets_spread_over_it(monkeypatch):
    artefact = lock(model_of(SEALED, sizes=(8, 8, 8, 8, 8, 8, 12, 10)), device_of(SEALED), "clock", "sealed-clocked")
    stream = Stream.of(artefact, attacks.random_inputs(artefact, 0))

    def changed():
        orders = list(tampering._changes(SEALED, stream))
        pairs = (zip(order, stream.packets, strict=False) for order in orders)
        return len(orders), {next(n for n, (one, other) in enumerate(pair) if not np.array_equal(one, other)) for pair in pairs}

    every, places = changed()
    monkeypatch.setattr(tampering, "_PLACES", 8)
    few, spread = changed()
    assert every == 12 * 2 * 7 and few == 12 * 8 and spread < places
    kinds = {(stream.kinds()[place], len(stream.packets[place])) for place in tampering._places(stream)}
    assert {(stream.kinds()[place], len(stream.packets[place])) for place in tampering._chosen(stream)} == kinds
    near = injection._places(stream)
    monkeypatch.setattr(injection, "_LAYERS", 2)
    monkeypatch.setattr(injection, "_SPREAD", 1)
    few = injection._places(stream)
    assert set(few) < set(near) and set(stream.some_of(stream.layers(), 2)) < set(few) and len(stream.packets) in few


def test_what_can_not_be_attacked_is_said():
    artefact = lock(model_of(OPEN), device_of(OPEN), "none", "table")
    with pytest.raises(LockError, match="no lock key"):
        next(attacks.port_attacks(artefact, device_of(OPEN)))
    with pytest.raises(LockError, match="no lock key"):
        attacks.clone_attack(artefact, device_of(OPEN), ROOT)


def test_challenges_are_made_up_for_almost_all_mutants_but_no_sealed_program_takes_one():
    """Emulated; a count of all, on the base family, is what `bitting attack port --mutants` gives."""
    honest = ChipModel.of(device_of(OPEN))
    scheme = artefact_of(OPEN, "numeric", "aes-pre").scheme
    chips = list(mutants.arithmetic_mutants(honest, device_of(OPEN).table()))
    opened = crafted_challenge.keys_derived(scheme, honest, chips)
    assert {name for name, _ in chips} - set(opened) == {"accumulator a bit narrower"}
    honest = ChipModel.of(device_of(SEALED))
    chips = list(mutants.arithmetic_mutants(honest, device_of(SEALED).table()))[::20]
    assert crafted_challenge.keys_derived(artefact_of(SEALED, "numeric", "sealed").scheme, honest, chips) == []


# Sealed engines with one defence planted out.


def weak_engine(name):
    return NativeEngine(library_of(weak_verilog(name, SEALED), TOP), ROOT, sealed=True)


@pytest.mark.slow
def test_changed_packets_are_answered_where_any_tag_will_do():
    artefact = artefact_of(SEALED, "clock", "sealed")
    x = attacks.random_inputs(artefact, 0)
    with weak_engine("any tag will do") as engine:
        assert tampering.tamper(Probe(engine, SEALED), artefact, x).got > 10
        assert packet_order.cut_short(Probe(engine, SEALED), artefact, x, HIDDEN).got == 0, (
            "enciphered under a keystream all the same"
        )


@pytest.mark.slow
def test_other_orders_are_answered_where_packets_are_not_counted(engines):
    with sealed_without_numbers(), weak_engine("packets are not counted") as engine:
        artefact = artefact_of(SEALED, "clock", "sealed")
        x = attacks.random_inputs(artefact, 0)
        assert packet_order.reorder(Probe(engine, SEALED), artefact, x).got >= 4
    artefact = artefact_of(SEALED, "clock", "sealed")
    assert packet_order.reorder(probe_of(engines, SEALED), artefact, x).got == 0


@pytest.mark.slow
def test_residue_is_there_where_nothing_is_swept():
    """Unsealed devices, which print: the sweep alone is between the next user and the last one's inputs."""
    device = device_of(SEALED, sealed=False)
    artefact = lock(model_of(SEALED), device, "clock", "sealed")
    x = attacks.random_inputs(artefact, 0)
    x[x == 0] = 1
    for library, share in ((engine_library(SEALED), 0.0), (library_of(weak_verilog("nothing is swept", SEALED), TOP), 1.0)):
        with NativeEngine(library, ROOT) as engine:
            found = residue.read_residue(Probe(engine, SEALED), artefact, x, HIDDEN)
        assert found.got == found.of
        assert (found.found[:, : SIZES[0]] == x.T).mean() == share


# Counterfeits in the silicon.

#: With tiles of twice as many codes: constants must be able to take any number of cycles that a challenge's tile takes.
LARGER = {name: parse_spec(f"tiny:vault={name},tile_codes=512") for name in ("aes", "ascon")}
#: Their sums or counts can not reach what the right chip answers.
OUT_OF_REACH = {
    "even counts a cycle longer",
    "the accumulators are a bit narrower",
    "the accumulator of lane 2 is a bit narrower",
}


def counterfeit(name, spec):
    return NativeEngine(counterfeit_library(name, spec), ROOT, sealed=device_of(spec).sealed)


@functools.cache
def counterfeit_library(name, spec):
    return library_of(mutant_verilog(name, spec), TOP, brief=True)


@pytest.fixture(scope="module")
def right_engine():
    with NativeEngine(engine_library(LARGER["aes"]), ROOT) as engine:
        yield engine


def opens(engine, artefact, rightful):
    """Tiles take their cycles, or give the answers, that they do on the right device."""
    stream = Stream.of(artefact, attacks.random_inputs(artefact, 0))
    reply = stream.sent(Probe(engine, artefact.program.spec))
    cycles = [tile.cycles for tile in reply.tiles] == [tile.cycles for tile in rightful.tiles]
    return not reply.error and (cycles or np.array_equal(reply.sums, rightful.sums))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_counterfeits_open_what_is_not_bound_with_a_made_up_challenge_and_nothing_that_is_sealed(right_engine, name):
    timed = name in TIMING
    fingerprint = "clock" if timed else "numeric"
    spec = LARGER["aes"]
    artefact = artefact_of(spec, fingerprint, "aes-pre")
    scheme = artefact.scheme
    rightful = Stream.of(artefact, attacks.random_inputs(artefact, 0)).sent(Probe(right_engine, spec))
    wanted = crafted_challenge.answers(ChipModel.of(device_of(spec)).run, scheme.challenge, scheme.fingerprint)
    with counterfeit(name, spec) as engine:
        measure = crafted_challenge.measured_on(Probe(engine, spec))
        challenge = crafted_challenge.craft(spec, scheme.fingerprint, wanted, measure)
        assert not opens(engine, artefact, rightful), "the right challenge shows what the chip is"
        assert (challenge is None) == (name in OUT_OF_REACH)
        if challenge:
            assert opens(engine, Artefact(artefact.program, replace(scheme, challenge=challenge)), rightful)
        # The same with a sealed program; the counterfeiter measures his tiles where he can.
        _refused_when_sealed(name, timed, measure)


def _refused_when_sealed(name, timed, measure):
    spec = LARGER["ascon"]
    for fingerprint, transform in [("clock", "sealed"), ("numeric", "sealed-clocked")] if timed else [("numeric", "sealed")]:
        artefact = artefact_of(spec, fingerprint, transform)
        scheme, x = artefact.scheme, attacks.random_inputs(artefact, 0)
        with counterfeit(name, spec) as engine:
            reply = Stream.of(artefact, x).sent(Probe(engine, spec))
            assert reply.error and not reply.tiles, (fingerprint, transform)
            wanted = crafted_challenge.answers(ChipModel.of(device_of(spec)).run, scheme.challenge, scheme.fingerprint)
            if challenge := crafted_challenge.craft(spec, scheme.fingerprint, wanted, measure):
                crafted = Artefact(artefact.program, replace(scheme, challenge=challenge))
                reply = Stream.of(crafted, x).sent(Probe(engine, spec))
                assert reply.error and not reply.tiles, (fingerprint, transform)


def test_one_hot_vectors_between_layers_read_the_last_layer_only_where_they_are_taken(engines):
    artefact = artefact_of(OPEN, "numeric", "aes-clocked")
    found = injection.inject(probe_of(engines, OPEN), artefact, attacks.random_inputs(artefact, 0))
    assert np.array_equal(found.found, model_of(OPEN).program.layers[-1].codes.reshape(-1))


@pytest.mark.parametrize(
    ("words", "error", "more"),
    [
        ([], 8, False),
        ([0x82, 5, 6], 8, False),  # cut within a packet: whoever asks takes as many words as he waits for
        ([0x82, 5, 6, 7], 0, False),
        ([0x82, 5, 6, 7, 0x1_00FF], 8, False),  # a FAULT, cut too
        ([0x82, 5, 0x1_00FF, 8, 9], 8, False),
        ([0x82, 5, 0x1_00FF, 8, 9], 0, True),
        ([0x82, 5, 0x1_00FF, 8, 9, 1], 8, True),
        ([0x82, 5, 0x1_00FF, 9, 9], 8, True),  # of another error
        ([0x82, 5, 6, 0xABCD_EFFF, 1, 2], 8, True),  # no FAULT but for its lowest byte
        ([0x82, 5, 4], 8, True),
        ([0x82, 5, 6, 7, 0x82], 8, True),
        ([0x82, 5, 6, 7, 0x82], 0, True),
    ],
)
def test_an_answer_tells_more_if_it_is_no_beginning_of_the_rightful_one(words, error, more):
    reply = Reply.of(np.array(words, np.uint32), error)
    assert reply.tells_more_than(np.array([0x82, 5, 6, 7], np.uint32)) is more
