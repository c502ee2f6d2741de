"""Reports as files: text of the results stays text, every format says the same, and the same results make the same file."""

import base64
import hashlib
import html
import json
import re
from html.parser import HTMLParser

import pytest
from markdown_it import MarkdownIt

from bitting.errors import BittingError
from bitting.report import markdown, page, reading, writing
from bitting.report.document import document
from bitting.report.verdicts import Standing
from tb import suite_results
from tb.suite_results import CRAFTED, crafted

#: Elements that a page is made of.
ELEMENTS = {
    *(
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "a",
        "header",
        "h1",
        "h2",
        "p",
        "div",
        "button",
        "details",
        "summary",
        "nav",
    ),
    *(
        "ul",
        "li",
        "noscript",
        "main",
        "section",
        "span",
        "strong",
        "table",
        "caption",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "pre",
    ),
    *("code", "figure", "figcaption", "script"),
}


def results_of(tmp_path, data):
    return reading.read(suite_results.write(tmp_path / "run", data))


@pytest.fixture
def results(tmp_path):
    return results_of(tmp_path, suite_results.results())


class Tree(HTMLParser):
    """What a browser finds in a page: elements with attributes, the text of each kind, the cells of tables."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.scripts, self.tables, self.headings, self.commands, self.lists = [], [], [], [], [], []
        self._kept = None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self._keep(self.tables[-1][-1])
        elif tag in ("h1", "h2", "h3", "summary"):
            self._keep(self.headings)
        elif tag == "pre":
            self._keep(self.commands)
        elif tag == "li":
            self._keep(self.lists)
        elif tag == "script":
            self._keep(self.scripts)

    def _keep(self, where):
        where.append("")
        self._kept = where

    def _json(self):
        return json.loads(self.scripts[-1]) if self.elements[-1] == ("script", {"type": "application/json"}) else {}

    def handle_data(self, data):
        if self._kept is not None:
            self._kept[-1] += data

    def handle_endtag(self, tag):
        if tag == "script" and "table" in (data := self._json()):  # a browser makes the table when it is asked for
            self.tables.append([data["table"]["columns"], *data["table"]["rows"]])
        if tag in ("td", "th", "h1", "h2", "h3", "summary", "pre", "li", "script"):
            self._kept = None


def test_a_page_is_made_of_few_elements_and_names_no_address(results):
    tree = Tree(page.render(document(results)))
    assert {tag for tag, _ in tree.elements} == ELEMENTS
    for tag, attributes in tree.elements:
        assert not {"src", "srcset", "style", "action", "data", "poster"} & set(attributes), (tag, attributes)
        assert not [name for name in attributes if name.startswith("on")]
        assert "href" not in attributes or (tag == "a" and attributes["href"].startswith("#"))


def test_links_lead_to_places_and_no_place_is_there_twice(results):
    tree = Tree(page.render(document(results)))
    places = [attributes["id"] for _, attributes in tree.elements if "id" in attributes]
    assert len(places) == len(set(places))
    assert {attributes["href"][1:] for tag, attributes in tree.elements if tag == "a"} <= set(places)
    text = markdown.render(document(results))
    assert set(re.findall(r"\]\(#([\w-]+)\)", text)) <= set(re.findall(r'<a id="([\w-]+)"></a>', text))


def test_the_policy_allows_the_scripts_and_the_style_of_the_page_and_no_request(results):
    text = page.render(document(results))
    tree = Tree(text)
    (policy,) = [attributes["content"] for tag, attributes in tree.elements if attributes.get("http-equiv")]
    rules = {rule.split()[0]: rule.split()[1:] for rule in policy.split("; ")}
    assert rules.pop("default-src") == rules.pop("base-uri") == rules.pop("form-action") == ["'none'"]
    kinds = [attributes.get("type") for tag, attributes in tree.elements if tag == "script"]
    running = [script for script, kind in zip(tree.scripts, kinds, strict=True) if kind is None]
    assert set(kinds) == {None, "application/json"} and len(running) == 2
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)

    def hashed(item):
        return f"'sha256-{base64.b64encode(hashlib.sha256(item.encode()).digest()).decode()}'"

    assert rules == {"script-src": list(map(hashed, running)), "style-src": [hashed(style)]}


def test_what_is_in_the_results_stays_text(tmp_path):
    """In the page, and in what a reader of Markdown who lets HTML through makes of the Markdown."""
    reader, made = MarkdownIt("commonmark", {"html": True}).enable("table"), []
    for added in ("harmless", CRAFTED):
        whole = document(results_of(tmp_path, crafted(suite_results.results(), added)))
        made.append((Tree(page.render(whole)), Tree(reader.render(markdown.render(whole)))))
    for harmless, tree in zip(*made, strict=True):
        assert [tag for tag, _ in tree.elements] == [tag for tag, _ in harmless.elements]
        assert [sorted(attributes) for _, attributes in tree.elements] == [
            sorted(attributes) for _, attributes in harmless.elements
        ]
        assert all(
            attributes["href"].startswith("#") for tag, attributes in tree.elements if tag == "a" and "href" in attributes
        )
        assert CRAFTED in tree.commands[0] and any(CRAFTED in cell for table in tree.tables for row in table for cell in row)
    titles = [layer["encoding"]["x"].get("title") for script in tree_scripts(made[1][0]) for layer in script["layer"]]
    assert any(title and CRAFTED in title for title in titles), "plots have it too"


def tree_scripts(tree):
    """The specifications of plots in a page."""
    return [json.loads(script)["spec"] for script in tree.scripts[:-3]]


def words(text):
    """Without what differs in writing: marks of emphasis, white space at the ends."""
    return re.sub(r"\s+", " ", html.unescape(text)).strip()


def test_markdown_says_what_the_page_says(results):
    """All tables, lists and commands, as an independent reader of Markdown finds them."""
    shown = Tree(page.render(document(results)))
    read = Tree(MarkdownIt("commonmark").enable("table").render(markdown.render(document(results))))
    assert [[list(map(words, row)) for row in table] for table in read.tables] == [
        [list(map(words, row)) for row in table] for table in shown.tables
    ]
    assert list(map(words, read.commands)) == list(map(words, shown.commands))
    contents = len(document(results).sections)
    assert list(map(words, read.lists)) == list(map(words, shown.lists[contents:]))
    assert {words(heading) for heading in read.headings} <= {words(heading) for heading in shown.headings}


def test_every_finding_is_there_with_its_command_verdict_seed_and_numbers(results):
    tree, data = Tree(page.render(document(results))), suite_results.results()
    assert list(map(words, sorted(tree.commands))) == list(map(words, sorted(item["command"] for item in data["findings"])))
    cells = [cell for table in tree.tables for row in table for cell in row]
    for item in data["findings"]:
        assert sum(words(cell) == words(item["summary"]) for cell in cells) >= 1
    facts = [dict(row for row in table if len(row) == 2) for table in tree.tables if table[0] == ["what", "found"]]
    assert len(facts) == len(data["findings"])
    assert all(fact["seed"] == "7" and fact["attacker"] and fact["level of the claim"] for fact in facts)
    assert all(fact.get("what he holds") or ("control" in fact["verdict"] and fact["the weak lock"]) for fact in facts)


def test_plots_hold_the_numbers_of_the_results(results):
    """Of the first curve all points, in the picture and in its table; of a histogram all values, counted."""
    blocks = [
        block for section in document(results).sections for entry in section.blocks for block in getattr(entry, "blocks", ())
    ]
    plots = {plot.title: plot for plot in blocks if hasattr(plot, "spec")}
    data = suite_results.results()["findings"]
    curve = plots["Made-up fine-tuning"]
    drawn = {(row["series"], row["x"], row["y"]) for row in curve.spec["data"]["values"]}
    written = [{(series["name"], x, y) for series in data[index]["figures"][0]["series"]
                for x, y in zip(series["x"], series["y"], strict=True)} for index in (0, 1)]  # fmt: skip
    assert drawn in written and len(curve.table.rows) == len(drawn)
    counted = plots["Made-up wrong keys"]
    assert sum(int(str(row[4])) for row in counted.table.rows) == 2000
    values = next(item for item in data if item["attack"] == "random wrong keys")["figures"][0]["series"][0]["values"]
    for name, low, high, count in ((row[0], *map(float, map(str, row[2:5]))) for row in counted.table.rows):
        if name == "1000 wrong keys":  # the table rounds to four digits
            assert sum(low - 1e-4 <= value <= high + 1e-4 for value in values) >= count
    assert "greatest " + f"{max(values):.4g}" in counted.words


def test_of_many_points_the_extremes_are_kept_and_it_is_said(results):
    text = markdown.render(document(results))
    assert re.search(r"Made-up screening \(\d+ of 802 points; all are in the file of results\)", text)
    assert "Made-up table (200 of 302 rows; all are in the file of results)" in text


@pytest.mark.parametrize("suffix", ["html", "md", "json"])
@pytest.mark.parametrize("make", [suite_results.results, suite_results.empty])
def test_the_same_results_make_the_same_file(tmp_path, suffix, make):
    made = []
    for name in ("a", "b"):
        writing.write(tmp_path / f"{name}.{suffix}", results_of(tmp_path / name, make()))
        made.append((tmp_path / f"{name}.{suffix}").read_bytes())
    assert made[0] == made[1] and b"\r" not in made[0]
    assert len(made[0]) < 2_000_000, "nobody sends a page of this size"


def test_json_has_the_results_and_what_they_come_to(tmp_path, results):
    writing.write(tmp_path / "report.json", results)
    found, data = json.loads((tmp_path / "report.json").read_text()), suite_results.results()
    assert found["format"] == writing.FORMAT
    assert [item["authorised"] for item in found["results"]["cases"]] == [item["authorised"] for item in data["cases"]]
    assert found["standing"]["clock x shuffle, vault aes on base"]["thief of the file"] == Standing.FALLS
    assert found["advice"]["thief of the file"] == "clock x sealed-clocked, vault ascon on base"
    assert found["advice"]["whoever runs it"] is None
    assert [item["attack"] for item in found["findings"]] == [item["attack"] for item in data["findings"]]


def test_a_suffix_that_is_none_is_refused_before_anything_is_written(tmp_path, results):
    with pytest.raises(BittingError, match=r"\.txt; allowed are \.html, \.md, \.json, \.pdf"):
        writing.write(tmp_path / "report.txt", results)
    assert not (tmp_path / "report.txt").exists()
