"""Words from a QSPI flash: quad reads, a word in 16 clocks."""

from amaranth import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from bitting.unit.flash_image import FLASH_BYTES
from bitting.unit.protocol import WORD_BITS
from bitting_rtl.lib.ports import Port, Ports

#: Bits of the address of a word.
ADDRESS_BITS = (FLASH_BYTES // 4 - 1).bit_length()
#: What is sent after a reset, each tuple with the chip selected once, and before every read. Written from the data sheets of
#: Winbond's W25Q128JV and ISSI's IS25LP128F; what one of them does not know it ignores.
_WAKE = (
    (0xFF,),  # all four pins high for eight clocks: ends a continuous read, and a mode of four pins for commands
    (0xAB,),  # release from power-down, where an iCE40 leaves its flash after configuration
    (0x66,),  # these two reset it: a burst with wrap, which a design before us may have set, ends
    (0x99,),
    (0x50,),  # the next write to a status register is not kept when power goes
    (0x01, 0x40),  # quad enable of ISSI; of Winbond a bit that protects nothing by itself
    (0x50,),
    (0x31, 0x02),  # quad enable of Winbond
)
_READ = (0xEB,)  # fast read quad I/O: address and mode in nibbles, four clocks of nothing, data in nibbles
_MODE = 0xFF  # no continuous read
_DUMMY_CLOCKS = 4
#: Clocks between two of `_WAKE`: 80 us at 25 MHz. A reset wants 30 us (Winbond) or 35 us (ISSI), waking 3 us.
_PAUSE_CLOCKS = 2048
#: Clocks for which the chip is not selected before a read.
_GAP_CLOCKS = 4

_BYTES = tuple((byte, place == len(frame) - 1) for frame in (*_WAKE, _READ) for place, byte in enumerate(frame))
_READ_AT = len(_BYTES) - 1


def flash_pins() -> dict[str, Port]:
    """The pins of a flash, as ports."""
    return {
        "flash_sck": Port(Out(1), "clock of the flash"),
        "flash_cs_n": Port(Out(1, init=1), "chip select of the flash, active low"),
        "flash_o": Port(Out(4), "to its pins IO0 to IO3", "when `flash_sck` rises, with `flash_oe`"),
        "flash_oe": Port(Out(1), "they are driven"),
        "flash_i": Port(In(4), "from them", "when `flash_sck` falls"),
    }


def _on_one_pin(byte: int) -> int:
    """A byte for pin 0, most significant bit first, as nibbles; the other pins, /WP and /HOLD among them, are high."""
    return sum((0xE | byte >> bit & 1) << 4 * bit for bit in range(8))


class FlashReader(wiring.Component):
    """After a reset it wakes the flash; with `start` it begins to read at a word, and goes on until `stop`.

    The clock of the flash is half of ours, mode 0. Its outputs change after a falling edge, and are taken at the next one. It
    stands still while a word waits. No pin of the flash is driven by logic that could glitch.
    """

    def __init__(self) -> None:
        super().__init__(
            Ports(
                {
                    "start": Port(In(1), "read from `address` on", "with `idle`"),
                    "stop": Port(In(1), "read no more; a word that waits is dropped", "after the first word"),
                    "address": Port(In(ADDRESS_BITS), "number of a word of the flash", "from `start` to the first word"),
                    "idle": Port(Out(1), "the flash is awake, and nothing is read"),
                    "o": Port(Out(stream.Signature(WORD_BITS)), "words, lowest byte first", "one in 16 clocks at most"),
                    "byte": Port(Out(8), "each byte of them as it comes", "with `byte_valid`"),
                    "byte_valid": Port(Out(1), "there is one"),
                    **flash_pins(),
                }
            )
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self._sck = Signal()
        self._shift = Signal(WORD_BITS)  # a nibble out at the top and in at the bottom, for each clock of the flash
        self._nibbles = Signal(range(8))
        self._full = Signal()
        step, dummy, arrived = Signal(), Signal(), Signal()
        last = Signal()  # nibble of a word, or clock of nothing
        m.d.comb += [
            self.flash_sck.eq(self._sck),
            self.flash_o.eq(self._shift[-4:]),
            self.o.payload.eq(Cat(self._shift[at : at + 8] for at in (24, 16, 8, 0))),
            self.o.valid.eq(self._full),
            self.byte.eq(self._shift[:8]),
            self.byte_valid.eq(arrived),
            step.eq(self._sck),  # it falls
            last.eq(self._nibbles == Mux(dummy, _DUMMY_CLOCKS - 1, 7)),
        ]
        m.d.sync += [self._sck.eq(0), self.flash_cs_n.eq(1), self.flash_oe.eq(0), arrived.eq(0)]
        with m.If(self.o.ready):
            m.d.sync += self._full.eq(0)
        with m.If(step):
            m.d.sync += [self._nibbles.eq(self._nibbles + 1), self._shift.eq(Cat(self.flash_i, self._shift[:-4]))]
        self._states(m, step, last, dummy, arrived)
        return m

    def _states(self, m: Module, step: Signal, last: Signal, dummy: Signal, arrived: Signal) -> None:
        """What is sent and when: pauses, commands, then address, nothing, and data."""
        at = Signal(range(len(_BYTES)))
        pause = Signal(range(_PAUSE_CLOCKS), init=_PAUSE_CLOCKS - 1)
        bits = Array(Const(_on_one_pin(byte), WORD_BITS) for byte, _ in _BYTES)
        ends = Array(Const(end, 1) for _, end in _BYTES)
        selected = [self.flash_cs_n.eq(0), self._sck.eq(~self._sck & ~self.flash_cs_n)]
        with m.FSM():
            with m.State("PAUSE"):
                m.d.sync += pause.eq(pause - 1)
                with m.If(pause == 0):
                    m.next = "LOAD"
            with m.State("LOAD"):
                m.d.sync += [self._shift.eq(bits[at]), self._nibbles.eq(0)]
                # Within a tuple the chip stays selected.
                m.d.sync += [self.flash_cs_n.eq(self.flash_cs_n), self.flash_oe.eq(self.flash_oe)]
                m.next = "COMMAND"
            with m.State("COMMAND"):
                # The chip listens to pin 0 only, and answers nothing: all four can be driven, whatever mode it is in.
                m.d.sync += [*selected, self.flash_oe.eq(1), pause.eq(_PAUSE_CLOCKS - 1)]
                with m.If(step & last):
                    with m.If(at == _READ_AT):
                        m.d.sync += self._shift.eq(Cat(Const(_MODE, 8), Const(0, 2), self.address))
                        m.next = "ADDRESS"
                    with m.Else():
                        m.d.sync += at.eq(at + 1)
                        m.next = "LOAD"
                        with m.If(at == _READ_AT - 1):
                            m.next = "IDLE"
                        with m.Elif(ends[at]):
                            m.next = "PAUSE"
            with m.State("ADDRESS"):
                m.d.sync += [*selected, self.flash_oe.eq(1)]
                with m.If(step & last):
                    m.next = "DUMMY"
            with m.State("DUMMY"):
                m.d.comb += dummy.eq(1)
                m.d.sync += selected
                with m.If(step & last):
                    m.d.sync += self._nibbles.eq(0)
                    m.next = "DATA"
            with m.State("DATA"):
                m.d.sync += [self.flash_cs_n.eq(0), self._sck.eq(~self._sck & (~self._full | self.o.ready))]
                with m.If(step):
                    m.d.sync += [self._full.eq(last), arrived.eq(self._nibbles[0])]
                with m.If(self.stop):
                    m.d.sync += [self._full.eq(0), self._sck.eq(0)]
                    m.next = "IDLE"
            with m.State("IDLE"):
                m.d.comb += self.idle.eq(1)
                m.d.sync += pause.eq(_GAP_CLOCKS - 1)
                with m.If(self.start):
                    m.next = "PAUSE"
