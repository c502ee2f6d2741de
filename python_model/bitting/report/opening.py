"""The first screen: the answer in short, what not to rely on, which lock against whom, all locks beside all attackers."""

from __future__ import annotations

from collections.abc import Sequence

from bitting.report import numbers
from bitting.report.blocks import Bullets, Inline, Line, Link, Mark, Section, Strong, Table, Text
from bitting.report.results import Case, Claim, Finding
from bitting.report.verdicts import ATTACKERS, Judgement, Lock, Standing, worst_first
from bitting.suite.format import Verdict

#: What a level of claim means (docs/design.md).
LEVELS = {
    Claim.FAMILY: "anyone who owns the RTL of the family can emulate it",
    Claim.KEY: "as strong as the secrecy and entropy of the root secret",
    Claim.DIE: "as key, and the chip stores no secret; the factory's key file does, and who loads his bitstream has it",
    Claim.NONE: "no claim: nothing is locked",
}
#: What a sign means.
STANDINGS = {
    Standing.FALLS: "an attack of his got through on at least one network",
    Standing.VOID: "his attack failed, but it did not break its weak control either, or had none: nothing is shown",
    Standing.CONCEDED: (
        "what he does works in part, by design: the report says what he gets, and all else he tried failed; a lock to buy by "
        "whoever can live with that"
    ),
    Standing.HOLDS: "all his attacks failed, and each of them broke a lock that was made weak on purpose",
    Standing.NOT_APPLICABLE: "his attacks have nothing to work on",
    Standing.UNTESTED: "nobody played him",
}
#: What no attack of the suite does.
_OUTSIDE = (
    "On the emulator and the simulated RTL; power, electromagnetic radiation, light and faults of a real chip were not tried. "
    "Each lock of a key rests on the root secret: who has it builds a working copy, and getting it out of a chip was not tried."
)
#: Accuracy that a lock may cost before it is said among what speaks against it, 0..1.
_DEAR = 0.01
#: Fields of `Cost` that make a price.
_PRICED = {
    "lut4": "LUT4s", "ff": "flip-flops", "ram_bits": "block RAM", "later": "clocks a batch",
    "clocks": "clocks until the first answers", "words": "command words until the first answers", "bytes": "bytes",
}  # fmt: skip
#: Seeds of training that a claim about accuracy wants.
_SEEDS = 3


def entry_id(judgement: Judgement, finding: Finding) -> str:
    """Where a finding stands in the report. By identity: two findings may say the same."""
    return f"finding-{next(index for index, other in enumerate(judgement.results.findings, 1) if other is finding)}"


def sections(judgement: Judgement) -> list[Section]:
    """In the order that a buyer reads."""
    return [*_short(judgement), _against(judgement), _advice(judgement), _matrix(judgement)]


def _short(judgement: Judgement) -> list[Section]:
    """What a reader who reads no further should know; nothing if nothing was attacked."""

    def conceded(lock: Lock) -> tuple[str, ...]:
        return judgement.attackers_at(lock, Standing.CONCEDED)

    best = [
        lock
        for lock in judgement.ranked
        if judgement.sound(lock) and (judgement.stops(lock) or conceded(lock)) and not judgement.falls_to(lock)
    ]
    fallen = [lock for lock in judgement.ranked if judgement.falls_to(lock)]
    items: list[Line] = []
    if fallen:
        to = tuple(attacker for attacker in judgement.attackers if any(attacker in judgement.falls_to(lock) for lock in fallen))
        items.append(
            (Strong("Do not buy: "), *_links(judgement, fallen), f". Each falls to some of {_listed(to)}; to whom, is next.")
        )
    if best:
        first = best[0]
        alike = [lock for lock in best if (judgement.stops(lock), conceded(lock)) == (judgement.stops(first), conceded(first))]
        found = [item for lock in alike for item in judgement.on(lock)]
        left = [item for item in found if item.verdict == Verdict.CONCEDED]
        void, open_ones, every = (
            {item.attack for item in found if judgement.standing_of(item) in standings}
            for standings in (
                (Standing.VOID,), (Standing.CONCEDED,), (Standing.VOID, Standing.CONCEDED, Standing.HOLDS),
            )
        )  # fmt: skip
        said = f". Of {len(every)} attack{'s' * (len(every) > 1)} {len(every - open_ones - void)} failed"
        said += f", {len(void)} show nothing ({_listed(tuple(void))})" if void else ""
        said += f", and {len(open_ones)} got what follows, by design. " if left else ". "
        left_out = judgement.results.made.not_run or judgement.results.made.unfinished
        advice = "No advice yet, only some attacks were run; so far stands: " if left_out else "Buy: "
        items.append((Strong(advice), *_links(judgement, alike), f"{said}{_prices(judgement, alike)}."))
        for attack in dict.fromkeys(item.attack for item in left):
            most = worst_first(judgement, [item for item in left if item.attack == attack])[0]
            link = Link(attack, entry_id(judgement, most))
            items.append((Strong(f"Even so, {most.attacker}: "), link, f". {most.summary}"))
    elif judgement.attacks:
        items.append((Strong("Buy: "), "none of these: each falls to somebody, has another RTL, or nothing is shown for it."))
    if items:
        items.append((Strong("Measured on: "), f"{_measured_on(judgement)}. {_OUTSIDE}"))
    return [Section("in-short", "In short", (Bullets(tuple(items)),))] if items else []


