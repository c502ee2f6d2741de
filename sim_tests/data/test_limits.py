"""Files that claim or unpack to more than a machine has, and pictures that are something else: refused before it costs."""

import io
import lzma
import struct
import tarfile
import tracemalloc
import warnings
import zipfile
import zlib

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image

from bitting.data import datasets, own_files, pictures
from bitting.errors import DatasetError

NAMES = [f"{part}/{label}/{number}.png" for part in ("train", "test") for label in "ab" for number in range(2)]
#: Memory that a refusal may take: far below what the files claim.
MODEST = 64 << 20


def picture(width=6, height=5) -> bytes:
    """A grey PNG of zeros, made row by row."""
    packer = zlib.compressobj(9)
    data = b"".join(packer.compress(bytes(1 + width)) for _ in range(height)) + packer.flush()

    def chunk(kind, contents):
        return struct.pack(">I", len(contents)) + kind + contents + struct.pack(">I", zlib.crc32(kind + contents))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def zipped(path, contents) -> str:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in NAMES:
            archive.writestr(name, contents(name))
    return str(path)


def refusal(name: str) -> str:
    """What a data set is refused with: one line, and next to no memory."""
    tracemalloc.start()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(DatasetError) as caught:
                datasets.load(name)
        assert tracemalloc.get_traced_memory()[1] < MODEST
    finally:
        tracemalloc.stop()
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def test_a_picture_is_decoded_as_what_the_documentation_allows_only(tmp_path, monkeypatch):
    """Pillow starts Ghostscript, if it is there, for a file that begins as EPS."""
    ghostscript = tmp_path / "bin" / "gs"
    ghostscript.parent.mkdir()
    ghostscript.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    ghostscript.chmod(0o755)
    monkeypatch.setenv("PATH", str(ghostscript.parent), prepend=":")
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)
    text = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 6 5\n%%EndComments\nshowpage\n%%EOF\n"
    said = refusal(zipped(tmp_path / "eps.zip", lambda _: text))
    assert "is no picture; allowed are PNG, JPEG, BMP" in said and not (tmp_path / "started").exists()


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "PPM"])
def test_other_kinds_of_pictures_are_refused_by_their_contents(tmp_path, kind):
    buffer = io.BytesIO()
    Image.new("L", (6, 5)).save(buffer, kind)
    assert "is no picture; allowed are" in refusal(zipped(tmp_path / "other.zip", lambda _: buffer.getvalue()))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP"])
def test_the_allowed_kinds_are_read(tmp_path, kind):
    buffer = io.BytesIO()
    Image.new("L", (6, 5), 9).save(buffer, kind)
    assert (datasets.load(zipped(tmp_path / "right.zip", lambda _: buffer.getvalue())).train_x == 9).all()


def test_a_picture_of_too_many_pixels_is_not_decoded(tmp_path):
    """177 million, below Pillow's own limit."""
    said = refusal(zipped(tmp_path / "large.zip", lambda _: BOMB))
    assert "has 13300 x 13300 pixels; allowed are 16777216 in all" in said


BOMB = picture(13300, 13300)


def test_a_picture_of_another_size_is_not_decoded(tmp_path):
    said = refusal(zipped(tmp_path / "sizes.zip", lambda name: picture() if name.endswith("a/0.png") else picture(4000, 4000)))
    assert "a/1.png has 4000 x 4000 pixels, test/a/0.png 6 x 5; all must be of one size" in said


def test_pictures_that_are_too_many_together_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "MOST_WORDS", 3 * 90)  # three of 6 x 5
    said = refusal(zipped(tmp_path / "many.zip", lambda _: picture()))
    assert "test/b/1.png is one too many: 360 words with those before it" in said and "give fewer" in said


def test_cifar_10_and_much_larger_folders_are_within_the_limits():
    assert max(32 * 32 * 3 * 50_000 * 25, 224 * 224 * 3 * 25_000) < pictures.MOST_WORDS
    assert pictures.MOST_PIXELS * 4 < pictures.MOST_BYTES < own_files.MOST_BYTES


