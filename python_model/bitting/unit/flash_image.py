"""What lies in a board's flash, and what its player does with it (docs/format.md, section 12). The RTL may use it.

A flash image is a list of words, lowest byte first:

    MAGIC | low 32 bits of the spec id | number of words of the image | packets and markers | CRC-32 of all words before

Packets are command packets as a host would send them. A marker is a word between two packets that the engine never sees.
"""

from enum import IntEnum

#: The bytes "BTF1"; the last one is the version.
MAGIC = int.from_bytes(b"BTF1", "little")
#: Words before the first packet.
HEADER_WORDS = 3
#: Where the image begins, in bytes: behind the bitstream of every board. A multiple of 64 KiB.
OFFSET = 0x400000
#: Of the boards' flash: 128 Mbit, the most that addresses of 24 bits reach.
FLASH_BYTES = 1 << 24
#: Clocks of the board in which a word comes: eight digits of four bits, at half of its clock.
WORD_CLOCKS = 16


class Marker(IntEnum):
    """Words between packets, one of each in this order. The engine never sees them."""

    #: Here every batch begins but the first after a reset.
    AGAIN = 0xF0
    #: In its place comes the host's ACTIVATIONS. It is made like a header of a packet: two words follow, which the host's first
    #: two must be equal to: its header, and address and count.
    INPUT = 0x100F1
    #: The batch is over. The CRC of the image follows.
    END = 0xF2


class FlashFault(IntEnum):
    """What a player reports in a FAULT, in the place of the engine's `ErrorCode`; then there is silence until reset."""

    #: There is no image of this version: the flash is erased, absent, stuck, or holds something else.
    NO_IMAGE = 0x10
    #: The image is of another family.
    IMAGE_FAMILY = 0x11
    #: The image does not end in the flash, or has no place for anything.
    IMAGE_LENGTH = 0x12
    #: The checksum does not match.
    IMAGE_CRC = 0x13
    #: A packet is cut short, a marker is missing, out of order or too many, or a batch has inputs of its own.
    IMAGE_PACKETS = 0x14
    #: The host sent something else than STATUS between batches, or than the ACTIVATIONS of the program.
    HOST_PACKET = 0x15
