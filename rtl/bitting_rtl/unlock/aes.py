"""AES-128 encryption (FIPS 197), a round in two clocks, two blocks at a time.

It is the only cipher of the engine: counter mode, CMAC and table expansion use it.

Sized for its job: a code takes the MAC at least one clock, and a block unlocks 16 codes (8 for `shuffle`, whose draws take two
bytes), so a block every eleven clocks keeps the MAC fed; a core of half the width would make `shuffle` fall behind. The 20
S-boxes (16 for the state, 4 for the key schedule) are synchronous ROMs: ten dual-port block RAMs, where logic would cost some
20 x 130 LUT4. A block RAM takes half a clock by itself, so a second clock does the rest of the round, and a second block uses
the clock in between.
"""

from typing import NamedTuple

from amaranth import C, Cat, Module, Mux, Signal, unsigned
from amaranth.hdl import Value
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory, ReadPort
from amaranth.lib.wiring import In, Out

from bitting_rtl.lib.ports import Port, Ports

BLOCK_BITS = 128
ROUNDS = 10


class CipherTiming(NamedTuple):
    """How fast a core is: `blocks` of them every `period` clocks, each `latency` clocks after its start."""

    latency: int
    blocks: int
    period: int


def cipher_timing(compact: bool) -> CipherTiming:
    """Of a core whose results are taken at once."""
    return CipherTiming(12, 1, 11) if compact else CipherTiming(22, 2, 22)


def _times2(value: int) -> int:
    """Product by x in GF(2^8) modulo x^8 + x^4 + x^3 + x + 1 (FIPS 197, 4.2)."""
    return (value << 1) ^ (0x11B if value & 0x80 else 0)


def sbox_contents() -> list[int]:
    """The S-box (FIPS 197, 5.1.1): inverse in GF(2^8), then the affine map."""
    # Powers of the generator 3 and their logarithms give every inverse.
    powers, value = [], 1
    for _ in range(255):
        powers.append(value)
        value ^= _times2(value)
    inverse = {power: powers[-index % 255] for index, power in enumerate(powers)} | {0: 0}
    contents = []
    for byte in range(256):
        word = inverse[byte] * 0x101  # twice side by side: a shift of it is a rotation
        contents.append((word ^ word >> 4 ^ word >> 5 ^ word >> 6 ^ word >> 7 ^ 0x63) & 0xFF)
    return contents


def block_bytes(block: Value) -> list[Value]:
    """The 16 bytes of a block in the order of FIPS 197: byte 0 is the most significant."""
    return [block[8 * (15 - index) : 8 * (16 - index)] for index in range(16)]


def block_of(values: list[Value]) -> Value:
    """Inverse of `block_bytes`; also words of any equal width, first one most significant."""
    return Cat(*reversed(values))


def doubled(block: Value) -> Value:
    """Product by x in GF(2^128) modulo x^128 + x^7 + x^2 + x + 1: the subkeys of CMAC (SP 800-38B, 6.1)."""
    return Cat(0, block[:-1]) ^ Mux(block[-1], 0x87, 0)


def _xtime(byte: Value) -> Value:
    return Cat(0, byte[:7]) ^ Mux(byte[7], 0x1B, 0)


def _round(column: list[Value], last: Value) -> list[Value]:
    """MixColumns of one column (FIPS 197, 5.1.3), 2a + 3b + c + d for each byte; the bytes as they are in the last round."""
    total = column[0] ^ column[1] ^ column[2] ^ column[3]
    mixing = [total ^ _xtime(column[i] ^ column[(i + 1) % 4]) for i in range(4)]
    return [byte ^ (mix & ~last.replicate(8)) for byte, mix in zip(column, mixing, strict=True)]


#: Is there a block, the round it is in (1..10), and whether that is the last.
_PLACE = data.StructLayout({"valid": 1, "round": range(ROUNDS + 1), "last": 1})


