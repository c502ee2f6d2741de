"""Keep what attack suites found, and make the tables of docs/locks*.md of it: `make report` runs this.

python scripts/locks_page.py RUN NAME     results of a run -> docs/NAME.json, thinned; then as without it:
python scripts/locks_page.py              docs/*.json -> the pages that say they are made of them
"""

import json
import sys
from pathlib import Path

from bitting import files
from bitting.report import locks_page, reading
from bitting.suite.format import RESULTS

DOCS = Path(__file__).parents[1] / "docs"


def main(arguments: list[str]) -> None:
    """Write the results, if there are new ones, and all pages."""
    if arguments:
        run, name = arguments
        reading.read(Path(run))  # says what is wrong with it
        files.write_text(DOCS / f"{name}.json", locks_page.thinned(json.loads((Path(run) / RESULTS).read_text())))
    for page in sorted(DOCS.glob("*.md")):
        text = page.read_text()
        if locks_page.sources(text):
            files.write_text(page, locks_page.rewritten(text, lambda source: reading.read(DOCS / source)))


if __name__ == "__main__":
    main(sys.argv[1:])