def _measured_on(judgement: Judgement) -> str:
    """Networks and data sets, and what is no attack here."""
    return _listed(tuple(dict.fromkeys(f"{case.network} on {case.data}" for case in judgement.results.cases)))


def _links(judgement: Judgement, locks: Sequence[Lock]) -> Line:
    """Their names, each of which leads to the lock."""
    linked: list[Inline] = []
    for number, lock in enumerate(locks):
        linked += [", "] * bool(number) + [Link(judgement.short(lock), lock_id(judgement, lock))]
    return tuple(linked)


def _against(judgement: Judgement) -> Section:
    """Negative results."""
    items: list[Line] = [
        *_unfinished(judgement),
        *_not_run(judgement),
        *_differing(judgement),
        *_fallen(judgement),
        *_void(judgement),
        *_conceded(judgement),
        *_dear(judgement),
    ]
    if not items:
        items = [("No attack got through, and every attack broke its weak control.",)]
    if not judgement.attacks:
        items = [(Strong("Nothing was attacked. "), "This report speaks for no lock.")]
    return Section("do-not-rely", "What not to rely on", (Bullets(tuple(items)),))


def _unfinished(judgement: Judgement) -> list[Line]:
    left = judgement.results.made.unfinished
    return [(Strong("The suite is not done: "), f"{left} of its jobs are missing, and attacks with them.")] if left else []


def _not_run(judgement: Judgement) -> list[Line]:
    left = judgement.results.made.not_run
    return [(Strong("Only some attacks were run. "), f"Nothing is said about {_listed(left)}.")] if left else []


def _differing(judgement: Judgement) -> list[Line]:
    return [
        (Strong("Emulator and RTL differ: "), _case_link(case),
         ". Its figures are not those of the machine that is described, and it is not advised.")
        for case in judgement.differing
    ]  # fmt: skip


def _fallen(judgement: Judgement) -> list[Line]:
    """A line for all locks that fall to the same attacks: to whom, and a finding of the first attacker."""
    alike: dict[tuple[str, tuple[str, ...]], list[Lock]] = {}
    broken: dict[str, list[Finding]] = {}
    for lock in judgement.locks:
        broken[lock.name] = [item for item in judgement.on(lock) if item.verdict == Verdict.BROKEN]
        if broken[lock.name]:
            attacks = tuple(dict.fromkeys(item.attack for item in broken[lock.name]))
            alike.setdefault((_level(lock), attacks), []).append(lock)
    items: list[Line] = []
    for (level, attacks), locks in alike.items():
        worst = worst_first(judgement, [item for lock in locks for item in broken[lock.name]])[0]
        count = f"{len(attacks)} attack{'s get' if len(attacks) > 1 else ' gets'} through"
        on = f" on {worst.case}" if len(locks) > 1 else ""
        items.append((
            Strong("; ".join(map(judgement.short, locks))), " ", Mark(Standing.FALLS),
            f" to {_listed(judgement.falls_to(locks[0]))} (level {level}; {count}). For instance: ",
            Link(worst.attack, entry_id(judgement, worst)), f"{on}: {worst.summary}",
        ))  # fmt: skip
    return items


def _void(judgement: Judgement) -> list[Line]:
    items: list[Line] = [
        (Mark(Standing.VOID), " ", Link(run.attack, entry_id(judgement, run)),
         f" did not break the weak lock {run.case}, as it must: that it fails elsewhere shows nothing. {run.summary}")
        for run in judgement.failed_controls
    ]  # fmt: skip
    if missing := judgement.without_control:
        items.append((Mark(Standing.VOID), f" No weak lock was tried with {_listed(missing)}: failures of these show nothing."))
    if judgement.untested and judgement.attacks:
        items.append((Mark(Standing.UNTESTED), f" Nobody played {_listed(judgement.untested)}: nothing is claimed about them."))
    return items


