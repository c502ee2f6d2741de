"""The registers of `bitting_axi` as SystemRDL 2.0 and as a C header."""

from bitting.unit.protocol import WORD_BITS
from bitting.unit.spec import UnitSpec
from bitting_rtl.board import axi
from bitting_rtl.board.registers import REGISTERS, Description, Field, constants

#: What the names of the C header begin with.
C_PREFIX = axi.TOP.upper()


def systemrdl(spec: UnitSpec) -> str:
    """The map in SystemRDL 2.0. Registers that never change have their value as reset value."""
    fixed = constants(spec)
    enums = {field.names.__name__: field for info in REGISTERS.values() for field in info.fields if field.names}
    lines = [
        f"// Registers of {axi.TOP}, spec {spec.name} ({spec.id}).",
        "// Other addresses answer SLVERR, and so do writes to what can only be read.",
        *(line for name, field in enums.items() for line in _enum(name, field)),
        f"addrmap {axi.TOP} {{",
        f'    name = "{axi.TOP}";',
        "    default regwidth = 32;",
        "    default accesswidth = 32;",
        "    littleendian;",
        "    lsb0;",
    ]
    for register, info in REGISTERS.items():
        lines += ["    reg {", f'        name = "{register.name}";', f'        desc = "{_quoted(info.meaning)}";']
        lines += [f"        {_field(info, field, fixed.get(register))}" for field in info.fields]
        lines.append(f"    }} {register.name} @ {register.value:#04x};")
    return "\n".join([*lines, "};", ""])


def _enum(name: str, field: Field) -> list[str]:
    assert field.names
    return [f"enum {name} {{", *(f"    {item.name} = {field.width}'d{item.value};" for item in field.names), "};"]


def _field(info: Description, field: Field, value: int | None) -> str:
    """Software reads what hardware writes; of pulses the other way round."""
    rights = "sw = w; hw = r; singlepulse;" if info.pulses else "sw = r; hw = w;" if value is None else "sw = r; hw = na;"
    encoded = f" encode = {field.names.__name__};" if field.names else ""
    reset = f" = {field.width}'h{value or 0:x}" if info.pulses or value is not None else ""
    high = field.low + field.width - 1
    return f'field {{ {rights}{encoded} desc = "{_quoted(field.meaning)}"; }} {field.name}[{high}:{field.low}]{reset};'


def _quoted(text: str) -> str:
    return text.replace('"', '\\"')


def c_header(spec: UnitSpec) -> str:
    """Macros: addresses, values that never change, and for each field its mask, its lowest bit and its named values."""
    guard, fixed = f"{C_PREFIX}_H", constants(spec)
    lines = [f"/* Registers of {axi.TOP}, spec {spec.name} ({spec.id}): byte addresses, masks, values. */"]
    lines += [f"#ifndef {guard}", f"#define {guard}"]
    for register, info in REGISTERS.items():
        name = f"{C_PREFIX}_{register.name}"
        lines += ["", f"/* {info.meaning}{'; reads 0' if info.pulses else ''} */", f"#define {name} {register.value:#04x}u"]
        if register in fixed:
            lines.append(f"#define {name}_IS {fixed[register]:#010x}u")
        for field in info.fields:
            if field.width == WORD_BITS:
                continue
            lines.append(f"#define {name}_{field.name}_MASK {field.mask:#04x}u /* {field.meaning} */")
            lines.append(f"#define {name}_{field.name}_LOW {field.low}")
            lines += [f"#define {name}_{field.name}_{item.name} {item.value}u" for item in field.names or ()]
    return "\n".join([*lines, "", f"#endif /* {guard} */", ""])
