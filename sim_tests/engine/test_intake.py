"""The intake of sealed packets against a list of where each word goes; vault, parser and control are played by the test."""

import zlib

import numpy as np
import pytest

from bitting.unit.protocol import CHALLENGE_WORDS, SEALED_PACKETS, TAG_WORDS, Packet
from bitting_rtl.engine.intake import FIFO_WORDS
from bitting_rtl.lib.block_fifo import BlockFifo
from tb.units import unit

#: An unknown type is a packet like any other here.
CLEAR_KINDS = (Packet.ACTIVATIONS, Packet.STATUS, Packet.START, Packet.LOCK_NOW, 0x77)
LAST = 1 << 32
#: What the intake may have to wait for.
NAMES = ("cmd", "words", "sealed", "tag", "admit", "check", "taken", "vault", "idle", "bus")
#: Inputs that let it go on.
EVERYTHING = (
    "cmd__valid", "words__ready", "sealed__ready", "tag__ready", "admit", "idle", "checked", "taken", "vault_ready",
)  # fmt: skip


class Sent:
    """Packets, word after word: `words`, each with its `role` and the number of its packet; and where each must go."""

    def __init__(self, rng, packets, kinds=(*CLEAR_KINDS, *SEALED_PACKETS * 3, Packet.CHALLENGE)):
        self.kinds = kinds
        self.rng, self.words, self.roles = rng, [], []
        #: Of the vault's doing: what a word of a sealed payload is deciphered with; 0 for all others.
        self.pads: list[int] = []
        #: (header, whether it is sealed, whether its CRC or tag is right, its payload words) of each packet.
        self.packets: list[tuple[int, bool, bool, int]] = []
        self.expected: dict[str, list[int]] = {"words": [], "absorb": [], "sealed": [], "tag": []}
        #: Headers of sealed packets.
        self.sealed_headers: list[int] = []
        self.absorbing = False
        for _ in range(packets):
            self.packet()

    def packet(self):
        rng = self.rng
        # No second challenge: the parser does not let it in.
        kinds = [kind for kind in self.kinds if not self.absorbing or kind != Packet.CHALLENGE]
        kind = int(kinds[int(rng.integers(len(kinds)))])
        length = int(rng.choice([0, 1, int(rng.integers(2, 50))], p=[0.2, 0.1, 0.7]))
        challenge, start = kind == Packet.CHALLENGE, kind == Packet.START
        length = CHALLENGE_WORDS if challenge and rng.random() < 0.8 else length
        payload = rng.integers(0, 1 << 32, length).tolist()
        header = kind | length << 16
        sealed, absorbed = kind in SEALED_PACKETS and not self.absorbing, self.absorbing and not start
        right = bool(rng.random() < 0.6)
        self.send("header", header, 0, absorbed, not payload)
        for number, word in enumerate(payload):
            role = "sealed" if sealed else "admitted" if challenge else "payload"
            pad = int(rng.integers(0, 1 << 32)) if sealed else 0
            self.send(role, word, pad, absorbed or challenge, number == length - 1)
        if sealed:
            for word in rng.integers(0, 1 << 32, TAG_WORDS).tolist():
                self.send("tag", word, 0, False, False)
        else:
            crc = zlib.crc32(np.array([header, *payload], "<u4").tobytes())
            self.send("crc", crc if right else crc ^ 1 << int(rng.integers(32)), 0, absorbed or challenge, False)
        self.packets.append((header, sealed, right, length))
        self.absorbing = (self.absorbing and not (start and right)) or challenge

    def send(self, role, word, pad, absorbed, last):
        self.words.append(word)
        self.roles.append((role, len(self.packets)))
        self.pads.append(pad)
        if role in ("header", "payload", "admitted", "sealed"):
            self.expected["words"].append(word ^ pad | last * LAST)
        if role == "header" and word & 0xFF in SEALED_PACKETS and not self.absorbing:
            self.sealed_headers.append(word)
        if role == "sealed":
            self.expected["sealed"].append(word | last * LAST)
        if role == "tag":
            self.expected["tag"].append(word)
        if absorbed:
            self.expected["absorb"].append(word)


