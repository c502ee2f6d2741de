"""The vault `ascon` against Ascon as the standard writes it: derivations, bitting table, sealed packets, right and wrong."""

import functools

import numpy as np
import pytest

from bitting.fpga import gates, targets
from bitting.locking.device import draw
from bitting.unit.protocol import VAULT_ASCON
from bitting.unit.spec import PRESETS
from bitting_rtl.unlock.ascon_vault import AsconVault
from tb import ascon_reference as reference
from tb.vector import Steps, VectorModel

SPEC = PRESETS["tiny"]


@functools.cache
def model(ecp5: bool = False) -> VectorModel:
    """`ecp5`: with named LUTs, as they are synthesised."""
    complete = functools.partial(gates.with_models, targets.find("ecp5-25k")) if ecp5 else str
    return VectorModel(AsconVault(SPEC, ecp5), clocked=True, complete=complete)


class Vault:
    """The vault with the memories beside it: fuses, and the bitting table."""

    def __init__(self, steps: Steps, root: bytes, sealed: bool):
        self.steps = steps
        self.fuses = [*(int.from_bytes(root[at : at + 4], "little") for at in range(0, 16, 4)), int(sealed)]
        self.table = [0] * SPEC.codes
        self.read = self.address = 0
        self.rng = np.random.default_rng(int.from_bytes(root, "little"))

    def clock(self, **inputs):
        fuse = self.fuses[self.address] if self.address < len(self.fuses) else 0xDEADBEEF
        self.steps.step(fuse_data=fuse, table_read=self.read, **inputs)
        steps = self.steps
        self.address = steps["fuse_address"]
        if steps["table_owned"]:
            self.read = self.table[steps["table_addr"]]
        if steps["table_write"]:
            self.table[steps["table_write_addr"]] = steps["table_data"]

    def wait(self):
        """A few clocks in which whatever shows on the bus is no word for the vault."""
        for _ in range(int(self.rng.integers(4))):
            idle = dict.fromkeys(("open", "sealed__valid", "tag_valid", "absorb__valid", "absorb_command"), 0)
            self.clock(**idle, sealed__payload=int(self.rng.integers(1 << 32)), absorb__payload=int(self.rng.integers(1 << 32)))

    def until(self, output, limit=2000, **inputs):
        for _ in range(limit):
            self.clock(**inputs)
            if self.steps[output]:
                return
        raise AssertionError(f"no {output} in {limit} clocks")

    def absorb(self, words):
        """Answers and commands in turn, as they come."""
        for number, word in enumerate(words):
            self.wait()
            if number % 3:
                self.until("absorb__ready", absorb__payload=word, absorb__valid=1, absorb_command=0)
            else:
                self.until("absorb__ready", sealed__payload=word, absorb__valid=0, absorb_command=1)
        self.clock(absorb__valid=0, absorb_command=0)

    def open(self, nonce, payload, tag):
        """Words in clear, and whether the tag is right."""
        header, number, cycles = nonce
        self.until("ready")
        self.clock(header=1, sealed__payload=header)
        self.clock(header=0, open=1, number=number, cycles=cycles, empty=not payload)
        clear = []
        for index, word in enumerate(payload):
            self.wait()
            self.until("sealed__ready", open=0, sealed__valid=1, sealed__payload=word | (index == len(payload) - 1) << 32)
            clear.append(self.steps["opened"])
        for word in tag:
            self.wait()
            self.until("tag_ready", open=0, sealed__valid=0, tag_valid=1, sealed__payload=word)
        self.until("checked", open=0, tag_valid=0, sealed__valid=0, number=0)
        return clear, bool(self.steps["authentic"])


def words_of(data):
    return [int.from_bytes(data[at : at + 4], "little") for at in range(0, len(data), 4)]


def bytes_of(words):
    return b"".join(int(word).to_bytes(4, "little") for word in words)


def device_key(root, sealed):
    flags = VAULT_ASCON | sealed << 8
    return reference.cxof(b"btt-dev", root + int(SPEC.id, 16).to_bytes(8, "little") + flags.to_bytes(4, "little"), 16)


@pytest.mark.parametrize("ecp5", [False, True], ids=["words", "LUTs"])
@pytest.mark.parametrize("sealed", [False, True], ids=["unsealed", "sealed"])
@pytest.mark.parametrize("odd", [0, 1])
def test_boot_challenge_and_sealed_packets(sealed, odd, ecp5):
    """`odd`: words of the challenge, so that what ends it goes to either half of a word of the state."""
    rng = np.random.default_rng(int(sealed))
    root = rng.bytes(16)
    with Steps(model(ecp5)) as steps:
        vault = Vault(steps, root, sealed)
        vault.until("booted", wipe=0)
        key = device_key(root, sealed)
        stream = reference.cxof(b"btt-tab", key, 2 * (SPEC.codes - 1))
        table = list(range(SPEC.codes))
        for step, i in enumerate(range(SPEC.codes - 1, 0, -1)):
            j = draw(int.from_bytes(stream[2 * step : 2 * step + 2], "little"), i + 1)
            table[i], table[j] = table[j], table[i]
        assert vault.table == table
        assert steps["keyed"] == (not sealed) and steps["sealed_device"] == sealed
        lock_keys = [bytes(16)] * (not sealed)
        challenge = rng.integers(0, 1 << 32, 6 + odd).tolist()
        lock_keys.append(reference.cxof(b"btt-key", key + bytes_of(challenge), 16))
        for lock_key in lock_keys:
            if any(lock_key):
                vault.until("ready")
                vault.clock(challenge=1)
                vault.clock(challenge=0)
                assert not steps["keyed"]
                vault.until("absorbing")
                vault.absorb(challenge)
                vault.until("ready")
                vault.clock(unlock=1)
                vault.until("keyed", unlock=0)
            for length in [0, 1, 2, 3, 4, 5, 7, 8, 13, *rng.integers(0, 40, 30)]:
                nonce = rng.integers(0, 1 << 32, 3).tolist()
                text = rng.bytes(4 * length)
                sealed_text, tag = reference.aead(lock_key, bytes_of([*nonce, 0]), b"", text, opens=False)
                payload, tag_words = words_of(sealed_text), words_of(tag)
                wrong = rng.random() < 0.5
                if wrong:
                    place = rng.integers(0, len(payload) + 4)
                    target = payload if place < len(payload) else tag_words
                    target[place if place < len(payload) else place - len(payload)] ^= 1 << int(rng.integers(32))
                clear, right = vault.open(nonce, payload, tag_words)
                assert right == (not wrong)
                if not wrong:
                    assert bytes_of(clear) == text
