"""Packets in; layer descriptors, codes, offsets and activations out. Every mistake has an error code."""

from amaranth import Module, unsigned
from amaranth.hdl import Shape
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from bitting.unit.protocol import WORD_BITS, ErrorCode, FingerprintCode, TransformCode
from bitting.unit.spec import UnitSpec, VaultKind
from bitting_rtl.engine.intake import packet_word_layout
from bitting_rtl.engine.parser import Parser
from bitting_rtl.lib.layouts import layer_layout, tile_layout
from bitting_rtl.lib.ports import Port, Ports


class Depacketise(wiring.Component):
    """Parse the packets of `bitting.unit.protocol`, as `bitting_rtl.engine.intake` has cut them out of the command stream.

    A word is taken in every clock in which its receiver has room; a word of codes or offsets stays until its last item has
    left, and items leave one a clock. With four lanes a word is a vector of activations, and waits for the one before it.

    Packets wait before they change anything: TILE until `tile_free`, LOCK_NOW for nothing, every other type until `idle`.
    (The sealed intake holds back every header while the vault works.)
    They take effect (`tile_commit`, `status_request`, `unlock`, the new layer) only after their CRC or tag has matched.

    A packet that is unknown, or not allowed now, is an error at once. What is wrong with its fields becomes one after CRC or
    tag have matched: of a packet that somebody has tampered with, nothing is told but that. `error` shows the first mistake
    for one clock. While `halt` is high nothing happens.
    """

    def __init__(self, spec: UnitSpec, locks: bool = True):
        """`locks`: know the packets of the locks of the spec's vault; without, they are unknown types."""
        self.spec = spec
        self.locks = locks
        self.seals = locks and spec.vault == VaultKind.ASCON
        index = Shape.cast(range(spec.tile_codes))
        word = unsigned(WORD_BITS)
        address = Shape.cast(range(spec.scratch_words))
        taken, effect = "one clock, with the word it is in", "one clock, with `done`"
        ports = {
            "words": Port(In(stream.Signature(packet_word_layout())), "headers and payloads"),
            "complete": Port(In(1), "the packet has ended, and was compared", "until `done`"),
            "right": Port(In(1), "its CRC or its tag matches", "with `complete`"),
            "done": Port(Out(1), "the packet takes effect, or is refused", "one clock, with `complete`"),
            "halt": Port(In(1), "the engine has stopped"),
            "idle": Port(In(1), "no tile waits or runs, no result leaves, the vault waits"),
            "error": Port(Out(Shape.cast(ErrorCode)), "the first mistake; NONE while there is none", "one clock"),
            "layer": Port(Out(layer_layout(spec)), "the current layer", "from its last fixed word to the next LAYER"),
            "layer_begin": Port(Out(1), "a LAYER packet begins to replace `layer`", "one clock, before its fields"),
            "offset_write": Port(Out(1), "there is a gather offset; `item_index` is its place", taken),
            "offset_data": Port(Out(unsigned(spec.address_bits)), "the offset", "with `offset_write`"),
            "code_valid": Port(Out(1), "there is a code; `item_index` is its place", "until `code_ready`"),
            "code_ready": Port(In(1), "the code is taken", "with `code_valid`"),
            "code_data": Port(Out(unsigned(spec.slot_bits)), "the code, as sent", "with `code_valid`"),
            "item_index": Port(Out(index), "place of the code or offset in its packet", "with either's valid"),
            "tile": Port(Out(tile_layout(spec)), "addresses, bias and flags of the tile", "from first code to commit"),
            "tile_free": Port(In(1), "the tile buffer has room for a tile"),
            "tile_start": Port(Out(1), "a TILE packet is let in; its codes follow", "one clock, before its fields"),
            "tile_commit": Port(Out(1), "the tile is complete, and right", effect),
            "act_write": Port(Out(1), "a vector of activations is complete", "one clock, after its last word"),
            "act_addr": Port(Out(address), "its address", "with `act_write`"),
            "act_data": Port(Out(unsigned(spec.lanes * spec.act_bits)), "its activations", "with `act_write`"),
            "status_request": Port(Out(1), "send a STATUS_REPLY", effect),
            "can_unlock": Port(In(1), "an UNLOCK is allowed: a challenge is under way, or there is a lock key", "while `idle`"),
            "challenge": Port(Out(1), "a CHALLENGE begins", "one clock, before its first word"),
            "fingerprint": Port(Out(FingerprintCode), "what of a challenge is absorbed", "from its first word"),
            "transform": Port(Out(TransformCode), "what unlocks codes", "from its first word"),
            "unlock": Port(Out(1), "derive the lock key, or begin the program again", effect),
            "busy": Port(Out(1), "a packet is under way", "from the clock after its header to its effect"),
        }
        if self.seals:
            ports |= {
                "sweep": Port(In(1), "`item_index` and `act_addr` count through all addresses"),
                "sweep_begins": Port(In(1), "they become 0", "one clock, before `sweep`; after `unlock` or while `halt`"),
                "admit": Port(Out(1), "a sealed packet, or a CHALLENGE, may go on", "one clock, after its header"),
                "is_sealed": Port(In(1), "the packet has a tag, no CRC", "from its header until `done`"),
                "absorbing": Port(In(1), "a challenge is under way", "while `idle`"),
                "keyed": Port(In(1), "there is a lock key", "while `idle`"),
                "can_challenge": Port(In(1), "there was no challenge since reset", "while `idle`"),
                "number": Port(Out(word), "number of the next packet of the program"),
            }
        else:
            ports["absorb"] = Port(Out(stream.Signature(word)), "words of the challenge, for the vault", "as they arrive")
        super().__init__(Ports(ports))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        parser = Parser(self, m)
        with m.If(~self.halt), m.FSM(name="parser") as fsm:
            m.d.comb += self.busy.eq(~fsm.ongoing("HEADER"))
            parser.header()
            parser.barrier()
            parser.program()
            parser.layer()
            parser.tile()
            parser.activations()
            parser.challenge()
            parser.end()
        parser.count()
        parser.begin_again()
        parser.judge()
        return m
