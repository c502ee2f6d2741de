"""The AES core and the vault against published vectors and `cryptography`, and the unlocker's place in the netlist."""

import numpy as np
import pytest
from amaranth import Cat, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.cmac import CMAC

from bitting.locking.device import Device
from bitting.unit.protocol import LABEL_TABLE, fuse_words
from bitting_rtl.engine.top import Top
from bitting_rtl.unlock.aes import Aes128, cipher_timing, sbox_contents
from bitting_rtl.unlock.vault import Vault
from tb.families import AES
from tb.netlist import Netlist
from tb.vector import VectorModel

SPEC = AES["tiny"]
ROOT = bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c")


class Halves(wiring.Component):
    """The core with its wide ports in two halves, for a harness of 64-bit ports."""

    def __init__(self, compact: bool) -> None:
        self._compact = compact
        ports = {f"{name}{half}": In(64) for name in ("key", "block") for half in range(2)}
        super().__init__(
            ports
            | {name: In(1) for name in ("start", "take", "forget", "wipe")}
            | {"ready": Out(1), "done": Out(1), "result0": Out(64), "result1": Out(64)}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.core = core = Aes128(self._compact)
        m.d.comb += [
            core.key.eq(Cat(self.key0, self.key1)),
            core.block.eq(Cat(self.block0, self.block1)),
            core.start.eq(self.start),
            core.take.eq(self.take),
            core.abort.eq(self.forget),
            core.wipe.eq(self.wipe),
            self.ready.eq(core.ready),
            self.done.eq(core.done),
            Cat(self.result0, self.result1).eq(core.result),
        ]
        return m


class CoreModel(VectorModel):
    """The core, and how fast it is."""

    def __init__(self, compact: bool):
        super().__init__(Halves(compact), clocked=True)
        self.latency, self.blocks, self.period = cipher_timing(compact)


def halves(blocks: list[bytes]) -> tuple[np.ndarray, np.ndarray]:
    words = np.array([np.frombuffer(block, ">u8") for block in blocks]).astype(np.uint64)
    return words[:, 1].view(np.int64), words[:, 0].view(np.int64)


@pytest.fixture(scope="module", params=[False, True], ids=["pipelined", "compact"])
def core(request):
    return CoreModel(request.param)


def columns_of(rows: int, **at: np.ndarray) -> dict[str, np.ndarray]:
    """Inputs of the core over `rows` clocks, 0 but where said."""
    names = ("key0", "key1", "block0", "block1", "start", "take", "forget", "wipe")
    columns = {name: np.zeros(rows, np.int64) for name in names}
    for name, when in at.items():
        columns[name][when] = 1
    return columns


def encrypted(core: CoreModel, keys: list[bytes], blocks: list[bytes]) -> list[bytes]:
    """Through the core as fast as it goes: two and two, or (compact) one by one."""
    count = len(keys)
    at = core.period * (np.arange(count) // core.blocks) + np.arange(count) % core.blocks
    taken = at + core.latency
    columns = columns_of(int(taken[-1]) + 2, start=at, take=taken)
    for name, values in (("key", keys), ("block", blocks)):
        columns[f"{name}0"][at], columns[f"{name}1"][at] = halves(values)
    found = core.run(**columns)
    assert found["ready"][at].all(), "as often as is said"
    assert found["done"][taken].all() and found["done"].sum() == count, "`latency` clocks after start, for a clock"
    return [result(found, row) for row in taken]


def result(found, row: int) -> bytes:
    """The block on the two halves of the result port."""
    return b"".join((int(found[f"result{half}"][row]) & (1 << 64) - 1).to_bytes(8) for half in (1, 0))


@pytest.mark.parametrize(
    ("source", "key", "block", "expected"),
    [
        ("FIPS 197, B", ROOT.hex(), "3243f6a8885a308d313198a2e0370734", "3925841d02dc09fbdc118597196a0b32"),
        ("FIPS 197, C.1", bytes(range(16)).hex(), "00112233445566778899aabbccddeeff", "69c4e0d86a7b0430d8cdb78070b4c55a"),
        ("SP 800-38A, F.1.1", ROOT.hex(), "6bc1bee22e409f96e93d7e117393172a", "3ad77bb40d7a3660a89ecaf32466ef97"),
        ("SP 800-38A, F.5.1, 1", ROOT.hex(), "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff", "ec8cdf7398607cb0f2d21675ea9ea1e4"),
        ("SP 800-38A, F.5.1, 2", ROOT.hex(), "f0f1f2f3f4f5f6f7f8f9fafbfcfdff00", "362b7c3c6773516318a077d7fc5073ae"),
        ("RFC 4493, L", ROOT.hex(), "00" * 16, "7df76b0c1ab899b33e42f047b91b546f"),
    ],
)
def test_published_vectors(core, source, key, block, expected):
    assert encrypted(core, [bytes.fromhex(key)], [bytes.fromhex(block)])[0].hex() == expected, source


def test_thousands_of_random_blocks_back_to_back(core):
    rng = np.random.default_rng(1)
    keys, blocks = ([rng.bytes(16) for _ in range(5000)] for _ in range(2))
    wanted = [Cipher(algorithms.AES128(k), modes.ECB()).encryptor().update(b) for k, b in zip(keys, blocks, strict=True)]
    assert encrypted(core, keys, blocks) == wanted


def test_results_wait_in_order_until_they_are_taken(core):
    rng = np.random.default_rng(2)
    keys, blocks = ([rng.bytes(16) for _ in range(3)] for _ in range(2))
    wanted = [Cipher(algorithms.AES128(k), modes.ECB()).encryptor().update(b) for k, b in zip(keys, blocks, strict=True)]
    # One waits as a result, one behind it for each that fits in: with two the third enters before the first is taken.
    starts, takes = np.array([0, 7, 22] if core.blocks == 2 else [0, 11, 41]), np.array([40, 45, 70])
    columns = columns_of(80, start=starts, take=takes)
    for name, values in (("key", keys), ("block", blocks)):
        columns[f"{name}0"][starts], columns[f"{name}1"][starts] = halves(values)
    found = core.run(**columns)
    assert found["ready"][starts].all()
    assert found["done"].argmax() == core.latency and found["done"][core.latency : takes[0] + 1].all(), (
        "a result stays until it is taken"
    )
    assert found["done"][takes].all() and not found["done"][takes[-1] + 1 :].any()
    assert [result(found, row) for row in takes] == wanted


def test_an_abort_forgets_what_was_under_way_and_a_wipe_clears_it(core):
    """After any number of clocks of a block another begins, and comes out right; a wipe at any time leaves no result behind."""
    key, one, two = ROOT, bytes(range(16)), bytes(16)
    wanted = Cipher(algorithms.AES128(key), modes.ECB()).encryptor().update(two)
    for clocks in range(1, core.latency + 1):
        columns = columns_of(70, start=np.array([0, clocks + 1]), forget=np.array([clocks]))
        columns["key0"][:], columns["key1"][:] = (half[0] for half in halves([key]))
        columns["block0"][0], columns["block1"][0] = (half[0] for half in halves([one]))
        columns["block0"][clocks + 1], columns["block1"][clocks + 1] = (half[0] for half in halves([two]))
        found = core.run(**columns)
        assert found["done"][clocks + 1 :].argmax() == core.latency
        assert found["done"][clocks + 1 + core.latency :].all(), "a result stays until it is taken"
        assert result(found, clocks + 1 + core.latency) == wanted
        columns["start"][clocks + 1] = columns["forget"][clocks] = 0
        columns["wipe"][clocks] = 1
        found = core.run(**columns)
        assert not found["done"][clocks + 1 :].any()
        other = core.run(**{**columns, "key0": columns["key0"] ^ 12345, "block1": columns["block1"] ^ 999})
        left_behind = [{result(run, row) for row in range(clocks + 1, 70)} for run in (found, other)]
        assert left_behind[0] == left_behind[1] and len(left_behind[0]) == 1, "nothing of key or block is left"


def test_the_sbox_is_a_permutation_without_fixed_points():
    box = sbox_contents()
    assert sorted(box) == list(range(256)) and all(box[x] not in (x, x ^ 0xFF) for x in range(256))


class Chip:
    """The vault in Amaranth's own simulator, with a table memory in Python: every register can be seen."""

    def __init__(self, root: bytes):
        self.vault = Vault(SPEC)
        self.table = [0] * SPEC.codes
        self.fuses = fuse_words(root)

    def run(self, scenario) -> None:
        simulator = Simulator(self.vault)
        simulator.add_clock(1e-6)

        async def memory(ctx):
            """One read and one write port, old data on a collision."""
            vault = self.vault
            async for _, reset, owned, write, address, target, value in ctx.tick().sample(
                vault.table_owned, vault.table_write, vault.table_addr, vault.table_write_addr, vault.table_data
            ):
                if owned and not reset:
                    ctx.set(vault.table_read, self.table[address])
                    if write:
                        self.table[target] = value

        async def fuses(ctx):
            """Each word a clock after its address, and until then the word before."""
            async for _, _, address in ctx.tick().sample(self.vault.fuse_address):
                ctx.set(self.vault.fuse_data, self.fuses[address])

        simulator.add_process(memory)
        simulator.add_process(fuses)

        async def bench(ctx):
            await scenario(self, ctx)

        simulator.add_testbench(bench)
        simulator.run()

    async def ready(self, ctx) -> int:
        clocks = 0
        while not ctx.get(self.vault.ready):
            await ctx.tick()
            clocks += 1
        return clocks

    async def pulse(self, ctx, signal) -> None:
        ctx.set(signal, 1)
        await ctx.tick()
        ctx.set(signal, 0)

    async def absorb(self, ctx, words) -> None:
        for word in words:
            ctx.set(self.vault.absorb.payload, int(word))
            ctx.set(self.vault.absorb.valid, 1)
            while not ctx.get(self.vault.absorb.ready):
                await ctx.tick()
            await ctx.tick()
            ctx.set(self.vault.absorb.valid, 0)


def hexadecimal(ctx, register) -> str:
    return ctx.get(register).to_bytes(16).hex()


@pytest.mark.parametrize("root", [ROOT, bytes(16), bytes(range(100, 116))], ids=["example", "unblown", "other"])
def test_boot_leaves_the_table_and_the_seed_and_forgets_the_root(root):
    clocks = []

    async def scenario(chip, ctx):
        clocks.append(await chip.ready(ctx))
        assert chip.table == list(Device(SPEC, root).table())
        assert hexadecimal(ctx, chip.vault._seed) == Device(SPEC, root).fingerprint_key().hex()
        assert ctx.get(chip.vault._root) == 0, "the root secret is gone"
        assert ctx.get(chip.vault._key) == ctx.get(chip.vault._block) == 0
        chip.fuses = [1, 2, 3, 4, 5]  # read once only
        await ctx.tick().repeat(50)
        assert hexadecimal(ctx, chip.vault._seed) == Device(SPEC, root).fingerprint_key().hex()
        assert ctx.get(chip.vault._root) == 0, "the root secret is gone"

    Chip(root).run(scenario)
    assert clocks == [201], "the same on every device"


@pytest.mark.parametrize("count", range(1, 10))
def test_absorbed_words_give_the_cmac(count):
    words = np.random.default_rng(count).integers(0, 1 << 32, count, dtype=np.uint32)

    async def scenario(chip, ctx):
        await chip.ready(ctx)
        chip.fuses = [6, 7, 8, 9, 10]  # nobody looks at them any more
        for _ in range(2):  # a second challenge forgets the first
            await chip.pulse(ctx, chip.vault.challenge)
            await chip.absorb(ctx, words)
            await chip.ready(ctx)
            await chip.pulse(ctx, chip.vault.unlock)
            await chip.ready(ctx)
            zeros = [0] * (-(count + 1) % 4)
            cmac = CMAC(algorithms.AES128(Device(SPEC, ROOT).fingerprint_key()))
            cmac.update(np.array([*words, *zeros, count], ">u4").tobytes())
            assert hexadecimal(ctx, chip.vault._key) == cmac.finalize().hex()
            assert ctx.get(chip.vault.keyed) and not ctx.get(chip.vault.absorbing)

    Chip(ROOT).run(scenario)


def test_the_keystream_of_a_tile_is_counter_mode():
    async def scenario(chip, ctx):
        vault = chip.vault
        await chip.ready(ctx)
        await chip.pulse(ctx, vault.challenge)
        await chip.ready(ctx)
        await chip.pulse(ctx, vault.unlock)
        await chip.ready(ctx)
        key = ctx.get(vault._key).to_bytes(16)
        rng = np.random.default_rng(3)
        for _ in range(3):
            cycles, layer, tile = int(rng.integers(1 << 48)), int(rng.integers(1 << 32)), int(rng.integers(1 << 32))
            ctx.set(vault.counter, {"cycles": cycles, "layer": layer, "tile": tile})
            await chip.pulse(ctx, vault.tile_start)
            first = (cycles << 80 | layer << 48 | tile << 16).to_bytes(16)
            wanted = Cipher(algorithms.AES128(key), modes.CTR(first)).encryptor().update(bytes(70))
            found = bytearray()
            while len(found) < 70:
                if ctx.get(vault.available):
                    found.append(ctx.get(vault.byte))
                    await chip.pulse(ctx, vault.take)
                else:
                    await ctx.tick()
            assert bytes(found) == wanted

    Chip(ROOT).run(scenario)


@pytest.mark.parametrize("clocks", [3, 10, 22, 47, 97, 126, 132, 147])  # from half a root secret on
def test_a_wipe_at_any_time_clears_every_key_and_the_table(clocks):
    async def scenario(chip, ctx):
        vault = chip.vault
        ctx.set(vault.challenge, 1)
        await ctx.tick().repeat(clocks)
        ctx.set(vault.wipe, 1)
        await ctx.tick().repeat(2)
        keys = [vault._root, vault._seed, vault._key, vault._block, vault._half, *vault._aes._held]
        assert [ctx.get(register) for register in keys] == [0] * len(keys)
        await ctx.tick().repeat(SPEC.codes)
        assert chip.table == [0] * SPEC.codes
        assert not any(ctx.get(flag) for flag in (vault.ready, vault.booted, vault.keyed, vault.absorbing, vault.available))
        ctx.set(vault.wipe, 0)
        await ctx.tick().repeat(300)
        assert ctx.get(vault._seed) == 0 and not ctx.get(vault.ready), "only reset leads out"

    Chip(ROOT).run(scenario)


_CORE = [
    f"aes.{name}"
    for name in (
        "entering_block",
        "entering_key",
        "looked_up_key",
        "mixed_key",
        "substituted",
        "next_key",
        "next_state",
        "result",
    )
]
KEYS = [f"engine.vault.{name}" for name in ("_root", "_seed", "_key", "_block", *_CORE)]
#: The ways a key may act: on codes and their places in the tile buffer, and on the bitting table.
WAYS = ["engine.unlocker.write_code", "engine.unlocker.place", "engine.vault.table_addr", "engine.vault.table_write_addr"]


@pytest.fixture(scope="module")
def netlist(tmp_path_factory):
    return Netlist.of(Top(SPEC), tmp_path_factory.mktemp("netlist"))


def test_no_key_reaches_a_port_but_through_unlocked_codes_and_the_table(netlist):
    """Neither a value nor the timing of any output depends on a key in another way."""
    assert netlist.reached(KEYS, cuts=WAYS) == set()
    assert netlist.reached(["fuse_data"], cuts=WAYS) == set()
    for way in WAYS:
        assert "result_data" in netlist.reached(KEYS, cuts=[w for w in WAYS if w != way]), f"{way} is a way, and is seen"


def test_no_unlocked_code_reaches_a_port_but_through_the_mac(netlist):
    """Codes leave the tile buffer as digits for the lanes (and as the time these take), nowhere else."""
    assert netlist.reached(["engine.tile_buffer.read_code"], cuts=["engine.decode.digits"]) == set()
    assert "result_data" in netlist.reached(["engine.tile_buffer.read_code"])


def test_labels_are_single_blocks_and_differ():
    from bitting.unit.protocol import LABEL_SEED

    assert len(LABEL_TABLE) == len(LABEL_SEED) == 16 and LABEL_TABLE != LABEL_SEED
