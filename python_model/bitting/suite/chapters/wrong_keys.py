"""Wrong keys: random ones and the 128 one-bit neighbours of the right one, beside as many random networks of the shape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bitting.attack import weak, wrong_keys
from bitting.locking.device import Device
from bitting.suite import figures
from bitting.suite.attack import Attack, Said
from bitting.suite.cases import Case, Material
from bitting.suite.chapters import chance
from bitting.suite.chapters.locks import locked_for, public_device
from bitting.suite.efforts import Effort
from bitting.suite.format import Verdict
from bitting.suite.jobs import Answer, Outcome
from bitting.unit.spec import VaultKind

#: Keys, or networks, of one job.
_CHUNK = 250
_NEIGHBOURS = 128
#: The control's key derivation looks at so many of the 128 bits: eight of the neighbours are the right key.
_WEAK_BITS = 120
#: The best wrong key may be so much better than the best random network, 0..1: that is luck.
ALLOWED = 0.1


class WrongKeys(Attack):
    """See `bitting.attack.wrong_keys`. Its control is a lock whose key derivation leaves out eight bits of the root secret."""

    name, chapter, attacker, unit = "wrong keys", "wrong keys", "thief of the file", "points over the best random network"
    weak = (
        "a key derivation that leaves out eight of the 128 bits: of its 128 one-bit neighbours, which are "
        "tried, eight are the key"
    )

    def parts(self, case: Case, effort: Effort) -> list[dict[str, Any]]:
        """Random keys in chunks, and the neighbours; of the control, and of plain weights, random networks, too."""
        if not (case.locked or case.control):
            return []
        common: dict[str, Any] = {"samples": effort.samples}
        keys: list[dict[str, Any]] = [
            {"kind": "random keys", "first": first, "count": min(_CHUNK, effort.random_keys - first)}
            for first in range(0, effort.random_keys, _CHUNK)
        ]
        total = effort.random_keys + _NEIGHBOURS
        networks = chance.jobs(
            case,
            *(
                {"kind": "random networks", "first": first, "count": min(_CHUNK, total - first)}
                for first in range(0, total, _CHUNK)
            ),
        )
        return [common | part for part in (*(() if case.control else keys), *networks, {"kind": "neighbours"})]

    def run(self, material: Material, parameters: Mapping[str, Any], seed: int) -> Outcome:
        """Scores of one chunk; None stands for a device that refuses."""
        x, labels = material.test(parameters["samples"])
        interface, kind = material.model.interface, parameters["kind"]
        if kind == "random networks":
            return Outcome({"scores": list(chance.scores(material, parameters, parameters["count"], seed, x, labels))})
        if material.case.control:
            device = weak.masked(public_device(material, VaultKind.AES, seed), _WEAK_BITS)
            artefact = locked_for(material, device, "clock", "aes-pre", seed)
            tried = [weak.masked(device.with_flipped_bit(bit), _WEAK_BITS) for bit in range(_NEIGHBOURS)]
        else:
            device, artefact = material.owner, material.locked
            tried = self._tried(device, kind, parameters.get("count", 0), seed)
        found = wrong_keys.scores(artefact.program, artefact.scheme, tried, x, labels, interface)
        return Outcome({"scores": list(found)})

    def judge(self, case: Case, own: Sequence[Answer], control: Sequence[Answer]) -> Said:
        """Broken if the best wrong key is better than the best random network by more than luck."""
        baseline = np.array(_scores(own, "random networks") or _scores(control, "random networks"), float)
        tried = _scores(own, "random keys") + _scores(own, "neighbours")
        answered = np.array([score for score in tried if score is not None])
        near = [score for score in _scores(own, "neighbours") if score is not None]
        lucky = float(baseline.max())
        if not len(answered):
            summary = (
                f"All {len(tried)} wrong devices refused to run the program, so there is no answer and no accuracy to compare. "
                f"(For scale: the best of {len(baseline)} random networks, which need no device, answers {100 * lucky:.2f}%.)"
            )
            return Said(Verdict.HOLDS, summary, 0.0)
        worst = float(answered.max())
        gain = worst - lucky
        role = "control" if case.control else "lock"
        silent = len(tried) - len(answered)
        refused = f" ({silent} devices refused, gave no answer, and are not drawn)" if silent else ""
        rows = [
            [name, len(sample), *(float(np.quantile(sample, q)) for q in (0.5, 0.95, 0.99)), float(np.max(sample))]
            for name, sample in (("wrong keys", answered), ("one-bit neighbours", near), ("random networks", baseline))
            if len(sample)
        ]
        drawn = [
            figures.plot(
                "histogram", "Accuracy under wrong keys" + refused, "accuracy", "devices", [
                    figures.values("wrong keys", role, answered.tolist()),
                    figures.values("random networks", "baseline", baseline.tolist()),
                ],
            ),
            figures.table("Wrong keys", ("who", "how many", "median", "95%", "99%", "worst"), rows),
        ]  # fmt: skip
        summary = (
            f"The best of {len(tried)} wrong devices answers {100 * worst:.2f}%, the best of {len(baseline)} random networks "
            f"{100 * lucky:.2f}%"
            + (f"; {silent} devices refused, and gave no answer." if silent else ".")
            + f" More than {100 * ALLOWED:.0f} points beyond that would count."
        )
        return Said(Verdict.BROKEN if gain > ALLOWED else Verdict.HOLDS, summary, gain, drawn)

    def _tried(self, device: Device, kind: str, count: int, seed: int) -> list[Device]:
        if kind == "neighbours":
            return [device.with_flipped_bit(bit) for bit in range(_NEIGHBOURS)]
        return [wrong_keys.random_device(device, seed, index) for index in range(count)]


def _scores(answers: Sequence[Answer], kind: str) -> list[float | None]:
    chunks = [one for one in answers if one.parameters["kind"] == kind]
    ordered = sorted(chunks, key=lambda one: one.parameters.get("first", 0))
    return [score for chunk in ordered for score in chunk.values["scores"]]
