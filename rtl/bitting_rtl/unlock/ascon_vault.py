"""The vault `ascon`: boot from the fuses, the bitting table, the lock key, sealed packets. One permutation serves all.

What ever happens to its state is a round, or a 32-bit word added to a half of one of its five words
(`bitting_rtl.unlock.ascon`). So every computation here is a list of words, each with the half it goes to, and permutations
between them. `bitting.locking.sealing` is the same in Python, and docs/sealed-programs.md in words.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from functools import reduce
from operator import xor

from amaranth import C, Cat, Module, Mux, Signal, Value, unsigned
from amaranth.hdl import ValueLike
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from bitting.unit.protocol import (
    DRAW_BITS,
    FLAG_SEALED,
    FUSE_WORDS,
    PURPOSE_DEVICE,
    PURPOSE_LOCK,
    PURPOSE_TABLE,
    VAULT_ASCON,
    WORD_BITS,
)
from bitting.unit.spec import UnitSpec
from bitting_rtl.lib.layouts import UNCHECKED
from bitting_rtl.lib.one_hot import OneHot
from bitting_rtl.lib.ports import Port, Ports
from bitting_rtl.unlock.ascon import AEAD_IV, HALF, WORDS, AsconCore, labelled, lut4
from bitting_rtl.unlock.table_ports import table_ports

#: Words of a key, a nonce, a tag.
_WORDS = 4
#: Of the three clocks from the address of a word of the fuses to that word on the bus, those that the vault waits.
_FUSE_WAITS = 2
#: What follows a message to whole blocks (SP 800-232, 2.1): a one.
_PAD = 1
#: The bit that parts associated data from the message (SP 800-232, 4.1.1): the highest of x4, so of its upper half.
_DOMAIN = 1 << 31
#: Words that two 64-bit halves of a key make, added to each other; they follow the key.
_SUM_WORDS = 2


class _Purpose(IntEnum):
    """What is derived; also, the part of the memory of words where what begins the derivation lies."""

    DEVICE = 1
    TABLE = 2
    LOCK = 3


#: The states; the first one begins after reset, and only reset leads out of the last one.
_STATES = (
    "INIT", "MESSAGE", "PAD", "SQUEEZE", "FILL", "HALF", "DRAW", "READ", "MOVE", "SWAP", "READY", "KEY", "NONCE", "KEY_AGAIN",
    "DATA", "PAD_DATA", "LAST_KEY", "TAG", "CHECK", "WIPED",
)  # fmt: skip
_WIPED = _STATES[-1]

#: CXOF128's customisation strings.
_LABELS = {_Purpose.DEVICE: PURPOSE_DEVICE, _Purpose.TABLE: PURPOSE_TABLE, _Purpose.LOCK: PURPOSE_LOCK}
#: Words of a state, which begins a derivation.
_STATE_WORDS = 10
#: Words of the device key's message; the fuses are the first of them.
_MESSAGE_WORDS = 8
_SECRET_WORDS = 4
#: Words of a part of the memory: a state, or keys.
_PART = 16
#: Where the words of the device key's message lie, of which only those behind the secret are used.
_MESSAGE = _PART * _Purpose.DEVICE + _PART - _MESSAGE_WORDS
#: The last of them ends the message.
_PAD_AT = _MESSAGE + _MESSAGE_WORDS - 1


def _memory_contents(spec: UnitSpec) -> list[int]:
    """What lies in the memory of words: zeros, where keys go; then for each purpose the state after its label."""
    contents = [0] * (_PART * (1 + len(_Purpose)))
    for purpose, label in _LABELS.items():
        state = labelled(label)
        state[0] ^= AEAD_IV  # which the core begins with
        for index, word in enumerate(state):
            at = _PART * purpose + 2 * index
            contents[at : at + 2] = [word & 0xFFFFFFFF, word >> HALF]
    number = int(spec.id, 16)
    contents[_MESSAGE + _SECRET_WORDS : _PAD_AT + 1] = [number & 0xFFFFFFFF, number >> WORD_BITS, VAULT_ASCON, _PAD]
    return contents


class AsconVault(wiring.Component):
    """Holds the keys; nothing but the bitting table and the clear words of sealed packets leaves it.

    Boot starts with reset's end, and takes the same clocks on every device. `unlock` ends a challenge: what was absorbed
    becomes the lock key, in the place of the device key. `open` begins a sealed packet, whose header has come before: its
    payload comes on `sealed` and leaves on `opened`; its tag comes after it.

    `wipe` clears all keys and the table; only reset leads out of it. No output's timing depends on a key, or on what is in a
    packet.
    """

    def __init__(self, spec: UnitSpec, ecp5: bool = False):
        """`ecp5`: see `AsconCore`."""
        self.spec = spec
        self._ecp5 = ecp5
        word = unsigned(WORD_BITS)
        payload = data.StructLayout({"data": word, "last": 1})
        super().__init__(
            Ports(
                {
                    "fuse_address": Port(Out(range(FUSE_WORDS)), "which word of the fuses is wanted", "at boot"),
                    "fuse_data": Port(In(word), "that word, byte 0 lowest", "from a clock after its address"),
                    "wipe": Port(In(1), "clear all keys and the table, for ever"),
                    "ready": Port(Out(1), "a command would be taken"),
                    "booted": Port(Out(1), "table and device key have been derived", "until `wipe`"),
                    "sealed_device": Port(Out(1), "the fuse `sealed` is blown", "while `booted`"),
                    "challenge": Port(In(1), "begin to absorb", "one clock, while `ready`"),
                    "challenged": Port(Out(1), "there has been a challenge since reset"),
                    "absorbing": Port(Out(1), "a challenge is under way"),
                    "absorb": Port(In(stream.Signature(word)), "words of a challenge's answers", "while `absorbing`"),
                    "absorb_command": Port(
                        In(1),
                        "absorb the word on `sealed` instead, one of the challenge itself",
                        "while `absorb.ready` and not `absorb.valid`",
                    ),
                    "unlock": Port(In(1), "end the challenge: it becomes the lock key", "one clock, while `ready`"),
                    "keyed": Port(Out(1), "there is a lock key"),
                    "header": Port(
                        In(1),
                        "the word on `sealed` may be the header of a sealed packet; the last such word is",
                        "while `ready`",
                    ),
                    "open": Port(In(1), "begin the packet whose header came last", "one clock, while `ready` and `keyed`"),
                    "empty": Port(In(1), "it has no payload", "from `open`"),
                    "number": Port(
                        In(word), "its number in the program", "from `open` on, 12 clocks; 0 while a key is derived"
                    ),
                    "cycles": Port(In(word), "what has been counted for its nonce", "from `open` on, for 12 clocks"),
                    "sealed": Port(In(stream.Signature(payload)), "its payload"),
                    "opened": Port(
                        Out(word),
                        "the word on `sealed`, in clear if it is payload",
                        "while `sealed.ready`, `absorb.ready` or `ready`",
                    ),
                    "tag_valid": Port(In(1), "the word on `sealed` is one of its tag instead", "until `tag_ready`"),
                    "tag_ready": Port(Out(1), "the word of the tag is taken"),
                    "checked": Port(Out(1), "the tag has been compared", "one clock"),
                    "authentic": Port(Out(1), "it is right", "with `checked`"),
                    **table_ports(spec),
                }
            )
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.core = self._core = core = AsconCore(self._ecp5)
        self._count = Signal(range(_STATE_WORDS))  # which word, of whatever is a list of words
        # Which word the core is asked for, and which the memory, whose words come two clocks later. Whether the one before it
        # is taken shows late in the clock, so that only decides whether they answer.
        self._ahead, self._further = Signal.like(self._count), Signal.like(self._count)
        still = Signal()  # it waits in the next clock too, if it waits in this one
        # As much of `still` as a register knows, which is all but a permutation's first clock. What the memory is asked for in
        # that one comes to nothing.
        running = Signal()
        self._purpose = Signal(_Purpose, init=_Purpose.DEVICE)
        self._owns = Signal()  # the table
        # Whatever a state wants of memory and core comes a clock later. So in its first clock, and after a permutation in the
        # first that is none of it, it only waits.
        self._goes = Signal()
        self._waits = Signal()
        self._settles = Signal(_FUSE_WAITS, init=1)  # clocks that it waits beside
        self._zero, self._advance = Signal(), Signal()  # of `_count`
        self._holds = Signal()  # the memory gives the word that it gave before, for that has not been taken
        at_once = Signal()
        # What each state wants, one after the other: no two are at once.
        self._addresses = self._selects = self._reads = self._recalls = Value.cast(0)
        self._into = [Value.cast(0)] * WORDS  # word of the state that gets the bus, in the half that `_count` says
        m.d.comb += [
            self._ahead.eq(self._count + self._goes),
            still.eq((core.runs & ~(core.last & at_once)) | self._settles[0]),
            self._further.eq(self._count + Mux(self._goes, 2, ~(running | self._settles[0]))),
            self.opened.eq(core.word),
            self.fuse_address.eq(self._count),
        ]
        m.d.sync += [
            self._count.eq(Mux(self._zero, 0, self._count + self._advance)),
            self.table_owned.eq(self._owns),
            self._goes.eq(~(self._waits | core.start | still)),
            self._settles.eq(self._settles >> 1),
        ]
        self._states = OneHot(m, _STATES)
        # These want nothing of the state, so they go on as soon as the permutation has ended. They are there long before.
        follows = self._states.at["KEY_AGAIN"] | self._states.at["TAG"]
        m.d.sync += [at_once.eq(follows), running.eq(core.runs & ~core.last & ~(core.ends & follows))]
        self._memory(m)
        self._bus(m)
        self._derive(m)
        self._draw_table(m)
        self._ready(m)
        self._open(m)
        self._close(m)
        self._wiped(m)
        m.d.comb += [
            self._address.eq(self._addresses),
            self._remembers.eq(self._recalls),
            core.reads.eq(self._reads),
            core.select.eq(self._selects),
            # Only TAG wants another word of the memory for each, and only DATA another half of the state.
            self._holds.eq(self._goes & self._states.at["TAG"] & ~self.tag_valid),
            core.holds.eq(self._goes & self._states.at["DATA"] & ~self.sealed.valid),
            core.load.eq(Cat(word & (self._count[0] == half) & self._goes for word in self._into for half in range(2))),
        ]
        self._states.connect(forced=self.wipe, there=_WIPED)
        with m.If(self.wipe):
            m.d.sync += [flag.eq(0) for flag in (self.booted, self.absorbing, self.keyed)]
        return m

    def _memory(self, m: Module) -> None:
        """Zeros, the lock key of an unsealed device; the key that was derived, with the sum of its halves behind it; constants.

        Word 0 is also for states that want none.
        """
        contents = _memory_contents(self.spec)
        attrs = {"ram_style": "block", **UNCHECKED}
        m.submodules.words = words = Memory(shape=unsigned(WORD_BITS), depth=len(contents), init=contents, attrs=attrs)
        read, self._key_write = words.read_port(), words.write_port()
        self._own_key = Signal(init=1)  # it is in use
        # Out of the memory a word comes late in the clock, so it takes another one to the bus.
        self._stored = Signal(WORD_BITS, reset_less=True)
        self._remembers = Signal()  # a word of the memory is wanted on the bus, else zeros
        m.d.comb += read.en.eq(~self._holds)
        with m.If(~self._holds):
            m.d.sync += self._stored.eq(read.data)
        with m.If(~self._remembers):
            m.d.sync += self._stored.eq(0)
        self._address = read.addr
        count = self._count
        m.d.comb += [
            # Words 0 to 3 of the key; 4 and 5 are the sums, at the places 6 and 7.
            self._key_write.addr.eq(Cat(count[0], count[1] | count[2], count[2], C(1, 1))),
            self._key_write.data.eq(self._core.word),
        ]

    def _bus(self, m: Module) -> None:
        """What goes to the state or to the memory: the sum of all sources, of which those that are not meant are zeros.

        Sources that hold still lie in a register, so that to be zeros takes a reset instead of logic.
        """
        at = self._states.at
        answers = self.absorb.valid
        commands = (at["DATA"] | at["TAG"] | at["READY"]) & ~answers
        fuse, slow = Signal(WORD_BITS, reset_less=True), Signal(WORD_BITS, reset_less=True)
        message, nonce = at["MESSAGE"], at["NONCE"]
        m.d.sync += [fuse.eq(self.fuse_data), slow.eq(fuse ^ Mux(nonce & self._ahead[1], self.cycles, self.number))]
        with m.If(~message | (self._purpose != _Purpose.DEVICE) | self._count[2]):
            m.d.sync += fuse.eq(0)
        with m.If(~(message | nonce)):
            m.d.sync += slow.eq(0)
        others = Signal(WORD_BITS)
        sources: tuple[tuple[Value, Value], ...] = ((self.sealed.payload.data, commands), (self.absorb.payload, answers))
        flag = at["MESSAGE"] & self.sealed_device & (self._purpose == _Purpose.DEVICE) & (self._count == _MESSAGE_WORDS - 2)
        domain = at["KEY_AGAIN"] & self._count[:2].all()
        bits = ((FLAG_SEALED, flag), (_DOMAIN, domain), (_PAD, at["PAD_DATA"]))
        sources += tuple((C(value, WORD_BITS), taken) for value, taken in bits)
        m.d.comb += others.eq(reduce(xor, (source & taken.replicate(WORD_BITS) for source, taken in sources)))
        m.d.comb += self._core.word.eq(self._sum(m, self._stored, self._core.rate, slow, others))

    def _sum(self, m: Module, *words: Value) -> Value:
        """Of four words. Only one LUT4 follows the memory, which is slow; left to itself, synthesis puts it anywhere."""
        if not self._ecp5:
            return reduce(xor, words)
        return Cat(lut4(m, f"word_{bit}", lambda *bits: sum(bits), *(word[bit] for word in words)) for bit in range(WORD_BITS))

    def _next(self, state: str, instead: Value | None = None, other: str = "") -> None:
        """The state of the next clock; `other`, where `instead` is high."""
        self._states.go(self._here, state, instead, other)

    def _go(self, m: Module, state: str, instead: Value | None = None, other: str = "") -> None:
        """The same, with the number of the next word 0; and it waits a clock."""
        m.d.comb += [self._waits.eq(1), self._zero.eq(1)]
        self._next(state, instead, other)

    def _permute(self, m: Module, inner: ValueLike = 0) -> None:
        """Run the permutation; the state that follows waits for it."""
        m.d.comb += [self._core.start.eq(1), self._core.inner.eq(inner)]

    def _advances(self, m: Module) -> Value:
        """Go on to the next of four words; gives whether this is the last, after which the first follows."""
        m.d.comb += self._advance.eq(1)
        last = self._count[:2] == _WORDS - 1
        with m.If(last):
            m.d.comb += self._zero.eq(1)
        return last

    def _key_address(self, sums: ValueLike = 0) -> Value:
        """Of word `_further` of the key; `sums`: of a sum for the last two."""
        last = self._further[1]
        return Cat(self._further[:2], last & sums, self._own_key)

    def _first_of_key(self, second: ValueLike = 0) -> Value:
        """Address of the key's first word, or its second: for a state that begins with the key and follows."""
        return Cat(Value.cast(second)[0], C(0, 2), self._own_key)

    def _derive(self, m: Module) -> None:
        """CXOF128 (SP 800-232, 5.3) of a purpose and a message; then the key, two words of it after each permutation."""
        count, after = self._count, self._further
        with self._state(m, "INIT", Cat(after, self._purpose), words=_STATE_WORDS):
            m.d.comb += self._advance.eq(1)
            with m.If(count == _STATE_WORDS - 1):
                self._permute(m)
                self._go(m, "MESSAGE")
        with m.If((self._states.at["INIT"] & ~self._goes) | self._states.at[_WIPED]):
            m.d.comb += self._core.clear.eq(1)
        self._message(m)
        with self._state(m, "PAD", C(_PAD_AT), words=2):
            m.d.comb += self._advance.eq(1)
            self._permute(m)
            self._go(m, "SQUEEZE", self._purpose == _Purpose.TABLE, "FILL")
        first = Cat(after[0], C(0, 2), C(1, 1))
        with self._state(m, "SQUEEZE", Mux(after[2], first, 0), reads=self._ahead[0]):
            m.d.comb += [self._key_write.en.eq(1), self._advance.eq(1)]
            with m.If(count == _WORDS // 2 - 1):
                self._permute(m)
            with m.If(count == _WORDS + _SUM_WORDS - 1):
                locks = self._purpose == _Purpose.LOCK
                m.d.comb += self._core.clear.eq(1)
                m.d.sync += [self._purpose.eq(_Purpose.TABLE), self.keyed.eq(locks), self._settles.eq(1)]
                self._go(m, "INIT", locks, "READY")

    def _message(self, m: Module) -> None:
        """What is derived from: of the device key fuses, spec id and flags; else the device key, and what is absorbed."""
        count, after = self._count, self._further
        device = self._purpose == _Purpose.DEVICE
        constant = Mux(after[2], C(_MESSAGE) | after[:3], 0)
        with self._state(m, "MESSAGE", Mux(device, constant, self._key_address()), words=2):
            m.d.comb += [self._advance.eq(1), self._waits.eq(1)]
            m.d.sync += self._settles.eq(-1)  # the next word of the fuses is on its way
            with m.If(count == FUSE_WORDS - 1):
                m.d.sync += self.sealed_device.eq(self.fuse_data[0])
            with m.If(count[0]):
                self._permute(m)
            with m.If(device):
                with m.If(count == _MESSAGE_WORDS - 1):
                    self._go(m, "SQUEEZE")
            with m.Elif(count == _WORDS - 1):
                table = self._purpose == _Purpose.TABLE
                m.d.sync += self.absorbing.eq(~table)
                self._go(m, "READY", table, "PAD")

    def _draw_table(self, m: Module) -> None:
        """The identity, then Fisher-Yates: swap entry i with entry draw(i + 1), for i from the last down to 1."""
        core, count = self._core, self._count
        highest = self.spec.codes - 1
        self._index = index = Signal(self.spec.code_bits, init=highest)
        half = Signal(DRAW_BITS)
        entries = Signal(range(self.spec.codes + 1))  # that one is drawn of: a register, for the product takes a clock
        m.d.sync += entries.eq(index + 1)
        draw = Signal.like(index)
        m.d.comb += self.table_addr.eq(draw)
        with self._state(m, "FILL"):
            self._write_table(m, index, index)
            m.d.sync += index.eq(index - 1)
            with m.If(index == 0):
                m.d.sync += index.eq(highest)
                self._go(m, "HALF")
        with self._state(m, "HALF", reads=count[1]):  # four draws a block
            m.d.comb += self._owns.eq(1)
            m.d.sync += half.eq(core.rate.word_select(count[0], DRAW_BITS))
            self._next("DRAW")
        with self._state(m, "DRAW"):  # multiply and shift: no rejection, so that no clock depends on a key
            m.d.comb += self._owns.eq(1)
            m.d.sync += draw.eq((half * entries) >> DRAW_BITS)
            self._next("READ")
        with self._state(m, "READ"):
            m.d.comb += self._owns.eq(1)
            self._next("MOVE")
        with self._state(m, "MOVE"):  # the drawn entry goes to `index`, whose old entry is read in the same clock
            self._write_table(m, index, self.table_read)
            m.d.comb += self.table_addr.eq(index)
            self._next("SWAP")
        with self._state(m, "SWAP"):
            self._write_table(m, draw, self.table_read)
            last = index == 1
            m.d.sync += index.eq(index - 1)
            m.d.comb += [self._advance.eq(1), self._waits.eq(1), core.clear.eq(last)]
            with m.If(count[:2] == 3):
                self._permute(m)
            with m.If(last | (count[:2] == 3)):
                m.d.comb += self._zero.eq(1)
            with m.If(last):
                m.d.comb += core.start.eq(0)
                m.d.sync += [self.booted.eq(1), self.keyed.eq(~self.sealed_device), self._own_key.eq(0)]
            self._next("HALF", last, "READY")

    def _write_table(self, m: Module, address: Value, entry: Value) -> None:
        m.d.comb += [
            self._owns.eq(1),
            self.table_write.eq(1),
            self.table_write_addr.eq(address),
            self.table_data.eq(entry),
        ]

    def _ready(self, m: Module) -> None:
        """Wait for a command, a word to absorb, or a header. Here the state is as `clear` leaves it, unless one is absorbed."""
        count = self._count
        self._into[3] |= self._states.at["READY"] & ~self.absorbing & self.header  # it is the first word of the nonce
        # What ends the message goes to the same half as an absorbed word that came before, and replaces it: see `_state`.
        with self._state(m, "READY", self._first_of_key(), recalls=0, words=2, loads=self.absorbing):
            m.d.comb += [self.ready.eq(1), self.absorb.ready.eq(self.absorbing)]
            with m.If(self.absorbing):
                with m.If(self.unlock):
                    m.d.sync += [self.absorbing.eq(0), self._settles.eq(1)]
                    m.d.comb += self._waits.eq(1)
                    self._next("PAD")
                with m.Elif(self.absorb.valid | self.absorb_command):
                    m.d.comb += self._advance.eq(1)
                    with m.If(count[0]):
                        m.d.comb += self._zero.eq(1)
                        self._permute(m)
            with m.Else():
                with m.If(self.challenge):
                    m.d.sync += [
                        self._purpose.eq(_Purpose.LOCK),
                        self._own_key.eq(1),
                        self.keyed.eq(0),
                        self.challenged.eq(1),
                        self._settles.eq(1),
                    ]
                    m.d.comb += self._waits.eq(1)  # `_count` is 0
                    self._next("INIT")
                with m.If(self.open):
                    m.d.comb += self._waits.eq(1)
                    self._next("KEY")

    def _open(self, m: Module) -> None:
        """AEAD128 (SP 800-232, 4.1) without associated data: begin under key and nonce, then decipher, a word a clock."""
        count = self._count
        # After KEY_AGAIN the first half of the key waits beside x3, where the end of the packet adds the second half too. If
        # no block came between, which would have taken it, the sum of both is loaded instead.
        self._doubled = Signal()
        with self._state(m, "KEY", self._key_address(), first=1, words=4), m.If(self._advances(m)):
            self._next("NONCE")
        # The nonce's first word, the header, waits beside x3 already (`_ready`). Its last word is zero, so it is left out.
        with self._state(m, "NONCE", first=3, words=4, loads=count[:2].any()):
            m.d.comb += self._advance.eq(1)
            with m.If(count[1]):
                self._permute(m)
                self._go(m, "KEY_AGAIN")
        with self._state(m, "KEY_AGAIN", self._key_address(), first=3, words=4):
            m.d.sync += self._doubled.eq(1)
            with m.If(self._advances(m)):
                self._go(m, "DATA", self.empty, "PAD_DATA")
        leaves = Signal()
        with self._state(m, "DATA", self._first_of_key(), recalls=0, reads=self._ahead[:2], words=4):
            # What is added to the state, so that it becomes the word as it came, is the word in clear.
            m.d.comb += self.sealed.ready.eq(1)
            with m.If(self.sealed.valid):
                with m.If(self._advances(m)):
                    self._permute(m, inner=1)
                    m.d.sync += self._doubled.eq(0)
                with m.If(self.sealed.payload.last):
                    m.d.comb += leaves.eq(1)
                    self._next("PAD_DATA")
        self._reads &= ~leaves  # what follows at once must not find it on the bus

    def _close(self, m: Module) -> None:
        """The tag is added to what it must be: zeros remain."""
        # Of the memory it wants nothing, but the next state need not wait for its first word.
        with self._state(m, "PAD_DATA", self._first_of_key(self._goes), recalls=self._goes, words=4):
            m.d.comb += self._advance.eq(1)
            m.d.comb += self._zero.eq(1)
            self._next("LAST_KEY")
        with self._state(m, "LAST_KEY", self._key_address(self._doubled), first=2, words=4):
            with m.If(self._advances(m)):
                self._permute(m)
                self._go(m, "TAG")
        with self._state(m, "TAG", self._key_address(), first=3, words=4):
            m.d.comb += self.tag_ready.eq(1)
            with m.If(self.tag_valid), m.If(self._advances(m)):
                self._go(m, "CHECK")  # so that its first clock passes, in which `core.zero` is what it was before
        with self._state(m, "CHECK", self._first_of_key(), recalls=0):  # as READY, which follows at once
            m.d.comb += [self.checked.eq(1), self.authentic.eq(self._core.zero), self._core.clear.eq(1)]
            self._next("READY")

    def _wiped(self, m: Module) -> None:
        """Overwrite state, keys and table, word after word, and stay."""
        with self._state(m, _WIPED):
            self._write_table(m, self._index, C(0))
            m.d.comb += [self._key_write.en.eq(1), self._advance.eq(1)]
            m.d.sync += self._index.eq(self._index - 1)

    @contextmanager
    def _state(
        self,
        m: Module,
        name: str,
        address: ValueLike | None = None,
        recalls: ValueLike = 1,
        reads: ValueLike | None = None,
        first: int = 0,
        words: int = 0,
        loads: ValueLike = 1,
    ) -> Iterator[None]:
        """A state, and in a block what happens in each of its clocks in which it does not wait (`_goes`).

        Args:
            m: the module.
            name: of the state.
            address: of the word that the memory adds to the bus two clocks later, so in terms of `_further`.
            recalls: whether the word that was asked for in the clock before comes to the bus in the next.
            reads: number of the half of the state that comes to the bus in the next clock, so in terms of `_ahead`.
            first: word of the state whose low half gets the first word of the bus.
            words: how many halves get one, from there on, as `_count` counts: two, four, or all ten; 0: none.
            loads: whether they get one. A state that waits for a word gives in every clock what shows on the bus, for whether
                the word is there shows too late. The word itself replaces what came before.
        """
        self._here, here = name, self._states.at[name]
        if address is not None:
            self._addresses |= _only(here, address)
            self._recalls |= here & recalls
        for index in range(words // 2):
            which = self._count[1:] if words == _STATE_WORDS else self._count[1] if words == _WORDS else C(0, 1)
            self._into[first + index] |= here & Value.cast(loads).any() & (which == index)
        if reads is not None:
            self._selects |= _only(here, reads)
            self._reads |= here
        with m.If(here & self._goes):
            yield


def _only(condition: Value, value: ValueLike) -> Value:
    """A value, or zeros."""
    value = Value.cast(value)
    return value & condition.replicate(len(value))
