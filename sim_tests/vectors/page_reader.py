"""A reader, a host and an engine written from `docs/format.md` alone, to show that the page is enough.

Imports nothing of bitting, and of others only numpy for arrays and `cryptography` for AES. It is short: packets it is given are
good ones. `sim_tests/artefact/test_format.py` compares it with bitting; where they differ, one of the two has left the page.
"""

import functools
import hashlib
import itertools
import json
import struct
from dataclasses import dataclass, field
from pathlib import Path
from statistics import NormalDist

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

FORMAT = "bitting 4"
TYPES = {"U8": ("|u1", 1), "I8": ("|i1", 1), "I32": ("<i4", 4), "U32": ("<u4", 4), "F32": ("<f4", 4)}
EMIT, REPORT, PLAIN, CONSTANT, BAND, EVERY_LANE, HOLD, RESUME = 1, 2, 4, 8, 16, 32, 1, 2


# Section 3: the family


def naf(value: int) -> list[tuple[int, int]]:
    """(sign, exponent) of each digit, lowest first."""
    digits, exponent = [], 0
    while value:
        if value % 2:
            digits.append((1 if value % 4 == 1 else -1, exponent))
            value -= digits[-1][0]
        value //= 2
        exponent += 1
    return digits


def spec_id(spec: dict) -> str:
    parameters = {name: value for name, value in spec.items() if name != "name"}
    return hashlib.sha256(json.dumps({"architecture": 4, **parameters}, sort_keys=True).encode()).hexdigest()[:16]


def value_set(spec: dict) -> tuple[int, ...]:
    """All subsets in turn: only for small families."""
    return _value_set(spec["code_bits"], spec["max_digits"], spec["max_exponent"])


@functools.cache
def _value_set(code_bits: int, max_digits: int, max_exponent: int) -> tuple[int, ...]:
    top = 2 << max_exponent
    candidates = [v for v in range(-top, top + 1) if len(naf(v)) <= max_digits and all(e <= max_exponent for _, e in naf(v))]
    needed = {v for v in candidates if v == 0 or (v > 0 and v.bit_count() == 1)}
    count = 1 << code_bits
    subsets = np.array([s for s in itertools.combinations(candidates, count) if needed <= set(s)], np.int64)
    quantiles = np.array([round(NormalDist().inv_cdf((i + 0.5) / count) * 2**20) for i in range(count)], np.int64)
    best = None
    for halves in range(1, 8 * top):  # sigma in steps of one half
        costs = ((subsets * 2**21 - halves * quantiles) ** 2).sum(axis=1)
        choice = int(costs.argmin())
        if best is None or int(costs[choice]) * best[1] ** 2 < best[0] * halves**2:
            best = (int(costs[choice]), halves, tuple(subsets[choice].tolist()))
    assert best is not None
    return best[2]


def signed_bits(value: int) -> int:
    return next(bits for bits in range(1, 32) if -(1 << bits - 1) <= value < 1 << bits - 1)


@dataclass
class Meaning:
    """Weight and clocks of each code."""

    weights: np.ndarray
    clocks: np.ndarray


def table_meaning(values: tuple[int, ...], table: list[int]) -> Meaning:
    weights = [values[index] for index in table]
    return Meaning(np.array(weights), np.array([max(1, len(naf(w))) for w in weights]))


def plain_meaning(spec: dict, values: tuple[int, ...]) -> Meaning:
    """For all 256 bytes: higher bits than those of a plain weight are ignored."""
    bits = min(8, max(signed_bits(values[0]), signed_bits(values[-1])))
    weights = [wrap(byte, bits) for byte in range(256)]
    clocks = [max(1, len(naf(w)) + any(e > spec["max_exponent"] for _, e in naf(w))) for w in weights]
    return Meaning(np.array(weights), np.array(clocks))


# Sections 4 and 5: arithmetic


def wrap(value, bits):
    return (value + (1 << bits - 1)) % (1 << bits) - (1 << bits - 1)


def fold(spec: dict, total: np.ndarray, shift: int) -> np.ndarray:
    width = spec["acc_bits"]
    shifted = wrap(total << shift, width)
    low = wrap(shifted, width - 1)
    turned = (shifted < -(1 << width - 2)) | (shifted >= 1 << width - 2)
    return np.where(turned, -low - 1, low) >> (width - 1 - spec["act_bits"])


