"""Results of an attack suite that never ran: names and numbers are made up, and say so. For the tests of the report only."""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path
from typing import Any

from bitting.suite.format import FORMAT

#: One of every kind of name that a page must survive.
LONG = "made-up network with a name that goes on and on " * 4 + "W" * 90
UNICODE = "erfundenes Netz ü, вымышленная сеть, 作り物, \N{THUMBS UP SIGN}\N{EMOJI MODIFIER FITZPATRICK TYPE-4}"
#: What a page must not take for its own.
CRAFTED = '</script><script>window.run = 1</script><img src=x onerror="window.run = 1"><!-- \' " & ]]> ](javascript:run) `'
COMMAND = "bitting doctor  # made up"

_COST = {"lut4": 5500, "lut4_twin": 5000, "ff": 4000, "mhz": 61.5, "mhz_twin": 64.0, "cycles": 36_000, "cycles_twin": 35_000,
         "bytes": 25_000, "bytes_twin": 24_000, "device": "made-up FPGA"}  # fmt: skip


def case(network: str, fingerprint: str | None, transform: str | None, **changes: Any) -> dict[str, Any]:
    """A case of the vault that the transform names; `changes`: of its fields."""
    vault = "none" if not transform else "ascon" if transform.startswith("sealed") else "aes"
    made = {
        "id": "/".join(["invented", network, vault, fingerprint or "none", transform or "none"]),
        "data": "invented",
        "network": network,
        "spec": "base",
        "vault": vault,
        "fingerprint": fingerprint,
        "transform": transform,
        "soft": None,
        "level": "key" if transform else "none",
        "holds": "artefact, family, labelled data (made up)",
        "authorised": 0.91,
        "twin": 0.915,
        "chance": 0.1,
        "seeds": [1, 2, 3],
        "verification": {"samples": 1000, "wrong_bits": 0, "wrong_cycles": 0, "tiles": 202},
        "targets": [
            {
                "name": f"hardware {index}",
                "family": f"family {index % 3}",
                "held_out": index % 2 == 0,
                "metric": 0.1 + 0.005 * index,
            }
            for index in range(12)
        ],
        "cycles": [{"tile": index, "predicted": 60 + index * 7 % 31, "measured": 60 + index * 7 % 31} for index in range(40)],
        "cost": copy.deepcopy(_COST),
    }
    return made | changes


def finding(of: dict[str, Any] | str, attack: str, verdict: str, **changes: Any) -> dict[str, Any]:
    """A finding on a case, or on a weak lock by its name; `changes`: of its fields."""
    made: dict[str, Any] = {
        "case": of if isinstance(of, str) else of["id"],
        "attack": attack,
        "chapter": "fine-tuning",
        "attacker": "thief of the file",
        "control": False,
        "verdict": verdict,
        "gain": 0.002,
        "unit": "points over from scratch",
        "summary": f"Made up: {attack} gains 0.20 points.",
        "seed": 7,
        "seconds": 12.5,
        "guess_operations": None,
        "command": f"{COMMAND} {attack}",
        "figures": [],
    }
    return made | changes


def curve(rng: random.Random, lift: float = 0.0) -> dict[str, Any]:
    """Fine-tuning beside training from scratch."""
    shares = [0.001, 0.01, 0.05, 0.1, 0.2, 0.5]
    scratch = [0.3 + 0.1 * index for index in range(len(shares))]
    tuned = [min(1.0, value + lift + rng.uniform(-0.01, 0.01)) for value in scratch]
    return {"kind": "curve", "title": "Made-up fine-tuning", "x": "share of the data", "y": "accuracy", "series": [
        {"name": "stolen, whole network", "role": "lock", "x": shares, "y": tuned},
        {"name": "weak lock", "role": "control", "x": shares, "y": [min(1.0, value + 0.3) for value in scratch]},
        {"name": "from scratch", "role": "baseline", "x": shares, "y": scratch},
    ]}  # fmt: skip


