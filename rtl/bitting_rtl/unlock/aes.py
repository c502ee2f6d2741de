"""AES-128 encryption (FIPS 197), a round a clock. The only cipher of the engine: counter mode, CMAC and table expansion use it.

Sized for its job: a code takes the MAC at least one clock, and a block unlocks 16 codes (8 for `shuffle`, whose draws take two
bytes), so a block in ten clocks keeps the MAC fed with room to spare; a core of half the width would take twenty, and
`shuffle` would fall behind. The 20 S-boxes (16 for the state, 4 for the key schedule) are synchronous ROMs: ten dual-port
block RAMs, where logic would cost some 20 x 50 LUT4 or more; the ROM's output register is the state register.
"""

from amaranth import C, Cat, Module, Mux, Signal, unsigned
from amaranth.hdl import Value
from amaranth.lib import wiring
from amaranth.lib.memory import Memory, ReadPort
from amaranth.lib.wiring import In, Out

BLOCK_BITS = 128
ROUNDS = 10


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


def _mixed(column: list[Value]) -> list[Value]:
    """MixColumns of one column (FIPS 197, 5.1.3): 2a + 3b + c + d for each byte."""
    total = column[0] ^ column[1] ^ column[2] ^ column[3]
    return [column[i] ^ total ^ _xtime(column[i] ^ column[(i + 1) % 4]) for i in range(4)]


class Aes128(wiring.Component):
    """Encrypt `block` under `key`.

    `start` takes both in any clock, abandoning whatever was under way; `done` comes ten clocks later and stays, with `result`,
    until the clock in which `take` or `start` is high. `take` alone leaves the core `idle`, at any time. `wipe` clears every
    register that held a key or a state.

    Latency: 10 clocks. Throughput: a block every 10 clocks if `start` comes with `take`.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "start": In(1),
                "key": In(BLOCK_BITS),
                "block": In(BLOCK_BITS),
                "take": In(1),
                "wipe": In(1),
                "idle": Out(1),
                "done": Out(1),
                "result": Out(BLOCK_BITS),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        ports = self._sboxes(m)
        state_ports, key_ports = ports[:16], ports[16:]

        count = Signal(range(ROUNDS + 1))  # the round whose SubBytes the ROMs now show; 0 is idle
        self._round_key = round_key = Signal(BLOCK_BITS, name="round_key")  # of the round before
        constant = Signal(8)
        running = Signal()
        next_key = Signal(BLOCK_BITS)
        next_state = Signal(BLOCK_BITS)
        m.d.comb += [self.idle.eq(count == 0), self.done.eq(count == ROUNDS), running.eq(~self.idle & ~self.done)]

        self._expand(m, round_key, constant, Cat(port.data for port in reversed(key_ports)), next_key)

        # ShiftRows: byte `row` of column `column` comes from column + row.
        substituted = [port.data for port in state_ports]
        shifted = [substituted[(index + 4 * (index % 4)) % 16] for index in range(16)]
        mixed = []
        for first in range(0, 16, 4):
            column = Signal(32, name=f"column{first // 4}")
            m.d.comb += column.eq(block_of(_mixed(shifted[first : first + 4])))
            mixed.append(column)
        m.d.comb += [
            self.result.eq(block_of(shifted) ^ next_key),
            next_state.eq(block_of(mixed) ^ next_key),
        ]

        address = Signal(BLOCK_BITS)
        schedule = Signal(BLOCK_BITS)
        with m.If(~self.wipe):
            m.d.comb += [
                address.eq(Mux(self.start, self.block ^ self.key, next_state)),
                schedule.eq(Mux(self.start, self.key, next_key)),
            ]
        advance = Signal()
        m.d.comb += advance.eq(self.start | running | self.wipe)
        for port, byte in zip(state_ports, block_bytes(address), strict=True):
            m.d.comb += [port.addr.eq(byte), port.en.eq(advance)]
        last_word = block_bytes(schedule)[12:]
        for port, byte in zip(key_ports, [*last_word[1:], last_word[0]], strict=True):  # RotWord
            m.d.comb += [port.addr.eq(byte), port.en.eq(advance)]

        with m.If(advance):
            m.d.sync += round_key.eq(schedule)
        with m.If(self.wipe | (self.take & ~self.start)):
            m.d.sync += count.eq(0)
        with m.Elif(self.start):
            m.d.sync += [count.eq(1), constant.eq(1)]
        with m.Elif(running):
            m.d.sync += [count.eq(count + 1), constant.eq(_xtime(constant))]
        return m

    def _sboxes(self, m: Module) -> list[ReadPort]:
        """20 read ports of the S-box, two a memory, as a block RAM has (at 20 Yosys runs out of memory itself)."""
        ports = []
        for index in range(10):
            m.submodules[f"sbox{index}"] = sbox = Memory(
                shape=unsigned(8), depth=256, init=sbox_contents(), attrs={"rom_style": "block"}
            )
            ports += [sbox.read_port(), sbox.read_port()]
        return ports

    def _expand(self, m: Module, key: Signal, constant: Signal, rotated: Value, next_key: Signal) -> None:
        """The key schedule (FIPS 197, 5.2): four words from the four before; `rotated` is SubWord(RotWord(last))."""
        words = [key[96:128], key[64:96], key[32:64], key[0:32]]
        before = rotated ^ Cat(C(0, 24), constant)
        expanded: list[Value] = []
        for index, word in enumerate(words):
            after = Signal(32, name=f"word{index}")
            m.d.comb += after.eq(word ^ before)
            expanded.append(after)
            before = after
        m.d.comb += next_key.eq(block_of(expanded))