class Surroundings:
    """What is around the intake, clock by clock. `stalls`: of each of it, how often it makes the intake wait."""

    def __init__(self, sent, rng, stalls):
        self.sent, self.rng, self.stalls = sent, rng, stalls
        self.found: dict[str, list[int]] = {name: [] for name in sent.expected}
        self.sealed_headers: list[int] = []  # that the vault was shown
        self.waiting: dict[str, int] = {}  # what was offered and not taken
        self.packet_ends: list[tuple[bool, bool]] = []
        self.at = self.clock = self.offered = self.entered = self.most_ahead = 0
        self.header_taken = self.complete = self.absorbing = self.challenged = False
        self.received = 0  # words of the packet that have reached the parser
        self.tag_words = 0  # of the packet, that the vault has
        self.admitted = self.checked = False
        self.idle, self.idle_falls, self.header_may_come = 1, -1, -1

    def free(self, name):
        return int(self.rng.random() >= self.stalls[name])

    @property
    def done(self):
        return self.at == len(self.sent.words) and len(self.packet_ends) == len(self.sent.packets)

    def run(self, intake):
        waited = 0
        while not self.done:
            before = (self.at, self.found["words"][-1:], len(self.packet_ends))
            self.step(intake)
            waited = 0 if before != (self.at, self.found["words"][-1:], len(self.packet_ends)) else waited + 1
            assert waited < 2000, "it hangs"
            self.clock += 1

    def step(self, intake):
        sent, number = self.sent, len(self.packet_ends)
        header, sealed, right, length = sent.packets[number]
        role, of = sent.roles[self.at] if self.at < len(sent.words) else ("", -1)
        self.offered = int(role != "" and (self.offered or self.free("cmd")))
        if self.clock == self.idle_falls:
            self.idle = 0
        waits = sealed or header & 0xFF == Packet.CHALLENGE
        admits = waits and not self.admitted and self.received == 1 and self.free("admit")
        checks = sealed and self.tag_words == TAG_WORDS and not self.checked and self.free("check")
        takes = self.complete and self.received == 1 + length and self.free("taken")
        # The vault takes its time before it absorbs; and then it waits for nothing but a word, after each for a while.
        vault_ready = self.free("bus") and not self.challenged
        ready = {
            "words__ready": self.free("words"),
            "sealed__ready": int(self.admitted and role == "sealed" and self.free("sealed")),
            "tag__ready": int(role == "tag" and self.admitted and self.free("tag")),
        }
        word = sent.words[self.at] if self.offered else int(self.rng.integers(0, 1 << 32))
        pad = sent.pads[self.at] if self.offered and ready["sealed__ready"] else 0
        intake.step(
            cmd__valid=self.offered, cmd__payload=word, opened=word ^ pad, idle=self.idle, absorbing=self.absorbing,
            vault_ready=vault_ready, admit=admits, checked=checks, taken=takes,
            authentic=right if checks else int(self.rng.integers(2)), **ready,
        )  # fmt: skip
        taken = self.offered and intake["cmd__ready"]
        self.judge(intake, role, of, taken, admits)
        if taken and role == "header":
            assert vault_ready and not intake["busy"], "every header passes the vault's bus"
        if taken and role == "header" and sealed:
            self.sealed_headers.append(intake["sealed__payload"] % LAST)
        self.look(intake, word, ready, vault_ready, takes)
        self.admitted |= admits
        self.checked |= checks
        self.complete = bool(intake["complete"])
        if taken:
            self.at, self.offered = self.at + 1, 0
            self.header_taken |= role == "header"
            self.tag_words += role == "tag"
        self.go_on(header, right, admits, takes)

    def look(self, intake, word, ready, vault_ready, takes):
        """What has moved in this clock, and the end of a packet."""
        if intake["absorb"]:
            assert vault_ready and self.absorbing and intake["cmd__ready"] and self.offered, "the vault takes it in this clock"
            self.found["absorb"].append(word)
        for name in ("words", "sealed", "tag"):
            words = self.found[name]
            valid, payload = intake[f"{name}__valid"], intake[f"{name}__payload"]
            if name == "tag" and self.tag_words == TAG_WORDS:
                continue  # what shows there is the next packet's header
            if name in self.waiting:
                assert valid and payload == self.waiting.pop(name), "a word stays until it is taken"
            if valid and ready[f"{name}__ready"]:
                words.append(payload)
                self.received += name == "words"
            elif valid:
                self.waiting[name] = payload
        if takes:
            assert intake["complete"], "until it is taken"
            self.packet_ends.append((bool(intake["is_sealed"]), bool(intake["right"])))

    def judge(self, intake, role, of, taken, admits):
        """What must not happen yet, and what must show in this clock."""
        number = len(self.packet_ends)
        if role == "header":
            assert not taken or (self.clock >= self.header_may_come and of == number), "a packet at a time"
            assert not taken or self.idle or not self.absorbing, "in a challenge it waits for the answers before it"
        if role in ("sealed", "admitted") and not self.admitted:
            assert not taken and not intake["sealed__valid"], "not before the parser lets it in"
        if self.header_taken and number < len(self.sent.packets):
            _, sealed, _, length = self.sent.packets[number]
            assert intake["busy"] and intake["is_sealed"] == sealed
            assert not admits or intake["empty"] == (not length)
        if not self.header_taken and self.clock > self.header_may_come:
            assert not intake["busy"]
        self.entered += taken and role not in ("tag", "crc")
        self.most_ahead = max(self.most_ahead, self.entered - len(self.found["words"]))

    def go_on(self, header, right, admits, takes):
        """State of vault and control after this clock."""
        kind = header & 0xFF
        if admits and kind == Packet.CHALLENGE:
            self.challenged = True
        if self.challenged and self.free("vault"):  # it begins to absorb when it has the device key in its state
            self.absorbing, self.challenged = True, False
        if not self.idle:
            self.idle = self.free("idle")
        if takes:
            self.header_taken = self.admitted = self.checked = self.complete = False
            self.received = self.tag_words = 0
            # What a packet begins shows a clock after it, and on `idle`, a register, another clock later.
            # Only packets in clear are followed by a header that may wait for that.
            sealed = self.packet_ends[-1][0]
            self.idle_falls, self.header_may_come = self.clock + 2, self.clock + (1 if sealed else 2)
            if kind == Packet.START and right:
                self.absorbing = False


