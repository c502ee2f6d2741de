"""The double buffer: one tile is filled while another runs. The only place where unlocked codes rest."""

from amaranth import Module, Mux, Signal, unsigned
from amaranth.hdl import Shape, Value
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory, ReadPort, WritePort
from amaranth.lib.wiring import In, Out

from bitting.spec import UnitSpec
from bitting_rtl.layouts import tile_layout


class TileBuffer(wiring.Component):
    """Two halves, each a tile's fixed fields and up to `tile_codes` codes.

    Write side: `write` stores `write_code` at `write_place` of the half being filled; what was there moves to `write_index` (a
    step of the inside-out shuffle; for codes in order both are the same). `commit` hands that half over, with `write_tile` as
    its fixed fields. `free` is high while there is a half to fill. Never write or commit without it.
    Read side: `full` is high while a tile waits or runs; `read_code` is the code at `read_index`, one clock later (held while
    `read_step` is low); `release` gives the half back.
    """

    def __init__(self, spec: UnitSpec):
        self.spec = spec
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
        codes = [
            self._half(m, half, filled=self.free & (filling == half), reading=self.full & (running == half))
            for half in range(2)
        ]
        m.d.comb += [
            self.free.eq(~occupied.bit_select(filling, 1)),
            self.full.eq(occupied.bit_select(running, 1)),
            self.tile.eq(tiles[running]),
            self.read_code.eq(Mux(running, codes[1], codes[0])),
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

    def _half(self, m: Module, half: int, filled: Value, reading: Value) -> Value:
        """A dual-port memory: one port reads and writes at one address, the other writes what moves. Gives what was read."""
        memory = Memory(shape=unsigned(self.spec.slot_bits), depth=self.spec.tile_codes, init=[])
        m.submodules[f"codes{half}"] = memory
        read_port, write_port, move_port = memory.read_port(), memory.write_port(), memory.write_port()
        address = Signal.like(self.write_place, name=f"address{half}")
        m.d.comb += [
            address.eq(Mux(reading, self.read_index, self.write_place)),
            read_port.addr.eq(address),
            read_port.en.eq(~reading | self.read_step),
            write_port.addr.eq(address),
            write_port.data.eq(self.write_code),
            write_port.en.eq(filled & self.write),
        ]
        self._move(m, half, filled, read_port, move_port)
        return read_port.data

    def _move(self, m: Module, half: int, filled: Value, read_port: ReadPort, move_port: WritePort) -> None:
        """Write the code that had to make room to its new place, in the clock after."""
        moving = Signal(name=f"moving{half}")
        target = Signal.like(self.write_index, name=f"target{half}")
        held = Signal(name=f"held{half}")  # the code to move never reached the memory: `kept` has it
        kept = Signal.like(self.write_code, name=f"kept{half}")
        moved = Signal.like(self.write_code, name=f"moved{half}")
        caught = Signal(name=f"caught{half}")  # the next code takes the very place it is moving to: it must move on
        m.d.comb += [
            moved.eq(Mux(held, kept, read_port.data)),
            caught.eq(filled & self.write & (self.write_place == target)),
            move_port.addr.eq(target),
            move_port.data.eq(moved),
            move_port.en.eq(moving & ~caught),
        ]
        m.d.sync += moving.eq(0)
        with m.If(filled & self.write):
            m.d.sync += [
                moving.eq(self.write_place != self.write_index),
                target.eq(self.write_index),
                held.eq(moving & caught),
                kept.eq(moved),
            ]