class Aes128(wiring.Component):
    """Encrypt `block` under `key`, two blocks at a time.

    `start` takes both, in a clock in which `ready` is high. `done` comes 22 clocks later and stays, with `result`, until the
    clock in which `take` is high. Blocks leave in the order they came; behind a result that is not taken they wait. `abort`
    forgets all blocks under way and the result; a block may start in the same clock. `wipe` forgets too, and clears every
    register that held a key or a state, in three clocks.

    Latency and throughput: `pace`, and as long as results wait; each block has a key of its own. Compact, it does a round in
    one clock, for one block at a time: 288 registers fewer, and the longest path of the engine.
    """

    def __init__(self, compact: bool = False):
        self._compact = compact
        super().__init__(
            Ports(
                {
                    "ready": Port(Out(1), "there is room for a block"),
                    "start": Port(In(1), "take `key` and `block`", "one clock, while `ready`"),
                    "key": Port(In(BLOCK_BITS), "the key", "with `start`"),
                    "block": Port(In(BLOCK_BITS), "the block", "with `start`"),
                    "done": Port(Out(1), "there is a result", "until `take`"),
                    "result": Port(Out(BLOCK_BITS), "the encrypted block", "with `done`"),
                    "take": Port(In(1), "the result is taken", "with `done`"),
                    "abort": Port(In(1), "forget the blocks under way and the result", "one clock"),
                    "wipe": Port(In(1), "forget, and clear every register", "three clocks"),
                }
            )
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # A round takes two clocks: the S-boxes' memories, then all the rest. A block in each of them takes turns.
        ports = self._sboxes(m)
        looked_up, mixed = Signal(_PLACE, name="looked_up"), Signal(_PLACE, name="mixed")
        looked_up_key = Signal(BLOCK_BITS)  # of the round before
        mixed_key = Signal(BLOCK_BITS)
        substituted = Signal(data.ArrayLayout(8, len(ports)))
        entering = Signal()  # a block at the entrance, for a clock in which there is none in `mixed`; else zeros
        entering_block = Signal(BLOCK_BITS)
        entering_key = Signal(BLOCK_BITS)
        again = Signal()  # the block in `mixed` goes back to the S-boxes
        leaves = Signal()
        advance = Signal()
        m.d.comb += [
            again.eq(mixed.valid & ~mixed.last),
            advance.eq(~(mixed.valid & mixed.last & self.done & ~self.take)),
            leaves.eq(mixed.valid & mixed.last & advance),
            self.ready.eq(advance & ~(again | entering if self._compact else looked_up.valid)),
        ]
        m.d.sync += [
            entering.eq(self.start & ~self.wipe),
            entering_block.eq(Mux(self.start, self.block, 0)),
            entering_key.eq(Mux(self.start, self.key, 0)),
        ]
        next_state, next_key = self._step(m, substituted, mixed, mixed_key, entering_block, entering_key)
        # RotWord; SubWord comes with the next round.
        addresses = [*block_bytes(next_state), *block_bytes(next_key)[13:], block_bytes(next_key)[12]]
        for port, address in zip(ports, addresses, strict=True):
            m.d.comb += [port.addr.eq(address), port.en.eq(advance | self.wipe)]

        with m.If(advance):
            m.d.sync += [
                looked_up.valid.eq(again | entering),
                looked_up.round.eq(Mux(again, mixed.round + 1, 1)),
                looked_up.last.eq(again & (mixed.round == ROUNDS - 1)),
                looked_up_key.eq(next_key),
            ]
        second = [(mixed, looked_up), (mixed_key, looked_up_key), (substituted, Cat(port.data for port in ports))]
        if self._compact:
            m.d.comb += [target.eq(source) for target, source in second]
        else:
            # One condition for all that empties them: a flip-flop has one reset.
            with m.If(self.abort | self.wipe | (advance & ~looked_up.valid)):
                m.d.sync += [target.eq(0) for target, _ in second]
            with m.Elif(advance):
                m.d.sync += [target.eq(source) for target, source in second]
        with m.If(leaves):
            m.d.sync += [self.result.eq(next_state), self.done.eq(1)]
        with m.Elif(self.take):
            m.d.sync += self.done.eq(0)
        with m.If(self.abort | self.wipe):
            m.d.sync += [flag.eq(0) for flag in (looked_up.valid, self.done)]
        self._held = [entering_block, entering_key, looked_up_key, self.result]
        with m.If(self.wipe):
            m.d.sync += [register.eq(0) for register in self._held]
        if not self._compact:
            self._held += [mixed_key, substituted.as_value()]  # emptied above
        return m

    def _step(
        self, m: Module, substituted: data.View, mixed: data.View, key: Value, entering_block: Value, entering_key: Value
    ) -> tuple[Signal, Signal]:
        """State and key of the next round, of the block in `mixed` or of the one that enters (its first key whitens it)."""
        next_state = Signal(BLOCK_BITS)
        next_key = Signal(BLOCK_BITS)
        expanded = self._expand(m, key, mixed.round, Cat(*(substituted[16 + row] for row in (3, 2, 1, 0))))
        # ShiftRows: byte `row` of column `column` comes from column + row.
        shifted = [substituted[(index + 4 * (index % 4)) % 16] for index in range(16)]
        state = block_of([block_of(_round(shifted[first : first + 4], mixed.last)) for first in range(0, 16, 4)])
        if self._compact:  # what the memories give is never 0
            state, expanded = (
                Mux(mixed.valid, ours, theirs) for ours, theirs in ((state, entering_block), (expanded, entering_key))
            )
        else:  # one of both is 0: half the logic of a choice
            state, expanded = state ^ entering_block, expanded ^ entering_key
        m.d.comb += [next_key.eq(expanded), next_state.eq(state ^ next_key)]
        return next_state, next_key

    def _sboxes(self, m: Module) -> list[ReadPort]:
        """20 read ports of the S-box, two a memory, as a block RAM has (at 20 Yosys runs out of memory itself)."""
        ports = []
        for index in range(10):
            m.submodules[f"sbox{index}"] = sbox = Memory(
                shape=unsigned(8), depth=256, init=sbox_contents(), attrs={"rom_style": "block"}
            )
            ports += [sbox.read_port(), sbox.read_port()]
        return ports

    def _expand(self, m: Module, key: Value, number: Value, rotated: Value) -> Value:
        """The key schedule (FIPS 197, 5.2): four words from the four before; `rotated` is SubWord(RotWord(last))."""
        words = [key[96:128], key[64:96], key[32:64], key[0:32]]
        constant = Signal(8)
        power = 1
        with m.Switch(number):
            for index in range(1, ROUNDS + 1):
                with m.Case(index):
                    m.d.comb += constant.eq(power)
                power = _times2(power)
        before = rotated ^ Cat(C(0, 24), constant)
        expanded: list[Value] = []
        for index, word in enumerate(words):
            after = Signal(32, name=f"word{index}")
            m.d.comb += after.eq(word ^ before)
            expanded.append(after)
            before = after
        return block_of(expanded)