# Section 7: files


@dataclass
class File:
    header: dict
    tensors: dict[str, np.ndarray]
    types: dict[str, str]
    metadata: dict[str, str]

    def message(self) -> bytes:
        parts = [b"bitting signature 1", self.metadata["bitting"].encode()]
        for name in sorted(self.tensors):
            shape = ", ".join(map(str, self.tensors[name].shape)) + ("," if self.tensors[name].ndim == 1 else "")
            parts += [f"{name} {self.types[name]} ({shape})".encode(), self.tensors[name].tobytes()]
        return b"".join(struct.pack(">Q", len(part)) + part for part in parts)


def read_file(path: Path) -> File:
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    entries, body = json.loads(raw[8 : 8 + length]), raw[8 + length :]
    metadata = entries.pop("__metadata__")
    header = json.loads(metadata["bitting"])
    if header["format"] != FORMAT:
        raise ValueError(f"{path} has format {header['format']!r}; this reader reads {FORMAT!r}")
    tensors, types = {}, {}
    for name, entry in entries.items():
        types[name], size = TYPES[entry["dtype"]]
        begin, end = entry["data_offsets"]
        assert end - begin == size * int(np.prod(entry["shape"]))
        tensors[name] = np.frombuffer(body[begin:end], types[name]).reshape(entry["shape"])
    assert header["spec_id"] == spec_id(header["spec"])
    return File(header, tensors, types, metadata)


def questions(spec: dict, words: int, count: int) -> np.ndarray:
    """Of the self-test."""
    drawn = hashlib.shake_256(f"bitting self-test {spec_id(spec)} {words}".encode()).digest(count * words)
    low = 1 << spec["act_bits"] - 1
    return np.array([byte % (2 * low) - low for byte in drawn]).reshape(count, words)


# Section 8: packets


@functools.cache
def crc_of_byte(state: int) -> int:
    for _ in range(8):
        state = state >> 1 ^ (0xEDB88320 if state & 1 else 0)
    return state


def crc(words: list[int]) -> int:
    state = 0xFFFFFFFF
    for byte in struct.pack(f"<{len(words)}I", *words):
        state = state >> 8 ^ crc_of_byte((state ^ byte) & 0xFF)
    return state ^ 0xFFFFFFFF


def packet(kind: int, payload: list[int]) -> list[int]:
    words = [kind | len(payload) << 16, *(word & 0xFFFFFFFF for word in payload)]
    return [*words, crc(words)]


def packed(items, bits: int) -> list[int]:
    per_word = 32 // bits
    masked = [int(item) & (1 << bits) - 1 for item in items]
    return [
        sum(item << bits * i for i, item in enumerate(masked[at : at + per_word])) for at in range(0, len(masked), per_word)
    ]


def unpacked(words: list[int], bits: int, count: int) -> list[int]:
    return [word >> low & (1 << bits) - 1 for word in words for low in range(0, 32, bits)][:count]


def program_words(fields: dict, tensors: dict[str, np.ndarray], prefix: str, report: int) -> list[int]:
    """LAYER and TILE packets of a program in a file."""
    words: list[int] = []
    for index, layer in enumerate(fields["layers"]):
        codes, bias, offsets, in_base, out_base = (
            tensors[f"{prefix}layer{index}.{name}"] for name in ("codes", "bias", "offsets", "in_base", "out_base")
        )
        flags = EMIT * layer["emits"] | report | PLAIN * layer["plain"] | CONSTANT * layer["constant"]
        pairs = [column | row << 16 for row, column in (layer["positions"], layer["strides"], layer["out_strides"])]
        flags |= BAND * ("band" in layer) | EVERY_LANE * layer.get("every_lane", False)
        if "band" in layer:
            pairs += [layer["band"][0] | layer["band"][1] << 16, layer.get("edge", 0) & 0xFF]
        words += packet(1, [codes.shape[1] | flags << 16 | layer["shift"] << 24, *pairs, *packed(offsets, 16)])
        for tile in range(len(codes)):
            part = tile % layer["parts"]
            chain = HOLD * (part < layer["parts"] - 1) | RESUME * (part > 0)
            fixed = [int(in_base[tile]) & 0xFFFF | int(out_base[tile]) << 16, int(bias[tile]) & 0xFFFFFF | chain << 24]
            words += packet(2, fixed + packed(codes[tile], 8))
    return words