def test_a_member_of_an_archive_is_read_as_far_as_a_picture_goes(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "MOST_BYTES", 1 << 20)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("train/a/0.png", "w") as file:
            for _ in range(128):
                file.write(bytes(1 << 20))
    assert "train/a/0.png has more than 1048576 bytes" in refusal(str(tmp_path / "bomb.zip"))
    (tmp_path / "folder" / "train" / "a").mkdir(parents=True)
    with (tmp_path / "folder" / "train" / "a" / "0.png").open("wb") as file:
        file.truncate(1 << 30)
    assert "0.png has more than 1048576 bytes" in refusal(str(tmp_path / "folder"))


def header(name: bytes, kind: bytes, size: int, sparse: int = 0) -> bytes:
    """A member of a GNU tar; `sparse`: the size that it claims to unpack to."""
    block = bytearray(512)
    block[: len(name)] = name
    block[100:136] = b"0000644\0" + b"0000000\0" * 2 + b"%011o\0" % size
    block[136:148] = b"00000000000\0"
    block[156:157], block[257:265] = kind, b"ustar  \0"
    if sparse:
        block[386:410] = b"00000000000\0" * 2
        block[483:495] = b"\x80" + sparse.to_bytes(11, "big")
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def test_a_sparse_member_of_a_tar_is_read_as_far_as_a_picture_goes(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "MOST_BYTES", 1 << 20)
    (tmp_path / "sparse.tar").write_bytes(header(b"train/a/0.png", b"S", 0, sparse=1 << 40) + bytes(1024))
    assert "train/a/0.png has more than 1048576 bytes" in refusal(str(tmp_path / "sparse.tar"))


def test_a_long_name_in_a_tar_is_not_read_whole(tmp_path, monkeypatch):
    """One of GNU's takes as much memory as its header says."""
    monkeypatch.setattr(pictures, "MOST_BYTES", 1 << 20)
    with lzma.open(tmp_path / "name.tar.xz", "wb") as file:
        file.write(header(b"././@LongLink", b"L", 128 << 20))
        for _ in range(128):
            file.write(b"a" * (1 << 20))
    assert "has a name or file of 134217728 bytes; allowed are 1048576" in refusal(str(tmp_path / "name.tar.xz"))


@pytest.mark.parametrize("suffix", ["tar", "tar.gz", "tgz", "tar.xz"])
def test_archives_are_read_whatever_packs_them(tmp_path, suffix):
    path = tmp_path / f"pets.{suffix}"
    with tarfile.open(path, {"tar": "w", "tar.xz": "w:xz"}.get(suffix, "w:gz")) as tar:  # type: ignore[call-overload]
        for name in NAMES:
            info = tarfile.TarInfo(name)
            info.size = len(picture())
            tar.addfile(info, io.BytesIO(picture()))
    assert datasets.load(str(path)).train_x.shape == (4, 30)


def arrays(path, shape, kind="|u1", claimed_version=b"\1\0") -> str:
    """What numpy.savez writes, with headers that claim a shape, and no contents."""
    said = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    said += b" " * (118 - len(said) - 1) + b"\n"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("x_train", "y_train", "x_test", "y_test"):
            archive.writestr(f"{name}.npy", b"\x93NUMPY" + claimed_version + struct.pack("<H", len(said)) + said)
    return str(path)


@pytest.mark.parametrize(("shape", "bytes_"), [((1 << 40, 64), 1 << 46), ((1 << 62, 1 << 62), 1 << 124), ((9,), 9)])
def test_an_array_larger_than_its_file_is_not_made(tmp_path, shape, bytes_):
    assert f"x_train has shape {shape} of uint8, which is {bytes_} bytes" in refusal(arrays(tmp_path / "own.npz", shape))


def test_an_array_that_a_file_unpacks_to_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(own_files, "MOST_BYTES", 1 << 20)
    zeros = np.zeros((1 << 14, 1 << 10), np.uint8)
    np.savez_compressed(tmp_path / "own.npz", x_train=zeros, y_train=zeros, x_test=zeros, y_test=zeros)
    assert "which is 16777216 bytes; allowed are 1048576" in refusal(str(tmp_path / "own.npz"))


def test_a_header_of_an_array_that_is_none_is_named(tmp_path):
    assert "can not be read" in refusal(arrays(tmp_path / "own.npz", (4, 4), claimed_version=b"\7\7"))
    assert "can not be read" in refusal(arrays(tmp_path / "own.npz", "(-4, -4)", kind="V9223372036854775807"))
