"""The vault `ascon`: boot from the fuses, the bitting table, the lock key, sealed packets. One permutation serves all.

What ever happens to its state is a round, or a 32-bit word added to a half of one of its five words
(`bitting_rtl.unlock.ascon`). So every computation here is a list of words, each with the half it goes to, and permutations
between them. `bitting.locking.sealing` is the same in Python, and docs/sealed-programs.md in words.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum

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
from bitting_rtl.lib.ports import Port, Ports
from bitting_rtl.unlock.ascon import AsconCore
from bitting_rtl.unlock.table_ports import table_ports

#: Words of a key, a nonce, a tag.
_WORDS = 4
#: The first half of the state's words x0 to x4.
_X0, _X1, _X2, _X3 = 0, 2, 4, 6
#: What follows a message to whole blocks (SP 800-232, 2.1): a one.
_PAD = 1
#: The bit that parts associated data from the message (SP 800-232, 4.1.1): the highest of x4, so of its upper half.
_DOMAIN = 1 << 31


class _Purpose(IntEnum):
    """What is derived."""

    DEVICE = 0
    TABLE = 1
    LOCK = 2


class _Then(IntEnum):
    """Which state follows a permutation."""

    LENGTH = 0
    LABEL = 1
    MESSAGE = 2
    PAD = 3
    SQUEEZE = 4
    FILL = 5
    HALF = 6
    READY = 7
    KEY_AGAIN = 8
    DATA = 9
    PAD_DATA = 10
    TAG_KEY = 11


#: CXOF128's customisation strings.
_LABELS = {_Purpose.DEVICE: PURPOSE_DEVICE, _Purpose.TABLE: PURPOSE_TABLE, _Purpose.LOCK: PURPOSE_LOCK}
_LABEL_BYTES = 7


def nonce_layout() -> data.StructLayout:
    """What makes every packet's nonce another one, beside a word of zeros."""
    return data.StructLayout({"header": WORD_BITS, "number": WORD_BITS, "cycles": WORD_BITS})


