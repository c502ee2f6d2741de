"""Keep what an attack suite found, and make the tables of docs/locks.md of it: `make report` runs this.

python scripts/locks_page.py RUN     results of a run -> docs/attacks.json (thinned) -> docs/locks.md
python scripts/locks_page.py         docs/attacks.json -> docs/locks.md
"""

import json
import sys
from pathlib import Path

from bitting import files
from bitting.report import locks_page, reading
from bitting.suite.format import RESULTS

DOCS = Path(__file__).parents[1] / "docs"
DATA, PAGE = DOCS / "attacks.json", DOCS / "locks.md"


def main(arguments: list[str]) -> None:
    """Write both files."""
    if arguments:
        run = Path(arguments[0])
        reading.read(run)  # says what is wrong with it
        files.write_text(DATA, locks_page.thinned(json.loads((run / RESULTS).read_text())))
    files.write_text(PAGE, locks_page.rewritten(PAGE.read_text(), reading.read(DATA)))


if __name__ == "__main__":
    main(sys.argv[1:])
