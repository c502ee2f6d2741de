"""The page in a browser: it opens, draws everything, asks for nothing, and can be used by keyboard, on a phone, in the dark."""

import socket
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe

from bitting.report import reading, writing
from tb import suite_results
from tb.browser import opened, program, running
from tb.command import bitting, error_of
from tb.suite_results import crafted

PHONE, DESK = {"width": 360, "height": 740}, {"width": 1280, "height": 900}
#: Rows of a layer's data whose mark is a point, and what was drawn of them.
DRAWN = """() => [...document.querySelectorAll("figure")].map(figure => {
  const {spec} = JSON.parse(figure.querySelector("script").textContent);
  const points = spec.layer.filter(layer => layer.mark.type === "point");
  return {
    title: figure.querySelector("strong").textContent, state: figure.dataset.state,
    wanted: points.reduce((sum, layer) => sum + (layer.data ?? spec.data).rows.length, 0),
    drawn: figure.querySelectorAll("svg g.role-mark.mark-symbol > path").length,
    marks: figure.querySelectorAll("svg g.role-mark path, svg g.role-mark line, svg g.role-mark text").length,
  };
})"""
#: Contrast (WCAG 2) of each text in a drawing with the page behind it, the least of all.
CONTRAST = """() => {
  const shade = text => {
    const [r, g, b] = text.match(/[\\d.]+/g).map(Number).slice(0, 3).map(v => v / 255)
      .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const paper = shade(getComputedStyle(document.body).backgroundColor);
  return Math.min(...[...document.querySelectorAll(".drawing svg text")].filter(text => text.textContent)
    .map(text => shade(getComputedStyle(text).fill)).map(ink => (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05)));
}"""
FOCUSED = """() => {
  const here = document.activeElement, box = here.getBoundingClientRect();
  const order = [...document.querySelectorAll("*")].indexOf(here);
  return {order, tag: here.tagName, text: here.textContent.slice(0, 40), id: here.id, seen: box.width > 0 && box.height > 0,
          ringed: getComputedStyle(here).outlineStyle !== "none"};
}"""


@pytest.fixture(scope="module")
def browser():
    with running() as browser:
        yield browser


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return written(tmp_path_factory.mktemp("report"), suite_results.results())


def written(folder, data):
    path = folder / "report.html"
    writing.write(path, reading.read(suite_results.write(folder / "run", data)))
    return path


def assert_quiet(tab, path):
    assert tab.requests == [path.as_uri()] and tab.said == []


