"""The command line from the outside: what it prints, what it leaves behind, how it ends."""

import dataclasses
import json
import os
import signal
import stat
import subprocess
import sys
import time
from functools import partial

import pytest
import torch

from bitting import cli
from bitting.artefact.artefact import Artefact
from bitting.check import lock_table
from bitting.data import datasets
from bitting.errors import BittingError
from bitting.locking.device import Device
from bitting.unit.spec import PRESETS
from bitting_rtl.engine.export import TOP
from tb.command import bitting, error_of

#: Most of what attacks show is of the locks of the paper; sealed programs are in test_sealed.py.
FAMILY = "tiny:vault=aes"


def assert_shown(header: str, save: str) -> None:
    """Every signal of a GTKWave save file is in the VCD, in as many bits; no name has a colon, which GTKWave refuses."""
    scopes, there = [], set()
    for line in header.splitlines():
        match line.split():
            case ["$scope", _, name, "$end"]:
                scopes.append(name)
            case ["$upscope", "$end"]:
                scopes.pop()
            case ["$var", _, _, _, name, *bits, "$end"]:
                assert ":" not in name
                there.add(".".join([*scopes, name]) + "".join(bits))
    shown = [line for line in save.splitlines() if line.startswith("bitting.")]
    outer = {f"bitting.{name.rpartition('.')[2]}" for name in shown}  # the top's ports are there twice
    assert there <= {*shown, *outer}, "nothing but what was chosen"
    assert len(shown) > 20 and set(shown) <= there, set(shown) - there
    assert "key" not in {name.rpartition(".")[2].partition("[")[0] for name in shown}


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """A small model trained and locked through the command line."""
    folder = tmp_path_factory.mktemp("job")
    for name in ("A", "B"):
        bitting("device", "new", folder / f"{name}.key", "--spec", FAMILY)
    bitting("train", "--data", "digits", "--spec", FAMILY, "--epochs", 3, "--seed", 0, "-o", folder / "model.safetensors")
    bitting("owner", "new", folder / "owner.key")
    options = ("--sign", folder / "owner.key", "--allow-reproducible")
    bitting("lock", folder / "model.safetensors", "--device", folder / "A.key", "-o", folder / "artefact.safetensors", *options)
    os.environ["BITTING_OWNER"] = str(folder / "owner.key.pub")
    yield folder
    del os.environ["BITTING_OWNER"]


@pytest.mark.parametrize(
    ("command", "what"),
    [
        ("packets {artefact} -o {artefact}", "artefact"),
        ("flash {artefact} -o {folder}/./artefact.safetensors", "artefact"),
        ("lock {folder}/model.safetensors --device {folder}/A.key -o {folder}/A.key", "device"),
        ("lock {folder}/model.safetensors --device {folder}/A.key -o {folder}/model.safetensors", "model"),
        ("board ulx3s-25f --device {folder}/A.key -o {folder}/linked", "device"),
        ("report {folder}/results.json -o {folder}/results.json", "run"),
        ("lock-table {folder}/model.safetensors --device {folder}/A.key -o {folder}/A.key", "device"),
        ("puf constants {folder}/A.key {folder}/B.key -o {folder}/B.key", "chips"),
    ],
)
def test_no_command_writes_over_what_it_reads(job, command, what):
    (job / "results.json").write_text("{}")
    if not (job / "linked").exists():
        (job / "linked").symlink_to(job / "A.key")
    before = {path.name: path.read_bytes() for path in job.iterdir()}
    line = command.format(folder=job, artefact=job / "artefact.safetensors").split()
    assert f"is the {what} that is read" in error_of(*line)
    assert {path.name: path.read_bytes() for path in job.iterdir()} == before


@pytest.mark.slow
def test_train_lock_verify_simulate(job):
    artefact, key = job / "artefact.safetensors", job / "A.key"
    report = json.loads(bitting("verify", artefact, "--device", key, "--samples", 40, "--json").stdout)["right device"]
    assert report["equal"] and report["samples"] == 40 and report["wrong_logits"] == report["wrong_cycles"] == 0
    table = bitting(
        "verify", artefact, "--device", key, "--wrong-device", job / "B.key", "--samples", "10:30", "--stalls", 99
    ).stdout
    assert f"│ {key.name} " in table and "(wrong device)" in table
    answer = json.loads(bitting("simulate", artefact, "--device", key, "--samples", "3:5", "--json").stdout)
    assert len(answer["logits"]) == len(answer["labels"]) == 2
    waves = job / "run.vcd"
    bitting("simulate", artefact, "--device", key, "--samples", 1, "--waves", waves)
    header = waves.read_text(errors="replace").partition("$enddefinitions")[0]
    assert header.lstrip().startswith("$version")
    assert_shown(header, waves.with_suffix(".gtkw").read_text())