def lanes_of(header: dict, samples: np.ndarray) -> np.ndarray:
    """(samples, words) as the lanes hold them, (lanes, words): each a sample, or a band of its rows."""
    if "picture" not in header:
        return samples
    (channels, rows, columns), stripes = header["picture"], header["spec"]["stripes"]
    lanes = []
    for picture in samples.reshape(len(samples), channels, rows, columns):
        for lane in range(stripes):
            mine = range(lane * rows // stripes, (lane + 1) * rows // stripes)
            lanes.append([picture[c, row, column] for row in mine for c in range(channels) for column in range(columns)])
    return np.array(lanes)


def activation_words(spec: dict, address: int, samples: np.ndarray) -> list[int]:
    """`samples`: (at most L, words), those of each lane."""
    vectors = np.zeros((samples.shape[1], spec["lanes"]), np.int64)
    vectors[:, : len(samples)] = samples.T
    return packet(3, [address | len(vectors) << 16, *packed(vectors.reshape(-1), 8)])


# Section 9: keys


def aes(key: bytes, block: bytes) -> bytes:
    return Cipher(algorithms.AES128(key), modes.ECB()).encryptor().update(block)


def cmac(key: bytes, message: bytes) -> bytes:
    """RFC 4493 for a whole number of blocks, which is all that occurs."""
    doubled = int.from_bytes(aes(key, bytes(16))) << 1
    subkey = doubled % (1 << 128) ^ (0x87 if doubled >> 128 else 0)
    chain = 0
    for at in range(0, len(message), 16):
        last = subkey if at + 16 == len(message) else 0
        chain = int.from_bytes(aes(key, (chain ^ last ^ int.from_bytes(message[at : at + 16])).to_bytes(16)))
    return chain.to_bytes(16)


def bitting_table(root: bytes, size: int) -> list[int]:
    key = cmac(root, b"\x01bitting/tabl\x00\x00\x80")
    stream = b"".join(aes(key, counter.to_bytes(16)) for counter in range(size // 8))
    table = list(range(size))
    for step, i in enumerate(reversed(range(1, size))):
        j = int.from_bytes(stream[2 * step : 2 * step + 2]) * (i + 1) >> 16
        table[i], table[j] = table[j], table[i]
    return table


# The engine


@dataclass
class Engine:
    """Command words in, result words out, for good packets; sections 4 to 9."""

    spec: dict
    root: bytes
    results: list[int] = field(default_factory=list)
    tiles: int = 0  # since reset
    total: int = 0  # their cycles
    key: bytes | None = None
    absorbed: list[int] | None = None  # words of the message, during a challenge

    def __post_init__(self):
        values = value_set(self.spec)
        self.table = bitting_table(self.root, 1 << self.spec["code_bits"])
        self.meanings = {0: table_meaning(values, self.table), PLAIN: plain_meaning(self.spec, values)}
        self.scratch = np.zeros((self.spec["lanes"], self.spec["scratch_words"]), np.int64)
        self.cycles: list[int] = []  # of the tiles since UNLOCK

    def run(self, words: list[int]) -> list[int]:
        actions = {1: self.layer, 2: self.tile, 3: self.activations, 4: self.status, 5: self.challenge, 6: self.unlock}
        while words:
            kind, length = words[0] & 0xFFFF, words[0] >> 16
            payload, checksum = words[1 : 1 + length], words[1 + length]
            assert checksum == crc(words[: 1 + length])
            actions[kind](payload)
            words = words[length + 2 :]
        return self.results

    def layer(self, payload):
        self.count, self.flags, self.shift = payload[0] & 0xFFFF, payload[0] >> 16 & 0xFF, payload[0] >> 24
        (columns, rows), strides, out_strides = ((word & 0xFFFF, word >> 16) for word in payload[1:4])
        steps = [(row, column) for row in range(rows) for column in range(columns)]
        self.reads = [row * strides[1] + column * strides[0] for row, column in steps]
        self.writes = [row * out_strides[1] + column * out_strides[0] for row, column in steps]
        self.band = (0, 0)
        if self.flags & BAND:
            self.band, self.edge = (payload[4] & 0xFFFF, payload[4] >> 16), wrap(payload[5] & 0xFF, 8)
        self.offsets = np.array(unpacked(payload[6 if self.flags & BAND else 4 :], 16, self.count))
        self.held = False

    def find(self, addresses) -> np.ndarray:
        """(lanes, K): what each lane finds there."""
        if not self.flags & BAND:
            return self.scratch[:, addresses]
        (start, words), stripes = self.band, self.spec["stripes"]
        found = np.zeros((self.spec["lanes"], len(addresses)), np.int64)
        for lane in range(self.spec["lanes"]):
            for k, address in enumerate(addresses):
                step = -1 if address < start else int(address >= start + words)
                outside = not 0 <= lane % stripes + step < stripes
                found[lane, k] = self.edge if outside else self.scratch[lane + step, address - step * words]
        return found

    def tile(self, payload):
        in_base, out_base, bias, flags = (
            payload[0] & 0xFFFF,
            payload[0] >> 16,
            wrap(payload[1] & 0xFFFFFF, 24),
            payload[1] >> 24,
        )
        in_base = wrap(in_base, 16) if self.flags & BAND else in_base
        codes = self.open(unpacked(payload[2:], 8, self.count))
        meaning = self.meanings[self.flags & PLAIN]
        if not (flags & RESUME and self.held):
            self.sums = np.full(self.spec["lanes"], bias)
        start = self.sums
        for read, write in zip(self.reads, self.writes, strict=True):
            products = self.find(in_base + read + self.offsets) @ meaning.weights[codes]
            self.sums = wrap(start + products, self.spec["acc_bits"])
            if not flags & HOLD and not self.flags & EMIT:
                self.scratch[:, out_base + write] = fold(self.spec, self.sums, self.shift)
        self.held = bool(flags & HOLD)
        cycles = len(self.reads) * int(meaning.clocks[codes].sum()) + 8
        emitted = self.sums.tolist() if self.flags & EMIT and not flags & HOLD else []
        if not self.flags & EVERY_LANE:
            emitted = emitted[:: self.spec.get("stripes", 1)]
        if self.absorbed is not None:
            self.absorbed += [cycles] if self.absorbed[0] & 0xFF == 1 else emitted
        elif emitted or self.flags & REPORT:
            self.results += packet(0x82, [self.tiles, cycles, *emitted])
        self.tiles += 1
        self.total += cycles
        self.cycles.append(cycles)

    def open(self, codes):
        """A tile's codes in clear."""
        if self.key is None or self.flags & CONSTANT:
            return codes
        number = len(self.cycles)
        before = sum(self.cycles[: max(0, number - 1)]) if self.transform == 3 else 0
        layer = self.count - 1 | (self.flags & (EMIT | PLAIN)) << 16 | self.shift << 24
        blocks = (before << 80 | layer << 48 | number << 16 | i for i in range(self.count // 8 + 1))
        stream = b"".join(aes(self.key, block.to_bytes(16)) for block in blocks)
        if self.transform != 1:
            bits = 8 if self.flags & PLAIN else self.spec["code_bits"]
            return [(code ^ mask) % (1 << bits) for code, mask in zip(codes, stream, strict=False)]
        opened = [0] * len(codes)
        for i, code in enumerate(codes):
            place = int.from_bytes(stream[2 * i : 2 * i + 2]) * (i + 1) >> 16
            opened[i] = opened[place]
            opened[place] = code
        return opened

    def activations(self, payload):
        address, count, lanes = payload[0] & 0xFFFF, payload[0] >> 16, self.spec["lanes"]
        vectors = np.array(unpacked(payload[1:], 8, count * lanes)).reshape(count, lanes)
        self.scratch[:, address : address + count] = wrap(vectors % (1 << self.spec["act_bits"]), self.spec["act_bits"]).T

    def status(self, payload):
        state = 1 | 2 * (self.absorbed is not None) | 4 * (self.key is not None)
        self.results += packet(0x84, [int(spec_id(self.spec)[8:], 16), self.tiles, self.total, self.total >> 32, state])

    def challenge(self, payload):
        self.key, self.absorbed, self.transform = None, list(payload), payload[0] >> 8

    def unlock(self, payload):
        if self.absorbed is not None:
            zeros = [0] * (-(len(self.absorbed) + 1) % 4)
            message = [word & 0xFFFFFFFF for word in [*self.absorbed, *zeros, len(self.absorbed)]]
            seed = cmac(self.root, b"\x01bitting/seed\x00\x00\x80")
            self.key, self.absorbed = cmac(seed, struct.pack(f">{len(message)}I", *message)), None
        self.cycles = []


def emitted_sums(results: list[int]) -> list[list[int]]:
    """(sums, L): of the TILE_DONE packets that have any."""
    sums = []
    while results:
        length = results[0] >> 16
        assert results[length + 1] == crc(results[: length + 1])
        if results[0] & 0xFF == 0x82 and length > 2:
            sums.append([wrap(word, 32) for word in results[3 : length + 1]])
        results = results[length + 2 :]
    return sums


def artefact_words(file: File, samples: np.ndarray, report: int = REPORT) -> list[int]:
    """Everything a host sends for one batch."""
    header, tensors, spec = file.header, file.tensors, file.header["spec"]
    words: list[int] = []
    if header["lock"]["transform"] != "table":
        kind = {"clock": 1, "numeric": 2}[header["lock"]["fingerprint"]]
        kind |= {"shuffle": 1, "aes": 2, "aes-pre": 2, "aes-clocked": 3}[header["lock"]["transform"]] << 8
        words += packet(5, [kind, *struct.unpack(">4I", bytes.fromhex(header["lock"]["nonce"]))])
        words += activation_words(spec, header["challenge"]["input_base"], tensors["challenge.activations"])
        words += program_words(header["challenge"], tensors, "challenge.", 0)
        words += packet(6, [])
    words += activation_words(spec, header["input_base"], lanes_of(header, samples))
    return words + program_words(header, tensors, "", report)


# Section 11: packet files


def read_packet_file(path: Path) -> dict:
    raw = path.read_bytes()
    words = list(struct.unpack(f"<{len(raw) // 4}I", raw))
    assert raw[:4] == b"BTPK" and words[1] in (1, 2) and words[2] == len(words) and words[-1] == crc(words[:-1])
    fields = ("spec", "lanes", "act_bits", "input_base", "input_words", "outputs", "results")
    found = dict(zip(fields, words[3:10], strict=True))
    found["shared"] = words[16:20] if words[1] == 2 else None  # p, C, H, W
    count, row, at = words[14], -(-found["input_words"] // 4), 20 if words[1] == 2 else 16
    for name, length in zip(("once", "again", "head", "body"), words[10:14], strict=True):
        found[name] = words[at : at + length]
        at += length
    bytes_of = [wrap(byte, 8) for byte in unpacked(words[at:], 8, 4 * row * count)]
    found["questions"] = np.array(bytes_of).reshape(count, 4 * row)[:, : found["input_words"]]
    at += row * count
    end = at + count * found["outputs"]
    found["answers"] = np.array([wrap(word, 32) for word in words[at:end]]).reshape(count, found["outputs"])
    found["units"] = read_units(words[end:-1], found) if words[15] else None
    assert len(words[end:-1]) == words[15]
    return found


def read_units(words: list[int], header: dict) -> dict:
    low, high, task, inputs, outputs = words[:5]
    assert inputs in (1, header["input_words"]) and outputs in (1, header["outputs"])
    numbers = np.array(words[5:], "<u4").view("<f4")
    offset, scale, output_offset, output_scale = np.split(numbers, np.cumsum([inputs, inputs, outputs]))
    return {
        "low": low - 128, "high": high - 128, "task": ("classification", "binary", "multi-label", "regression")[task],
        "offset": offset, "scale": scale, "output_offset": output_offset, "output_scale": output_scale,
    }  # fmt: skip
