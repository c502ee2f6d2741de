"""The page `docs/format.md` is enough, and the frozen files of its format stay what they are."""

import ast
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

import bitting
from bitting.artefact import packet_file
from bitting.artefact.host_words import HostWords
from bitting.artefact.program_format import write
from bitting.errors import ArtefactError, AuthenticityError
from bitting.locking.device import Device
from bitting.program import packets
from bitting.sim.native import NativeEngine, engine_library
from bitting.unit.golden import fold as golden_fold
from bitting.unit.spec import PRESETS
from tb.banded import banded_model
from tb.families import AES
from tb.programs import random_activations
from vectors import make_frozen_files, page_reader
from vectors.page_reader import REPORT, Engine, activation_words, artefact_words, emitted_sums, packet, program_words, read_file

VECTORS = Path(__file__).parents[1] / "vectors"
MODEL = VECTORS / "model-4.safetensors"
ARTEFACT = VECTORS / "artefact-4.safetensors"
SEALED = VECTORS / "sealed-4.safetensors"
OLDER = sorted(VECTORS.glob("*-3.safetensors"))
DEVICE = Device(AES["tiny"], bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c"))
OWNER = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
LOCKS = [("none", "table"), *((f, t) for f in ("clock", "numeric") for t in ("shuffle", "aes", "aes-pre", "aes-clocked"))]


def test_the_reader_of_the_page_imports_nothing_of_bitting():
    tree = ast.parse(Path(page_reader.__file__).read_text())
    imported = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    imported += [str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert imported and not [name for name in imported if name.startswith("bitting")]


@pytest.fixture(scope="module")
def library():
    return engine_library(DEVICE.spec)


@pytest.fixture
def samples(rng):
    return rng.integers(-8, 8, (4, 36)).astype(np.int8)


@pytest.fixture
def private(tmp_path):
    """The frozen model as a model is kept: git knows no mode 0600."""
    copy = tmp_path / "frozen"
    copy.touch(0o600)
    copy.write_bytes(MODEL.read_bytes())
    return copy


@pytest.mark.parametrize("path", [MODEL, ARTEFACT])
def test_frozen_files_load(path, private):
    loaded, file = bitting.load(private if path is MODEL else path), read_file(path)
    program = loaded.locked_layers() if isinstance(loaded, bitting.Artefact) else loaded.program
    tensors, fields = write("", program)
    assert path.stat().st_size < 100_000
    assert file.header["kind"] == loaded.KIND and loaded.claims == file.header["claims"]
    assert loaded.program.spec.to_dict() == file.header["spec"]
    for name, tensor in tensors.items():
        assert tensor.dtype == file.tensors[name].dtype and np.array_equal(tensor, file.tensors[name]), name
    for index, layer in enumerate(fields["layers"]):
        assert json.loads(json.dumps(layer)) == file.header["layers"][index]


def test_this_version_writes_what_the_frozen_files_say(tmp_path):
    """If this fails and the change was meant, the format is another one: raise its number and add frozen files of it."""
    make_frozen_files.model().save(tmp_path / "model")
    make_frozen_files.artefact().save(tmp_path / "artefact", Ed25519PrivateKey.from_private_bytes(make_frozen_files.OWNER))
    make_frozen_files.sealed().save(tmp_path / "sealed", Ed25519PrivateKey.from_private_bytes(make_frozen_files.OWNER))
    frozen_files = {"model": MODEL, "artefact": ARTEFACT, "sealed": SEALED}
    assert list(frozen_files.values()) == [make_frozen_files.MODEL, make_frozen_files.ARTEFACT, make_frozen_files.SEALED]
    for name, frozen in frozen_files.items():
        now, then = read_file(tmp_path / name), read_file(frozen)
        assert now.metadata == then.metadata and now.types == then.types
        assert all(np.array_equal(now.tensors[key], then.tensors[key]) for key in then.tensors)


@pytest.mark.parametrize("path", OLDER, ids=lambda path: path.stem)
def test_files_of_an_older_format_are_refused_in_one_line(path):
    with pytest.raises(ArtefactError) as refused:
        bitting.load(path)
    assert str(refused.value) == f"{path} has format 'bitting 3'; this version of bitting reads 'bitting 4'"
    with pytest.raises(ValueError, match="this reader reads 'bitting 4'"):
        read_file(path)


def test_there_are_older_files_to_refuse():
    assert [path.name for path in OLDER] == ["artefact-3.safetensors", "model-3.safetensors"]


def test_the_artefact_opens_with_the_known_key_to_the_known_codes(private):
    model, opened = bitting.Model.load(private), bitting.unlock(bitting.Artefact.load(ARTEFACT), DEVICE)
    for before, after in zip(model.program.layers, opened.program.layers, strict=True):
        assert np.array_equal(before.codes, after.codes)
    wrong = bitting.unlock(bitting.Artefact.load(ARTEFACT), DEVICE.with_flipped_bit(0))
    assert not np.array_equal(model.program.layers[0].codes, wrong.program.layers[0].codes)


def test_the_sealed_file_opens_for_its_device_only(private):
    """To the known codes; its questions get the answers that lie beside them, and the RTL answers or refuses them."""
    artefact, device = bitting.Artefact.load(SEALED), Device(PRESETS["tiny"], DEVICE.root, sealed=True)
    assert artefact.signed_by == OWNER and artefact.self_test is not None
    model, opened = bitting.Model.load(private), bitting.unlock(artefact, device)
    for before, after in zip(model.program.layers, opened.program.layers, strict=True):
        assert np.array_equal(before.codes, after.codes)
    with pytest.raises(AuthenticityError):
        bitting.unlock(artefact, device.with_flipped_bit(0))
    asked = artefact.self_test.batch(0, device.spec.lanes)
    logits = bitting.Emulator(opened.program, tuple(range(device.spec.codes)))(torch.from_numpy(asked)).numpy()
    assert not artefact.self_test.wrong(logits, 0)
    assert bitting.verify(artefact, device, asked, logits.argmax(1)).equal
    assert bitting.verify(artefact, device.with_flipped_bit(0), asked, logits.argmax(1)).refused


def test_the_family_of_the_page_is_bitting_s():
    for spec in AES.values():
        assert page_reader.spec_id(spec.to_dict()) == spec.id
    tiny = AES["tiny"]
    values = page_reader.value_set(tiny.to_dict())
    plain = page_reader.plain_meaning(tiny.to_dict(), values)
    assert values == tiny.values and tuple(plain.weights) == tiny.decoding((), plain=True).values
    assert tuple(plain.clocks) == tiny.decoding((), plain=True).cycles
    assert page_reader.bitting_table(DEVICE.root, 16) == list(DEVICE.table())


@pytest.mark.parametrize("name", ["tiny", "base", "wide"])
def test_the_fold_of_the_page_is_bitting_s(name, rng):
    spec, half = AES[name], 1 << AES[name].acc_bits - 1
    sums = np.concatenate(
        [[-half, -half // 2 - 1, -half // 2, half // 2 - 1, half // 2, half - 1], rng.integers(-half, half, 2000)]
    )
    for shift in range(spec.max_shift + 1):
        folded = [golden_fold(spec, int(total), shift) for total in sums]
        assert page_reader.fold(spec.to_dict(), sums, shift).tolist() == folded


def test_the_signature_of_the_page_is_bitting_s():
    file = read_file(ARTEFACT)
    signature = json.loads(file.metadata["signature"])
    assert bytes.fromhex(signature["public_key"]) == OWNER == bitting.Artefact.load(ARTEFACT).signed_by
    Ed25519PublicKey.from_public_bytes(OWNER).verify(bytes.fromhex(signature["signature"]), file.message())


def test_the_packets_of_the_page_are_bitting_s(samples):
    artefact = bitting.Artefact.load(ARTEFACT)
    spec = artefact.program.spec
    commands = [
        artefact.scheme.packets(),
        packets.activations_packet(spec, 0, samples),
        packets.program_packets(artefact.locked_layers()),
    ]
    assert artefact_words(read_file(ARTEFACT), samples) == np.concatenate(commands).tolist()


def test_the_model_runs_in_clear_as_on_bitting(samples, private):
    """With the identity for a table, a model's codes are value indices."""
    file, model = read_file(MODEL), bitting.Model.load(private)
    engine = Engine(file.header["spec"], DEVICE.root)
    engine.meanings[0] = page_reader.table_meaning(page_reader.value_set(file.header["spec"]), list(range(16)))
    words = activation_words(file.header["spec"], 0, samples) + program_words(file.header, file.tensors, "", REPORT)
    logits = np.array(emitted_sums(engine.run(words))).T
    identity = tuple(range(16))
    assert np.array_equal(logits, bitting.Emulator(model.program, identity)(torch.from_numpy(samples)).numpy())
    assert engine.cycles == [cycles for layer in model.program.tile_cycles(identity) for cycles in layer]


@pytest.mark.parametrize(("fingerprint", "transform"), LOCKS)
def test_every_lock_opens_by_the_page_and_answers_as_the_rtl(fingerprint, transform, library, samples, tmp_path, private):
    """The words of the Verilated engine, all of them, for two batches and a STATUS; the frozen file is among the locks."""
    path = tmp_path / "artefact.safetensors"
    model = bitting.Model.load(private)
    bitting.lock(model, DEVICE, fingerprint, transform).save(path)
    frozen = [ARTEFACT] if (fingerprint, transform) == ("clock", "aes-clocked") else []
    for file in map(read_file, [path, *frozen]):
        again = [] if transform == "table" else packet(6, [])
        again += activation_words(file.header["spec"], 0, samples[::-1]) + program_words(file.header, file.tensors, "", 0)
        words = artefact_words(file, samples) + packet(4, []) + again
        engine = Engine(file.header["spec"], DEVICE.root)
        expected = engine.run(words)
        with NativeEngine(library, DEVICE.root) as rtl:
            run = rtl.run(np.array(words, np.uint32), len(expected))
        assert run.error == 0 and run.words.tolist() == expected


@pytest.mark.parametrize("fingerprint", ["clock", "numeric"])
def test_lanes_that_share_samples_run_as_on_the_page(fingerprint, tmp_path):
    """Words, sums and cycles of an engine that was written from the page, against the emulator."""
    spec = AES["tiny"].replace(lanes=8, stripes=4, scratch_words=1024)
    model, device = banded_model(spec), Device(spec, DEVICE.root)
    artefact = bitting.lock(model, device, fingerprint, "aes-clocked")
    artefact.save(tmp_path / "artefact")
    file = read_file(tmp_path / "artefact")
    assert page_reader.spec_id(file.header["spec"]) == spec.id
    x = random_activations(spec, np.random.default_rng(1), 2, model.program.sample_words)
    words = HostWords.of(artefact, report=True)
    ours = np.concatenate([words.once, words.batch(x)]).tolist()
    assert artefact_words(file, x) == ours
    engine = Engine(file.header["spec"], DEVICE.root)
    assert np.array_equal(np.array(emitted_sums(engine.run(ours))).T, model.sums(x))
    assert engine.cycles == [cycles for layer in model.program.tile_cycles(range(16)) for cycles in layer]
    (tmp_path / "packets").write_bytes(packet_file.contents(artefact))
    read = page_reader.read_packet_file(tmp_path / "packets")
    assert read["shared"] == [4, 2, 8, 5] and read["input_words"] == 80 and read["results"] == len(read["answers"].T) * 6
    assert np.array_equal(read["answers"], model.sums(read["questions"]))
