"""Draw the main charts of the demo's account for the README, light and dark in one file each: `make readme`."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from files_source import charts, usage
from files_source.drawing import svg
from files_source.page import LOOK, palette
from tests.reports import NOW, busy, with_history

FOLDER = Path(__file__).parent.parent / ".readme"
FILES = 25_000


def main() -> None:
    inventory = busy(FILES)
    drawn = {
        "by_purpose": partial(charts.by, usage.by(inventory.files, "purpose"), "purpose"),
        "by_month": partial(charts.by_month, usage.by_month(inventory.files, "purpose"), "purpose"),
        "over_time": partial(charts.over_time, usage.over_time(with_history(inventory), until=NOW, every="1w")),
    }
    for name, draw in drawn.items():
        head, end, rest = svg(draw(look=LOOK)).partition(">")
        (FOLDER / f"{name}.svg").write_text(f"{head}{end}<style>\n{palette('svg')}\n</style>{rest}\n")


if __name__ == "__main__":
    main()
