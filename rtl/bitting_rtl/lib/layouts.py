"""Shapes shared by the components: digits, layer descriptors, pipeline flags."""

from amaranth import signed, unsigned
from amaranth.hdl import Shape
from amaranth.lib import data

from bitting.unit.protocol import WORD_BITS
from bitting.unit.spec import UnitSpec

#: Attributes of a memory of which nobody reads what is written in the same clock: the tools need not say what comes then.
UNCHECKED = {"no_rw_check": 1}


def digit_layout(spec: UnitSpec) -> data.StructLayout:
    """One signed digit: (negative ? -1 : 1) * 2**exponent."""
    return data.StructLayout({"exponent": Shape.cast(range(spec.max_exponent + 1)), "negative": 1})


def digits_layout(spec: UnitSpec) -> data.StructLayout:
    """All digits of one weight: `last` is the index of the final MAC cycle, `zero` marks the weight 0 (no digit)."""
    return data.StructLayout(
        {
            "digits": data.ArrayLayout(digit_layout(spec), spec.slot_digits),
            "last": Shape.cast(range(spec.slot_digits)),
            "zero": 1,
        }
    )


def layer_layout(spec: UnitSpec) -> data.StructLayout:
    """The descriptor of the current layer, as the LAYER packet gives it."""
    return data.StructLayout(
        {
            "last_code": Shape.cast(range(spec.tile_codes)),
            "last_x": unsigned(spec.address_bits),
            "last_y": unsigned(spec.address_bits),
            "stride_x": unsigned(spec.address_bits),
            "stride_y": unsigned(spec.address_bits),
            "out_stride_x": unsigned(spec.address_bits),
            "out_stride_y": unsigned(spec.address_bits),
            "shift": Shape.cast(range(spec.max_shift + 1)),
            "emits": 1,
            "plain": 1,
            "constant": 1,
            "report": 1,
            **(_bands_layout(spec) if spec.stripes > 1 else {}),
        }
    )


def _bands_layout(spec: UnitSpec) -> dict[str, Shape | int]:
    """What a layer says where lanes share samples: where the bands of what it reads lie, if it has any (`banded`)."""
    return {
        "banded": 1,
        "band_start": unsigned(spec.address_bits),
        "band_words": unsigned(spec.address_bits),
        "edge": signed(spec.act_bits),
        "every_lane": 1,
    }


def tile_layout(spec: UnitSpec) -> data.StructLayout:
    """The fixed part of a TILE packet."""
    return data.StructLayout(
        {
            # A tile whose window begins before its band begins at an address that may be negative.
            "in_base": signed(spec.address_bits + 1) if spec.stripes > 1 else unsigned(spec.address_bits),
            "out_base": unsigned(spec.address_bits),
            "bias": unsigned(spec.acc_bits),
            "hold": 1,
            "resume": 1,
        }
    )


def result_word_layout() -> data.StructLayout:
    """A word of the result stream; `last` ends a packet (AXI4-Stream TLAST)."""
    return data.StructLayout({"data": unsigned(WORD_BITS), "last": 1})
