"""Plots as pages: they hold all that they need, and what is in a file stays text."""

import json
import re
import stat
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

import bitting
from bitting.locking.kinds import default_transform
from bitting.look import answers, inspection, inspection_chart
from bitting.program.interface import Task, of_program
from bitting.program.layers import multilayer_perceptron
from bitting.unit.spec import PRESETS

SPEC = PRESETS["tiny"]
SCRIPT = '</script><script>alert("run")</script><!--<script>'


class Page(HTMLParser):
    """Elements as a browser finds them, and the text of each script."""

    def __init__(self, text: str):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self._inside = False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._inside = tag == "script"

    def handle_data(self, data):
        if self._inside:
            self.scripts.append(data)

    def handle_endtag(self, tag):
        self._inside = False


def of_answers(path):
    interface = replace(of_program(SPEC, 4), names=(SCRIPT, "b", "c"))
    rng = np.random.default_rng(0)
    answers.draw(path, interface, rng.integers(-9, 9, (50, 3)), rng.integers(0, 3, 50), f"of {SCRIPT}")


def of_file(path):
    model = bitting.Model(multilayer_perceptron(SPEC, [np.arange(24).reshape(2, 12) % SPEC.codes], [np.zeros(2)], [0]))
    inspection_chart.draw(path, inspection.of_model(model, default_transform(SPEC.vault)), f"of {SCRIPT}", 0o600)


@pytest.mark.parametrize("draw", [of_answers, of_file])
def test_a_page_fetches_nothing_and_runs_nothing_of_a_file(tmp_path, draw):
    path = tmp_path / "a.html"
    draw(path)
    text = path.read_text()
    page = Page(text)
    assert not re.search(r"""(src|href)\s*=\s*["']?\s*(https?:)?//""", text) and "cdn." not in re.sub(r"//[^\n]*", "", text)
    assert not [element for element in page.elements if {"src", "href"} & set(element[1]) or element[0] in ("link", "iframe")]
    assert "</script><script>alert" not in text and "<!--<script>" not in text
    assert [tag for tag, _ in page.elements].count("script") == 2 == len(page.scripts)
    spec, _ = json.JSONDecoder().raw_decode(page.scripts[1].partition("const spec = ")[2])
    assert SCRIPT in json.dumps(spec["title"]).encode().decode("unicode_escape")  # it is the title all the same


@pytest.mark.parametrize("task", [Task.CLASSES, Task.REGRESSION])
@pytest.mark.parametrize("suffix", ["svg", "html"])
def test_answers_beside_held_out_targets_are_for_nobody_else(tmp_path, task, suffix):
    interface, path = replace(of_program(SPEC, 4), task=task), tmp_path / f"a.{suffix}"
    targets = np.arange(8) % 2 if task == Task.CLASSES else np.arange(8.0)[:, None]
    answers.draw(path, interface, np.arange(16).reshape(8, 2)[:, : 2 if task == Task.CLASSES else 1], targets, "a title")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
