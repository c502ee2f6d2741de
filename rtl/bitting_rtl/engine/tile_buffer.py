"""The double buffer: one tile is filled while another runs. The only place where unlocked codes rest."""

from amaranth import Cat, Module, Mux, Signal, unsigned
from amaranth.hdl import Shape
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from bitting.unit.spec import UnitSpec
from bitting_rtl.lib.layouts import UNCHECKED, tile_layout


class TileBuffer(wiring.Component):
    """Two halves, each a tile's fixed fields and up to `tile_codes` codes.

    Write side: `write` stores `write_code` at `write_place` of the half being filled; what was there moves to `write_index` (a
    step of the inside-out shuffle; for codes in order both are the same). `commit` hands that half over, with `write_tile` as
    its fixed fields. `free` is high while there is a half to fill. Never write or commit without it.
    Read side: `full` is high while a tile waits or runs; `read_code` is the code at `read_index`, one clock later (held while
    `read_step` is low), for the last time if `read_final`; `release` gives the half back.
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
                "read_final": In(1),
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
                half.final.eq(self.read_final),
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

    #: `ready` takes a while.
    sweeps = False

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
                "final": In(1),
                "found": Out(spec.slot_bits),
                "ready": Out(1, init=not self.sweeps),
            }
        )

    def _memory(self, m: Module, name: str, bits: int) -> Memory:
        # What is read while it is written is never used, so the memory may give anything.
        m.submodules[name] = memory = Memory(shape=unsigned(bits), depth=self.spec.tile_codes, init=[], attrs=UNCHECKED)
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
    that also knows which of its places are in use; such a place counts, whatever the first memory has there. The last reading
    of a code (`final`) frees its place again, so that every tile finds the second memory unused, as does the first one after
    reset: a counter has swept it until then.

    What is written at `place` reaches the memories two clocks later.
    """

    sweeps = True

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bits = self.spec.slot_bits
        first, second = self._memory(m, "in_order", bits), self._memory(m, "displaced", bits + 1)
        in_order, displaced = first.read_port(), second.read_port()
        order_write, place_write = first.write_port(), second.write_port()
        step = data.StructLayout(
            {"valid": 1, "index": self.index.shape(), "place": self.index.shape(), "code": bits, "moves": 1}
        )
        coming, looked_up, moved = (Signal(step, name=name) for name in ("coming", "looked_up", "moved"))
        found = Signal(bits)  # what the memories say
        forwarded = Signal(bits)  # what goes to `index` if they do not know it yet, or if it is the code itself
        from_memory = Signal()
        ordered = Signal(bits)  # of the step `moved`: what goes to `index`
        frees = Signal()
        swept = Signal.like(self.index)
        address = Mux(self.write, self.place, self.index)
        m.d.comb += [
            coming.eq(Cat(self.write, self.index, self.place, self.code, self.place != self.index)),
            in_order.addr.eq(address),
            in_order.en.eq(self.write | self.read),
            displaced.addr.eq(address),
            displaced.en.eq(self.write | self.read),
            found.eq(Mux(displaced.data[-1], displaced.data, in_order.data)),
            self.found.eq(found),
            order_write.addr.eq(moved.index),
            order_write.data.eq(ordered),
            order_write.en.eq(moved.valid),
            place_write.addr.eq(Mux(self.ready, moved.place, swept)),
            place_write.data.eq(Cat(moved.code, moved.valid & self.ready)),
            place_write.en.eq(~self.ready | (moved.valid & moved.moves) | frees),
        ]
        m.d.sync += [
            looked_up.eq(coming),
            moved.eq(looked_up),
            ordered.eq(Mux(from_memory, found, forwarded)),
            frees.eq(self.read & self.final),
        ]
        with m.If(self.read):
            m.d.sync += moved.place.eq(self.index)
        with m.If(~self.ready):
            m.d.sync += [swept.eq(swept + 1), self.ready.eq(swept == self.spec.tile_codes - 1)]
        self._forward(m, coming, looked_up, moved, ordered, forwarded, from_memory)
        return m

    def _forward(
        self,
        m: Module,
        coming: data.View,
        looked_up: data.View,
        moved: data.View,
        ordered: Signal,
        forwarded: Signal,
        from_memory: Signal,
    ) -> None:
        """The two steps before this one have not reached the memories: what they write may be what is at `place`."""
        by_place = Signal()  # the step before wrote what is wanted
        by_index = Signal()
        earlier = Signal.like(ordered)  # what the one before that wrote
        place = coming.place
        same_place = moved.moves & (place == moved.place)
        pending = looked_up.valid & ((looked_up.moves & (place == looked_up.place)) | (place == looked_up.index))
        older = moved.valid & (same_place | (place == moved.index))
        m.d.sync += [
            by_place.eq(looked_up.moves & (place == looked_up.place)),
            by_index.eq(pending),
            earlier.eq(Mux(same_place, moved.code, ordered)),
            from_memory.eq(coming.moves & ~pending & ~older),
        ]
        with m.If(~looked_up.moves):
            m.d.comb += forwarded.eq(looked_up.code)
        with m.Elif(by_index):
            m.d.comb += forwarded.eq(Mux(by_place, moved.code, ordered))
        with m.Else():
            m.d.comb += forwarded.eq(earlier)
