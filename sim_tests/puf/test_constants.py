"""Constants from measured chips: the mean of their sums; their files; what they make of a design."""

import json
import stat
from dataclasses import replace

import numpy as np
import pytest

from bitting.errors import MeasurementError, SpecError
from bitting.puf import constants, silicon
from bitting.puf.population import Population
from bitting.sim import puf_chip
from bitting.sim.puf_chip import PufChip
from bitting.unit.bch import BchCode
from bitting.unit.puf_key import PufDesign, PufKey
from bitting.unit.puf_spec import FRACTION_BITS, PufSpec
from bitting.unit.spec import PRESETS
from tb.command import bitting, error_of

DESIGN = PufDesign(PufKey(BchCode(5, 3), blocks=2, kept=24, pairs=64), PufSpec(64, window=128, settle=8))
POPULATION = Population()


def die(seed):
    return POPULATION.boards(1, seed, oscillators=128, reads=4)


def counted(board):
    """(measurements, pairs) of a board, as the RTL counts, in integers."""
    advances = silicon.increments(DESIGN, board).astype(np.int64)
    counts = advances * DESIGN.measured.window >> FRACTION_BITS
    return (counts[..., 0] - counts[..., 1]).sum(2)


def test_a_chip_gives_the_sums_of_its_silicon_and_constants_are_their_means():
    boards = [die(seed) for seed in range(1, 6)]
    with PufChip(PRESETS["tiny"], DESIGN, silicon.increments(DESIGN, boards[0])) as chip:
        sums = puf_chip.measured(PRESETS["tiny"], DESIGN, chip.link, 3)
    # The first measurement was in the reset that looks for the PUF.
    assert np.array_equal(sums, counted(boards[0])[1:4])
    chips = [counted(board) for board in boards]
    found = constants.from_sums(chips)
    assert found == tuple(round(float(sum(one[:, pair].sum() / 4 for one in chips) / 5)) for pair in range(64))
    assert len(set(found)) > 5
    assert replace(DESIGN, constants=found).constants == found


def test_files_are_read_again_and_sums_are_secret(tmp_path):
    sums = counted(die(1))
    constants.save_sums(tmp_path / "a.npy", sums)
    assert stat.S_IMODE((tmp_path / "a.npy").stat().st_mode) == 0o600
    assert np.array_equal(constants.load_sums(tmp_path / "a.npy"), sums)
    constants.save(tmp_path / "c.json", range(64), chips=3)
    assert constants.load(tmp_path / "c.json", DESIGN) == tuple(range(64))


def test_what_is_no_population_is_refused(tmp_path):
    one, other = counted(die(1)), counted(die(2))
    with pytest.raises(MeasurementError, match="constants of 1 chip would be its key"):
        constants.from_sums([one])
    with pytest.raises(MeasurementError, match=r"chips of \[63, 64\] pairs"):
        constants.from_sums([one, other[:, :63]])
    with pytest.raises(MeasurementError, match="there twice"):
        constants.from_sums([one, other, one])
    constants.save(tmp_path / "short.json", range(63), chips=2)
    with pytest.raises(SpecError, match="63 constants for 64 pairs"):
        constants.load(tmp_path / "short.json", DESIGN)
    constants.save(tmp_path / "huge.json", [1 << 40] * 64, chips=2)
    with pytest.raises(SpecError):
        constants.load(tmp_path / "huge.json", DESIGN)
    for text in ("{", "[]", '{"format": 1}', json.dumps({"format": "bitting puf constants 1", "constants": [0.5] * 64})):
        (tmp_path / "wrong.json").write_text(text)
        with pytest.raises(MeasurementError, match="holds no constants"):
            constants.load(tmp_path / "wrong.json", DESIGN)
    with pytest.raises(MeasurementError, match="is no file"):
        constants.load(tmp_path / "missing.json", DESIGN)
    for name, data in {"text": b"no array", "empty": b""}.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(MeasurementError, match="holds no sums"):
            constants.load_sums(tmp_path / name)
    header = b"{'descr': '<i8', 'fortran_order': False, 'shape': (1099511627776, 64), }"
    (tmp_path / "bomb.npy").write_bytes(b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little") + header.ljust(117) + b"\n")
    with pytest.raises(MeasurementError, match="holds no sums"):
        constants.load_sums(tmp_path / "bomb.npy")
    np.save(tmp_path / "floats.npy", np.zeros((2, 2)))
    with pytest.raises(MeasurementError, match="holds no sums"):
        constants.load_sums(tmp_path / "floats.npy")


def test_the_commands(tmp_path):
    paths = [tmp_path / f"{seed}.npy" for seed in (1, 2, 3)]
    for seed, path in enumerate(paths, 1):
        constants.save_sums(path, counted(die(seed)))
    told = bitting("puf", "constants", *paths, "-o", tmp_path / "c.json").stdout
    assert "64 constants of 3 chips" in told
    assert constants.load(tmp_path / "c.json", DESIGN) == constants.from_sums([counted(die(seed)) for seed in (1, 2, 3)])
    bit = tmp_path / "b.bit"
    board = ("board", "ulx3s-25f", "--constants", tmp_path / "c.json", "-o", bit)
    assert "add --puf" in error_of(*board, "--device", tmp_path / "no.key")
    assert "64 constants for 288 pairs" in bitting(*board, "--puf", status=2).stderr
    enrol = ("enroll", tmp_path / "A.key", "--constants", tmp_path / "c.json")
    assert "add --puf" in error_of(*enrol)
    assert "has those of its family; add --port" in error_of(*enrol, "--puf")
    assert not bit.exists() and not (tmp_path / "A.key").exists()