def test_locking_leaves_no_secret_anywhere(job):
    root = json.loads((job / "A.key").read_text())["root"]
    assert stat.S_IMODE((job / "A.key").stat().st_mode) == 0o600
    out = job / "verilog"
    printed = bitting("verilog", "--spec", FAMILY, "--device", job / "A.key", "-o", out)
    shared = bitting("verilog", "--spec", FAMILY, "-o", job / "shared")
    show = bitting("device", "show", job / "A.key", "--json")
    texts = [text for done in (printed, shared, show) for text in (done.stdout, done.stderr)]
    texts += [(out / f"{TOP}.json").read_text(), *(path.read_text() for path in (job / "shared").iterdir())]
    texts += [path.read_bytes().decode(errors="replace") for path in job.glob("*.safetensors")]
    assert not any(root in text for text in texts)
    assert stat.S_IMODE((out / f"{TOP}.v").stat().st_mode) == 0o600


def test_shared_verilog_is_the_same_for_everyone(job):
    folders = [job / "one", job / "two"]
    for folder in folders:
        bitting("verilog", "--spec", FAMILY, "-o", folder)
    for name in (f"{TOP}.v", f"{TOP}.json"):
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes()


def test_training_is_reproducible_by_seed(job, tmp_path):
    again = tmp_path / "again.safetensors"
    bitting("train", "--data", "digits", "--spec", FAMILY, "--epochs", 3, "--seed", 0, "-o", again)
    assert again.read_bytes() == (job / "model.safetensors").read_bytes()


def test_wrong_keys_are_surveyed(job):
    found = json.loads(
        bitting("attack", "keys", job / "artefact.safetensors", "--device", job / "A.key", "--random-keys", 20, "--json").stdout
    )
    assert found["random_keys"] == 20 and found["neighbours"] == 128
    assert found["mean"] < found["right"]


def test_pages_and_examination():
    assert json.loads(bitting("spec", "wide", "--json").stdout)["weights"]["codes"] == 256
    assert PRESETS["base"].id in bitting("spec").stdout
    checks = json.loads(bitting("doctor", "--json").stdout)
    assert {"verilator", "g++", "make", "perl", "torch", "yosys", "nextpnr-ecp5"} <= {check["name"] for check in checks}
    for command in (
        "demo",
        "spec",
        "device",
        "owner",
        "train",
        "lock",
        "sign",
        "enroll",
        "lock-table",
        "verify",
        "simulate",
        "doctor",
    ):
        assert "Usage" in bitting(command, "--help").stdout


def test_mistakes_end_in_one_line(job, tmp_path):
    artefact, key, model = job / "artefact.safetensors", job / "A.key", job / "model.safetensors"
    other = tmp_path / "other.key"
    Device.new(PRESETS["base"]).save(other)
    short = tmp_path / "short.safetensors"
    short.write_bytes(artefact.read_bytes()[:-100])
    out = tmp_path / "out.safetensors"
    assert "unknown spec 'huge'" in error_of("spec", "huge")
    assert "unknown data set" in error_of("train", "--data", "cifar", "-o", out)
    assert "lanes = 3" in error_of("train", "--spec", "base:lanes=3", "-o", out)
    assert "they differ in" in error_of("lock", model, "--device", other, "-o", out, "--allow-reproducible")
    assert "is of kind 'artefact'" in error_of("lock", artefact, "--device", key, "-o", out)
    assert "is of kind 'model'" in error_of("verify", model, "--device", key)
    assert "truncated" in error_of("verify", short, "--device", key)
    assert "can not read" in error_of("verify", tmp_path / "none", "--device", key)
    assert "can not read" in error_of("verify", artefact, "--device", tmp_path / "none")
    assert "they differ in" in error_of("verify", artefact, "--device", other)
    assert "neither FIRST:LAST" in error_of("verify", artefact, "--device", key, "--samples", "many")
    assert "is outside" in error_of("verify", artefact, "--device", key, "--samples", "5000")
    assert "unknown simulator" in error_of("simulate", artefact, "--device", key, "--simulator", "spice")
    assert "ends in .vcd or .fst" in error_of("simulate", artefact, "--device", key, "--waves", tmp_path / "x.png")
    assert "name its file with --waves" in error_of("simulate", artefact, "--device", key, "--waves-all")
    unfit = error_of("verify", artefact, "--device", key, "--data", "mnist")
    assert "mnist has inputs of shape (1, 28, 28), the artefact takes (1, 8, 8)" in unfit
    assert "exists" in error_of("device", "new", key)
    assert "can not write" in error_of("verilog", "-o", key)
    assert "No such command" in error_of("frobnicate")
    assert not out.exists()
    assert Artefact.load(artefact).scheme.keyed


