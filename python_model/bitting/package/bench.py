"""The testbench of a package as files: golden words as hexadecimal text, and what it must know of the register map."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bitting.package.golden import Session, boot_clocks, sessions
from bitting.program import packets
from bitting.unit.protocol import FRAME_WORDS
from bitting.unit.spec import UnitSpec
from bitting_rtl.board.registers import REGISTERS, Control, Register, constants

#: Where texts that are written out lie.
FILES = Path(__file__).parent / "files"
#: Numbers of a session in test/sessions.hex.
_ROW = 11


def files(spec: UnitSpec) -> dict[str, str]:
    """Name and text of each file. None of them holds a secret: the device that is played is public."""
    played = sessions(spec)
    rows, sent, answered = [], 0, 0
    for session in played:
        ends = sent + len(session.commands), answered + len(session.answers)
        rows.append([*session.fuses, session.control, session.error, sent, ends[0], answered, ends[1]])
        assert len(rows[-1]) == _ROW
        sent, answered = ends
    return {
        "bitting_test.v": (FILES / "bench.v").read_text(),
        "golden.vh": _golden(spec, played),
        "commands.hex": "".join(f"{word:08x}\n" for session in played for word in session.commands.tolist()),
        "answers.hex": "".join(f"{last}_{word:08x}\n" for session in played for last, word in _answers(session)),
        "sessions.hex": "".join(" ".join(f"{number:08x}" for number in row) + "\n" for row in rows),
    }


def _answers(session: Session) -> Iterator[tuple[int, int]]:
    """TLAST and word."""
    ends, at = set(), 0
    for _, payload in packets.split(session.answers):
        at += len(payload) + FRAME_WORDS
        ends.add(at - 1)
    yield from ((int(index in ends), word) for index, word in enumerate(session.answers.tolist()))


def _golden(spec: UnitSpec, played: list[Session]) -> str:
    """What differs from family to family, and what the register map says."""
    numbers = {
        "SESSIONS": len(played),
        "ROW": _ROW,
        "COMMANDS": sum(len(session.commands) for session in played),
        "ANSWERS": sum(len(session.answers) for session in played),
        "BOOT_CLOCKS": boot_clocks(spec),
    }
    status = {field.name: field for field in REGISTERS[Register.STATUS].fields}
    lines = [
        f"// Of bitting_test.v, for spec {spec.name} ({spec.id}).",
        *(f"  localparam {name} = {value};" for name, value in numbers.items()),
        *(f"  localparam [5:0] ADDRESS_{register.name} = 6'h{register.value:02x};" for register in Register),
        f"  localparam [31:0] CONTROL_RESET = {Control.RESET.value};",
        f"  localparam [31:0] STATUS_RESETTING = 32'h{status['RESETTING'].mask:08x};",
        f"  localparam [31:0] STATUS_ERROR = 32'h{status['ERROR'].mask:08x};",
        f"  localparam STATUS_ERROR_LOW = {status['ERROR'].low};",
        "",
        "  task check_registers;",
        "    begin",
        *(f"      {line}" for line in _checks(spec)),
        "    end",
        "  endtask",
        "",
        "  task print_session(input integer number);",
        "    case (number)",
        *(f'      {at}: $display("session {each.name}: {each.meaning}");' for at, each in enumerate(played)),
        '      default: $display("no such session");',
        "    endcase",
        "  endtask",
        "",
    ]
    return "\n".join(lines)


def _checks(spec: UnitSpec) -> Iterator[str]:
    """Calls that read and write each register: constants have their value, bits without a name are 0."""
    fixed = constants(spec)
    for register, info in REGISTERS.items():
        name, address = f'"{register.name}"', f"ADDRESS_{register.name}"
        named = 0 if info.pulses or register in fixed else sum(field.mask for field in info.fields)
        yield f"expect_read({name}, {address}, 32'h{~named & 0xFFFFFFFF:08x}, 32'h{fixed.get(register, 0):08x});"
        data, response = (0, "2'b00") if info.pulses else (0xFFFFFFFF, "2'b10")
        yield f"expect_write({name}, {address}, 32'h{data:08x}, {response});"
    yield f"expect_no_register(6'h{max(Register) + 4:02x});"
