"""Tables of `bitting puf report`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bitting.cli import console
from bitting.unit.bch import BLOCK_BITS
from bitting.unit.puf_key import DEFAULT_KEY, DEFAULT_READS

if TYPE_CHECKING:
    from bitting.puf.choice import Choice
    from bitting.puf.report import Report

#: Below so many boards, what is found is loose.
_FEW_BOARDS = 30


def show(what: str, found: Report) -> None:
    """All tables of a report.

    Args:
        what: the boards, for the first title.
        found: on them.
    """
    console.table(
        f"{what}: {found.boards} boards, {found.oscillators} oscillators, {found.reads} reads; "
        f"{found.splits} splits, {found.judged} boards judged in each. Bits of min-entropy a response bit",
        ("pairing", "plug-in", "corrected", "over splits", "bound", "others tell", "likely", "conservative", "errors, 1 read"),
        [
            (
                one.name,
                f"{one.entropy.plug_in:.3f}",
                f"{one.entropy.corrected:.3f}",
                f"{one.deviation:.3f}",
                f"{one.entropy.bound:.3f}",
                f"{max(attack.accuracy for attack in one.attacks if attack.others_only):.4f}",
                f"{one.worth.likely:.3f}",
                f"{one.worth.conservative:.3f}",
                console.percent(found.candidate_errors[one.name]),
            )
            for one in found.candidates
        ],
    )
    _show_default(found)
    _show_attacks(found)
    _show_errors(found)
    _show_left_out(found)
    _show_choice(found)


def _show_default(found: Report) -> None:
    spread = found.spread
    console.table(
        f"{found.default.name}: how responses lie",
        ("", "found", "fair coins"),
        [
            ("uniqueness: distance of boards", f"{spread.uniqueness:.4f}, sd {spread.uniqueness_deviation:.4f}", "0.5"),
            ("degrees of freedom (Daugman)", f"{spread.degrees_of_freedom:.0f}", f"{found.rates[0].bits}"),
            ("uniformity: ones in a board", f"{spread.uniformity:.4f}, sd {spread.uniformity_deviation:.4f}", "0.5"),
            (
                "aliasing: sd over bits of the share of ones",
                f"{spread.aliasing_deviation:.4f}, largest distance from 1/2 {spread.aliasing_worst:.2f}",
                f"{spread.aliasing_by_chance:.4f}",
            ),
            ("squared correlation of two bits, times boards - 1", f"{spread.correlation:.3f}", "1"),
            ("pairs of bits beyond the 1% bound", f"{100 * spread.correlated:.2f}%", "1%"),
            ("min-entropy, plug-in", f"{found.default.entropy.plug_in:.3f}", f"{found.coins.plug_in:.3f}"),
            ("corrected", f"{found.default.entropy.corrected:.3f}", f"{found.coins.corrected:.3f}"),
            ("bound", f"{found.default.entropy.bound:.3f}", f"{found.coins.bound:.3f}"),
            (
                "SP 800-90B most common value of each bit",
                f"{found.default.entropy.most_common_value_bound:.3f}",
                f"{found.coins.most_common_value_bound:.3f}",
            ),
            *(
                (f"SP 800-90B {name}: by boards; by positions", f"{a:.3f}; {b:.3f}", f"{found.coins_standard[name]:.3f}")
                for name, (a, b) in found.standard.items()
            ),
        ],
    )


def _show_attacks(found: Report) -> None:
    few, attackers = found.few_constants, found.boards - found.judged
    left_out = found.best.left_out if found.best else 0.0
    for one in dict.fromkeys((found.default, found.share(left_out))):
        rows = [(attack.name, attack.knows, f"{attack.accuracy:.4f}", f"{attack.bound:.4f}") for attack in one.attacks]
        if one is found.default:
            name = f"{few.name}; constants of half as many boards"
            rows.append((name, few.knows, f"{few.accuracy:.4f}", f"{few.bound:.4f}"))
        kept = f", {100 * one.left_out:.0f}% left out" if one.left_out else ""
        console.table(
            f"{one.name}{kept}: what an attacker with {attackers} boards of his own predicts",
            ("attack", "knows of the board", "right", "99.5% bound"),
            rows,
        )


def _show_errors(found: Report) -> None:
    from bitting.puf.report import TAIL_ERRORS

    rows = []
    for one in found.rates:
        worst = int(one.counted.argmax())
        low, high = one.bounds(worst)
        expected, seen = one.tail(TAIL_ERRORS)
        rows.append(
            (
                one.reads,
                f"{100 * one.counted.mean():.3f}%",
                f"{100 * one.modelled.mean():.3f}%",
                f"{100 * one.counted[worst]:.2f}% ({100 * low:.2f} to {100 * high:.2f})",
                f"{100 * one.modelled[one.worst]:.2f}%",
                int(one.errors.max()),
                f"{100 * one.deepest.max():.1f}%",
                f"{100 * expected:.2f}%, {100 * seen:.2f}%",
            )
        )
    console.table(
        f"{found.default.name}: wrong bits of boots, against the first {found.reference} reads",
        (
            "reads", "counted", "modelled", "worst board counted (99%)", "worst modelled", f"most of {BLOCK_BITS}",
            "smallest margins with all errors", f"boots over {TAIL_ERRORS}: model, seen",
        ),
        rows,
    )  # fmt: skip


def _show_choice(found: Report) -> None:
    from bitting.puf import choice

    best = found.best
    need = f"at most {choice.MOST_FAILURES:g} failures at {choice.MARGIN} x the worst board, {choice.KEY_BITS} bits left"
    console.table(
        f"the fewest oscillators that meet the requirement: {need}",
        (
            "reads", "left out", f"BCH({BLOCK_BITS}, k, t)", "blocks", "kept in each", "pairs", "oscillators",
            f"worst board x{choice.MARGIN}", "key failure", "if bits err alike", "bits left",
        ),
        [
            (
                f"{one.reads}{' *' if one is best else ''}", f"{100 * one.left_out:.0f}%",
                f"({one.key.code.k}, {one.key.code.t})", one.key.blocks, one.key.kept, one.key.pairs, one.oscillators,
                f"{100 * one.rate:.4f}%", f"{one.failure:.1e}", f"{one.failure_bound:.1e}", f"{one.left:.0f}",
            )
            for one in found.choices
        ],
    )  # fmt: skip
    if found.boards < _FEW_BOARDS:
        console.err.print(f"{found.boards} boards are few: entropy and the worst board's errors are uncertain by as much again")
    if found.built is not None:
        _tell_built(found, found.built)
    if best is None:
        console.out.print(f"no code meets this: {need}. Average more reads in a boot, or calibrate on more boards.")
        return
    table = []
    for key, failures in found.failures(best):
        if choice.shown(key.code, best):
            cells = [f"{one:.1e}" for one in failures] + [""] * (len(choice.FACTORS) - len(failures))
            left = choice.left(key, found.share(best.left_out).worth.conservative)
            table.append((f"({key.code.k}, {key.code.t})", *cells, f"{left:.0f}"))
    console.table(
        f"key failure with other codes: {best.reads} reads, {best.key.blocks} x {best.key.kept} of {best.key.pairs} pairs, "
        "each board at so many times its error rate of all pairs, the one that fails most",
        (f"BCH({BLOCK_BITS}, k, t)", *(f"x{factor}" for factor in choice.FACTORS), "bits left"),
        table,
    )
    _show_confirmed(found)
    _show_nested(found)
    key, without = best.key, found.unmasked
    measured = found.rates[0].bits
    console.out.print(
        f"chosen: {best.reads} reads, {key.pairs} pairs ({best.oscillators} oscillators) of which a mask keeps {key.bits}, "
        f"{key.blocks} x BCH({key.code.n}, {key.code.k}, {key.code.t}): {best.left:.0f} bits left, key failure "
        f"{best.failure:.1e} at {choice.MARGIN} x the worst board. Without a mask: "
        f"{without.oscillators if without else 'no number of'} oscillators. "
        f"With {choice.MARGIN} x the error rate of kept bits instead: {best.failure_of_kept:.1e}, the milder reading."
    )
    if key.pairs > measured:
        of_board = found.left_of_a_board(best)
        console.out.print(
            f"{measured} pairs of a board were looked at, which leave {of_board['conservative']:.0f} (likely "
            f"{of_board['likely']:.0f}) bits: {key.pairs} are enough if the others are like them."
        )


def _tell_built(found: Report, built: Choice) -> None:
    from bitting.puf import choice

    what = "devices as they are built" if found.asked == (DEFAULT_READS, DEFAULT_KEY) else "asked for"
    key, met = built.key, built.failure <= choice.MOST_FAILURES and built.left >= choice.KEY_BITS
    console.out.print(
        f"{what}: {built.reads} reads, a mask keeps {key.bits} of {key.pairs} pairs, {key.blocks} x BCH({key.code.n}, "
        f"{key.code.k}, {key.code.t}): {built.left:.1f} bits left, key failure {built.failure:.1e} at {choice.MARGIN} x the "
        f"worst board: the requirement is {'' if met else 'not '}met."
    )


def _show_confirmed(found: Report) -> None:
    from bitting.puf.failure import interval

    rows = []
    for one in found.confirmed:
        low, high = interval(one.thrown, one.throws)
        rows.append((
            f"x{one.factor}", f"{one.exact:.1e}", f"{one.thrown} of {one.throws} ({low:.1e} to {high:.1e})",
            f"{100 * one.rate_modelled:.4f}%", f"{100 * one.rate_counted:.4f}%", f"{one.over_modelled:.1e}",
            f"{one.over_counted:.1e}",
        ))  # fmt: skip
    console.table(
        "the sums beside what is seen: a block of the board that fails most; recorded boots of all boards with more noise",
        (
            "rate", "exact", "dice, decoded (99%)", "wrong bits: model", "counted", "boots over t: model", "counted",
        ),
        rows,
    )  # fmt: skip


def _show_nested(found: Report) -> None:
    console.table(
        "what two thirds of the boards choose by themselves, on the other third",
        ("chose", "reads", "left out", "t", "kept", "pairs", "oscillators", "judged", "key failure", "too often", "bits left"),
        [
            (
                one.boards, one.choice.reads, f"{100 * one.choice.left_out:.0f}%", one.choice.key.code.t, one.choice.key.bits,
                one.choice.key.pairs, one.choice.oscillators, one.judged, f"{one.failure:.1e}", one.failing, f"{one.left:.0f}",
            )
            for one in found.nested
        ],
    )  # fmt: skip


def _show_left_out(found: Report) -> None:
    """Entropy of the pairs that are kept, and their errors."""
    from bitting.puf import choice, masks

    rows: list[tuple[object, ...]] = []
    for one in found.shares:
        others = max(attack.bound for attack in one.attacks if attack.others_only)
        told = [attack.accuracy for attack in one.attacks if "mask" in attack.name]
        rows.append((
            f"{100 * one.left_out:.0f}%", one.kept, f"{one.entropy.corrected:.3f}", f"{one.deviation:.3f}",
            f"{one.entropy.bound:.3f}", f"{one.bias:.4f}", f"{others:.4f}", f"{max(told):.4f}" if told else "",
            f"{one.mask.correlation:.4f}" if one.mask else "", f"{one.worth.likely:.3f}", f"{one.worth.conservative:.3f}",
        ))  # fmt: skip
    console.table(
        f"{found.default.name}: weak pairs left out of {found.rates[0].bits}. Bits of min-entropy a kept bit, its mask known",
        (
            "left out", "kept", "corrected", "over splits", "bound", "rms bias", "others tell (bound)", "masks tell",
            "masks of two boards correlate", "likely", "conservative",
        ),
        rows,
    )  # fmt: skip
    rows = []
    for reads, of in found.kept_errors.items():
        for left_out in masks.SHARES:
            at = [one for one in of if one.left_out == left_out]
            cells = [cell for one in at for cell in (_rate(one.modelled), _rate(one.counted))]
            cells += [""] * (4 - len(cells)) + [_rate(at[-1].worst), str(at[-1].errors.max())]
            rows.append((reads, f"{100 * left_out:.0f}%", *cells))
    console.table(
        "share of wrong ones among kept bits, as measured and with more noise: all differences move so much more that the "
        f"board's error rate of all its pairs is {choice.MARGIN} times what it was",
        (
            "reads", "left out", "modelled", "counted", f"x{choice.MARGIN} modelled", "counted", "worst board modelled",
            "most in a boot",
        ),
        rows,
    )  # fmt: skip


def _rate(share: float) -> str:
    return f"{share:.1e}" if share else "0"