def test_a_missing_tool_is_named_with_its_remedy(job, tmp_path):
    """With nothing on PATH and an empty cache, verification says what it lacks; the examination too."""
    failing = partial(bitting, status=2, PATH=str(tmp_path), BITTING_CACHE=str(tmp_path / "cache"))
    message = error_of_last(failing("verify", job / "artefact.safetensors", "--device", job / "A.key"))
    assert "g++ not found" in message and "install g++" in message
    checks = json.loads(failing("doctor", "--json").stdout)
    assert {c["name"] for c in checks if c["needed"] and not c["good"]} >= {"make", "g++", "perl"}


def error_of_last(done: subprocess.CompletedProcess[str]) -> str:
    return done.stderr.strip().splitlines()[-1]


def test_a_divergence_is_printed_and_ends_with_status_1(job, monkeypatch, capsys):
    from bitting import cli
    from bitting.check import verification

    honest = verification.verify

    def lying(*arguments, **options):
        report = honest(*arguments, **options)
        found = {"stage": "mac lane", "summary": "lane 3 is wrong", "batch": 0, "replay": options["replay"]}
        return dataclasses.replace(report, divergence=found, wrong_logits=1)

    monkeypatch.setattr(verification, "verify", lying)
    arguments = ["verify", str(job / "artefact.safetensors"), "--device", str(job / "A.key"), "--samples", "8", "--seed", "5"]
    monkeypatch.setattr(sys, "argv", ["bitting", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    printed = capsys.readouterr().out
    assert ended.value.code == 1
    assert "lane 3 is wrong" in printed and "bitting simulate" in printed and "--samples 0:8 --seed 5" in printed


def test_a_full_disk_ends_in_one_line(job):
    command = f"{sys.executable} -c 'from bitting.cli import main; main()' spec base --json > /dev/full"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode != 0 and "Traceback" not in done.stderr


@pytest.mark.slow
def test_signatures_are_asked_for_and_checked(job, tmp_path):
    artefact, key = job / "artefact.safetensors", job / "A.key"
    run = ("verify", artefact, "--device", key, "--samples", 4)
    unsigned, other = tmp_path / "unsigned.safetensors", tmp_path / "other.key"
    bitting(
        "lock", job / "model.safetensors", "--device", key, "-o", unsigned, "--transform", "shuffle", "--fingerprint",
        "numeric", "--allow-reproducible",
    )  # fmt: skip
    bitting("owner", "new", other)
    assert stat.S_IMODE(other.stat().st_mode) == 0o600
    assert "is not signed" in error_of("verify", unsigned, "--device", key)
    bitting("verify", unsigned, "--device", key, "--samples", 4, "--allow-unsigned")
    assert "not by the owner" in error_of(*run, BITTING_OWNER=f"{other}.pub")
    assert "not by the owner" in error_of(*run, "--owner", f"{other}.pub", "--allow-unsigned")
    assert "nobody vouches" in error_of(*run, BITTING_OWNER="")
    bitting("sign", unsigned, "--key", job / "owner.key")
    for command in (("verify",), ("simulate",), ("attack", "keys"), ("attack", "mutants"), ("attack", "screen")):
        assert "nobody vouches" in error_of(*command, unsigned, "--device", key, BITTING_OWNER="")
    bitting("verify", unsigned, "--device", key, "--samples", 4)
    assert "exists" in error_of("owner", "new", other)
    assert "no public key" in error_of(*run, "--owner", key)
    assert "no private key" in error_of("sign", unsigned, "--key", key)
    other.chmod(0o644)
    assert "chmod 600" in error_of("sign", unsigned, "--key", other)


def test_every_lock_by_name(job, tmp_path):
    out = tmp_path / "locked.safetensors"
    run = ("lock", job / "model.safetensors", "--device", job / "A.key", "-o", out, "--allow-reproducible")
    facts = json.loads(bitting(*run, "--transform", "aes", "--json").stdout)
    assert facts["lock"]["transform"] == "aes" and facts["lock"]["fingerprint"] == "clock" and not facts["signed"]
    assert "there is no lock" in error_of(*run, "--transform", "x")
    answer = bitting("verify", out, "--device", job / "A.key", "--samples", 8, "--allow-unsigned", "--json").stdout
    assert json.loads(answer)["right device"]["equal"]


@pytest.mark.slow
def test_enrolment_of_a_simulated_chip(job, tmp_path):
    key = tmp_path / "chip.key"
    record = json.loads(bitting("enroll", key, "--spec", FAMILY, "--json").stdout)
    assert len(record["known_answers"]) == 8 and record["boot_clocks"] > 0
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    shown = json.loads(bitting("device", "show", key, "--json").stdout)
    assert shown["enrolled"] and 13 < shown["min_entropy"]["clock"] < 14
    assert "exists" in error_of("enroll", key, "--spec", FAMILY)
    out = tmp_path / "locked.safetensors"
    bitting("lock", job / "model.safetensors", "--device", key, "-o", out, "--allow-reproducible")
    bitting("verify", out, "--device", key, "--samples", 4, "--allow-unsigned")


@pytest.mark.slow
def test_the_lock_table(job, tmp_path):
    out = tmp_path / "table.json"
    run = ("lock-table", job / "model.safetensors", "--device", job / "A.key", "--samples", 50, "--wrong-keys", 2)
    bitting(*run, "--format", "json", "-o", out)
    table = json.loads(out.read_text())
    assert len(table["rows"]) == 9 and table["boot_clocks"] > 0
    accuracies = {row["accuracy"] for row in table["rows"]}
    assert len(accuracies) == 1, "locking costs no accuracy: the same integers"
    assert all(row["wrong_devices"] == 130 and row["worst"] < 0.5 for row in table["rows"])
    assert all(row["fingerprint_clocks"] > 0 for row in table["rows"][1:]) and table["rows"][0]["fingerprint_clocks"] == 0
    assert all(row["unlock_clocks"] >= 0 for row in table["rows"]), "unlocking takes no time off"
    text = lock_table.markdown(lock_table.LockTable(**{**table, "rows": [lock_table.Row(**row) for row in table["rows"]]}))
    assert text.count("\n|") == 10 and "aes-clocked" in text


def test_attacks_on_a_locked_model(job):
    artefact = ("--device", job / "A.key", "--json")
    mutants = ("attack", "mutants", job / "artefact.safetensors")
    for samples in (("--samples", 40), ()):  # by default as many as there are, up to 1000
        outcome = json.loads(bitting(*mutants, *artefact, *samples).stdout)
        assert outcome["same_key"] == 0 and outcome["mutants"] > 20
    found = json.loads(bitting("attack", "screen", job / "artefact.safetensors", *artefact, "--wrong-keys", 20).stdout)
    assert {"chi-square", "mean", "variance", "kurtosis"} <= set(found["model"]) & set(found["tile"])
    assert "neighbour correlation" in found["tile"] and "spectrum" in found["model"]
    screen = ("attack", "screen", job / "artefact.safetensors", *artefact, "--wrong-keys", 2, "--model")
    assert "chi-square" in json.loads(bitting(*screen, job / "model.safetensors").stdout)["model"]
    assert "is of kind 'artefact'" in error_of(*screen, job / "artefact.safetensors")
    assert "unknown kind" in error_of(
        "attack", "mutants", job / "artefact.safetensors", "--device", job / "A.key", "--kind", "x"
    )


def test_networks_that_do_not_fit_are_refused_before_they_are_trained(tmp_path):
    target = ("-o", tmp_path / "model.safetensors")
    assert "allowed: mlp, lenet, residual" in error_of("train", "--network", "vgg", *target)
    assert "digits has (1, 8, 8); use mlp" in error_of("train", "--network", "lenet", *target)
    assert "base:scratch_words=8192 would do" in error_of("train", "--network", "lenet", "--data", "mnist", *target)
    (tmp_path / "model.onnx").write_bytes(b"garbage")
    assert "no ONNX model" in error_of("train", "--onnx", tmp_path / "model.onnx", *target)
    assert "give both" in error_of("train", "--onnx-output", "scores", *target)
    assert list(tmp_path.iterdir()) == [tmp_path / "model.onnx"]


def test_a_users_onnx_model_is_converted_and_fine_tuned(tmp_path):
    torch.manual_seed(0)
    data = datasets.load("digits")
    plain = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10))
    x, y = torch.from_numpy(data.train_x).float() / 255, torch.from_numpy(data.train_y)
    optimiser = torch.optim.Adam(plain.parameters(), lr=0.01)
    for _ in range(200):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(plain(x), y).backward()
        optimiser.step()
    torch.onnx.export(
        plain.eval(), (x[:1],), tmp_path / "user.onnx", dynamo=False, dynamic_axes={"input": {0: "n"}}, input_names=["input"]
    )
    model = tmp_path / "model.safetensors"
    run = ("train", "--onnx", tmp_path / "user.onnx", "--epochs", 8, "--seed", 0, "-o", model)
    claims = json.loads(bitting(*run, "--json").stdout)
    assert claims["twin"] == "fp32, as given" and claims["twin_accuracy"] > 0.9
    assert claims["accuracy"] > claims["twin_accuracy"] - 0.03


