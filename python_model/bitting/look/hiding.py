"""What each lock hides of a program, and what it leaves in clear for whoever has the artefact. Words for people.

docs/locks.md, docs/sealed-programs.md and docs/threats.md say why; `sim_tests/look/test_hiding.py` looks into files.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from bitting.locking.kinds import SEALING, Transform


class Seen(StrEnum):
    """What a thief of the file sees of something; of changes, what becomes of them."""

    HIDDEN = "hidden"
    PARTLY = "in part"
    CLEAR = "in clear"
    REFUSED = "refused"
    UNNOTICED = "not noticed"


@dataclass(frozen=True)
class Hiding:
    """One thing of a program: what it is, whether the file shows it, and how it is hidden or what is seen."""

    what: str
    seen: Seen
    how: str


_INTERFACE = Hiding(
    "interface",
    Seen.CLEAR,
    "shape and range of inputs, what is done to them before the first layer, names of classes or quantities, scale of answers",
)
_SELF_TEST = Hiding("self-test", Seen.CLEAR, "its questions, and the right device's answers to them (none with --self-test 0)")

_SEALED = (
    Hiding("weights", Seen.HIDDEN, "enciphered with their packet"),
    Hiding("histograms of codes", Seen.HIDDEN, "enciphered with their packet"),
    Hiding("biases, shifts", Seen.HIDDEN, "enciphered with their packet"),
    Hiding(
        "constants", Seen.PARTLY, "enciphered like all other packets; but tiles of one or two codes hardly hold anything else"
    ),
    Hiding(
        "positions, offsets, addresses",
        Seen.PARTLY,
        "enciphered with their packet, but for where the input goes; a tile's cycles over its codes tell how many positions",
    ),
    Hiding("sizes", Seen.PARTLY, "headers say how many layers and tiles there are, and about how many codes a tile has"),
    Hiding("cycles of tiles", Seen.PARTLY, "not in the file; whoever has the right device sees how long each tile takes"),
    Hiding("changes of the file", Seen.REFUSED, "every packet has a tag, and opens in its place only"),
    _INTERFACE,
    _SELF_TEST,
)

_WEIGHTS = {
    Transform.TABLE: (
        Hiding("weights", Seen.PARTLY, "codes of the secret table, which gradient descent finds: by itself it is no lock"),
        Hiding("histograms of codes", Seen.CLEAR, "each code stands for one weight, the same everywhere"),
    ),
    Transform.SHUFFLE: (
        Hiding("weights", Seen.PARTLY, "the order of a tile's codes is secret, the codes are those of the secret table"),
        Hiding("histograms of codes", Seen.CLEAR, "of each tile: who knows the table reads its weights, but for their places"),
    ),
    Transform.AES: (
        Hiding("weights", Seen.HIDDEN, "a keystream added to plain weights"),
        Hiding("histograms of codes", Seen.HIDDEN, "but a right guess of the key is recognised by them at once"),
    ),
    Transform.AES_PRE: (
        Hiding("weights", Seen.HIDDEN, "a keystream added to codes of the secret table"),
        Hiding("histograms of codes", Seen.HIDDEN, "a right guess of the key is recognised by the order of the weights"),
    ),
    Transform.AES_CLOCKED: (
        Hiding("weights", Seen.HIDDEN, "a keystream added to codes of the secret table; it depends on earlier tiles' cycles"),
        Hiding("histograms of codes", Seen.HIDDEN, "a right guess of the key is recognised by the order of the weights"),
    ),
}

#: The vault `aes` acts on codes and on nothing else.
_UNSEALED = (
    Hiding("biases, shifts", Seen.CLEAR, "not encrypted"),
    Hiding("constants", Seen.CLEAR, "weights that everyone knows: encrypted, they would tell a right key from a wrong one"),
    Hiding("positions, offsets, addresses", Seen.CLEAR, "not encrypted: the shapes of all layers can be read"),
    Hiding("sizes", Seen.CLEAR, "layers, tiles, codes a tile"),
    Hiding("cycles of tiles", Seen.PARTLY, "bounded by sizes; whoever has the right device sees them"),
    Hiding("changes of the file", Seen.UNNOTICED, "there is no integrity: flipped bits reach the weights"),
    _INTERFACE,
    _SELF_TEST,
)


def hidings(transform: Transform) -> tuple[Hiding, ...]:
    """Of each thing in a program that a lock with this transform is put on."""
    return _SEALED if transform in SEALING else (*_WEIGHTS[transform], *_UNSEALED)
