"""The components of an engine, for those who connect a vault to them."""

from dataclasses import dataclass
from typing import Any

from bitting.unit.spec import UnitSpec
from bitting_rtl.engine.control import Control
from bitting_rtl.engine.depacketise import Depacketise
from bitting_rtl.engine.intake import Intake, SealedIntake
from bitting_rtl.engine.results import Results
from bitting_rtl.engine.sequencer import Sequencer
from bitting_rtl.engine.tile_buffer import TileBuffer
from bitting_rtl.lib.build_options import BuildOptions


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