@pytest.mark.slow
def test_ctrl_c_ends_in_one_line_and_leaves_nothing_half_written(tmp_path):
    command = [sys.executable, "-m", "bitting", "train", "--epochs", "100000", "-o", str(tmp_path / "model.safetensors")]
    # A shell that starts the tests in the background has them ignore SIGINT, and their children after them.
    heed = partial(signal.signal, signal.SIGINT, signal.default_int_handler)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heed) as run:
        checkpoint = tmp_path / ".model.safetensors.checkpoint"
        while not checkpoint.exists():
            assert run.poll() is None, run.communicate()
            time.sleep(0.05)
        run.send_signal(signal.SIGINT)
        printed, said = run.communicate(timeout=120)
    assert run.returncode == 130 and not printed, said
    assert said.strip().splitlines()[-1].startswith("interrupted; nothing half-written was left")
    assert [path for path in tmp_path.iterdir() if path != checkpoint] == []


def chained() -> Exception:
    error = SystemError("a function returned a result with an exception set")
    error.__cause__ = KeyboardInterrupt()
    return error


@pytest.mark.parametrize(
    ("raised", "status"),
    [
        (KeyboardInterrupt(), 130),
        (chained(), 130),
        (RuntimeError("in a callback: KeyboardInterrupt: <EMPTY MESSAGE>"), 130),
        (BittingError("no such thing"), 2),
    ],
)
def test_ctrl_c_is_one_whatever_it_was_turned_into(monkeypatch, capsys, raised, status):
    def app(**_):
        raise raised

    monkeypatch.setattr(cli, "app", app)
    monkeypatch.setattr(cli.malloc, "keep_freed", lambda: None)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == status
    assert ("interrupted; nothing half-written was left" in capsys.readouterr().err) == (status == 130)


def test_tables_follow_columns(tmp_path):
    bitting("device", "new", tmp_path / "key", "--spec", FAMILY)
    for columns in (60, 100):
        lines = bitting("doctor", COLUMNS=str(columns)).stdout.splitlines()
        assert max(map(len, lines)) <= columns and len(lines) > 10
    assert max(map(len, bitting("doctor", COLUMNS="").stdout.splitlines())) > 100


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("base:", "is not parameter=integer"),
        ("base:lanes=4,lanes=8", "lanes is given twice"),
        ("base:lanes=4,", "is not parameter=integer"),
        ("base:lane=4", "unknown spec parameter 'lane'"),
    ],
)
def test_specs_that_say_nothing_or_too_much_are_refused(text, message):
    assert message in error_of("spec", text)
