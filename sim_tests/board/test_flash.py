"""A board that plays the program from its flash: answers, and what becomes of contents and hosts that are wrong."""

import zlib
from collections.abc import Callable

import numpy as np
import pytest

import bitting
from bitting.artefact import flash_file
from bitting.artefact.host_words import HostWords
from bitting.errors import FaultError, SimulationError
from bitting.locking.device import Device
from bitting.program import packets
from bitting.program.layers import multilayer_perceptron
from bitting.sim import session
from bitting.sim.serial_link import SerialLink
from bitting.sim.serial_port import FlashState, SimulatedPort
from bitting.unit.flash_image import FLASH_BYTES, HEADER_WORDS, OFFSET, FlashFault, Marker
from bitting.unit.protocol import ErrorCode, Packet
from bitting.unit.spec import PRESETS

TINY = PRESETS["tiny"]
#: By the lock that is tried; two of each vault.
LOCKS = {"sealed-clocked": "ascon", "sealed": "ascon", "aes-clocked": "aes", "table": "aes"}
#: Clocks of silence after which nothing more is expected; and how often to look when everything was silent.
_QUIET, _LOOKS = 1 << 16, 1000
ROOT = bytes(range(1, 17))


def locked(transform: str, root: bytes = ROOT, seed: int = 1) -> tuple[bitting.Artefact, bitting.Model]:
    """A network of digits' size, with random weights, for the device with that root secret."""
    spec, rng = TINY.replace(vault=LOCKS[transform]), np.random.default_rng(seed)
    weights = [rng.integers(0, spec.codes, shape) for shape in ((13, 64), (10, 13))]
    program = multilayer_perceptron(spec, weights, [rng.integers(-99, 99, 13), rng.integers(-99, 99, 10)], [1, 0])
    model = bitting.Model(program)
    device, fingerprint = Device(spec, root, sealed=spec.vault == "ascon"), "none" if transform == "table" else "clock"
    return bitting.lock(model, device, fingerprint, transform, allow_reproducible=True), model


def words_of(artefact: bitting.Artefact) -> np.ndarray:
    return np.frombuffer(flash_file.contents(artefact), "<u4").copy()


def with_crc(words: np.ndarray) -> bytes:
    """The image with the CRC that an attacker would give it."""
    return words[:-1].tobytes() + zlib.crc32(words[:-1].tobytes()).to_bytes(4, "little")


def inputs(samples: int, seed: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).integers(-8, 8, (samples, 64)).astype(np.int8)


class Board:
    """A simulated board with a player, whose flash is exchanged from test to test."""

    def __init__(self, vault: str):
        self.port = SimulatedPort(Device(TINY.replace(vault=vault), ROOT, sealed=vault == "ascon"), flash=b"")
        self.port._quiet = _QUIET
        self.link = SerialLink(self.port)

    def insert(self, image: bytes, state: FlashState = FlashState.POWER_DOWN) -> None:
        self.port.insert(image, state)
        self.link.reset()

    def fault(self, commands: np.ndarray) -> int:
        """The error that words end in; then there is silence, whatever is sent. All words are given as one run."""
        words = self.link.run(commands, 4000)
        for _ in range(_LOOKS):  # an image whose length was changed may take long to check
            if len(words):
                break
            words = self.link.run(commands[:0], 4000)
        found = list(packets.split(words))
        assert found and sum(kind == 0xFF for kind, _ in found) == 1 and found[-1][0] == 0xFF, found
        assert not len(self.link.run(packets.status_packet(), 1)), "silence until reset"
        return int(found[-1][1][0]) & 0xFF


@pytest.fixture(scope="module")
def board():
    built: dict[str, Board] = {}

    def of(vault: str) -> Board:
        if vault not in built:
            built[vault] = Board(vault)
        return built[vault]

    yield of
    for each in built.values():
        assert each.port.flash_fights == 0, "board and flash drove the same pins"
        each.port.close()


BoardOf = Callable[[str], Board]