@pytest.mark.parametrize("viewport", [DESK, PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize("color_scheme", ["light", "dark"])
def test_every_plot_is_drawn_with_all_its_points_and_nothing_is_asked_for(browser, report, viewport, color_scheme):
    with opened(browser, report, viewport=viewport, color_scheme=color_scheme) as tab:
        at_first = tab.page.evaluate(DRAWN)
        assert any(plot["state"] == "drawn" for plot in at_first) and any(plot["state"] is None for plot in at_first)
        tab.page.get_by_role("button", name="Unfold everything").click()
        tab.page.evaluate("drawVisible()")
        plots = tab.page.evaluate(DRAWN)
        assert len(plots) > 10
        for plot in plots:
            assert plot["state"] == "drawn" and plot["drawn"] == plot["wanted"] and plot["marks"], plot
        assert tab.page.evaluate(CONTRAST) >= 4.5
        assert_quiet(tab, report)


def test_a_page_of_a_suite_that_tried_nothing_opens_too(browser, tmp_path):
    path = written(tmp_path, suite_results.empty())
    with opened(browser, path) as tab:
        assert "Nothing was attacked" in tab.page.inner_text("#do-not-rely")
        assert_quiet(tab, path)


def test_what_is_in_the_results_runs_nowhere(browser, tmp_path):
    path = written(tmp_path, crafted(suite_results.results()))
    with opened(browser, path) as tab:
        tab.page.evaluate("unfold('.entry')")
        assert all(plot["state"] == "drawn" and plot["drawn"] == plot["wanted"] for plot in tab.page.evaluate(DRAWN))
        for point in tab.page.locator("svg g.role-mark.mark-symbol > path").all()[:3]:
            point.hover(force=True)
        tab.page.evaluate("new Promise(done => setTimeout(done, 100))")
        assert tab.page.evaluate("window.run") is None
        assert tab.page.locator("img, iframe, object, embed, link").count() == 0
        assert_quiet(tab, path)


def test_the_policy_stops_what_gets_through(browser, report):
    """Were a text to become an element all the same, it would neither run nor fetch."""
    with opened(browser, report) as tab, socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        address = f"http://127.0.0.1:{server.getsockname()[1]}/"
        tab.page.evaluate(
            """address => {
          const script = document.createElement("script");
          script.textContent = "window.run = 1";
          document.body.append(script);
          document.body.insertAdjacentHTML("beforeend", `<img src="${address}" onerror="window.run = 1">`);
        }""",
            address,
        )
        failed = tab.page.evaluate(
            "address => fetch(address, {signal: AbortSignal.timeout(2000)}).catch(why => why.name)", address
        )
        assert failed == "TypeError", "refused at once, not waited for"
        assert tab.page.evaluate("window.run") is None
        with pytest.raises(BlockingIOError):
            server.accept()
        assert sum("Content Security Policy" in said for said in tab.said) >= 3, "a page that breaks the policy says so here"


@pytest.mark.parametrize("viewport", [DESK, PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize("color_scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(browser, report, viewport, color_scheme):
    with opened(browser, report, viewport=viewport, color_scheme=color_scheme) as tab:
        tab.page.evaluate("unfold('.entry, #plot-1 .numbers')")
        found = Axe().run(tab.page).response["violations"]
        grave = [(item["id"], item["nodes"][0]["html"][:200]) for item in found if item["impact"] in ("serious", "critical")]
        assert grave == []


def test_axe_finds_a_planted_fault(browser, report):
    with opened(browser, report) as tab:
        tab.page.evaluate("document.querySelector('.drawing').removeAttribute('aria-label')")
        assert "role-img-alt" in [item["id"] for item in Axe().run(tab.page).response["violations"]]


def test_the_keyboard_reaches_everything_in_the_order_of_the_page(browser, report):
    with opened(browser, report, viewport=PHONE) as tab:
        places: list[dict[str, Any]] = []
        while len(places) < 60:
            tab.page.keyboard.press("Tab")
            place = tab.page.evaluate(FOCUSED)
            if place["tag"] == "BODY":
                break
            places.append(place)
        assert [place["text"] for place in places[:4]] == ["To the verdict", "Light or dark", "Unfold everything", "Contents"]
        orders = [place["order"] for place in places]
        assert len(places) == 60 and orders == sorted(orders) and len(set(orders)) == len(orders)
        assert all(place["seen"] and place["ringed"] for place in places)
        assert [place["tag"] for place in places].count("DIV") >= 2, "wide tables can be scrolled"


def test_keys_do_what_a_mouse_does(browser, report):
    with opened(browser, report, viewport=DESK) as tab:
        tab.page.keyboard.press("Tab")
        tab.page.keyboard.press("Enter")
        assert tab.page.evaluate("document.activeElement.id") == "main"
        before = tab.page.evaluate("getComputedStyle(document.body).backgroundColor")
        tab.page.focus("#theme")
        tab.page.keyboard.press("Space")
        assert tab.page.evaluate("getComputedStyle(document.body).backgroundColor") != before
        assert tab.page.evaluate(CONTRAST) >= 4.5
        tab.page.focus("#lock-2 > summary")
        tab.page.keyboard.press("Enter")
        assert tab.page.evaluate("document.getElementById('lock-2').open")


def test_a_link_unfolds_what_it_leads_to(browser, report):
    with opened(browser, report, viewport=DESK) as tab:
        link = tab.page.locator("#do-not-rely a[href^='#finding-']").last
        place = link.get_attribute("href")
        assert not tab.page.evaluate("place => document.querySelector(place).open", place)
        link.click()
        tab.page.wait_for_function("place => document.querySelector(place).open", arg=place)
        top = tab.page.evaluate("place => document.querySelector(place).getBoundingClientRect().top", place)
        assert -1 < top < DESK["height"]


def test_the_numbers_of_a_plot_are_a_table_that_keys_unfold(browser, report):
    with opened(browser, report, viewport=DESK) as tab:
        figure = tab.page.locator("figure:has(strong:text-is('Made-up fine-tuning'))").first
        figure.locator(".numbers > summary").focus()
        tab.page.keyboard.press("Enter")
        figure.locator("table").wait_for()
        shown = [row.locator("th, td").all_inner_texts() for row in figure.locator("tr").all()]
    curve = suite_results.results()["findings"][1]["figures"][0]
    assert shown[0] == ["series", "what it is", curve["x"], curve["y"]]
    points = [(series["name"], x, y) for series in curve["series"] for x, y in zip(series["x"], series["y"], strict=True)]
    assert [(row[0], float(row[2]), float(row[3])) for row in shown[1:]] == [(n, x, float(f"{y:.4g}")) for n, x, y in points]


@pytest.mark.parametrize("javascript", [True, False], ids=["script", "noscript"])
def test_nothing_is_wider_than_a_phone(browser, tmp_path, javascript):
    """With the longest names, and everything unfolded; wide tables scroll by themselves."""
    data = suite_results.results()
    for item in data["cases"]:
        item["spec"] += suite_results.LONG
    for figure in (figure for item in data["findings"] for figure in item["figures"]):
        figure["title"] += suite_results.LONG
        for series in figure.get("series", []):
            series["name"] += suite_results.LONG
    with opened(browser, written(tmp_path, data), viewport=PHONE, java_script_enabled=javascript) as tab:
        if javascript:
            tab.page.evaluate("unfold('details')")
            assert tab.page.locator(".numbers table").count() == tab.page.locator("figure").count()
        assert tab.page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
        assert tab.page.evaluate("[...document.querySelectorAll('.scroll')].some(box => box.scrollWidth > box.clientWidth)")
        assert tab.page.locator("noscript").inner_text().startswith("Without JavaScript" if not javascript else "")


def test_the_first_screen_says_what_not_to_rely_on_and_what_to_buy(browser, report):
    with opened(browser, report, viewport=DESK) as tab:
        for place in ("#in-short", "#do-not-rely", "#what-to-buy"):
            box = tab.page.locator(f"{place} li").first.bounding_box()
            assert box and box["y"] + box["height"] < DESK["height"], f"{place} and what it says first"
    with opened(browser, report, viewport=PHONE) as tab:
        first = tab.page.locator("#in-short li").first
        box = first.bounding_box()
        assert "Do not buy" in first.inner_text() and box and box["y"] + box["height"] < PHONE["height"]
        below = tab.page.locator("#what-to-buy").bounding_box()
        assert below and box["y"] < below["y"], "negative results come first"


def test_it_prints_on_white_without_what_only_a_screen_needs(browser, report):
    with opened(browser, report, viewport=DESK, color_scheme="dark") as tab:
        tab.page.emulate_media(media="print")
        assert tab.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert tab.page.evaluate(CONTRAST) >= 7
        assert not tab.page.locator("#theme").is_visible() and not tab.page.locator(".contents").is_visible()
        assert tab.page.locator(".drawing svg").first.is_visible()


def test_a_pdf_is_printed_by_the_browser(tmp_path):
    run = suite_results.write(tmp_path / "run", suite_results.results())
    bitting("report", run, "-o", tmp_path / "report.pdf", BITTING_BROWSER=str(program()))
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF-1.")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.pdf", "run"]


@pytest.mark.parametrize(
    ("named", "said"), [("/nowhere/chromium", "there is no such program"), ("/bin/false", "name one with BITTING_BROWSER")]
)
def test_without_a_browser_no_pdf_is_left_and_the_remedy_is_said(tmp_path, named, said):
    run = suite_results.write(tmp_path / "run", suite_results.results())
    assert said in error_of("report", run, "-o", tmp_path / "report.pdf", BITTING_BROWSER=named)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
