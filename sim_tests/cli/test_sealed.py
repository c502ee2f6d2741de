"""The main job with sealed programs, from the command line; refused elsewhere, and once it was tampered with."""

import json
import stat

import pytest

import bitting as package
from bitting.locking.sealed_program import SealedProgram
from tb.command import bitting, error_of

SPEC = "tiny"


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sealed")
    bitting("enroll", folder / "A.key", "--spec", SPEC)
    bitting("device", "new", folder / "B.key", "--spec", SPEC)
    bitting("owner", "new", folder / "owner.key")
    bitting("train", "--data", "digits", "--spec", SPEC, "--epochs", 3, "-o", folder / "model.safetensors")
    artefact = folder / "artefact.safetensors"
    bitting("lock", folder / "model.safetensors", "--device", folder / "A.key", "--sign", folder / "owner.key", "-o", artefact)
    return folder, artefact, ("--owner", folder / "owner.key.pub", "--data", "digits")


def test_right_on_its_device_and_refused_by_another(job):
    folder, artefact, options = job
    devices = ("--device", folder / "A.key", "--wrong-device", folder / "B.key")
    found = json.loads(bitting("verify", artefact, *devices, *options, "--samples", 40, "--json").stdout)
    assert found["right device"]["equal"] and found["right device"]["samples"] == 40 and not found["right device"]["refused"]
    assert found["wrong device"]["refused"] and not found["wrong device"]["equal"]
    assert found["wrong device"]["divergence"] is None
    alone = bitting("verify", artefact, "--device", folder / "B.key", *options, "--samples", 4, status=1)
    assert "is not the device that" in alone.stderr


def test_more_lanes_are_named_beside_the_device_s_own(job):
    folder, artefact, options = job
    arguments = ("verify", artefact, "--device", folder / "A.key", *options, "--samples", 40)
    found = json.loads(bitting(*arguments, "--lanes", 12, "--json").stdout)["right device"]
    assert found["equal"] and [(engine["lanes"], engine["own"]) for engine in found["engines"]] == [(12, False), (4, True)]
    shown = bitting(*arguments, "--lanes", 12).stdout
    assert "4 batches on a wider engine, 12 lanes" in shown and "4 batches on the device's own engine, 4 lanes" in shown
    assert "not wider than the device's engine, which has 4" in error_of(*arguments, "--lanes", 4)


def test_the_key_file_says_that_the_device_is_sealed(job):
    folder, _, _ = job
    assert stat.S_IMODE((folder / "A.key").stat().st_mode) == 0o600
    assert json.loads((folder / "A.key").read_text())["sealed"] is True
    assert "enrolled" in bitting("device", "show", folder / "A.key").stdout