@pytest.mark.slow
@pytest.mark.parametrize("transform", LOCKS)
def test_the_answers_are_the_emulators_and_the_host_sends_inputs_only(board, transform):
    """Three batches, over the line ACTIVATIONS and nothing else; then the self-test."""
    artefact, model = locked(transform)
    here = board(LOCKS[transform])
    here.insert(flash_file.contents(artefact))
    sent: list[np.ndarray] = []

    class Watched:
        def run(self, commands, expected, /):
            sent.append(commands)
            return here.link.run(commands, expected)

        def reset(self):
            here.link.reset()

    x = inputs(10)
    outcome = session.on_board(artefact, x, Watched(), flash=True)
    assert np.array_equal(outcome.logits, bitting.Emulator(model.program, range(16))(x).numpy())
    assert len(sent) == 3 and all(words[0] & 0xFF == Packet.ACTIVATIONS for words in sent)
    assert all(len(words) == (words[0] >> 16) + 2 for words in sent), "one packet each"
    session.require_family(artefact, here.link)
    assert session.self_test(artefact, here.link, flash=True) == ""


@pytest.mark.slow
@pytest.mark.parametrize(
    "state",
    [0, FlashState.POWER_DOWN | FlashState.ISSI, FlashState.CONTINUOUS, FlashState.WRAPS, FlashState.CONTINUOUS | 4],
)  # fmt: skip
def test_the_flash_is_woken_from_whatever_was_before(board, state):
    """Power-down, of both makers; a design that read continuously, or in bursts that wrap."""
    artefact, model = locked("sealed-clocked")
    here = board("ascon")
    here.insert(flash_file.contents(artefact), state)
    outcome = session.on_board(artefact, inputs(4), here.link, flash=True)
    assert np.array_equal(outcome.logits, bitting.Emulator(model.program, range(16))(inputs(4)).numpy())


@pytest.mark.slow
def test_status_between_batches_and_a_second_batch_that_is_sent_early(board):
    """What a host may: STATUS before and between, and inputs while the player plays; they wait."""
    artefact, _ = locked("sealed-clocked")
    here, host = board("ascon"), HostWords.of(artefact, report=False).from_flash()
    here.insert(flash_file.contents(artefact))
    one = here.link.run(host.batch(inputs(4)), host.results)
    here.link.reset()
    many = [
        packets.status_packet(),
        host.batch(inputs(4)),
        host.batch(inputs(4)),
        packets.status_packet(),
        host.batch(inputs(4)),
    ]
    words = here.link.run(np.concatenate(many), 3 * host.results + 14)
    at = 7 + 2 * host.results
    assert np.array_equal(words[7 : 7 + host.results], one) and np.array_equal(words[7 + host.results : at], one)
    assert np.array_equal(words[at + 7 :], one)


@pytest.mark.slow
def test_a_reset_works_in_the_middle_of_anything(board):
    """While the flash wakes, is checked, is played, and in the middle of the host's packet."""
    artefact, _ = locked("sealed-clocked")
    here, host = board("ascon"), HostWords.of(artefact, report=False).from_flash()
    here.insert(flash_file.contents(artefact))
    batch = host.batch(inputs(4))
    right = here.link.run(batch, host.results)
    rng = np.random.default_rng(3)
    for cut in (0, 1, 2, 3, 20, len(batch) - 1, len(batch), len(batch)):
        here.link.reset()
        here.link.run(batch[:cut], 0)
        for _ in range(rng.integers(0, 12)):
            here.port.read_now()
        here.link.reset()
        assert np.array_equal(here.link.run(batch, host.results), right), cut


def refused(here: Board, artefact: bitting.Artefact, image: bytes, state: FlashState = FlashState.POWER_DOWN) -> int:
    here.insert(image, state)
    return here.fault(HostWords.of(artefact, report=False).from_flash().batch(inputs(4)))


#: All of the image where the player itself must see it, a sample of the sealed words.
def places(words: np.ndarray, some: int) -> list[int]:
    rng = np.random.default_rng(7)
    return [*range(32 * HEADER_WORDS), *rng.integers(32 * HEADER_WORDS, 32 * len(words), some)]


