"""A chip that stores no secret, from the command line: enrolled, locked to, run on; and what is refused."""

import json
import re
import shutil
import stat

import numpy as np
import pytest

import bitting as package
from bitting.locking.device import Device
from bitting.puf.silicon import simulated_die
from tb.command import bitting, error_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """Folder with the key file of a chip, its oscillators, another die, a model and an artefact."""
    folder = tmp_path_factory.mktemp("puf")
    told = bitting("enroll", folder / "A.key", "--puf", "--spec", "tiny").stdout
    simulated_die(seed=99).save(folder / "other.npz")
    bitting("train", "--data", "digits", "--spec", "tiny", "--epochs", 3, "-o", folder / "model.safetensors")
    bitting("lock", folder / "model.safetensors", "--device", folder / "A.key", "-o", folder / "a.safetensors")
    return folder, told


def runs(folder, *more, status=0):
    options = ("--port", "simulated", "--device", folder / "A.key", "--allow-unsigned", "--samples", 8, "--json")
    return bitting("run", folder / "a.safetensors", *options, *more, status=status)


def test_the_main_job_with_a_chip_that_stores_no_secret(job):
    folder, told = job
    assert "level of claim: die" in told and "known answers passed: clock x sealed" in told
    device, artefact = Device.load(folder / "A.key"), package.load(folder / "a.safetensors")
    assert isinstance(artefact, package.Artefact)
    assert device.sealed and device.puf and artefact.helper == device.puf.helper
    found = json.loads(runs(folder).stdout)
    assert (found["wrong_logits"], found["self_test"]) == (0, "passed")
    options = ("--device", folder / "A.key", "--allow-unsigned", "--samples", 40, "--json")
    assert json.loads(bitting("verify", folder / "a.safetensors", *options).stdout)["right device"]["equal"]


def test_another_die_boots_with_no_helper_data_of_this_one(job):
    folder, _ = job
    done = runs(folder, "--silicon", folder / "other.npz", status=2)
    assert "could not make its root secret in 3 attempts" in done.stderr


def test_files_are_secret_and_nothing_else_holds_the_secret(job):
    folder, told = job
    for name in ("A.key", "A.key.silicon.npz"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600
    root = Device.load(folder / "A.key").root
    assert root not in (folder / "a.safetensors").read_bytes() and root.hex() not in told
    frequencies = np.load(folder / "A.key.silicon.npz")["frequency_hz"]
    assert str(frequencies[0, 0, 0]) not in (folder / "a.safetensors").read_bytes().decode("latin-1")


def test_what_does_not_belong_together_is_refused(job, tmp_path):
    folder, _ = job
    bitting("device", "new", folder / "fused.key", "--spec", "tiny")
    key = tmp_path / "new.key"
    assert "add --puf" in error_of("enroll", key, "--spec", "tiny", "--silicon", folder / "other.npz")
    assert "give one of them" in error_of("enroll", key, "--puf", "--silicon", folder / "other.npz", "--port", "/dev/null")
    fused = ("run", folder / "a.safetensors", "--port", "simulated", "--allow-unsigned", "--device", folder / "fused.key")
    assert "has no PUF; leave it out" in error_of(*fused, "--silicon", folder / "other.npz")
    assert "has no PUF, and the artefact has helper data" in bitting(*fused, status=2).stderr
    shutil.copy(folder / "other.npz", tmp_path / "open.npz")
    (tmp_path / "open.npz").chmod(0o644)
    assert "is open to others" in error_of("enroll", key, "--puf", "--spec", "tiny", "--silicon", tmp_path / "open.npz")
    shutil.copy(folder / "A.key", tmp_path / "lonely.key")
    lonely = ("run", folder / "a.safetensors", "--port", "simulated", "--allow-unsigned", "--device", tmp_path / "lonely.key")
    assert re.search(r"name the file of its oscillators\s+with --silicon", error_of(*lonely))
    assert not key.exists()
