"""What findings come to: the worst counts, failures only of attacks that break weak locks, and advice follows both."""

import random
import re
from itertools import product
from pathlib import Path

import pytest

from bitting.report import markdown, reading
from bitting.report.document import document
from bitting.report.verdicts import ATTACKERS, Judgement, Standing, front
from tb import suite_results
from tb.suite_results import case, finding

THREATS = Path(__file__).parents[2] / "docs" / "threats.md"
THIEF, OWNER = "thief of the file", "owner of the chip"
ATTACK = "an attack"


def judged(tmp_path, cases, findings):
    data = suite_results.results() | {"cases": cases, "findings": findings}
    return Judgement(reading.read(suite_results.write(tmp_path, data)))


def control(verdict="broken", attack=ATTACK, of="a weak lock", **changes):
    return finding(of, attack, verdict, control=True, **changes)


def test_the_attackers_are_those_of_the_page_of_threats():
    table = THREATS.read_text().partition("## Who attacks")[2].partition("## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line.startswith("|")][2:]
    plain = {row[0]: row[1].replace("**", "") for row in rows}
    assert plain == ATTACKERS


@pytest.mark.parametrize(
    ("verdicts", "controls", "standing"),
    [
        (["holds"], ["broken"], Standing.HOLDS),
        (["holds"], [], Standing.VOID),
        (["holds"], ["holds"], Standing.VOID),
        (["holds"], ["broken", "holds"], Standing.VOID),
        (["holds"], ["broken", "not applicable"], Standing.HOLDS),
        (["holds"], ["conceded"], Standing.VOID),
        (["holds"], ["void"], Standing.VOID),
        (["void"], ["broken"], Standing.VOID),
        (["broken"], [], Standing.FALLS),
        (["holds", "broken"], ["broken"], Standing.FALLS),
        (["holds", "conceded"], ["broken"], Standing.CONCEDED),
        (["holds", "conceded"], [], Standing.VOID),
        (["conceded"], ["broken"], Standing.CONCEDED),
        (["conceded"], ["holds"], Standing.VOID),
        (["conceded"], [], Standing.VOID),
        (["holds", "not applicable"], ["broken"], Standing.HOLDS),
        (["not applicable"], ["broken"], Standing.NOT_APPLICABLE),
        ([], ["broken"], Standing.UNTESTED),
    ],
)
def test_a_lock_stands_as_the_worst_finding_of_an_attack_that_breaks_weak_locks(tmp_path, verdicts, controls, standing):
    lock = case("mlp", "clock", "sealed")
    found = [finding(lock, ATTACK, verdict) for verdict in verdicts] + [control(verdict) for verdict in controls]
    judgement = judged(tmp_path, [lock], found)
    assert judgement.standing(judgement.locks[0], THIEF) == standing
    assert judgement.standing(judgement.locks[0], OWNER) == Standing.UNTESTED


def test_a_control_is_no_finding_about_the_lock_and_another_attacks_control_proves_nothing(tmp_path):
    lock = case("mlp", "clock", "sealed")
    judgement = judged(tmp_path, [lock], [finding(lock, ATTACK, "holds"), control(of=lock["id"], attack="another attack")])
    assert judgement.standing(judgement.locks[0], THIEF) == Standing.VOID
    assert judgement.without_control == (ATTACK,)


def test_controls_on_the_same_network_count_before_others(tmp_path):
    lock, near, far = case("mlp", "clock", "sealed"), case("mlp", "clock", "shuffle"), case("lenet", "clock", "shuffle")
    findings = [finding(lock, ATTACK, "holds"), control("holds", of=far["id"]), control("broken", of=near["id"])]
    judgement = judged(tmp_path, [lock, near, far], findings)
    assert judgement.standing(judgement.locks[0], THIEF) == Standing.HOLDS


def test_one_network_on_which_a_lock_falls_is_enough(tmp_path):
    cases = [case("mlp", "clock", "sealed"), case("lenet", "clock", "sealed")]
    findings = [finding(cases[0], ATTACK, "holds"), finding(cases[1], ATTACK, "broken"), control()]
    judgement = judged(tmp_path, cases, findings)
    assert len(judgement.locks) == 1 and judgement.falls_to(judgement.locks[0]) == (THIEF,)
    assert judgement.advice(THIEF) is None


def test_advised_is_what_holds_then_what_falls_to_fewest_then_what_is_cheap(tmp_path):
    sealed, clocked, dear = (case("mlp", "clock", transform) for transform in ("sealed", "sealed-clocked", "aes-pre"))
    clocked["cost"]["lut4"] = sealed["cost"]["lut4"] - 100
    dear["cost"] = None
    findings = [*(finding(item, ATTACK, "holds") for item in (sealed, clocked, dear)), control(), control(attack="asking")]
    cases = [dear, sealed, clocked]

    def advised(*more):
        lock = judged(tmp_path, cases, findings + list(more)).advice(THIEF)
        return lock and lock.transform

    assert advised() == "sealed-clocked"
    assert advised(finding(clocked, "reading", "broken", attacker=OWNER)) == "sealed"
    assert advised(*(finding(item, "asking", "conceded") for item in (sealed, clocked))) == "aes-pre"
    assert advised(*(finding(item, "asking", "conceded") for item in cases)) == "sealed-clocked"
    assert advised(*(finding(item, "breaking", "broken") for item in cases)) is None


def test_an_unlocked_network_and_one_whose_rtl_differs_are_never_advised(tmp_path):
    """Nor is a root secret by itself, which locks nothing yet."""
    clear, secret, lock = case("mlp", None, None), case("mlp", "puf", "none", level="die"), case("mlp", "clock", "sealed")
    findings = [finding(clear, ATTACK, "holds"), finding(lock, ATTACK, "holds"), control()]
    assert judged(tmp_path, [clear], findings[::2]).advice(THIEF) is None
    assert judged(tmp_path, [secret], [finding(secret, ATTACK, "holds"), control()]).advice(THIEF) is None
    assert judged(tmp_path, [clear, lock], findings).advice(THIEF) is not None
    for part, change in (("verification", {"samples": 1, "wrong_bits": 1, "wrong_cycles": 0}),
                         ("cycles", [{"tile": 0, "predicted": 1, "measured": 2}])):  # fmt: skip
        judgement = judged(tmp_path, [clear, lock | {part: change}], findings)
        assert judgement.advice(THIEF) is None and [found.id for found in judgement.differing] == [lock["id"]]


def test_overheads_are_beside_the_twin_and_the_highest_of_all_networks(tmp_path):
    cases = [case("mlp", "clock", "sealed"), case("lenet", "clock", "sealed", authorised=0.5, twin=0.625)]
    cases[1]["cost"] |= {"lut4": 300, "lut4_twin": 200, "bytes": None, "cycles_twin": 0}
    (lock,) = judged(tmp_path, cases, []).locks
    assert (lock.overhead("lut4"), lock.lost()) == (0.5, 0.125)
    assert lock.overhead("bytes") == 25_000 / 24_000 - 1 and lock.overhead("cycles") == 36_000 / 35_000 - 1


def test_the_front_is_what_no_point_beats():
    rng = random.Random(3)
    for _ in range(200):
        points = [(rng.randrange(6), rng.randrange(6)) for _ in range(rng.randrange(9))]
        beaten = {a for a, b in product(points, points) if a != b and b[0] <= a[0] and b[1] >= a[1]}
        assert front(points) == sorted(set(points) - beaten)


def test_the_first_page_says_all_that_speaks_against_a_lock(tmp_path):
    text = markdown.render(document(reading.read(suite_results.write(tmp_path, suite_results.results()))))
    against = text.partition("## What not to rely on")[2].partition("## ")[0].replace("\\", "")
    for said in (
        "Emulator and RTL differ",
        "clock x shuffle, vault aes",
        "falls",
        "from the shuffled file 21 points more",
        "did not break the weak lock invented/weak lock of eight bits",
        "No weak lock was tried with",
        "Nobody played whoever runs it",
        "ask questions",
        "-3.50 points",
        "fewer than 3 seeds",
    ):
        assert said in against, said
    assert re.search(r"\*\*no lock on base", against) is None
    unfinished = suite_results.results()
    unfinished["made"]["unfinished"] = 3
    text = markdown.render(document(reading.read(suite_results.write(tmp_path, unfinished))))
    assert "3 of its jobs are missing" in text
    nothing = markdown.render(document(reading.read(suite_results.write(tmp_path, suite_results.empty()))))
    assert "Nothing was attacked" in nothing and "This report speaks for no lock" in nothing


def test_a_root_secret_from_a_puf_has_a_cost_that_nobody_measured(tmp_path):
    """It is a claim of the die on a network without transform; without any claim there is no lock that could cost something."""
    bare = suite_results.case("mlp", None, None, cost=None)
    puf = suite_results.case("mlp", "puf", None, cost=None, level="die")
    soft = suite_results.case("mlp", None, None, cost=None, soft="qu-anti", level="family", id="invented/mlp/none/soft/qu-anti")
    dear = suite_results.case("mlp", "clock", "sealed")
    measures = sum(name in ("lut4", "ff", "ram_bits", "mhz", "cycles", "words", "bytes") for name in dear["cost"])
    text = first_page(tmp_path, [bare, puf, soft, dear], [])
    for made, said, other in (
        (bare, "no lock", "not measured"), (puf, "not measured", "no lock"), (soft, "not measured", "no lock"),
    ):  # fmt: skip
        (row,) = (line for line in text.splitlines() if line.startswith(f"| {made['id']} |") and made["holds"] in line)
        assert row.count(said) == measures + 1 and other not in row
    text = first_page(tmp_path, [bare, puf, soft], [])
    assert "Not measured here: LUT4s" in text and "| LUT4s" not in text, "columns in which nothing stands are left out"


def first_page(tmp_path, cases, findings):
    data = suite_results.results() | {"cases": cases, "findings": findings}
    return markdown.render(document(reading.read(suite_results.write(tmp_path, data)))).replace("\\", "")


def test_the_price_of_the_unit_is_not_that_of_its_locks(tmp_path):
    bare, locked = (case("mlp", *lock, authorised=0.88, twin=0.92) for lock in ((None, None), ("clock", "sealed")))
    dear = case("mlp", "clock", "sealed-clocked", authorised=0.86, twin=0.92)
    text = first_page(tmp_path, [bare, locked, dear], [finding(locked, ATTACK, "holds"), control(of=bare["id"])])
    against = text.partition("## What not to rely on")[2].partition("## ")[0]
    assert "The arithmetic of base costs -4.00 points against the twin in fp32, with any lock or none" in against
    assert against.count("costs accuracy") == 1 and "-2.00 points against the same unit without a lock" in against


def test_what_was_tried_on_no_lock_says_nothing_of_locks(tmp_path):
    bare, locked = case("mlp", None, None), case("mlp", "clock", "sealed")
    tried = finding(bare, ATTACK, "holds", attacker="owner of the chip")
    text = first_page(tmp_path, [bare, locked], [tried, control(of=bare["id"])])
    bought = text.partition("## Which lock against whom")[2].partition("## ")[0]
    (line,) = [line for line in bought.splitlines() if "owner of the chip" in line]
    assert "not tested" in line and "no such attack was run" in line and "void" not in line


def test_what_an_attacker_holds_is_his_own(tmp_path):
    """Of one who has the root secret that is said, beside what every thief has."""
    lock = case("mlp", "clock", "sealed")
    for attacker, his in (("counterfeiter", "the root secret"), (THIEF, lock["holds"])):
        text = first_page(tmp_path, [lock], [finding(lock, ATTACK, "holds", attacker=attacker), control()])
        (row,) = (line for line in text.splitlines() if line.startswith("| what he holds |") and "weak lock" not in line)
        assert row.startswith(f"| what he holds | {his}") and row.count(lock["holds"]) == 1


def test_of_a_control_its_weak_lock_is_told_and_not_the_network_it_was_made_on(tmp_path):
    bare, lock = case("mlp", None, None), case("mlp", "clock", "sealed")
    text = first_page(
        tmp_path, [bare, lock], [finding(lock, ATTACK, "holds"), control(of=bare["id"], weak="a key of eight bits")]
    )
    assert "| the weak lock | a key of eight bits |" in text and text.count("| what he holds |") == 1


def test_one_lock_of_one_network_is_compared_with_nothing(tmp_path):
    """With another beside it there are charts, and a price is the highest of two networks."""
    lock, other = (case("mlp", "clock", transform, targets=[]) for transform in ("sealed", "sealed-clocked"))
    lock["seeds"] = [1]
    larger = case("lenet", "clock", "sealed", seeds=[1, 2], targets=[])
    of_none, of_one, of_two, of_networks = (
        first_page(tmp_path, cases, [*(finding(item, ATTACK, "holds") for item in cases), control()])
        for cases in ([], [lock], [lock, other], [lock, larger])
    )
    assert "No measure of cost is known of two" in of_none
    assert "No measure of cost is known of two" in of_one and "No lock is better and cheaper" not in of_one
    assert "No lock is better and cheaper than" in of_two and "nothing is compared" not in of_two
    assert "highest of all networks" in of_networks and "highest of all networks" not in of_one
    assert "rest on one seed of training for" in of_one and "rest on fewer than 3 seeds of training for" in of_networks
    assert "No case was tried with other number formats" in of_one and "What counts is the highest accuracy" not in of_one


@pytest.mark.parametrize(
    ("one", "two", "said"),
    [("broken", "holds", "void"), ("broken", "broken", "falls"), ("void", "broken", "void"), ("holds", "holds", "void")],
)
def test_where_nothing_is_advised_the_best_that_a_lock_reaches_is_told(tmp_path, one, two, said):
    """One falls and of the other nothing is shown: that is not that all fall."""
    locks = [case("mlp", "clock", transform) for transform in ("shuffle", "sealed")]
    found = [finding(lock, ATTACK, verdict) for lock, verdict in zip(locks, (one, two), strict=True)]
    weak = control("broken" if said == "falls" else "holds")
    bought = first_page(tmp_path, locks, [*found, weak]).partition("## Which lock against whom")[2].partition("## ")[0]
    (line,) = [line for line in bought.splitlines() if THIEF in line]
    assert f"**{said}**" in line and ("broke no weak lock" in line) == (said == "void")


def test_in_short_names_what_falls_what_to_buy_and_what_that_leaves_open(tmp_path):
    weak, strong, same = (case("mlp", "clock", transform) for transform in ("shuffle", "sealed", "sealed-clocked"))
    findings = [
        *(finding(item, ATTACK, "broken" if item is weak else "holds") for item in (weak, strong, same)),
        *(finding(item, "asking", "conceded", attacker=OWNER) for item in (weak, strong, same)),
        control(),
        control(attack="asking"),
    ]
    short = first_page(tmp_path, [weak, strong, same], findings).partition("## In short")[2].partition("## ")[0]
    fallen, bought, even, reach = (line for line in short.splitlines() if line.startswith("*"))
    assert "Do not buy" in fallen and "clock x shuffle" in fallen and THIEF in fallen and "sealed" not in fallen
    assert "clock x sealed, " in bought and "clock x sealed-clocked" in bought and "shuffle" not in bought
    assert "mlp on" in reach and "faults of a real chip were not tried" in reach
    assert (
        "Of 2 attacks 1 failed, and 1 got what follows" in bought
        and f"Even so, {OWNER}" in even
        and findings[3]["summary"] in even
    )
    nobody = first_page(tmp_path, [weak], [finding(weak, ATTACK, "broken")])
    assert "Buy:** none of these" in nobody


@pytest.mark.parametrize(
    ("costs", "said"),
    [
        ([{"bytes": 110, "bytes_twin": 100}] * 2, "Price: +10.0% bytes, area not measured, accuracy as without it."),
        (
            [{"lut4": 3, "lut4_twin": 2, "bytes": 100 + more, "bytes_twin": 100} for more in (10, 20)],
            (
                "Price of each: +50.0% LUT4s, accuracy as without it; and of clock x sealed, vault ascon +10.0% bytes; "
                "clock x sealed-clocked, vault ascon +20.0% bytes."
            ),
        ),
        ([None, None], "Price: accuracy as without it."),
    ],
)
def test_what_locks_cost_alike_is_said_once(tmp_path, costs, said):
    twin = {"authorised": 0.9, "twin": 0.9}
    locks = [
        case("mlp", "clock", transform, cost=cost, **twin)
        for transform, cost in zip(("sealed", "sealed-clocked"), costs, strict=True)
    ]
    assert said in first_page(tmp_path, locks, [*(finding(lock, ATTACK, "holds") for lock in locks), control()])


def test_a_lock_whose_rtl_differs_is_not_what_to_buy_in_short(tmp_path):
    lock = case("mlp", "clock", "sealed") | {"cycles": [{"tile": 0, "predicted": 1, "measured": 2}]}
    text = first_page(tmp_path, [lock], [finding(lock, ATTACK, "holds"), control()])
    assert "Buy:** none of these" in text


def test_locks_that_fall_to_the_same_attacks_share_a_line(tmp_path):
    locks = [case("mlp", "clock", transform) for transform in ("shuffle", "aes")]
    other = case("mlp", "clock", "sealed")
    found = [*(finding(item, ATTACK, "broken") for item in locks), finding(other, "another attack", "broken")]
    against = first_page(tmp_path, [*locks, other], found).partition("## What not to rely on")[2].partition("## ")[0]
    lines = [line for line in against.splitlines() if "falls" in line]
    assert len(lines) == 2 and "clock x shuffle" in lines[0] and "; clock x aes" in lines[0]


def test_attacks_that_were_not_run_are_named(tmp_path):
    data = suite_results.results()
    data["made"]["not_run"] = ["port attacks", "residue"]
    text = markdown.render(document(reading.read(suite_results.write(tmp_path, data))))
    against = text.partition("## What not to rely on")[2].partition("## ")[0]
    assert "Only some attacks were run" in against and "port attacks and residue" in against


def test_a_conceded_attack_counts_the_locks_it_was_tried_on_and_those_that_fall_to_it(tmp_path):
    one, two, other = (case("mlp", "clock", transform) for transform in ("sealed", "shuffle", "aes"))
    found = [finding(one, ATTACK, "conceded"), finding(two, ATTACK, "broken"), finding(other, "another attack", "holds")]
    against = first_page(tmp_path, [one, two, other], found).partition("## What not to rely on")[2].partition("## ")[0]
    assert "by 1 of the 2 locks it was tried on (1 fall to it)" in against


def test_what_falls_is_at_no_front(tmp_path):
    weak, strong = (case("mlp", "clock", transform) for transform in ("shuffle", "sealed"))
    weak["cost"]["lut4"] = weak["cost"]["lut4_twin"]
    found = [
        *(finding(item, ATTACK, "holds") for item in (weak, strong)), control(),
        finding(weak, "reading", "broken", attacker=OWNER),
    ]  # fmt: skip
    text = first_page(tmp_path, [weak, strong], found)
    table = text.partition("more LUT4s against attackers stopped")[2].partition("**")[0]
    rows = {line.split("|")[1].strip(): line.split("|")[4].strip() for line in table.splitlines() if "clock x" in line}
    assert list(rows.values()) == ["falls, or its RTL differs", "no lock is better and cheaper"]


def test_a_control_says_what_its_weak_lock_is(tmp_path):
    lock = case("mlp", "clock", "sealed")
    text = first_page(tmp_path, [lock], [finding(lock, ATTACK, "holds"), control(weak="a key of eight bits")])
    assert "| the weak lock | a key of eight bits |" in text