def _conceded(judgement: Judgement) -> list[Line]:
    """A line an attack, with the finding that gains most."""
    items: list[Line] = []
    for attack in dict.fromkeys(found.attack for found in judgement.attacks if found.verdict == Verdict.CONCEDED):
        found = [item for item in judgement.attacks if item.attack == attack and item.verdict == Verdict.CONCEDED]
        worst, attackers = worst_first(judgement, found)[0], dict.fromkeys(item.attacker for item in found)
        every = [lock for lock in judgement.locks if lock.is_lock]
        locks, tried, broken = (
            [lock for lock in every if {case.id for case in lock.cases} & cases]
            for cases in (
                {item.case for item in found},
                {item.case for item in judgement.attacks if item.attack == attack and item.verdict != Verdict.NOT_APPLICABLE},
                {item.case for item in judgement.attacks if item.attack == attack and item.verdict == Verdict.BROKEN},
            )
        )
        fell = f" ({len(broken)} fall to it)" if broken else ""
        items.append((
            Mark(Standing.CONCEDED), " ", Link(attack, entry_id(judgement, worst)),
            f" for {_listed(tuple(attackers))} by {len(locks)} of the {len(tried)} locks it was tried on{fell}. ",
            f"On {worst.case}: {worst.summary}" if len(locks) > 1 else worst.summary,
        ))  # fmt: skip
    return items


def _dear(judgement: Judgement) -> list[Line]:
    """Prices and doubts that no attack tells of."""
    items: list[Line] = []
    for lock in judgement.locks:
        less = lost(judgement, lock)
        if lock.is_lock and less is not None and less > _DEAR:
            beside = "the same unit without a lock" if _lost_by_the_unit(judgement, lock) else "the unlocked twin"
            items.append((Strong(judgement.short(lock)), f" costs accuracy: {numbers.points(-less)} against {beside}."))
    units = {_unit(lock): unit for lock in judgement.locks if (unit := _lost_by_the_unit(judgement, lock)) > _DEAR}
    items += [
        (f"The arithmetic of {spec} costs {numbers.points(-unit)} against the twin in fp32, with any lock or none.",)
        for spec, unit in units.items()
    ]
    few = [lock for lock in judgement.locks if any(case.repeats < _SEEDS for case in lock.cases)]
    if few:
        names = "all locks" if len(few) == len(judgement.locks) > 1 else _listed(tuple(map(judgement.short, few)))
        one = all(case.repeats == 1 for lock in few for case in lock.cases)
        items.append((f"Accuracies rest on {'one seed' if one else f'fewer than {_SEEDS} seeds'} of training for {names}.",))
    return items


def lost(judgement: Judgement, lock: Lock) -> float | None:
    """Accuracy that a lock loses, 0..1, without what its unit loses with any lock or none; None: no twin was trained."""
    found = lock.lost()
    return None if found is None else found - _lost_by_the_unit(judgement, lock)


def _lost_by_the_unit(judgement: Judgement, lock: Lock) -> float:
    """Accuracy that the unit of a lock loses without any; 0 if that was not measured."""
    bare = [other.lost() for other in judgement.locks if _unit(other) == _unit(lock) and not other.is_lock]
    return max((lost for lost in bare if lost is not None), default=0.0)


def _unit(lock: Lock) -> str:
    """Its family without the vault, which plays no part in arithmetic: `base` of `base:vault=aes`."""
    name, _, changes = lock.spec.partition(":")
    kept = [change for change in changes.split(",") if change and not change.startswith("vault=")]
    return f"{name}:{','.join(kept)}" if kept else name


#: Why there is no advice, the first that some lock stands at.
_NO_ADVICE = {
    Standing.VOID: " for the best of them (an attack on it failed, but broke no weak lock either)",
    Standing.FALLS: "",
    Standing.UNTESTED: " (no such attack was run)",
}


def _advice(judgement: Judgement) -> Section:
    """A line an attacker: what to buy, how it stands, and what it does not do."""
    items: list[Line] = []
    for attacker in judgement.attackers:
        lock = judgement.advice(attacker)
        if lock is None:
            # A root secret by itself is no lock that could be bought: what was tried on it alone was tried on none.
            stand = {judgement.standing(lock, attacker) for lock in judgement.locks if lock.is_lock}
            reason = next((one for one in _NO_ADVICE if one in stand), Standing.UNTESTED)
            items.append((Strong(f"{attacker}: "), "none ", Mark(reason), _NO_ADVICE[reason]))
            continue
        but = "".join(f"; {words}" for words in _but(judgement, lock, attacker))
        link = Link(judgement.short(lock), lock_id(judgement, lock))
        tried = len({item.attack for item in judgement.against(lock, attacker)})
        said = f" level {_level(lock)}, {tried} attack{'s' * (tried > 1)} tried{but}"
        items.append((Strong(f"{attacker}: "), link, " ", Mark(judgement.standing(lock, attacker)), said))
    note = (
        "Each is judged by the attacks under his name alone; the owner of a chip can also do all that a thief of its file, or "
        f"whoever runs it, does. No lock stops the owner of a right device from asking it questions. {_OUTSIDE}"
    )
    advised = [lock for attacker in judgement.attackers if (lock := judgement.advice(attacker))]
    given = dict.fromkeys(words for lock in advised for words in lock.holds)
    held = (Text((Strong("What attackers were given: "), "; or ".join(given))),) if given else ()
    return Section("what-to-buy", "Which lock against whom", (Bullets(tuple(items)), *held, Text((note,))))


