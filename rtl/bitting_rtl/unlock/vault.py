"""Everything that knows a key: boot from the fuses, the fingerprint's CMAC, the lock key, the keystream.

Three 128-bit registers: `secret` (the root secret, after boot the device's lock seed), `key` (the table key while the table is
expanded, then the first CMAC subkey while a fingerprint is absorbed, then the lock key) and `block` (the CMAC chain, or
the keystream block being used up). `bitting.device` and `bitting.lock.keys` are the same derivations in Python.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from amaranth import C, Cat, Module, Mux, Signal, unsigned
from amaranth.hdl import Shape, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from bitting.protocol import CYCLE_COUNT_BITS, DRAW_BITS, LABEL_SEED, LABEL_TABLE, WORD_BITS
from bitting.spec import UnitSpec
from bitting_rtl.unlock.aes import BLOCK_BITS, Aes128, doubled

_BLOCK_BYTES = BLOCK_BITS // 8
_WORDS = BLOCK_BITS // WORD_BITS


def counter_layout() -> data.StructLayout:
    """What a tile's counter blocks hold beside the number of the block (16 bits, lowest)."""
    return data.StructLayout({"tile": 32, "layer": 32, "cycles": CYCLE_COUNT_BITS})


class Vault(wiring.Component):
    """Holds the keys; nothing but keystream bytes, draws and the bitting table leave it.

    Boot starts with reset's end: the table key and the lock seed are derived from `fuse`, the table is expanded through the
    `table_*` ports, and the root secret is overwritten by the seed. It takes the same clocks on every device. Then `ready` is
    high whenever a command is taken.

    `challenge` begins a fingerprint: words offered on `absorb` enter the CMAC. `unlock` ends it: the result is the lock key,
    and `keyed` goes high. `tile_start` begins the keystream of a tile: bytes of AES-128 in counter mode over `counter` and the
    block number. While `available`, `byte` and `draw` (uniform in 0..bound-1 up to 2^-16) may be read and used up with
    `take_byte` or `take_draw` (two bytes).

    `wipe` clears all keys and the table; only reset leads out of it. No output's timing depends on a key.
    """

    def __init__(self, spec: UnitSpec):
        self.spec = spec
        index = unsigned(spec.code_bits)
        longest = max(spec.tile_codes, spec.codes)  # what may be permuted: a tile, or the table
        super().__init__(
            {
                "fuse": In(BLOCK_BITS),
                "wipe": In(1),
                "ready": Out(1),
                "booted": Out(1),
                # fingerprint
                "challenge": In(1),
                "absorbing": Out(1),
                "absorb": In(stream.Signature(unsigned(WORD_BITS))),
                "unlock": In(1),
                "keyed": Out(1),
                # keystream
                "tile_start": In(1),
                "counter": In(counter_layout()),
                "available": Out(1),
                "byte": Out(8),
                "take_byte": In(1),
                "bound": In(Shape.cast(range(longest + 1))),
                "draw": Out(Shape.cast(range(longest))),
                "take_draw": In(1),
                # the table memory
                "table_owned": Out(1),
                "table_addr": Out(index),
                "table_read": In(index),
                "table_write": Out(1),
                "table_write_addr": Out(index),
                "table_data": Out(index),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.aes = self._aes = Aes128()
        self._secret = Signal(BLOCK_BITS)
        self._key = Signal(BLOCK_BITS)
        self._block = Signal(BLOCK_BITS)
        self._begin = Signal()  # the keystream of the table
        self._streaming = Signal()
        self._left = Signal(range(_BLOCK_BYTES + 1))  # keystream bytes left in `block`
        self._position = Signal(range(_WORDS))  # words absorbed into `block`
        self._count = Signal(16)  # words absorbed in all
        self._index = Signal(self.spec.code_bits)
        self._bound = Signal.like(self.bound)
        m.d.comb += [
            self.available.eq(self._left != 0),
            self.byte.eq(self._block[-8:]),
            self._bound.eq(self.bound),
            # Multiply and shift: no rejection, so that no clock depends on the keystream.
            self.draw.eq((self._block[-DRAW_BITS:] * self._bound) >> DRAW_BITS),
            self._aes.wipe.eq(self.wipe),
        ]
        self._keystream(m)
        with m.FSM(name="vault"):
            self._boot(m)
            self._expand_table(m)
            self._fingerprint(m)
            self._wipe(m)
        with m.If(self.wipe):
            m.d.sync += [register.eq(0) for register in (self._secret, self._key, self._block)]
            m.d.sync += [flag.eq(0) for flag in (self.booted, self.absorbing, self.keyed, self._streaming, self._left)]
        return m

    def _encrypt(self, m: Module, key: Signal, block: Value | Signal) -> None:
        m.d.comb += [self._aes.start.eq(1), self._aes.key.eq(key), self._aes.block.eq(block)]

    def _keystream(self, m: Module) -> None:
        """Keep `block` filled while streaming; the core computes one block ahead."""
        aes = self._aes
        fields = Signal(counter_layout())
        number = Signal(16)
        refill = Signal()
        m.d.comb += refill.eq(self._streaming & aes.done & (self._left == 0))
        with m.If(self.take_draw):
            m.d.sync += [self._block.eq(self._block << 16), self._left.eq(self._left - 2)]
        with m.Elif(self.take_byte):
            m.d.sync += [self._block.eq(self._block << 8), self._left.eq(self._left - 1)]
        with m.If(refill):
            m.d.sync += [self._block.eq(aes.result), self._left.eq(_BLOCK_BYTES), number.eq(number + 1)]
            self._encrypt(m, self._key, Cat(number, fields))
        with m.If(self.tile_start | self._begin):
            first = Mux(self.booted, self.counter, 0)  # the table's counters are 0, 1, 2, ...
            m.d.sync += [self._streaming.eq(1), self._left.eq(0), number.eq(1), fields.eq(first)]
            self._encrypt(m, self._key, Cat(C(0, 16), first))

    def _boot(self, m: Module) -> None:
        """Two derivations, each a CMAC of one block: AES(k, label ^ 2 AES(k, 0)), table key first, lock seed second."""
        aes, second = self._aes, Signal()
        label = Mux(second, int.from_bytes(LABEL_SEED), int.from_bytes(LABEL_TABLE))
        with self._state(m, "LOAD"):
            m.d.sync += self._secret.eq(self.fuse)
            m.next = "SUBKEY"
        with self._state(m, "SUBKEY"):
            self._encrypt(m, self._secret, C(0, BLOCK_BITS))
            m.next = "LABEL"
        with self._state(m, "LABEL"), m.If(aes.done):
            m.d.sync += self._block.eq(doubled(aes.result) ^ label)
            m.next = "MAC"
        with self._state(m, "MAC"):
            self._encrypt(m, self._secret, self._block)
            m.next = "DERIVED"
        with self._state(m, "DERIVED"), m.If(aes.done):
            m.d.comb += aes.take.eq(1)
            m.d.sync += [self._block.eq(0), second.eq(1)]
            with m.If(second):
                m.d.sync += [self._secret.eq(aes.result), self.booted.eq(1), second.eq(0)]
                m.next = "READY"
            with m.Else():
                m.d.sync += self._key.eq(aes.result)
                m.next = "FILL"

    def _expand_table(self, m: Module) -> None:
        """The identity, then Fisher-Yates: swap entry i with entry draw(i + 1), for i from the last down to 1."""
        index = self._index
        target = Signal.like(index)
        with self._state(m, "FILL"):
            m.d.comb += [
                self.table_owned.eq(1),
                self.table_write.eq(1),
                self.table_write_addr.eq(index),
                self.table_data.eq(index),
            ]
            m.d.sync += index.eq(index + 1)
            with m.If(index == self.spec.codes - 1):
                m.d.sync += index.eq(index)
                m.d.comb += self._begin.eq(1)
                m.next = "DRAW"
        with self._state(m, "DRAW"):
            m.d.comb += [self.table_owned.eq(1), self._bound.eq(index + 1), self.table_addr.eq(self.draw)]
            m.d.sync += target.eq(self.draw)
            with m.If(self.available):
                m.d.sync += [self._block.eq(self._block << 16), self._left.eq(self._left - 2)]
                m.next = "OTHER"
        with self._state(m, "OTHER"):  # the drawn entry is here: it goes to `index`, whose old entry is read in the same clock
            m.d.comb += [
                self.table_owned.eq(1),
                self.table_addr.eq(index),
                self.table_write.eq(1),
                self.table_write_addr.eq(index),
                self.table_data.eq(self.table_read),
            ]
            m.next = "SWAP"
        with self._state(m, "SWAP"):
            m.d.comb += [
                self.table_owned.eq(1),
                self.table_write.eq(1),
                self.table_write_addr.eq(target),
                self.table_data.eq(self.table_read),
            ]
            m.d.sync += index.eq(index - 1)
            m.next = "DRAW"
            with m.If(index == 1):
                m.d.comb += self._aes.take.eq(1)
                m.d.sync += [self._streaming.eq(0), self._left.eq(0), self._key.eq(0), self._block.eq(0)]
                m.next = "SUBKEY"

    def _fingerprint(self, m: Module) -> None:
        """AES-CMAC under the seed, over words; the message ends with their number and is a whole number of blocks."""
        aes = self._aes
        last = self._position == _WORDS - 1
        block = Signal(BLOCK_BITS)
        word = Signal(WORD_BITS)
        m.d.comb += block.eq(self._block ^ Cat(*(Mux(self._position == _WORDS - 1 - i, word, 0) for i in range(_WORDS))))
        with self._state(m, "READY"):
            m.d.comb += [
                self.ready.eq(1),
                word.eq(self.absorb.payload),
                self.absorb.ready.eq(self.absorbing),
            ]
            with m.If(self.challenge):
                m.d.sync += [self.keyed.eq(0), self._streaming.eq(0), self._left.eq(0), self._position.eq(0), self._count.eq(0)]
                m.next = "CHAIN"
            with m.Elif(self.unlock & self.absorbing):
                m.d.sync += self.absorbing.eq(0)
                m.next = "PAD"
            with m.Elif(self.absorb.valid & self.absorbing):
                m.d.sync += [
                    self._block.eq(block),
                    self._position.eq(self._position + 1),
                    self._count.eq(self._count + 1),
                ]
                with m.If(last):
                    m.next = "ABSORB"
        with self._state(m, "CHAIN"):
            self._encrypt(m, self._secret, C(0, BLOCK_BITS))
            m.next = "CHAIN_KEY"
        with self._state(m, "CHAIN_KEY"), m.If(aes.done):
            m.d.comb += aes.take.eq(1)
            m.d.sync += [self._key.eq(doubled(aes.result)), self._block.eq(0), self.absorbing.eq(1)]
            m.next = "READY"
        with self._state(m, "ABSORB"):
            self._encrypt(m, self._secret, self._block)
            m.next = "ABSORBED"
        with self._state(m, "ABSORBED"), m.If(aes.done):
            m.d.comb += aes.take.eq(1)
            m.d.sync += self._block.eq(aes.result)
            m.next = "READY"
        with self._state(m, "PAD"):
            m.d.comb += word.eq(self._count)
            m.d.sync += self._position.eq(self._position + 1)
            with m.If(last):
                m.d.sync += self._block.eq(block ^ self._key)
                m.next = "LAST"
        with self._state(m, "LAST"):
            self._encrypt(m, self._secret, self._block)
            m.next = "KEYED"
        with self._state(m, "KEYED"), m.If(aes.done):
            m.d.comb += aes.take.eq(1)
            m.d.sync += [self._key.eq(aes.result), self._block.eq(0), self.keyed.eq(1)]
            m.next = "READY"

    def _wipe(self, m: Module) -> None:
        """Overwrite the table, entry after entry, and stay."""
        with m.State("WIPED"):
            m.d.comb += [self.table_owned.eq(1), self.table_write.eq(1), self.table_write_addr.eq(self._index)]
            m.d.sync += self._index.eq(self._index + 1)

    @contextmanager
    def _state(self, m: Module, name: str) -> Iterator[None]:
        """A state that `wipe` ends at once."""
        with m.State(name):
            with m.If(self.wipe):
                m.next = "WIPED"
            with m.Else():
                yield
