"""How either vault reaches the memory of the bitting table, which lies in the decoder."""

from amaranth import unsigned
from amaranth.lib.wiring import In, Out

from bitting.unit.spec import UnitSpec
from bitting_rtl.lib.ports import Port


def table_ports(spec: UnitSpec) -> dict[str, Port]:
    """A read port and a write port of the vault's side, and who has the memory."""
    index = unsigned(spec.code_bits)
    return {
        "table_owned": Port(Out(1), "the vault uses the table memory"),
        "table_addr": Port(Out(index), "entry to read", "while `table_owned`"),
        "table_read": Port(In(index), "the entry", "a clock later"),
        "table_write": Port(Out(1), "write an entry", "while `table_owned`"),
        "table_write_addr": Port(Out(index), "which entry", "with `table_write`"),
        "table_data": Port(Out(index), "its new content", "with `table_write`"),
    }