class AsconVault(wiring.Component):
    """Holds the keys; nothing but the bitting table and the clear words of sealed packets leaves it.

    Boot starts with reset's end, and takes the same clocks on every device. `unlock` ends a challenge: what was absorbed
    becomes the lock key, in the place of the device key. `open` begins a sealed packet: its payload comes on `sealed` and
    leaves on `opened`; its tag comes after it.

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
                        In(1), "absorb the word on `sealed` instead, one of the challenge itself", "while `absorb.ready`"
                    ),
                    "unlock": Port(In(1), "end the challenge: it becomes the lock key", "one clock, while `ready`"),
                    "keyed": Port(Out(1), "there is a lock key"),
                    "open": Port(In(1), "begin a sealed packet", "one clock, while `ready` and `keyed`"),
                    "empty": Port(In(1), "it has no payload", "from `open`"),
                    "nonce": Port(In(nonce_layout()), "its nonce", "from `open` on, for 12 clocks"),
                    "sealed": Port(In(stream.Signature(payload)), "its payload"),
                    "opened": Port(
                        Out(word), "in clear: the word on `sealed`, or while there is none the same word", "the same clock"
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
        m.submodules.core = self._core = AsconCore(self._ecp5)
        self._count = Signal(range(2 * _WORDS))  # which word, of whatever is a list of words
        self._count_next = Signal.like(self._count)
        self._purpose = Signal(_Purpose)
        self._then = Signal(_Then)
        self._half = Signal(range(10))  # of the state
        self._adds = Signal()  # `_word` is added there
        self._word = Signal(WORD_BITS)
        self._deciphers = Signal()
        self._owns = Signal()  # the table
        m.d.comb += [
            self._count_next.eq(self._count),
            self._core.word.eq(self._word),
            self._core.inject.eq(self._adds << self._half),
            self._core.select.eq(self._count),
            self.opened.eq(self.sealed.payload.data ^ (self._core.rate & self._deciphers.replicate(WORD_BITS))),
            self.fuse_address.eq(self._count),
        ]
        m.d.sync += [self._count.eq(self._count_next), self.table_owned.eq(self._owns)]
        self._keys(m)
        with m.FSM(init="BEGIN", name="vault"):
            self._permute(m)
            self._derive(m)
            self._draw_table(m)
            self._ready(m)
            self._open(m)
            self._close(m)
            self._wiped(m)
        with m.If(self.wipe):
            m.d.sync += [flag.eq(0) for flag in (self.booted, self.absorbing, self.keyed)]
        return m

    def _keys(self, m: Module) -> None:
        """Eight words: four of zeros, the lock key of an unsealed device; then the device key, which the lock key replaces."""
        m.submodules.keys = keys = Memory(shape=unsigned(WORD_BITS), depth=2 * _WORDS, init=[])
        read, self._key_write = keys.read_port(), keys.write_port()
        self._own_key = Signal(init=1)  # the second is in use
        self._key = read.data  # word `_count` of it
        m.d.comb += [
            read.addr.eq(Cat(self._count_next[:2], self._own_key)),
            self._key_write.addr.eq(Cat(self._count[:2], C(1, 1))),
        ]

    def _permute(self, m: Module) -> None:
        """Run the permutation, then go where `_then` says. Between the blocks of a packet it has eight rounds, else twelve."""
        core = self._core
        with self._state(m, "START"):
            m.d.comb += [core.start.eq(1), core.inner.eq((self._then == _Then.DATA) | (self._then == _Then.PAD_DATA))]
            m.next = "RUN"
        with self._state(m, "RUN"), m.If(core.last), m.Switch(self._then):
            for then in _Then:
                with m.Case(then):
                    m.next = then.name

    def _run(self, m: Module, then: _Then) -> None:
        m.d.sync += self._then.eq(then)
        m.next = "START"

    def _add(self, m: Module, half: ValueLike, word: ValueLike) -> None:
        """Add a word to a half of the state."""
        m.d.comb += [self._adds.eq(1), self._half.eq(half), self._word.eq(word)]

    def _add_words(self, m: Module, first: int, word: ValueLike) -> Value:
        """Add four words, one a clock, from half `first` on. Gives whether this is the last."""
        self._add(m, first + self._count[:2], word)
        m.d.comb += self._count_next.eq((self._count + 1)[:2])
        return self._count[:2] == _WORDS - 1

    def _derive(self, m: Module) -> None:
        """CXOF128 (SP 800-232, 5.3) of a purpose and a message; then the key, two words of it after each permutation."""
        count = self._count
        low = {purpose: int.from_bytes(label[:4], "little") for purpose, label in _LABELS.items()}
        high = {purpose: int.from_bytes(label[4:] + bytes([_PAD]), "little") for purpose, label in _LABELS.items()}
        with self._state(m, "BEGIN"):
            m.d.comb += [self._core.clear.eq(1), self._core.hashes.eq(1), self._count_next.eq(0)]
            self._run(m, _Then.LENGTH)
        with self._state(m, "LENGTH"):
            self._add(m, _X0, 8 * _LABEL_BYTES)
            self._run(m, _Then.LABEL)
        with self._state(m, "LABEL"):
            self._add(m, count[0], 0)
            with m.Switch(self._purpose):
                for purpose in _Purpose:
                    with m.Case(purpose):
                        m.d.comb += self._word.eq(Mux(count[0], high[purpose], low[purpose]))
            m.d.comb += self._count_next.eq(~count[0])
            with m.If(count[0]):
                self._run(m, _Then.MESSAGE)
        with self._state(m, "MESSAGE"):
            self._message(m)
        with self._state(m, "FETCH"):  # the word that `_count` asks for is on its way
            m.next = "MESSAGE"
        with self._state(m, "PAD"):
            self._add(m, count[0], _PAD)
            m.d.comb += self._count_next.eq(0)
            self._run(m, _Then.SQUEEZE)
            with m.If(self._purpose == _Purpose.TABLE):
                self._run(m, _Then.FILL)
        with self._state(m, "SQUEEZE"):
            m.d.comb += [
                self._core.select.eq(count[0]),
                self._key_write.data.eq(self._core.rate),
                self._key_write.en.eq(1),
                self._count_next.eq((count + 1)[:2]),
            ]
            with m.If(count == _WORDS - 1):
                m.d.sync += self._purpose.eq(_Purpose.TABLE)
                m.next = "BEGIN"
                with m.If(self._purpose == _Purpose.LOCK):
                    m.d.sync += self.keyed.eq(1)
                    m.next = "READY"
            with m.Elif(count[0]):
                self._run(m, _Then.SQUEEZE)

    def _message(self, m: Module) -> None:
        """What is derived from: of the device key fuses, spec id and flags; else the device key, and what is absorbed."""
        count = self._count
        number = int(self.spec.id, 16)
        flags = VAULT_ASCON | Mux(self.sealed_device, FLAG_SEALED, 0)
        word = Signal(WORD_BITS)
        with m.If(self._purpose != _Purpose.DEVICE):
            m.d.comb += word.eq(self._key)
        with m.Else(), m.Switch(count):
            with m.Case(4):
                m.d.comb += word.eq(number & 0xFFFFFFFF)
            with m.Case(5):
                m.d.comb += word.eq(number >> WORD_BITS)
            with m.Case(6):
                m.d.comb += word.eq(flags)
            with m.Case(7):
                m.d.comb += word.eq(_PAD)
            with m.Default():
                m.d.comb += word.eq(self.fuse_data)
        self._add(m, count[0], word)
        m.d.comb += self._count_next.eq(count + 1)
        with m.If(count == FUSE_WORDS - 1):
            m.d.sync += self.sealed_device.eq(self.fuse_data[0])
        with m.If(~count[0]):
            m.next = "FETCH"
        with m.Else():
            self._run(m, _Then.MESSAGE)
        with m.If((self._purpose == _Purpose.DEVICE) & (count == 2 * _WORDS - 1)):
            self._run(m, _Then.SQUEEZE)
        with m.If((self._purpose != _Purpose.DEVICE) & (count == _WORDS - 1)):
            m.d.comb += self._count_next.eq(0)
            self._run(m, _Then.READY)
            with m.If(self._purpose == _Purpose.TABLE):
                self._run(m, _Then.PAD)
            with m.Else():
                m.d.sync += self.absorbing.eq(1)

    def _draw_table(self, m: Module) -> None:
        """The identity, then Fisher-Yates: swap entry i with entry draw(i + 1), for i from the last down to 1."""
        core, count = self._core, self._count
        self._index = index = Signal(self.spec.code_bits)
        half = Signal(DRAW_BITS)
        draw = Signal.like(index)
        m.d.comb += self.table_addr.eq(draw)
        with self._state(m, "FILL"):
            self._write_table(m, index, index)
            m.d.sync += index.eq(index + 1)
            with m.If(index == self.spec.codes - 1):
                m.d.sync += index.eq(index)
                m.next = "HALF"
        with self._state(m, "HALF"):  # four draws a block
            m.d.comb += [self._owns.eq(1), core.select.eq(count[1])]
            m.d.sync += half.eq(core.rate.word_select(count[0], DRAW_BITS))
            m.next = "DRAW"
        with self._state(m, "DRAW"):  # multiply and shift: no rejection, so that no clock depends on a key
            m.d.comb += self._owns.eq(1)
            m.d.sync += draw.eq((half * (index + 1)) >> DRAW_BITS)
            m.next = "READ"
        with self._state(m, "READ"):
            m.d.comb += self._owns.eq(1)
            m.next = "MOVE"
        with self._state(m, "MOVE"):  # the drawn entry goes to `index`, whose old entry is read in the same clock
            self._write_table(m, index, self.table_read)
            m.d.comb += self.table_addr.eq(index)
            m.next = "SWAP"
        with self._state(m, "SWAP"):
            self._write_table(m, draw, self.table_read)
            m.d.comb += self._count_next.eq((count + 1)[:2])
            m.d.sync += index.eq(index - 1)
            m.next = "HALF"
            with m.If(count == 3):
                self._run(m, _Then.HALF)
            with m.If(index == 1):
                m.d.comb += [self._count_next.eq(0), core.clear.eq(1)]
                m.d.sync += [self.booted.eq(1), self.keyed.eq(~self.sealed_device), self._own_key.eq(0)]
                m.next = "READY"

    def _write_table(self, m: Module, address: Value, entry: Value) -> None:
        m.d.comb += [
            self._owns.eq(1),
            self.table_write.eq(1),
            self.table_write_addr.eq(address),
            self.table_data.eq(entry),
        ]

    def _ready(self, m: Module) -> None:
        """Wait for a command, or a word to absorb."""
        count = self._count
        with self._state(m, "READY"):
            m.d.comb += [self.ready.eq(1), self.absorb.ready.eq(self.absorbing)]
            with m.If(self.challenge):
                m.d.sync += [
                    self._purpose.eq(_Purpose.LOCK),
                    self._own_key.eq(1),
                    self.keyed.eq(0),
                    self.challenged.eq(1),
                ]
                m.next = "BEGIN"
            with m.Elif(self.unlock & self.absorbing):
                m.d.sync += self.absorbing.eq(0)
                m.next = "PAD"
            with m.Elif((self.absorb.valid | self.absorb_command) & self.absorbing):
                self._add(m, count[0], Mux(self.absorb_command, self.opened, self.absorb.payload))
                m.d.comb += self._count_next.eq(~count[0])
                with m.If(count[0]):
                    self._run(m, _Then.READY)
            with m.Elif(self.open):
                m.d.comb += self._core.clear.eq(1)
                m.next = "KEY"

    def _open(self, m: Module) -> None:
        """AEAD128 (SP 800-232, 4.1) without associated data: begin under key and nonce, then decipher, a word a clock."""
        key, count = self._key, self._count
        with self._state(m, "KEY"), m.If(self._add_words(m, _X1, key)):
            m.next = "NONCE"
        with self._state(m, "NONCE"):
            words = Cat(Value.cast(self.nonce), C(0, WORD_BITS))
            with m.If(self._add_words(m, _X3, words.word_select(count[:2], WORD_BITS))):
                self._run(m, _Then.KEY_AGAIN)
        with self._state(m, "KEY_AGAIN"):
            last = self._add_words(m, _X3, key ^ Mux(count[:2] == _WORDS - 1, _DOMAIN, 0))
            with m.If(last):
                m.next = "DATA"
                with m.If(self.empty):
                    m.next = "PAD_DATA"
        with self._state(m, "DATA"):
            m.d.comb += [self._deciphers.eq(1), self.sealed.ready.eq(1)]
            with m.If(self.sealed.valid):
                ends_block = self._add_words(m, _X0, self.opened)
                with m.If(ends_block):
                    self._run(m, _Then.DATA)
                with m.If(self.sealed.payload.last):
                    m.next = "PAD_DATA"
                    with m.If(ends_block):
                        self._run(m, _Then.PAD_DATA)

    def _close(self, m: Module) -> None:
        """The tag is added to what it must be: zeros remain."""
        key, count = self._key, self._count
        with self._state(m, "PAD_DATA"):
            self._add(m, count[:2], _PAD)
            m.d.comb += self._count_next.eq(0)
            m.next = "LAST_KEY"
        with self._state(m, "LAST_KEY"), m.If(self._add_words(m, _X2, key)):
            self._run(m, _Then.TAG_KEY)
        with self._state(m, "TAG_KEY"), m.If(self._add_words(m, _X3, key)):
            m.next = "TAG"
        with self._state(m, "TAG"):
            m.d.comb += self.tag_ready.eq(1)
            with m.If(self.tag_valid):
                last = self._add_words(m, _X3, self.opened)
                with m.If(last):
                    m.next = "CHECK"
        with self._state(m, "CHECK"):
            m.d.comb += [self.checked.eq(1), self.authentic.eq(self._core.zero), self._core.clear.eq(1)]
            m.next = "READY"

    def _wiped(self, m: Module) -> None:
        """Overwrite state, keys and table, word after word, and stay."""
        with m.State("WIPED"):
            self._write_table(m, self._index, C(0))
            m.d.comb += [self._core.clear.eq(1), self._key_write.en.eq(1), self._count_next.eq(self._count + 1)]
            m.d.sync += self._index.eq(self._index + 1)

    @contextmanager
    def _state(self, m: Module, name: str) -> Iterator[None]:
        """A state that `wipe` ends at once."""
        with m.State(name):
            with m.If(self.wipe):
                m.next = "WIPED"
            with m.Else():
                yield