def flips(here: Board, some: int, every: int = 1) -> None:
    artefact, _ = locked("sealed-clocked")
    words = words_of(artefact)
    for bit in places(words, some)[::every]:
        changed = words.copy()
        changed[bit // 32] ^= np.uint32(1 << bit % 32)
        found = refused(here, artefact, changed.tobytes())
        header = (FlashFault.NO_IMAGE, FlashFault.IMAGE_FAMILY, None)
        if bit < 64:
            assert found == header[bit // 32], bit
        else:
            assert found in ((FlashFault.IMAGE_LENGTH, FlashFault.IMAGE_CRC) if bit < 96 else (FlashFault.IMAGE_CRC,)), bit
        if 96 <= bit < 32 * (len(words) - 1):
            mended = refused(here, artefact, with_crc(changed))
            allowed = {ErrorCode.BAD_TAG, FlashFault.IMAGE_PACKETS, FlashFault.HOST_PACKET, ErrorCode.BAD_TYPE,
                       ErrorCode.BAD_CRC, ErrorCode.BAD_ORDER, ErrorCode.BAD_FIELD, ErrorCode.BAD_LENGTH}  # fmt: skip
            assert mended in allowed, (bit, mended)


@pytest.mark.slow
def test_a_flipped_bit_is_refused_by_the_crc_or_with_the_crc_mended_by_the_vault(board):
    flips(board("ascon"), 40, 6)


@pytest.mark.thorough
def test_many_flipped_bits_are_refused(board):
    flips(board("ascon"), 2000)


@pytest.mark.slow
def test_a_flipped_bit_of_a_tile_is_a_wrong_tag(board):
    """The CRC is mended, so nothing but the tag tells."""
    artefact, _ = locked("sealed-clocked")
    words = words_of(artefact)
    for place in (-3, -4, -9, -40):  # END and the CRC are the last two words
        changed = words.copy()
        changed[place] ^= 1 << 9
        assert refused(board("ascon"), artefact, with_crc(changed)) == ErrorCode.BAD_TAG


def marker_at(words: np.ndarray, marker: Marker) -> int:
    """Where a marker is; its value might be a word of a packet too."""
    found = {Marker.AGAIN: lambda at: words[at + 1] & 0xFF == Packet.START, Marker.END: lambda at: at == len(words) - 2,
             Marker.INPUT: lambda at: words[at + 1] & 0xFF == Packet.ACTIVATIONS}  # fmt: skip
    (at,) = [int(at) for at in np.flatnonzero(words == marker) if found[marker](at)]
    return at


def sized(words: np.ndarray) -> bytes:
    words = words.copy()
    words[2] = len(words)
    return with_crc(words)


@pytest.mark.slow
def test_contents_of_an_attacker_give_one_clear_error_each(board):
    """The whole flash is his, the CRC is right. No program that never ends, and no packet that the host would have to end."""
    artefact, _ = locked("sealed-clocked")
    here, words = board("ascon"), words_of(artefact)
    again, place, end = (marker_at(words, marker) for marker in Marker)
    assert artefact.self_test is not None
    fixed = packets.inputs_packet(artefact.program, artefact.self_test.batch(0, artefact.program.samples))

    def cut(*parts: slice | list[int]) -> bytes:
        return sized(np.concatenate([np.array(part, np.uint32) if isinstance(part, list) else words[part] for part in parts]))

    tail = slice(end, None)
    contents = {
        "a packet without its last word": cut(slice(end - 1), tail),
        "a packet without its tag": cut(slice(end - 4), tail),
        "no end": cut(slice(end), slice(end + 1, None)),
        "two ends": cut(slice(end + 1), tail),
        "more behind the end": cut(slice(end + 1), [int(Packet.STATUS), 0], slice(-1, None)),
        "no input": cut(slice(place), slice(place + 3, None)),
        "two inputs": cut(slice(place + 3), slice(place, None)),
        "no place to begin again": cut(slice(again), slice(again + 1, None)),
        "markers out of order": cut(slice(again), [int(Marker.INPUT)], slice(again + 1, None)),
        "begins again in a program": cut(slice(again), slice(again + 1, place), [int(Marker.AGAIN)], slice(place, None)),
        "ends in a packet": cut(slice(end - 10), tail),
        "a packet of 65535 words": cut(slice(end), [Packet.TILE | 0xFFFF << 16], tail),
        "nothing": cut(slice(3), slice(-1, None)),
        # Genuine packets: the answers to the image's inputs would be those of the host's, and his those of the next batch.
        "runs twice": cut(slice(place), list(fixed), slice(place + 3, end), slice(again + 1, place), slice(place, None)),
        "inputs of its own": cut(slice(place), list(fixed), slice(place, None)),
        "inputs before a place to begin": cut(slice(again + 1), list(fixed), slice(again + 1, None)),
        "skips words at the input": cut(slice(place), [int(Marker.INPUT) + (2 << 16)], slice(place + 1, None)),
        "AGAIN with other bits": cut(slice(again), [int(Marker.AGAIN) | 0x1234 << 16], slice(again + 1, None)),
        "END with other bits": cut(slice(end), [int(Marker.END) | 1 << 16], slice(end + 1, None)),
        "END with another low bit": cut(slice(end), [int(Marker.END) | 12], slice(end + 1, None)),
    }
    for name, image in contents.items():
        assert refused(here, artefact, image) == FlashFault.IMAGE_PACKETS, name


@pytest.mark.slow
def test_lengths_beyond_the_flash_and_no_flash_at_all(board):
    artefact, _ = locked("sealed-clocked")
    here, words = board("ascon"), words_of(artefact)
    for length in (0, 1, 3, (FLASH_BYTES - OFFSET) // 4, 1 << 22, (1 << 22) + len(words), 1 << 31, 0xFFFFFFFF):
        changed = words.copy()
        changed[2] = length
        assert refused(here, artefact, with_crc(changed)) == FlashFault.IMAGE_LENGTH, length
    for length in (4, len(words) - 1, len(words) + 1, len(words) + 1000):
        changed[2] = length
        assert refused(here, artefact, with_crc(changed)) == FlashFault.IMAGE_CRC, length
    for image, state in (
        (b"", FlashState(0)),
        (b"", FlashState.ABSENT),
        (b"", FlashState.STUCK_LOW),
        (bytes(10000), FlashState(0)),
    ):
        assert refused(here, artefact, image, state) == FlashFault.NO_IMAGE
    other = words.copy()
    other[1] ^= 1
    assert refused(here, artefact, with_crc(other)) == FlashFault.IMAGE_FAMILY
    here.insert(flash_file.contents(artefact))
    assert len(here.link.run(packets.status_packet(), 7)) == 7, "and a reset helps"


@pytest.mark.slow
def test_a_host_may_send_nothing_but_inputs_and_status(board):
    """Every other packet, at every time: it does not reach the engine, which is locked; the host's words are not played."""
    artefact, _ = locked("sealed-clocked")
    here, host, whole = board("ascon"), HostWords.of(artefact, report=False).from_flash(), HostWords.of(artefact, report=False)
    batch, spec = host.batch(inputs(4)), artefact.program.spec
    others = [packets.frame(kind, np.zeros(2, np.uint32)) for kind in Packet if kind not in (Packet.ACTIVATIONS, Packet.STATUS)]
    tried = {
        **{f"type {int(words[0]) & 0xFF}": words for words in others},
        "the program": np.concatenate([whole.once, whole.batch(inputs(4))]),
        "inputs elsewhere": packets.activations_packet(spec, artefact.program.input_base + 1, inputs(4)),
        "too few": packets.activations_packet(spec, artefact.program.input_base, inputs(4)[:, :63]),
        "too many": packets.activations_packet(spec, artefact.program.input_base, np.pad(inputs(4), ((0, 0), (0, 1)))),
        "a marker": np.array([Marker.END], np.uint32),
        "STATUS with a payload": packets.frame(Packet.STATUS, np.zeros(1, np.uint32)),
    }
    for name, words in tried.items():
        for before in ([], [packets.status_packet()], [batch]):
            here.insert(flash_file.contents(artefact))
            assert here.fault(np.concatenate([*before, words])) == FlashFault.HOST_PACKET, (name, len(before))
    wrong = batch.copy()
    wrong[-1] ^= 1
    here.insert(flash_file.contents(artefact))
    assert here.fault(wrong) == ErrorCode.BAD_CRC, "of a packet that is let through the engine is the judge"


@pytest.mark.slow
def test_an_image_of_another_device_is_refused_by_its_tag_or_told_by_the_self_test(board):
    for transform in ("sealed-clocked", "aes-clocked"):
        here, own = board(LOCKS[transform]), locked(transform)[0]
        here.insert(flash_file.contents(locked(transform, bytes(16))[0]))
        said = session.self_test(own, here.link, flash=True)
        assert ("BAD_TAG" if transform == "sealed-clocked" else "answers to the self-test are wrong") in said
        here.insert(flash_file.contents(locked(transform, seed=2)[0]))
        assert "answers to the self-test are wrong" in session.self_test(own, here.link, flash=True), "another model"


@pytest.mark.slow
def test_a_host_is_told_what_is_wrong(board):
    artefact, _ = locked("sealed-clocked")
    here = board("ascon")
    here.insert(b"")
    with pytest.raises(FaultError, match=r"NO_IMAGE: its flash holds no image.*`bitting flash`"):
        session.require_family(artefact, here.link)
    here.insert(flash_file.contents(artefact))
    with pytest.raises((FaultError, SimulationError), match=r"HOST_PACKET.*--flash"):
        session.on_board(artefact, inputs(4), here.link)
