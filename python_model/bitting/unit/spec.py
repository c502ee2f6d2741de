"""The family of MAC units: widths, value set, memory sizes. Public, frozen, hashable.

Knows nothing of devices, networks, torch or Amaranth.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from bitting.errors import SpecError
from bitting.unit import digits

#: Raised whenever the timing law, the packet format or the arithmetic changes for unchanged parameters.
ARCHITECTURE = 4

#: A code or weight travels in a byte.
SLOT_BITS = 8

#: Packet fields that hold scratch addresses and counts are this wide.
ADDRESS_FIELD_BITS = 16


_NAME = re.compile(r"[A-Za-z0-9_.:=, -]{1,200}")


def _allowed(name: str, value: int, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise SpecError(f"{name} must be an integer, found {value!r}; allowed {low}..{high}")
    if not low <= value <= high:
        raise SpecError(f"{name} = {value} is out of range; allowed {low}..{high}")


class VaultKind(StrEnum):
    """What guards the codes."""

    #: Sealed programs: every packet is enciphered and authenticated.
    ASCON = "ascon"
    #: The transforms of the paper, as they are there: no integrity.
    AES = "aes"


@dataclass(frozen=True, kw_only=True)
class UnitSpec:
    """Parameters of one family of units.

    Attributes:
        name: label for people, up to 200 letters, digits, spaces and `_.-:=,`; not part of `id`. It stands in Verilog and
            other files that are made, so a file that is read must not be able to say more with it.
        code_bits: b, bits of a weight code (2..8).
        max_digits: T, most non-zero signed digits of a weight (1..4).
        max_exponent: E, largest power of two of a digit (1..14).
        act_bits: bx, bits of a signed activation (2..8).
        acc_bits: W, bits of the modular accumulator (8..24).
        lanes: L, samples computed together (a multiple of 4, 4..256).
        max_shift: largest left shift before the fold (0..W-1-bx).
        tile_codes: most codes of one tile, and offsets of one layer (4..4096).
        scratch_words: words of L activations in the scratch memory (a power of two, 64..65536).
        vault: what guards the codes, a member of `VaultKind` or its name.
        stripes: p, lanes that share a sample, each holding a band of its rows (a power of two that divides `lanes`; 1: a lane
            holds a whole sample). More than 1 allows scratch_words up to 32768: an address may lie before a band, and its
            field needs a sign.

    Raises:
        SpecError: naming the parameter, what was found and what is allowed.

    Example:
        >>> import bitting
        >>> spec = bitting.UnitSpec(lanes=8)
        >>> spec.codes, spec.values[:3], spec.value_cycles[:3]
        (64, (-80, -66, -62), (2, 2, 2))
    """

    name: str = "custom"
    code_bits: int = 6
    max_digits: int = 2
    max_exponent: int = 6
    act_bits: int = 6
    acc_bits: int = 16
    lanes: int = 16
    max_shift: int = 7
    tile_codes: int = 1024
    scratch_words: int = 4096
    vault: VaultKind = VaultKind.ASCON
    stripes: int = 1

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            found = repr(str(self.name)[:60])
            raise SpecError(f"name = {found} of a spec; allowed are up to 200 letters, digits, spaces and _.-:=,")
        try:
            object.__setattr__(self, "vault", VaultKind(self.vault))
        except ValueError:
            raise SpecError(f"vault = {self.vault!r} is unknown; allowed: {', '.join(VaultKind)}") from None
        _allowed("code_bits", self.code_bits, 2, 8)
        _allowed("max_digits", self.max_digits, 1, 4)
        _allowed("max_exponent", self.max_exponent, 1, 14)
        _allowed("act_bits", self.act_bits, 2, 8)
        _allowed("acc_bits", self.acc_bits, 8, 24)
        _allowed("lanes", self.lanes, 4, 256)
        _allowed("tile_codes", self.tile_codes, 4, 4096)
        _allowed("scratch_words", self.scratch_words, 64, 1 << ADDRESS_FIELD_BITS)
        if self.lanes % 4:
            raise SpecError(f"lanes = {self.lanes} must be a multiple of 4: a packet word carries 4 activations")
        if self.scratch_words & (self.scratch_words - 1):
            raise SpecError(f"scratch_words = {self.scratch_words} must be a power of two")
        if self.acc_bits < self.act_bits + 2:
            raise SpecError(f"acc_bits = {self.acc_bits} must be at least act_bits + 2 = {self.act_bits + 2}")
        _allowed("stripes", self.stripes, 1, self.lanes)
        if self.stripes & (self.stripes - 1) or self.lanes % self.stripes:
            raise SpecError(f"stripes = {self.stripes} must be a power of two that divides lanes = {self.lanes}")
        if self.stripes > 1:
            _allowed("scratch_words with stripes", self.scratch_words, 64, 1 << (ADDRESS_FIELD_BITS - 1))
        _allowed("max_shift", self.max_shift, 0, self.acc_bits - 1 - self.act_bits)
        available = len(digits.representable(self.max_digits, self.max_exponent))
        if available < self.codes:
            raise SpecError(
                f"code_bits = {self.code_bits} needs {self.codes} values, but max_digits = {self.max_digits} and "
                f"max_exponent = {self.max_exponent} give {available}; allow more digits or a larger exponent"
            )

    @property
    def codes(self) -> int:
        """2^b, the number of codes."""
        return 1 << self.code_bits

    @property
    def samples(self) -> int:
        """Samples computed together: `lanes / stripes`."""
        return self.lanes // self.stripes

    @functools.cached_property
    def value_set(self) -> digits.ValueSet:
        """The 2^b weights of the family, ascending, and the sigma of the Gaussian whose quantiles they fit."""
        return digits.quantile_values(self.code_bits, self.max_digits, self.max_exponent)

    @property
    def values(self) -> tuple[int, ...]:
        """Weight of each value index, ascending."""
        return self.value_set.values

    @functools.cached_property
    def value_digits(self) -> tuple[tuple[digits.Digit, ...], ...]:
        """Signed digits of each value index, least significant first."""
        return tuple(digits.naf(value) for value in self.values)

    @functools.cached_property
    def value_cycles(self) -> tuple[int, ...]:
        """MAC cycles of each value index: max(1, number of digits)."""
        return tuple(max(1, len(d)) for d in self.value_digits)

    @functools.cached_property
    def _value_bits(self) -> int:
        """Bits of a weight in two's complement."""
        return max(max(self.values).bit_length(), (-min(self.values) - 1).bit_length()) + 1

    @property
    def plain_bits(self) -> int:
        """Bits of a plain weight: two's complement without a table, for constants, and as the `aes` transform ships weights."""
        return min(self._value_bits, SLOT_BITS)

    @property
    def plain_max(self) -> int:
        """Largest plain weight."""
        return (1 << (self.plain_bits - 1)) - 1

    @property
    def plain_values(self) -> bool:
        """Plain weights hold every value of the family."""
        return self._value_bits <= SLOT_BITS

    @functools.cached_property
    def plain_digits(self) -> tuple[tuple[digits.Digit, ...], ...]:
        """Signed digits of every plain weight, by its bits: 2^plain_bits entries.

        Under `aes` a right key gives values of the family only; a wrong one gives any. Theirs may need 2^(E+1), which is
        written as twice 2^E.
        """
        half = 1 << self.plain_bits >> 1
        return tuple(digits.limited_naf((byte + half) % (2 * half) - half, self.max_exponent) for byte in range(2 * half))

    def decoding(self, table: Sequence[int], plain: bool = False) -> digits.Decoding:
        """The meaning of each code, given a bitting table (code -> value index); or, if `plain`, of each plain byte."""
        if plain:
            return digits.Decoding.of(self.plain_digits * (1 << (SLOT_BITS - self.plain_bits)))
        return digits.Decoding.of([self.value_digits[index] for index in table])

    @property
    def slot_bits(self) -> int:
        """Bits of a code or a plain weight, whichever is wider."""
        return max(self.code_bits, self.plain_bits)

    @functools.cached_property
    def slot_digits(self) -> int:
        """Most digits of any code or plain weight."""
        return max([self.max_digits, *map(len, self.plain_digits)])

    @property
    def address_bits(self) -> int:
        """Bits of an address of the scratch memory; strides, bases, offsets and positions have as many."""
        return (self.scratch_words - 1).bit_length()

    @property
    def act_min(self) -> int:
        """Least activation: -2^(bx-1)."""
        return -(1 << (self.act_bits - 1))

    @property
    def act_max(self) -> int:
        """Largest activation: 2^(bx-1) - 1."""
        return (1 << (self.act_bits - 1)) - 1

    @functools.cached_property
    def id(self) -> str:
        """16 hex digits that change with every parameter that changes behaviour (not with `name`)."""
        text = json.dumps({"architecture": ARCHITECTURE, **self._recorded()}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def id_word(self) -> int:
        """The low 32 bits of the id: what a device tells of its family, and files of words say."""
        return int(self.id, 16) & 0xFFFFFFFF

    def parameters(self) -> dict[str, int | str]:
        """Every parameter but the name."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(UnitSpec) if f.name != "name"}
        return values | {"vault": self.vault.value}

    def _recorded(self) -> dict[str, int | str]:
        """What identifies the family; what came later only where it is not what all families had before."""
        return {name: value for name, value in self.parameters().items() if (name, value) not in _BEFORE.items()}

    def replace(self, **changes: int | str) -> UnitSpec:
        """A spec with some parameters changed; its name records the changes."""
        unknown = sorted(set(changes) - set(self.parameters()))
        if unknown:
            raise SpecError(f"unknown spec parameter {unknown[0]!r}; allowed: {', '.join(self.parameters())}")
        name = ":".join([self.name.split(":")[0], ",".join(f"{k}={v}" for k, v in sorted(changes.items()))])
        fields: dict[str, Any] = {**changes, "name": name if changes else self.name}
        return dataclasses.replace(self, **fields)

    def to_dict(self) -> dict[str, int | str]:
        """The name and every parameter, ready for JSON; `from_dict` reads it."""
        return {"name": self.name, **self._recorded()}

    @classmethod
    def from_dict(cls, data: Mapping[str, object]) -> UnitSpec:
        """Inverse of `to_dict`. Raises SpecError for a missing, unknown or out-of-range parameter."""
        known = {f.name for f in dataclasses.fields(cls)}
        if set(data) | set(_BEFORE) != known:
            difference = ", ".join(sorted((set(data) | set(_BEFORE)) ^ known))
            raise SpecError(f"a spec has the parameters {', '.join(sorted(known))}; missing or unknown: {difference}")
        fields: dict[str, Any] = {**_BEFORE, **data}
        return cls(**fields)


#: Parameters that files leave out where they have these values, which all families had before the parameter was there.
_BEFORE: dict[str, int | str] = {"vault": VaultKind.AES.value, "stripes": 1}


#: Named families: `tiny` for an iCE40UP5K, `base`, `wide` with 8-bit codes and three digits, and `soft` for soft locks, with
#: weights up to 5120 in 8-bit codes of two digits. Its accumulator has the six bits more that its weights have, and two: small
#: weights find a wave that fits them far from the ends, where numbers of 11 bits have lost their place on it.
PRESETS: dict[str, UnitSpec] = {
    "tiny": UnitSpec(
        name="tiny", code_bits=4, max_digits=2, max_exponent=3, act_bits=4, acc_bits=10,
        lanes=4, max_shift=3, tile_codes=256, scratch_words=512,
    ),
    "base": UnitSpec(name="base"),
    "wide": UnitSpec(
        name="wide", code_bits=8, max_digits=3, max_exponent=7, act_bits=8, acc_bits=20,
    ),
    "soft": UnitSpec(
        name="soft", code_bits=8, max_digits=2, max_exponent=12, acc_bits=24, max_shift=15,
    ),
}  # fmt: skip


def parse_spec(text: str) -> UnitSpec:
    """Read `base` or `base:lanes=64,scratch_words=8192`.

    Raises:
        SpecError: for an unknown preset or parameter, one given twice, nothing after the colon, or a value out of range.

    Example:
        >>> import bitting
        >>> bitting.parse_spec("base:lanes=64").lanes
        64
    """
    name, colon, overrides = text.partition(":")
    if name not in PRESETS:
        raise SpecError(f"unknown spec {name!r}; allowed: {', '.join(PRESETS)}, or PRESET:parameter=value,...")
    changes: dict[str, int | str] = {}
    for item in overrides.split(",") if colon else []:
        key, _, value = (part.strip() for part in item.partition("="))
        if key in changes:
            raise SpecError(f"{key} is given twice in spec {text!r}; allowed is once")
        try:
            changes[key] = value if key == "vault" else int(value)
        except ValueError:
            raise SpecError(f"{item!r} in spec {text!r} is not parameter=integer") from None
    return PRESETS[name].replace(**changes)


def spec_text(spec: UnitSpec) -> str:
    """The shortest text that `parse_spec` reads as a spec with these parameters, whatever its name.

    Example:
        >>> import bitting
        >>> spec_text(bitting.parse_spec("base:lanes=64"))
        'base:lanes=64'
    """
    texts = []
    for name, preset in PRESETS.items():
        usual = preset.parameters()
        changes = ",".join(f"{key}={value}" for key, value in spec.parameters().items() if value != usual[key])
        texts.append(f"{name}:{changes}" if changes else name)
    return min(texts, key=len)


def as_spec(spec: UnitSpec | str) -> UnitSpec:
    """A spec, or the one that `parse_spec` reads from a text. Raises SpecError as `parse_spec`."""
    return parse_spec(spec) if isinstance(spec, str) else spec
