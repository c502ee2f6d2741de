"""The image for a board's flash, whose program its player plays to the engine (`bitting.unit.flash_image`, docs/format.md)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bitting.artefact.artefact import Artefact
from bitting.artefact.host_words import HostWords
from bitting.errors import ArtefactError
from bitting.program import packets
from bitting.program.packets import WORDS, crc32
from bitting.unit.flash_image import FLASH_BYTES, HEADER_WORDS, MAGIC, OFFSET, Marker


def read(path: Path) -> bytes:
    """An image that `contents` made, or whatever lies there: the player judges it.

    Raises:
        ArtefactError: if it can not be read, or has no room in the flash.
    """
    room = FLASH_BYTES - OFFSET
    try:
        with path.open("rb") as file:
            image = file.read(room + 1)
    except OSError as error:
        raise ArtefactError(f"can not read {path}: {error.strerror}") from None
    if len(image) > room:
        raise ArtefactError(f"{path} is longer than the flash has room for, {room} bytes; take what `bitting flash` wrote")
    return image


def contents(artefact: Artefact) -> bytes:
    """The image of an artefact. It is not signed: check the artefact's signature before.

    Raises:
        ArtefactError: if the device has a PUF, or the image does not fit the flash.
    """
    words = HostWords.of(artefact, report=False)
    words.from_flash()  # which not every device can do
    # START ends the challenge, and it begins every later batch: it is there once.
    first = words.once[: len(words.once) - len(words.again)]
    assert np.array_equal(words.once[len(first) :], words.again)
    inputs = packets.inputs_packet(artefact.program, np.zeros((1, artefact.program.sample_words), np.int8))[:2]
    marker = {kind: np.array([kind], WORDS) for kind in Marker}
    sections = [
        first,
        marker[Marker.AGAIN],
        words.again,
        words.head,
        marker[Marker.INPUT],
        inputs,
        words.body,
        marker[Marker.END],
    ]
    size = HEADER_WORDS + sum(map(len, sections)) + 1
    # One word less than there is room for: the player compares whole blocks.
    if 4 * size >= FLASH_BYTES - OFFSET:
        raise ArtefactError(
            f"the image has {4 * size} bytes, the flash has room for {FLASH_BYTES - OFFSET}; take a smaller network"
        )
    header = np.array([MAGIC, words.spec.id_word, size], WORDS)
    whole = np.concatenate([header, *sections])
    return np.append(whole, np.array([crc32(whole)], WORDS)).tobytes()