@pytest.mark.parametrize("stalls", [False, True], ids=["no stalls", "stalls"])
def test_every_word_goes_where_the_list_says(stalls):
    """Clear and sealed packets, right and wrong, in a challenge and outside, each side slow or fast."""
    rng = np.random.default_rng(11)
    most_ahead = 0
    for _ in range(25):
        sent = Sent(rng, 25)
        around = Surroundings(sent, rng, {name: float(rng.choice([0, 0.3, 0.9])) * stalls for name in NAMES})
        with unit("sealed_intake") as intake:
            around.run(intake)
        assert around.found == sent.expected and around.sealed_headers == sent.sealed_headers
        assert around.packet_ends == [packet[1:3] for packet in sent.packets]
        most_ahead = max(most_ahead, around.most_ahead)
    if stalls:
        assert most_ahead == FIFO_WORDS, "the parser falls as far behind as it may"


def test_a_clear_packet_takes_two_clocks_a_word_and_seven_for_its_end():
    """Two for the CRC, what it gives, comparison, its result, effect, and until that shows."""
    sent = Sent(np.random.default_rng(12), 200, CLEAR_KINDS)
    at, clocks = 0, 0
    ends: list[tuple[bool, bool]] = []
    with unit("sealed_intake") as intake:
        while len(ends) < len(sent.packets):
            word = sent.words[at] if at < len(sent.words) else 0
            intake.step(cmd__valid=at < len(sent.words), cmd__payload=word, opened=word, words__ready=1, taken=1, vault_ready=1)
            at, clocks = at + intake["cmd__ready"], clocks + 1
            if intake["complete"]:
                ends.append((bool(intake["is_sealed"]), bool(intake["right"])))
    assert ends == [packet[1:3] for packet in sent.packets]
    assert clocks == sum(2 * (1 + length) + 7 for *_, length in sent.packets) - 1, "nothing follows the last effect"


@pytest.mark.parametrize("shown", [Packet.START, Packet.STATUS])
@pytest.mark.parametrize("taken", [Packet.START, Packet.STATUS])
def test_a_header_that_changes_while_it_waits_is_refused(shown, taken):
    """In a challenge the vault looks at it a clock before: one that was taken for START would not be absorbed."""
    idle = {"absorbing": 1, "vault_ready": 1, "idle": 1, "words__ready": 1}
    crc = zlib.crc32(np.array([taken], "<u4").tobytes())
    with unit("sealed_intake") as intake:
        intake.step(cmd__valid=0, **idle)
        intake.step(cmd__valid=1, cmd__payload=int(shown))
        assert not intake["cmd__ready"], "it is looked at first"
        absorbed: list[int] = []
        for word in (int(taken), crc):
            while True:
                intake.step(cmd__payload=word, opened=word)
                if intake["absorb"]:
                    absorbed.append(word)
                if intake["cmd__ready"]:
                    break
        while not intake["complete"]:
            intake.step(cmd__valid=0)
        assert intake["right"] == (shown == taken)
        assert bool(absorbed) == (shown != Packet.START)


def test_while_halted_every_word_is_dropped():
    rng = np.random.default_rng(13)
    for _ in range(60):
        sent = Sent(rng, 5)
        around = Surroundings(sent, rng, dict.fromkeys(NAMES, 0.3))
        stop = int(rng.integers(len(sent.words)))
        with unit("sealed_intake") as intake:
            while around.at < stop:
                around.step(intake)
                around.clock += 1
            intake.step(cmd__valid=0, halt=1)  # it shows from the clock after it
            for word in sent.words[stop:]:
                intake.step(halt=1, absorbing=around.absorbing, cmd__payload=word, **dict.fromkeys(EVERYTHING, 1))
                assert intake["cmd__ready"]
                for name in ("absorb", "sealed__valid", "tag__valid", "complete"):
                    assert not intake[name], name


@pytest.mark.parametrize("depth", [0, 1, 12])
def test_a_fifo_whose_addresses_do_not_wrap_is_refused(depth):
    with pytest.raises(ValueError, match=f"power of two from 2 on, not {depth}"):
        BlockFifo(8, depth)
