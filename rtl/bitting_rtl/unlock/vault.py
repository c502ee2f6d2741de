"""Everything that knows a key: boot from the fuses, the fingerprint's CMAC, the lock key, the keystream.

Four 128-bit registers: `root` (the root secret, until the seed is derived), `seed` (the device's lock seed, from then on;
compact, it is one register with `root`), `key` (the table key while the table is expanded, then the first CMAC subkey while a
fingerprint is absorbed, then the lock key) and `block` (the CMAC chain, or the keystream block being used up). Beside them
`counter`, which is no secret, and `half`, the keystream of the draw to come.
`bitting.locking.device` and `bitting.locking.keys` are the same derivations in Python.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from amaranth import C, Cat, Module, Mux, Signal, unsigned
from amaranth.hdl import Shape, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from bitting.unit.protocol import CYCLE_COUNT_BITS, DRAW_BITS, FUSE_WORDS, LABEL_SEED, LABEL_TABLE, WORD_BITS
from bitting.unit.spec import UnitSpec
from bitting_rtl.lib.ports import Port, Ports
from bitting_rtl.unlock.aes import BLOCK_BITS, Aes128, doubled
from bitting_rtl.unlock.table_ports import table_ports

_BLOCK_BYTES = BLOCK_BITS // 8
_WORDS = BLOCK_BITS // WORD_BITS


def counter_layout() -> data.StructLayout:
    """What a tile's counter blocks hold beside the number of the block (16 bits, lowest)."""
    return data.StructLayout({"tile": 32, "layer": 32, "cycles": CYCLE_COUNT_BITS})