def histogram(rng: random.Random) -> dict[str, Any]:
    """Wrong keys beside random networks."""
    series = [
        {"name": name, "role": role, "values": [min(1.0, max(0.0, rng.gauss(0.1, 0.02))) for _ in range(1000)]}
        for name, role in (("1000 wrong keys", "lock"), ("1000 random networks", "baseline"))
    ]
    return {"kind": "histogram", "title": "Made-up wrong keys", "x": "accuracy", "y": "networks", "series": series}


def roc(rng: random.Random) -> dict[str, Any]:
    """Screening: of the lock near the diagonal, of the control far from it; more points than a page draws."""
    rate = [index / 400 for index in range(401)]
    near = sorted(min(1.0, max(0.0, value + rng.uniform(-0.02, 0.02))) for value in rate)
    return {"kind": "roc", "title": "Made-up screening", "x": "false alarms", "y": "right keys found", "series": [
        {"name": "chi-square", "role": "lock", "x": rate, "y": near},
        {"name": "chi-square, weak lock", "role": "control", "x": rate, "y": [value**0.2 for value in rate]},
    ]}  # fmt: skip


def scatter(rng: random.Random) -> dict[str, Any]:
    """Hill-climbing: bits found by steps."""
    points = [(step, 64 + rng.randrange(-8, 9)) for step in range(60)]
    series = {"name": "hill-climbing", "role": "lock", "x": [x for x, _ in points], "y": [y for _, y in points]}
    return {"kind": "scatter", "title": "Made-up hill-climbing", "x": "step", "y": "right bits of 128", "series": [series]}


def table() -> dict[str, Any]:
    """Every kind of cell, and more rows than a page shows."""
    rows: list[list[Any]] = [["one", 1, 0.25, None, True], ["two | pipes", 2, 1e-9, "x", False]]
    rows += [[f"row {index}", index, index / 7, None, None] for index in range(300)]
    return {"kind": "table", "title": "Made-up table", "columns": ["name", "count", "share", "", "yes"], "rows": rows}


def hollow() -> list[dict[str, Any]]:
    """Figures with no series, with series of no points, with one point, and with one value over and over."""
    axes = {"x": "made-up x", "y": "made-up y"}
    series = [{"name": "none", "role": "lock", "x": [], "y": []}, {"name": "one", "role": "lock", "x": [3], "y": [-2.5]}]
    same = [{"name": "the same", "role": "lock", "values": [0.1] * 9}, {"name": "none", "role": "baseline", "values": []}]
    return [
        {"kind": "curve", "title": "No series", "series": [], **axes},
        {"kind": "scatter", "title": "No points", "series": series[:1], **axes},
        {"kind": "curve", "title": "One point", "series": series, **axes},
        {"kind": "roc", "title": "One point of a ROC", "series": series, **axes},
        {"kind": "histogram", "title": "One value", "series": same, **axes},
        {"kind": "histogram", "title": "No values", "series": same[1:], **axes},
        {"kind": "table", "title": "No rows", "columns": ["made up"], "rows": []},
    ]


