"""The double buffer: one tile is filled while another runs. The only place where unlocked codes rest."""

from amaranth import Cat, Module, Signal, unsigned
from amaranth.hdl import Shape
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from bitting.spec import UnitSpec
from bitting_rtl.layouts import tile_layout


class TileBuffer(wiring.Component):
    """Two halves, each a tile's fixed fields and up to `tile_codes` codes.

    Write side: `write` stores `write_code` at `write_index` of the half being filled; `commit` hands that half over, with
    `write_tile` as its fixed fields. `free` is high while there is a half to fill. Never write or commit without it.
    Read side: `full` is high while a tile waits or runs; `read_code` is the code at `read_index`, one clock later (held while
    `read_step` is low); `release` gives the half back.
    """

    def __init__(self, spec: UnitSpec):
        self.spec = spec
        index = Shape.cast(range(spec.tile_codes))
        super().__init__(
            {
                "write": In(1),
                "write_index": In(index),
                "write_code": In(unsigned(spec.code_bits)),
                "write_tile": In(tile_layout(spec)),
                "commit": In(1),
                "free": Out(1),
                "full": Out(1),
                "tile": Out(tile_layout(spec)),
                "read_index": In(index),
                "read_step": In(1),
                "read_code": Out(unsigned(spec.code_bits)),
                "release": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        half_codes = 1 << len(self.write_index)
        m.submodules.codes = codes = Memory(shape=unsigned(self.spec.code_bits), depth=2 * half_codes, init=[])
        write_port = codes.write_port()
        read_port = codes.read_port()

        filling = Signal()
        running = Signal()
        occupied = Signal(2)
        tiles = Signal(data.ArrayLayout(tile_layout(self.spec), 2))
        m.d.comb += [
            self.free.eq(~occupied.bit_select(filling, 1)),
            self.full.eq(occupied.bit_select(running, 1)),
            self.tile.eq(tiles[running]),
            write_port.addr.eq(Cat(self.write_index, filling)),
            write_port.data.eq(self.write_code),
            write_port.en.eq(self.write),
            read_port.addr.eq(Cat(self.read_index, running)),
            read_port.en.eq(self.read_step),
            self.read_code.eq(read_port.data),
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
