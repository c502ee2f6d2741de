"""The components of an engine, and the connections that more than one kind of engine has."""

from dataclasses import dataclass
from typing import Any

from amaranth import Module

from bitting.unit.spec import UnitSpec
from bitting_rtl.engine.control import Control
from bitting_rtl.engine.depacketise import Depacketise
from bitting_rtl.engine.intake import Intake, SealedIntake
from bitting_rtl.engine.results import Results
from bitting_rtl.engine.sequencer import Sequencer
from bitting_rtl.engine.tile_buffer import TileBuffer
from bitting_rtl.lib.build_options import BuildOptions
from bitting_rtl.unlock.ascon_vault import AsconVault
from bitting_rtl.unlock.vault import Vault


@dataclass(frozen=True, eq=False)
class Parts:
    """What an engine is made of, its lanes and their memory apart; `decode` is `Decode`, or what stands in its place."""

    spec: UnitSpec
    options: BuildOptions
    intake: Intake | SealedIntake
    packets: Depacketise
    buffer: TileBuffer
    sequencer: Sequencer
    decode: Any
    results: Results
    control: Control

    def codes_as_they_come(self, m: Module) -> None:
        """Nothing stands between parser and tile buffer."""
        m.d.comb += [
            self.buffer.write.eq(self.packets.code_valid),
            self.buffer.write_place.eq(self.packets.item_index),
            self.buffer.write_code.eq(self.packets.code_data),
            self.packets.code_ready.eq(1),
        ]

    def table_for(self, m: Module, vault: Vault | AsconVault) -> None:
        """The vault fills the bitting table at boot."""
        m.d.comb += [
            self.decode.owned.eq(vault.table_owned),
            self.decode.addr.eq(vault.table_addr),
            vault.table_read.eq(self.decode.index),
            self.decode.write.eq(vault.table_write),
            self.decode.write_addr.eq(vault.table_write_addr),
            self.decode.write_data.eq(vault.table_data),
        ]
