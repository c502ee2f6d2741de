"""Documentation that points somewhere points to something that exists."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
#: How many changes the first table of docs/design.md must cover.
CHANGES = 20


def targets(page: Path) -> list[str]:
    """Of every relative link and image on a page, without the part after #."""
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text())
    return [link.partition("#")[0] for link in links if not re.match(r"[a-z]+:", link) and not link.startswith("#")]


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


def test_the_design_page_begins_with_where_to_change_what():
    rows = change_table()
    assert len(rows) >= CHANGES
    for change, paths in rows:
        assert paths, f"no place is named for: {change}"
        missing = [path for path in paths if not (ROOT / path).exists()]
        assert not missing, f"{change}: {missing} do not exist"


@pytest.mark.parametrize("page", ["docs/glossary.md"])
def test_every_file_of_the_glossary_exists(page):
    paths = re.findall(r"`((?:python_model|rtl|sim_tests|docs)/[^`]+)`", (ROOT / page).read_text())
    assert paths and not [path for path in paths if not (ROOT / path).exists()]