def _advice_in_full(judgement: Judgement) -> Table:
    """The same with what each attacker has."""
    rows: list[tuple[Inline, ...]] = []
    for attacker in judgement.attackers:
        has = ATTACKERS.get(attacker, "not an attacker of docs/threats.md")
        lock = judgement.advice(attacker)
        if lock is None:
            rows.append((attacker, has, "none", ""))
            continue
        but = "; ".join(_but(judgement, lock, attacker)) or "nothing found"
        link = Link(judgement.short(lock), lock_id(judgement, lock))
        rows.append((attacker, has, link, but))
    columns = ("attacker", "has", "buy", "but it")
    return Table("Advice in full", columns, tuple(rows))


def _but(judgement: Judgement, lock: Lock, attacker: str) -> list[str]:
    """What speaks against a lock that is advised."""
    found = [item.attack for item in judgement.against(lock, attacker) if item.verdict == Verdict.CONCEDED]
    sides = (("concedes", tuple(dict.fromkeys(found))), ("falls to", judgement.falls_to(lock)))
    return [f"{verb} {_listed(names)}" for verb, names in sides if names]


def _matrix(judgement: Judgement) -> Section:
    rows: list[tuple[Inline, ...]] = []
    for lock in judgement.locks:
        if not judgement.on(lock) and not lock.is_lock:
            continue  # a network in clear, which is there for comparison
        marks = (Mark(judgement.standing(lock, attacker)) for attacker in judgement.attackers)
        rows.append((Link(judgement.short(lock), lock_id(judgement, lock)), _level(lock), *marks))
    meaning = tuple((Mark(standing), f" {words}") for standing, words in STANDINGS.items())
    levels = tuple((Strong(f"level {level}: "), words) for level, words in LEVELS.items())
    advised = [judgement.advice(attacker) for attacker in judgement.attackers]
    bought = [lock for lock in judgement.locks if lock in advised]
    prices = Bullets(tuple((Strong(f"Price of {judgement.short(lock)}: "), _price(judgement, lock)) for lock in bought))
    networks = {(case.data, case.network) for case in judgement.results.cases}
    note = (
        "Advised is the lock that stands best against the attacker; among equals the one that falls to fewest others, concedes "
        "least and is cheapest. Prices stand beside the same engine and network without locks"
        f"{', the highest of all networks' * (len(networks) > 1)}."
    )
    table = Table("Locks and attackers", ("lock", "level", *judgement.attackers), tuple(rows))
    blocks = (
        table,
        Bullets(meaning),
        Bullets(levels),
        _advice_in_full(judgement),
        *((prices,) if bought else ()),
        Text((note,)),
    )
    return Section("all-locks", "All locks, all attackers", blocks)


def lock_id(judgement: Judgement, lock: Lock) -> str:
    """Where a lock stands in the report."""
    return f"lock-{judgement.locks.index(lock) + 1}"


def _case_link(case: Case) -> Link:
    return Link(case.id, "verification")


def _level(lock: Lock) -> str:
    return ", ".join(lock.levels)


def _prices(judgement: Judgement, locks: Sequence[Lock]) -> str:
    """Of several locks; what is the same for all is said once."""
    parts = {judgement.short(lock): _price_parts(judgement, lock) for lock in locks}
    same = [part for part in next(iter(parts.values())) if all(part in others for others in parts.values())]
    own = {name: [part for part in others if part not in same] for name, others in parts.items()}
    if not any(own.values()):
        return f"Price: {_price(judgement, locks[0])}"
    each = "; ".join(f"{name} {', '.join(others) or 'no more'}" for name, others in own.items())
    return f"Price of each: {', '.join(same)}; and of {each}" if same else f"Prices: {each}"


def _price(judgement: Judgement, lock: Lock) -> str:
    """Its parts in a row."""
    return ", ".join(_price_parts(judgement, lock)) or "not measured"


def _price_parts(judgement: Judgement, lock: Lock) -> list[str]:
    """What is known of it; accuracy without what the unit loses with any lock or none."""
    parts = []
    for measure, words in _PRICED.items():
        more = lock.overhead(measure)
        if more is not None:
            parts.append(f"{100 * more:+.1f}% {words}")
    if parts and lock.overhead("lut4") is None:
        parts.append("area not measured")
    less = lost(judgement, lock)
    if less is not None:
        parts.append(
            f"{numbers.points(-less)} of accuracy" if numbers.points(less) != numbers.points(0) else "accuracy as without it"
        )
    return parts


def _listed(names: tuple[str, ...]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
