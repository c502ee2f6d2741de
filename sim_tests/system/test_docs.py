"""Documentation that points somewhere points to something that exists."""

import re
from pathlib import Path

import pytest
import typer

from bitting.cli import app

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
#: How many changes the first table of docs/design.md must cover.
CHANGES = 20


def targets(page: Path) -> list[str]:
    """Of every relative link and image on a page, without the part after #."""
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text())
    return [link.partition("#")[0] for link in links if not re.match(r"[a-z]+:", link) and not link.startswith("#")]


def anchors(page: Path) -> set[str]:
    """Of a page's headings, as GitHub makes them, and those that stand in it."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    made = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return made | set(re.findall(r'<a id="([^"]+)">', text))


def commands(page: Path) -> list[str]:
    """Every command `bitting ...` that stands on a page as code, without its comment; `bitting signature 1` names a format."""
    text = page.read_text()
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [line.partition("#")[0] for block in blocks for line in block.splitlines()]
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))
    found = [line.strip() for line in (*lines, *spans) if re.match(r"bitting [a-z-]", line.strip())]
    return [line for line in found if not re.fullmatch(r"bitting [a-z ]+ \d", line)]


def change_table() -> list[tuple[str, list[str]]]:
    """(change, paths) of the rows of the first table of docs/design.md."""
    lines = (ROOT / "docs" / "design.md").read_text().splitlines()
    first = next(index for index, line in enumerate(lines) if line.startswith("|"))
    rows = []
    for line in lines[first + 2 :]:
        if not line.startswith("|"):
            break
        change, places, *_ = (cell.strip() for cell in line.strip("|").split("|"))
        rows.append((change, re.findall(r"`([^`]+)`", places)))
    return rows


def test_pages_are_read():
    names = {page.relative_to(ROOT).as_posix() for page in PAGES}
    assert {"README.md", "docs/design.md", "docs/format.md", "docs/glossary.md", "SECURITY.md"} <= names


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_relative_link_points_to_something(page):
    missing = [target for target in targets(page) if not (page.parent / target).exists()]
    assert not missing, f"{page} points to what is not there: {missing}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_anchor_is_a_heading(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        target, _, anchor = link.partition("#")
        if anchor and not re.match(r"[a-z]+:", link):
            assert anchor in anchors(page.parent / target if target else page), f"{page}: {link}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_command_exists_with_the_options_that_are_shown(page):
    known = typer.main.get_command(app)
    for line in commands(page):
        command, words = known, line.split()[1:]
        while words and hasattr(command, "commands"):
            name = words.pop(0)
            if not re.fullmatch(r"[a-z-]+", name) or name.startswith("--"):
                break
            assert name in command.commands, f"{page}: {line}: there is no {name}"
            command = command.commands[name]
        options = {option for parameter in command.params for option in parameter.opts} | {"--help"}
        shown = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
        assert shown <= options, f"{page}: {line}: no {shown - options}"


def test_commands_are_found():
    assert {"bitting owner new owner.key", "bitting --help"} <= set(commands(ROOT / "README.md"))
    assert len({line.split()[1] for page in PAGES for line in commands(page)}) > 12


def test_the_design_page_begins_with_where_to_change_what():
    rows = change_table()
    assert len(rows) >= CHANGES
    for change, paths in rows:
        assert paths, f"no place is named for: {change}"
        missing = [path for path in paths if not (ROOT / path).exists()]
        assert not missing, f"{change}: {missing} do not exist"


def test_the_design_page_lists_every_decision_by_its_title():
    files = sorted((ROOT / "docs/decisions").glob("[0-9]*.md"))
    titles = [path.read_text().splitlines()[0].removeprefix("# ").replace(". ", ". [", 1) for path in files]
    lines = [f"{title}](decisions/{path.name})" for title, path in zip(titles, files, strict=True)]
    listed = [
        line for line in (ROOT / "docs/design.md").read_text().splitlines() if "](decisions/" in line and line[0].isdigit()
    ]
    assert listed == lines


@pytest.mark.parametrize("page", ["docs/glossary.md"])
def test_every_file_of_the_glossary_exists(page):
    paths = re.findall(r"`((?:python_model|rtl|sim_tests|docs)/[^`]+)`", (ROOT / page).read_text())
    assert paths and not [path for path in paths if not (ROOT / path).exists()]