def test_an_artefact_with_another_word_is_refused_by_the_engine(job, tmp_path):
    """The signature would say so too; here somebody without it is asked to trust the file."""
    folder, artefact, _ = job
    loaded = package.load(artefact)
    assert isinstance(loaded.program, SealedProgram)
    loaded.program.words[len(loaded.program.words) // 2] ^= 1
    changed = tmp_path / "changed.safetensors"
    loaded.save(changed)
    done = bitting("verify", changed, "--device", folder / "A.key", "--allow-unsigned", "--samples", 4, status=1)
    assert "refused" in done.stdout
    assert "BAD_TAG" in error_of("simulate", changed, "--device", folder / "A.key", "--allow-unsigned", "--data", "digits")


def test_no_other_key_and_no_other_chip_opens_it(job):
    folder, artefact, options = job
    arguments = (artefact, "--device", folder / "A.key", *options, "--json")
    keys = json.loads(bitting("attack", "keys", *arguments, "--random-keys", 20).stdout)
    assert keys["refused"] == keys["random_keys"] + keys["neighbours"] == 148
    assert keys["best"] is keys["best_neighbour"] is keys["mean"] is None and keys["right"] > 0.5
    mutants = json.loads(bitting("attack", "mutants", *arguments, "--samples", 40).stdout)
    assert mutants["refused"] == mutants["mutants"] > 20 and mutants["same_key"] == 0 and mutants["worst"] is None
    told = bitting("attack", "mutants", *arguments[:-1], "--samples", 40).stdout
    assert f"{mutants['mutants']} of {mutants['mutants']}" in told and "all refused" in told


def test_a_copy_by_questions_and_answers_has_its_price(job):
    folder, artefact, options = job
    run = ("attack", "questions", artefact, "--device", folder / "A.key", *options, "--hidden", "32", "--steps", 200)
    few, many, *none = json.loads(bitting(*run, "--counts", "20,1000,99999", "--json").stdout)
    assert (few["questions"], many["questions"], none) == (20, 1000, []), "there are no more inputs to ask about"
    assert few["accuracy"] < many["accuracy"] > 0.6
    assert "give fewer" in error_of(*run, "--counts", "99999")
    for wrong in ("ten", "0", "1,,2", ""):
        assert "allowed are whole numbers from 1" in error_of(*run, "--counts", wrong)


@pytest.mark.slow
def test_the_lock_table(job, tmp_path):
    folder, _, options = job
    run = (
        "lock-table",
        folder / "model.safetensors",
        "--device",
        folder / "A.key",
        *options[2:],
        "--samples",
        50,
        "--wrong-keys",
        2,
    )
    table = json.loads(bitting(*run, "--format", "json").stdout)
    assert [row["transform"] for row in table["rows"]] == ["sealed", "sealed-clocked"] * 2 and table["boot_clocks"] > 0
    assert len({row["accuracy"] for row in table["rows"]}) == 1, "locking costs no accuracy: the same integers"
    assert all(row["wrong_devices"] == 130 and row["worst"] is None for row in table["rows"])
    assert all(row["fingerprint_clocks"] > 0 and row["unlock_clocks"] >= 0 for row in table["rows"])
    assert bitting(*run, "--format", "markdown").stdout.count("all refused") == 4


@pytest.mark.slow
def test_the_demonstration(tmp_path):
    """As `make demo` runs it, on the smallest family and with two attacks of the suite; an older run is in no way."""
    (tmp_path / "attacks").mkdir()
    (tmp_path / "attacks" / "run.json").write_text("{}")
    suite = ("--only", "table from time", "--only", "two files")
    shown = bitting("demo", "--folder", tmp_path, "--spec", "tiny", *suite).stdout
    assert "clock x sealed-clocked" in shown and "0 wrong logits, 0 wrong cycle counts" in shown
    rows = {cells[1].strip(): cells[2].strip() for line in shown.splitlines() if len(cells := line.split("│")) > 3}
    refused = [rows["device B (one key bit away), RTL"], rows["device A, one bit of the file changed, RTL"]]
    assert refused == ["refused"] * 2 and rows["best of 1128 wrong keys"] == "all refused"
    assert rows["device A, RTL"] == rows["device A, emulator"]
    soft = ("soft lock, no key: on its unit", "best of 4 roundings to int8", "the first after merging")
    unit, converted, merged = (float(rows[name].rstrip("%")) for name in soft)
    assert unit > 90 and converted < 40 and merged > 90
    assert rows["attacks of the suite: it falls to"] == "0 of 2" and rows["it holds against"] == "1 of 2"
    assert rows["these get what is conceded"] == "1 of 2" and "table from time" in shown
    assert {path.name for path in tmp_path.iterdir()} == {
        "model.safetensors", "soft.safetensors", "A.key", "owner.key", "owner.key.pub", "artefact.safetensors", "attacks",
        "report.html",
    }  # fmt: skip
    assert shown.splitlines()[-1] == f"report: {tmp_path / 'report.html'}"
    assert "two files" in (tmp_path / "report.html").read_text()
    assert all(stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600 for name in ("model.safetensors", "soft.safetensors"))


def test_what_needs_codes_says_that_there_are_none(job):
    folder, artefact, options = job
    assert "the artefact is sealed" in error_of("attack", "screen", artefact, "--device", folder / "A.key", *options[:2])
    arguments = ("lock", folder / "model.safetensors", "--device", folder / "A.key", "-o", folder / "never")
    assert "allowed: sealed, sealed-clocked" in error_of(*arguments, "--transform", "aes")
