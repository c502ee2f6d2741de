"""Files of measurements: what is read, and what is refused with a reason."""

import io
import pickle
import zipfile

import numpy as np
import pytest

from bitting.errors import MeasurementError
from bitting.puf import measurements
from bitting.puf.measurements import Measurements, load

READS = np.random.default_rng(1).integers(100_000_000, 200_000_000, (3, 32, 5))
BOARDS = np.array([4, 7, 9])


def with_one(value):
    reads = READS.astype(float)
    reads[1, 2, 3] = value
    return reads


def test_what_is_saved_is_loaded(tmp_path):
    Measurements(READS, BOARDS).save(tmp_path / "a.npz")
    read = load(tmp_path / "a.npz")
    assert np.array_equal(read.frequency_hz, READS) and np.array_equal(read.board, BOARDS)
    assert (read.boards, read.oscillators, read.reads, read.rows, read.columns) == (3, 32, 5, 2, 16)


def test_averages_use_every_read_once():
    found = list(Measurements(READS, BOARDS).averages(2, 1))
    assert len(found) == 2
    assert np.array_equal(found[0], READS[:, :, 1:3].mean(2)) and np.array_equal(found[1], READS[:, :, 3:5].mean(2))


def test_some_boards_are_those_boards():
    part = Measurements(READS, BOARDS).of([2, 0])
    assert np.array_equal(part.board, [9, 4]) and np.array_equal(part.frequency_hz, READS[[2, 0]])


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"frequency_hz": READS}, "lacks board"),
        ({"board": BOARDS}, "lacks frequency_hz"),
        ({"frequency_hz": READS[0], "board": BOARDS}, "shape"),
        ({"frequency_hz": READS.astype(complex), "board": BOARDS}, "type complex"),
        ({"frequency_hz": READS, "board": BOARDS[:2]}, "each of the 3 boards"),
        ({"frequency_hz": READS, "board": BOARDS / 2}, "float"),
        ({"frequency_hz": READS[:, :31], "board": BOARDS}, "not whole rows of 16"),
        ({"frequency_hz": with_one(0), "board": BOARDS}, "holds 0"),
        ({"frequency_hz": with_one(np.nan), "board": BOARDS}, "holds nan at board .*, oscillator .*, read .* [(]1 such"),
        ({"frequency_hz": READS, "board": np.zeros(3, int)}, "boards 0 are there more than once"),
        ({"frequency_hz": READS.T, "board": BOARDS}, "frequency_hz, which is of shape"),
        ({"frequency_hz": with_one(np.inf), "board": BOARDS}, "holds inf"),
        ({"frequency_hz": READS[:0], "board": BOARDS[:0]}, "at least one"),
        ({"frequency_hz": READS / 1e6, "board": BOARDS}, "allowed are 1e[+]06 to 1e[+]11 Hz, .* give hertz, not MHz"),
        ({"frequency_hz": READS / 1e3, "board": BOARDS}, r"holds .* at board 4, oscillator 0, read 0 [(]160 such"),
        ({"frequency_hz": READS * 1e3, "board": BOARDS}, "allowed are 1e[+]06 to 1e[+]11 Hz"),
    ],
)
def test_what_is_no_measurement_is_refused(tmp_path, arrays, said):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(MeasurementError, match=said):
        load(tmp_path / "a.npz")


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("it was unpickled",))


def _of(name: str) -> bytes:
    memory = io.BytesIO()
    if name == "one array":
        np.save(memory, READS)
    elif name == "objects":
        np.savez(memory, frequency_hz=np.array([Bomb()], object), board=BOARDS)
    elif name == "pickle":
        memory.write(pickle.dumps(Bomb()))
    elif name == "zip of text":
        with zipfile.ZipFile(memory, "w") as archive:
            archive.writestr("frequency_hz.npy", b"no array")
            archive.writestr("board.npy", b"no array")
    else:
        np.savez_compressed(memory, frequency_hz=READS, board=BOARDS)
        whole = bytearray(memory.getvalue())
        if name == "cut":
            return bytes(whole[: len(whole) // 2])
        whole[len(whole) // 3] ^= 0xFF  # in the middle of the compressed numbers
        return bytes(whole)
    return memory.getvalue()


@pytest.mark.parametrize("name", ["one array", "objects", "pickle", "zip of text", "cut", "flipped", "nothing"])
def test_what_is_no_npz_is_refused_and_never_unpickled(tmp_path, name):
    (tmp_path / "a.npz").write_bytes(b"" if name == "nothing" else _of(name))
    with pytest.raises(MeasurementError, match="can not be read as an ") as told:
        load(tmp_path / "a.npz")
    assert "allow_pickle=" not in str(told.value) or name == "objects", "no advice to unpickle what is no file of numbers"


def test_a_header_that_claims_more_than_memory_holds_is_refused(tmp_path):
    """Two hundred bytes that say they are 53 PiB."""
    header = io.BytesIO()
    shape = (150, 10**9, 10**5)
    np.lib.format.write_array_header_1_0(header, {"descr": "<i4", "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("frequency_hz.npy", header.getvalue() + bytes(64))
        archive.writestr("board.npy", header.getvalue() + bytes(64))
    with pytest.raises(MeasurementError, match="can not be read as an "):
        load(tmp_path / "a.npz")


def test_a_small_file_that_unpacks_to_more_than_anyone_measures_is_refused_unread(tmp_path, monkeypatch):
    """Zeros shrink a thousandfold; the limit is lowered here, so that the test need not write a gigabyte."""
    np.savez_compressed(tmp_path / "a.npz", frequency_hz=np.zeros((4, 64, 1000)), board=np.arange(4))
    assert (tmp_path / "a.npz").stat().st_size < 10_000
    monkeypatch.setattr(measurements, "MOST_BYTES", 1_000_000)
    monkeypatch.setattr(np, "load", lambda *_, **__: pytest.fail("it was unpacked"))
    with pytest.raises(MeasurementError, match=r"frequency_hz.npy unpacks to 2048\d+ bytes; allowed are 1000000"):
        load(tmp_path / "a.npz")


def test_the_recorded_boards_are_far_below_the_limit():
    assert 30 * measurements.recorded().frequency_hz.nbytes < measurements.MOST_BYTES


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(MeasurementError, match="does not exist"):
        load(tmp_path / "none.npz")


def test_the_recorded_boards_are_looked_for_where_they_are_said_to_be(tmp_path, monkeypatch):
    monkeypatch.setenv("BITTING_DATA", str(tmp_path))
    with pytest.raises(MeasurementError, match="is not there; set BITTING_DATA"):
        measurements.recorded()
    monkeypatch.delenv("BITTING_DATA")
    with pytest.raises(MeasurementError, match="BITTING_DATA is not set"):
        measurements.recorded()


def test_the_recorded_boards_are_what_docs_say():
    found = measurements.recorded()
    assert (found.boards, found.oscillators, found.reads, found.rows) == (150, 512, 100, 32)
