"""The double buffer: one tile is filled while another runs. The only place where unlocked codes rest."""

from amaranth import Cat, Module, Mux, Signal, unsigned
from amaranth.hdl import Shape
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from bitting.spec import UnitSpec
from bitting_rtl.layouts import tile_layout

#: For memories whose reader never depends on a write in the same clock.
_UNCHECKED = {"no_rw_check": 1}


class TileBuffer(wiring.Component):
    """Two halves, each a tile's fixed fields and up to `tile_codes` codes.

    Write side: `write` stores `write_code` at `write_place` of the half being filled; what was there moves to `write_index` (a
    step of the inside-out shuffle; for codes in order both are the same). `commit` hands that half over, with `write_tile` as
    its fixed fields. `free` is high while there is a half to fill. Never write or commit without it.
    Read side: `full` is high while a tile waits or runs; `read_code` is the code at `read_index`, one clock later (held while
    `read_step` is low); `release` gives the half back.
    """

    def __init__(self, spec: UnitSpec, shuffles: bool = True):
        """`shuffles`: know how to move codes; without, `write_place` is `write_index`."""
        self.spec = spec
        self._shuffles = shuffles
        index = Shape.cast(range(spec.tile_codes))
        code = unsigned(spec.slot_bits)
        super().__init__(
            {
                "write": In(1),
                "write_index": In(index),
                "write_place": In(index),
                "write_code": In(code),
                "write_tile": In(tile_layout(spec)),
                "commit": In(1),
                "free": Out(1),
                "full": Out(1),
                "tile": Out(tile_layout(spec)),
                "read_index": In(index),
                "read_step": In(1),
                "read_code": Out(code),
                "release": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        filling = Signal()
        running = Signal()
        occupied = Signal(2)
        tiles = Signal(data.ArrayLayout(tile_layout(self.spec), 2))
        # A half is read while it is occupied and runs, and written while it is neither.
        halves = [(ShuffledCodes if self._shuffles else Codes)(self.spec) for _ in range(2)]
        for number, half in enumerate(halves):
            filled, reading = self.free & (filling == number), self.full & (running == number)
            m.submodules[f"half{number}"] = half
            m.d.comb += [
                half.write.eq(filled & self.write),
                half.index.eq(Mux(reading, self.read_index, self.write_index)),
                half.place.eq(self.write_place),
                half.code.eq(self.write_code),
                half.read.eq(reading & self.read_step),
            ]
        m.d.comb += [
            self.free.eq(halves[0].ready & ~occupied.bit_select(filling, 1)),
            self.full.eq(occupied.bit_select(running, 1)),
            self.tile.eq(tiles[running]),
            self.read_code.eq(Mux(running, halves[1].found, halves[0].found)),
        ]
        with m.If(self.commit):
            m.d.sync += [
                occupied.bit_select(filling, 1).eq(1),
                tiles[filling].eq(self.write_tile),
                filling.eq(~filling),
            ]
        with m.If(self.release):
            m.d.sync += [occupied.bit_select(running, 1).eq(0), running.eq(~running)]
        return m


class Codes(wiring.Component):
    """Codes of one tile, in a memory of one read and one write port, as every FPGA has.

    `write` stores `code` at `index`. `read` asks for the code at `index`: `found` a clock later, until the next `read`.
    Never both in one clock, and neither before `ready`, which then stays.
    """

    def __init__(self, spec: UnitSpec):
        self.spec = spec
        index = Shape.cast(range(spec.tile_codes))
        super().__init__(
            {
                "index": In(index),
                "place": In(index),
                "code": In(spec.slot_bits),
                "write": In(1),
                "read": In(1),
                "found": Out(spec.slot_bits),
                "ready": Out(1, init=1),
            }
        )

    def _memory(self, m: Module, name: str, bits: int) -> Memory:
        # What is read while it is written is never used, so the memory may give anything.
        m.submodules[name] = memory = Memory(shape=unsigned(bits), depth=self.spec.tile_codes, init=[], attrs=_UNCHECKED)
        return memory

    def elaborate(self, platform: object) -> Module:
        m = Module()
        memory = self._memory(m, "codes", self.spec.slot_bits)
        read_port, write_port = memory.read_port(), memory.write_port()
        m.d.comb += [
            read_port.addr.eq(self.index),
            read_port.en.eq(self.read),
            write_port.addr.eq(self.index),
            write_port.data.eq(self.code),
            write_port.en.eq(self.write),
            self.found.eq(read_port.data),
        ]
        return m


class ShuffledCodes(Codes):
    """Codes that can be shuffled while they arrive, inside out (Fisher-Yates): `write` stores `code` at `place`, 0..`index`,
    and what was there at `index`. One code a clock; indices must come in order.

    That takes two writes a clock, but one of them is to the next place in order. Those go to one memory, the others to a second
    that also knows which of its places are in use; such a place counts, whatever the first memory has there. Reading puts
    the code back into the first memory and frees the place, so that every tile finds the second memory unused, as does the
    first one after reset: a counter has swept it until then.
    """

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bits = self.spec.slot_bits
        first, second = self._memory(m, "in_order", bits), self._memory(m, "displaced", bits + 1)
        reads = [memory.read_port() for memory in (first, second)]
        order_write, place_write = first.write_port(), second.write_port()

        address = Signal.like(self.index)
        access = Signal()
        pending = Signal()  # the access of the clock before
        wrote = Signal()  # it was a write
        index, place, code = Signal.like(self.index), Signal.like(self.index), Signal.like(self.code)
        in_place = Signal()  # of itself: there is nothing to move
        caught = Signal()  # what was read was being written: `kept` has it
        kept = Signal.like(self.code)
        taken = Signal()
        swept = Signal(range(self.spec.tile_codes + 1))
        m.d.comb += [
            self.ready.eq(swept == self.spec.tile_codes),
            access.eq(self.write | self.read),
            address.eq(Mux(self.write, self.place, self.index)),
            *(port.addr.eq(address) for port in reads),
            *(port.en.eq(access) for port in reads),
            taken.eq(reads[1].data[-1] & ~caught),
            self.found.eq(Mux(caught, kept, Mux(taken, reads[1].data, reads[0].data))),
            order_write.addr.eq(index),
            order_write.data.eq(Mux(wrote & in_place, code, self.found)),
            order_write.en.eq(pending & (wrote | taken)),
            place_write.addr.eq(Mux(self.ready, place, swept)),
            place_write.data.eq(Cat(code, wrote & self.ready)),
            place_write.en.eq(~self.ready | (pending & Mux(wrote, ~in_place, taken))),
        ]
        with m.If(~self.ready):
            m.d.sync += swept.eq(swept + 1)
        m.d.sync += pending.eq(access)
        with m.If(access):
            m.d.sync += [
                wrote.eq(self.write),
                index.eq(self.index),
                place.eq(address),
                code.eq(self.code),
                in_place.eq(self.place == self.index),
                caught.eq(0),
            ]
            with m.If(place_write.en & (address == place)):
                m.d.sync += [caught.eq(1), kept.eq(Mux(wrote, code, self.found))]
            with m.Elif(order_write.en & (address == index)):
                m.d.sync += [caught.eq(1), kept.eq(order_write.data)]
        return m