class Vault(wiring.Component):
    """Holds the keys; nothing but keystream bytes, draws and the bitting table leave it.

    Boot starts with reset's end: the table key and the lock seed are derived from the fuses, the table is expanded through the
    `table_*` ports, and the root secret gives way to the seed. It takes the same clocks on every device. Then `ready` is
    high whenever a command is taken.

    `challenge` begins a fingerprint: words offered on `absorb` enter the CMAC. `unlock` ends it: the result is the lock key,
    and `keyed` goes high. `tile_start` begins the keystream of a tile: bytes of AES-128 in counter mode over `counter` and the
    block number. `tile_ahead` begins it too, while what is left of the block in use still serves the tile before; `tile_next`
    then goes over to it. While `available`, `byte` may be read and used up with `take`; if `draws`, `draw` instead, uniform
    (up to 2^-16) in 0..n for the draw number n of the tile, made of two bytes.

    `wipe` clears all keys and the table; only reset leads out of it. No output's timing depends on a key.
    """

    def __init__(self, spec: UnitSpec, compact: bool = False):
        """`compact`: see `Aes128`."""
        self.spec = spec
        self._compact = compact
        longest = max(spec.tile_codes, spec.codes)  # what may be permuted: a tile, or the table
        super().__init__(
            Ports(
                {
                    "fuse_address": Port(Out(range(FUSE_WORDS)), "word of the fuses that is wanted", "after reset"),
                    "fuse_data": Port(
                        In(unsigned(WORD_BITS)), "that word", "from a clock after its address, until that changes"
                    ),
                    "wipe": Port(In(1), "clear all keys and the table, for ever"),
                    "ready": Port(Out(1), "a command would be taken"),
                    "booted": Port(Out(1), "the table and the seed have been derived", "until `wipe`"),
                    "challenge": Port(In(1), "forget the lock key and begin a fingerprint", "one clock, while `ready`"),
                    "absorbing": Port(Out(1), "a fingerprint is under way"),
                    "absorb": Port(In(stream.Signature(unsigned(WORD_BITS))), "words of the fingerprint", "while `absorbing`"),
                    "unlock": Port(In(1), "end the fingerprint: it becomes the lock key", "one clock, while `ready`"),
                    "keyed": Port(Out(1), "there is a lock key"),
                    "tile_start": Port(In(1), "begin the keystream of a tile", "one clock, while `keyed`"),
                    "tile_ahead": Port(In(1), "begin the next tile's, beside what is left of this one's", "one clock"),
                    "tile_next": Port(In(1), "go over to the keystream begun by `tile_ahead`", "one clock"),
                    "counter": Port(In(counter_layout()), "the tile's counter block", "with `tile_start` or `tile_ahead`"),
                    "available": Port(Out(1), "there is a byte, or a draw"),
                    "draws": Port(In(1), "draws are wanted, not bytes", "constant while a tile is unlocked"),
                    "byte": Port(Out(8), "the next byte", "with `available`"),
                    "draw": Port(Out(Shape.cast(range(longest))), "the next draw", "with `available`"),
                    "take": Port(In(1), "the byte or the draw is used up", "with `available`"),
                    **table_ports(spec),
                }
            )
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.aes = self._aes = Aes128(self._compact)
        self._root = Signal(BLOCK_BITS)
        self._seed = Signal(BLOCK_BITS)
        self._key = Signal(BLOCK_BITS)
        self._block = Signal(BLOCK_BITS)
        self._counter = Signal(BLOCK_BITS)  # the counter block to come
        self._streaming = Signal()
        self._left = Signal(range(_BLOCK_BYTES + 1))  # keystream bytes left in `block`
        self._some = Signal()  # it is not 0: what waits for a byte has a long way to go
        self._half = Signal(DRAW_BITS)
        self._bound = Signal(range(max(self.spec.tile_codes, self.spec.codes) + 2))  # of the next draw
        self._position = Signal(range(_WORDS))  # words absorbed into `block`
        self._index = Signal(self.spec.code_bits)
        self._beside = Signal.like(self._index)  # the index above; below if `_down`
        self._down = Signal()
        self._word = Signal(WORD_BITS)  # what is absorbed
        self._take = Signal()  # a draw for the table
        self._owns = Signal()  # the table
        self._abort = Signal()  # forget the blocks under way
        m.d.comb += self._beside.eq(self._index + Mux(self._down, -1, 1))
        m.d.sync += self.table_owned.eq(self._owns)  # a clock late: what is read first has been written first
        self._registers(m)
        self._connect_core(m)
        self._keystream(m)
        with m.FSM(name="vault"):
            self._derive(m)
            self._expand_table(m)
            self._fingerprint(m)
            self._wipe(m)
        with m.If(self.wipe):
            cleared = (self.draw, self._half, self.booted, self.absorbing, self.keyed)
            m.d.sync += [item.eq(0) for item in (*cleared, self._streaming, self._left, self._some, self._drawn, self._fetched)]
        return m

    def _registers(self, m: Module) -> None:
        """The key registers, and all that ever enters them: two choices a bit, where a choice in every state would cost ten."""
        result = self._aes.result
        self._turn = Signal()  # `block` by a word, the uppermost with `word` added
        self._load_block, self._load_key, self._load_root, self._load_seed = (
            Signal(name=f"load_{name}") for name in ("block", "key", "root", "seed")
        )
        self._clear_block, self._clear_key = Signal(name="clear_block"), Signal(name="clear_key")
        self._double = Signal()  # what enters `key`
        with m.If(self.wipe | self._clear_block):
            m.d.sync += self._block.eq(0)
        with m.Elif(self._load_block | self._turn):
            turned = Cat(self._block[-WORD_BITS:] ^ self._word, self._block[:-WORD_BITS])
            m.d.sync += self._block.eq(Mux(self._load_block, result, turned))
        with m.If(self.wipe | self._clear_key):
            m.d.sync += self._key.eq(0)
        with m.Elif(self._load_key):
            m.d.sync += self._key.eq(Mux(self._double, doubled(result), result))
        fused = Cat(self.fuse_data[low : low + 8] for low in (24, 16, 8, 0))  # AES has the first byte uppermost
        if self._compact:  # one register for both: there, a flip-flop costs as much as the choice before it
            with m.If(self.wipe):
                m.d.sync += self._seed.eq(0)
            with m.Elif(self._load_root | self._load_seed):
                m.d.sync += self._seed.eq(Mux(self._load_seed, result, Cat(fused, self._seed[:-WORD_BITS])))
            return
        with m.If(self.wipe | self._load_seed):
            m.d.sync += self._root.eq(0)
        with m.Elif(self._load_root):
            m.d.sync += self._root.eq(Cat(fused, self._root[:-WORD_BITS]))
        with m.If(self.wipe):
            m.d.sync += self._seed.eq(0)
        with m.Elif(self._load_seed):
            m.d.sync += self._seed.eq(result)

    def _encrypt(self, m: Module) -> None:
        """Start the core on what `_connect_core` chooses."""
        m.d.comb += self._aes.start.eq(1)

    def _connect_core(self, m: Module) -> None:
        """What the core encrypts: while streaming, counters with the key register.

        Else `block`, which is 0 where 0 is meant, with the root or the seed (of which one is 0).
        """
        m.d.comb += [
            self._aes.block.eq(Mux(self._streaming, self._counter, self._block)),
            self._aes.key.eq(Mux(self._streaming, self._key, self._root | self._seed)),
            self._aes.wipe.eq(self.wipe),
        ]

    def _keystream(self, m: Module) -> None:
        """Hand out bytes of the uppermost word of `block`, or draws."""
        aes, left, bound = self._aes, self._left, self._bound
        self._drawn = drawn = Signal()  # `draw` is one
        # A word that is used up leaves a clock later, for `take` comes late; until then the one below is the uppermost.
        stale = Signal()
        top = Mux(stale, self._block[-2 * WORD_BITS : -WORD_BITS], self._block[-WORD_BITS:])
        m.d.sync += stale.eq(0)
        m.d.comb += self._turn.eq(stale)
        draws = self.draws | ~self.booted
        take = self.take | self._take
        fewer = left - Mux(draws, 2, 1)
        use_byte = Signal()
        use_draw = Signal()
        fetch = Signal()
        self._fetched = fetched = Signal()  # `half` is the keystream of the next draw: the multiplier is slow by itself
        switched = Signal()  # to the keystream of another tile
        hold = Signal()  # what comes is for the tile after this
        m.d.comb += [
            # Whatever is not keystream is used as it comes; registers only, for a long way begins here.
            aes.take.eq(~self._streaming | (~self._some & ~hold)),
            self.byte.eq(top.word_select((left - 1)[:2], 8)),
            self.available.eq(Mux(draws, drawn, self._some) & ~switched),
            use_byte.eq(take & ~draws),
            use_draw.eq(fetched & (take | ~drawn)),
            fetch.eq(self._streaming & draws & self._some & (use_draw | ~fetched)),
        ]
        with m.If(use_draw):
            # Multiply and shift: no rejection, so that no clock depends on the keystream.
            m.d.sync += [
                self.draw.eq((self._half * bound) >> DRAW_BITS),
                drawn.eq(1),
                fetched.eq(0),
                bound.eq(bound + Mux(self.booted, 1, -1)),
            ]
        with m.Elif(take):
            m.d.sync += drawn.eq(0)
        with m.If(fetch):
            m.d.sync += [
                self._half.eq(Mux(left[1], top[:DRAW_BITS], top[DRAW_BITS:])),
                fetched.eq(1),
                left.eq(fewer),
                self._some.eq(left != 2),
                stale.eq(left[1]),
            ]
        with m.Elif(use_byte):
            m.d.sync += [left.eq(fewer), self._some.eq(left != 1), stale.eq(left[:2] == 1)]
        self._refill(m, switched, hold, draws & (use_draw | ~fetched))

    def _refill(self, m: Module, switched: Signal, hold: Signal, at_once: Value) -> None:
        """Keep `block` filled while streaming, the core a block ahead, and go from tile to tile.

        Args:
            m: module of the vault.
            switched: is set here: the keystream of another tile begins, a clock after it was asked for.
            hold: is set here, and cleared by `switched`: what the core gives is for the tile after this.
            at_once: the first draw of a block is wanted with it.
        """
        aes, left = self._aes, self._left
        number = self._counter[:16]
        started = Signal()
        with m.If(self._streaming & (aes.ready | started)):
            self._encrypt(m)
            m.d.sync += number.eq(number + 1)
        with m.If(self._streaming & aes.done & ~self._some & ~hold):
            m.d.comb += self._load_block.eq(1)
            m.d.sync += [left.eq(_BLOCK_BYTES), self._some.eq(1)]
            with m.If(at_once):
                m.d.sync += [self._half.eq(aes.result[-DRAW_BITS:]), self._fetched.eq(1), left.eq(_BLOCK_BYTES - 2)]
        with m.If(self.tile_start | self.tile_ahead):
            m.d.sync += [self._counter.eq(Cat(C(0, 16), self.counter)), self._streaming.eq(1)]
        # These come late in their clock, and a tile's codes come clocks after them.
        m.d.sync += [started.eq(self.tile_start | self.tile_ahead), switched.eq(self.tile_start | self.tile_next)]
        with m.If(self.tile_ahead):
            m.d.sync += hold.eq(1)
        aborted = Signal()  # a clock late: a block may start in the same
        m.d.sync += aborted.eq(self._abort)
        m.d.comb += aes.abort.eq(started | aborted)
        with m.If(switched):
            m.d.sync += [hold.eq(0), left.eq(0), self._some.eq(0)]
            m.d.sync += [self._drawn.eq(0), self._fetched.eq(0), self._bound.eq(1)]

    def _derive(self, m: Module) -> None:
        """AES-CMAC (RFC 4493) of whole blocks: a label under the root secret (table key, then lock seed), or a fingerprint."""
        aes = self._aes
        second = Signal()
        label = Value.cast(Mux(second, int.from_bytes(LABEL_SEED), int.from_bytes(LABEL_TABLE)))
        here = Signal()  # the word that was asked for
        m.d.comb += self.fuse_address.eq(self._position)
        with self._state(m, "LOAD"):
            m.d.sync += here.eq(~here)
            with m.If(here):
                m.d.comb += self._load_root.eq(1)
                m.d.sync += self._position.eq(self._position + 1)
                with m.If(self._position == _WORDS - 1):
                    m.next = "SUBKEY"
        with self._state(m, "SUBKEY"):
            self._encrypt(m)
            m.next = "CHAIN"
        with self._state(m, "CHAIN"), m.If(aes.done):
            m.d.comb += [self._load_key.eq(1), self._double.eq(1), self._clear_block.eq(1)]
            m.d.sync += self.absorbing.eq(self.booted)
            m.next = "LABEL"
            with m.If(self.booted):
                m.next = "READY"
        with self._state(m, "LABEL"):
            m.d.comb += [self._turn.eq(1), self._word.eq(label.word_select(~self._position, WORD_BITS))]
            m.d.sync += self._position.eq(self._position + 1)
            with m.If(self._position == _WORDS - 1):
                m.next = "WHITEN"
        with self._state(m, "WHITEN"):  # the subkey word by word: all at once would cost a gate a bit before the core
            m.d.comb += [self._turn.eq(1), self._word.eq(self._key.word_select(~self._position, WORD_BITS))]
            m.d.sync += self._position.eq(self._position + 1)
            with m.If(self._position == _WORDS - 1):
                m.next = "LAST"
        with self._state(m, "LAST"):
            self._encrypt(m)
            m.next = "DERIVED"
        with self._state(m, "DERIVED"), m.If(aes.done):
            m.d.comb += self._clear_block.eq(1)
            m.d.sync += second.eq(1)
            with m.If(second & ~self.booted):
                m.d.comb += [self._load_seed.eq(1), self._clear_key.eq(1)]
                m.d.sync += self.booted.eq(1)
            with m.Else():
                m.d.comb += self._load_key.eq(1)
            with m.If(second):
                m.d.sync += self.keyed.eq(self.booted)
                m.next = "READY"
            with m.Else():
                m.next = "FILL"

    def _expand_table(self, m: Module) -> None:
        """The identity, then Fisher-Yates: swap entry i with entry draw(i + 1), for i from the last down to 1."""
        index = self._index
        target = Signal.like(index)
        other = Signal()  # state OTHER, as a register: the way through the table is long
        m.d.sync += other.eq(0)
        m.d.comb += self.table_addr.eq(Mux(other, index, self.draw))
        with self._state(m, "FILL"):
            m.d.comb += [
                self._owns.eq(1),
                self.table_write.eq(1),
                self.table_write_addr.eq(index),
                self.table_data.eq(index),
            ]
            m.d.sync += [index.eq(self._beside), self._bound.eq(self.spec.codes)]
            with m.If(index == self.spec.codes - 1):
                m.d.sync += [index.eq(index), self._streaming.eq(1)]
                m.next = "DRAW"
        with self._state(m, "DRAW"):
            m.d.comb += self._owns.eq(1)
            m.d.sync += target.eq(self.draw)
            with m.If(self.available):
                m.d.comb += self._take.eq(1)
                m.d.sync += other.eq(1)
                m.next = "OTHER"
        with self._state(m, "OTHER"):  # the drawn entry is here: it goes to `index`, whose old entry is read in the same clock
            m.d.comb += [
                self._owns.eq(1),
                self.table_write.eq(1),
                self.table_write_addr.eq(index),
                self.table_data.eq(self.table_read),
            ]
            m.next = "SWAP"
        with self._state(m, "SWAP"):
            m.d.comb += [
                self._owns.eq(1),
                self.table_write.eq(1),
                self.table_write_addr.eq(target),
                self.table_data.eq(self.table_read),
            ]
            m.d.comb += self._down.eq(1)
            m.d.sync += index.eq(self._beside)
            m.next = "DRAW"
            with m.If(index == 1):
                m.d.comb += [self._abort.eq(1), self._clear_key.eq(1), self._clear_block.eq(1)]
                m.d.sync += [self._streaming.eq(0), self._left.eq(0), self._some.eq(0), self._fetched.eq(0)]
                m.next = "SUBKEY"

    def _fingerprint(self, m: Module) -> None:
        """The message is words; it ends with their number and is a whole number of blocks."""
        aes = self._aes
        count = Signal(16)  # words absorbed
        last = self._position == _WORDS - 1
        with self._state(m, "READY"):
            m.d.comb += [self.ready.eq(1), self.absorb.ready.eq(self.absorbing)]
            with m.If(self.challenge):
                m.d.comb += [self._abort.eq(1), self._clear_block.eq(1)]
                m.d.sync += [self.keyed.eq(0), self._streaming.eq(0), self._left.eq(0), self._some.eq(0), self._position.eq(0)]
                m.d.sync += count.eq(0)
                m.next = "SUBKEY"
            with m.Elif(self.unlock & self.absorbing):
                m.d.sync += self.absorbing.eq(0)
                m.next = "PAD"
            with m.Elif(self.absorb.valid & self.absorbing):
                m.d.comb += [self._turn.eq(1), self._word.eq(self.absorb.payload)]
                m.d.sync += [self._position.eq(self._position + 1), count.eq(count + 1)]
                with m.If(last):
                    m.next = "ABSORB"
        with self._state(m, "ABSORB"):
            self._encrypt(m)
            m.next = "ABSORBED"
        with self._state(m, "ABSORBED"), m.If(aes.done):
            m.d.comb += self._load_block.eq(1)
            m.next = "READY"
        with self._state(m, "PAD"):
            m.d.comb += self._turn.eq(1)
            m.d.sync += self._position.eq(self._position + 1)
            with m.If(last):
                m.d.comb += self._word.eq(count)
                m.next = "WHITEN"

    def _wipe(self, m: Module) -> None:
        """Overwrite the table, entry after entry, and stay."""
        with m.State("WIPED"):
            m.d.comb += [self._owns.eq(1), self.table_write.eq(1), self.table_write_addr.eq(self._index)]
            m.d.sync += self._index.eq(self._beside)

    @contextmanager
    def _state(self, m: Module, name: str) -> Iterator[None]:
        """A state that `wipe` ends at once."""
        with m.State(name):
            with m.If(self.wipe):
                m.next = "WIPED"
            with m.Else():
                yield