def results(seed: int = 5) -> dict[str, Any]:
    """A whole file: locks that hold, fall and concede, void verdicts, missing costs, empty lists, long and foreign names."""
    rng = random.Random(seed)
    sealed = case("mlp", "clock", "sealed-clocked")
    shuffle = case("mlp", "clock", "shuffle", cost=None, authorised=0.88, seeds=[1])
    aes = case("mlp", "numeric", "aes-pre", cost=_COST | {"lut4": 5200, "bytes": None})
    soft = case("mlp", None, None, id="invented/mlp/soft", soft="quantisation", level="family", spec="soft", cost=None)
    clear = case("mlp", None, None, targets=[], cycles=[], verification=None, cost=None, twin=None, holds="the model in clear")
    long = case(LONG, "clock", "sealed-clocked", seeds=[], targets=[], cycles=[], verification=None, cost=None)
    foreign = case(UNICODE, "numeric", "sealed", data="erfunden")
    foreign["verification"]["wrong_bits"] = 3
    foreign["trainings"] = [{"authorised": 0.9 + 0.01 * index, "twin": 0.92} for index in range(3)]
    foreign["cycles"][4]["measured"] += 1
    weak = "invented/weak lock of eight bits"
    findings = [
        finding(sealed, "fine-tune the whole network", "holds", figures=[curve(rng)]),
        finding(shuffle, "fine-tune the whole network", "broken", gain=0.21, figures=[curve(rng, 0.2)],
                summary="Made up: from the shuffled file 21 points more than from scratch."),
        finding(soft, "fine-tune the whole network", "broken", gain=0.4, summary="Made up: 40 points more."),
        finding(aes, "fine-tune the whole network", "holds"),
        finding(long, "fine-tune the whole network", "holds", gain=None, summary=LONG),
        finding(weak, "fine-tune the whole network", "broken", control=True, weak="eight bits", gain=0.5,
                summary="Made up: the weak lock falls."),
        finding(sealed, "random wrong keys", "holds", chapter="wrong keys", unit="points over random networks",
                figures=[histogram(rng)]),
        finding(clear, "random wrong keys", "not applicable", chapter="wrong keys", gain=None, unit="", summary="Made up."),
        finding(weak, "random wrong keys", "broken", chapter="wrong keys", control=True),
        finding(sealed, "screening by chi-square", "holds", chapter="screening", unit="AUC - 0.5", guess_operations=12_544,
                figures=[roc(rng)], attacker="thief of many files"),
        finding(weak, "screening by chi-square", "holds", chapter="screening", control=True, unit="AUC - 0.5",
                summary="Made up: the weak lock was not told apart either."),
        finding(aes, "hill-climbing", "holds", chapter="key search", unit="key bits", gain=0, figures=[scatter(rng), table()]),
        finding(aes, "table readout", "broken", chapter="ports", attacker="owner of the chip", unit="codes read", gain=64,
                summary="Made up: 64 of 64 codes."),
        finding(sealed, "table readout", "holds", chapter="ports", attacker="owner of the chip", unit="codes read", gain=0,
                figures=hollow()),
        finding(weak, "table readout", "broken", chapter="ports", attacker="owner of the chip", control=True, unit="codes read",
                gain=64),
        *(finding(item, "ask questions", "conceded", chapter="questions", attacker="owner of the chip", gain=None, unit="",
                  summary="Made up: 90% after 1000 questions.") for item in (sealed, aes, shuffle)),
        finding(foreign, f"attack in {UNICODE}", "holds", chapter="a chapter of its own", attacker="someone new"),
        finding(sealed, "crafted challenge", "holds", chapter="ports", attacker="counterfeiter", gain=0, unit="answers"),
        finding(weak, "crafted challenge", "broken", chapter="ports", attacker="counterfeiter", control=True, gain=16,
                unit="answers"),
    ]  # fmt: skip
    return {
        "format": FORMAT,
        "made": {"version": "0.0.0 (made up)", "commit": "0000000", "suite": "digits", "budget": {"seconds": 60}, "seed": seed,
                 "started": "2000-01-01T00:00:00Z", "seconds": 4321.0, "job_seconds": 7654.0,
                 "tools": {"made-up tool": "1.2.3"},
                 "not_run": ["an attack that was left out"]},
        "cases": [sealed, shuffle, aes, soft, clear, long, foreign],
        "findings": findings,
    }  # fmt: skip


def empty() -> dict[str, Any]:
    """A suite that tried nothing."""
    return results() | {"cases": [], "findings": []}


def crafted(value: Any, added: str = CRAFTED, key: str = "") -> Any:
    """The same results with `added` in every text that a report may quote; what is one of a few words stays."""
    if isinstance(value, dict):
        return {name + added * (key == "tools"): crafted(item, added, name) for name, item in value.items()}
    if isinstance(value, list):
        return [crafted(item, added, key) for item in value]
    words = ("format", "level", "verdict", "kind", "role")
    return value if key in words or not isinstance(value, str) else f"{value} {added}"


def write(folder: Path, data: Any) -> Path:
    """The folder of a run with these results in it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(data))
    return folder
