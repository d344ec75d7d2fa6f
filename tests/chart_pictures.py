"""Draw the main charts of the demo's account for the README, light and dark in one file each: `make readme`."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from files_source import charts, usage
from files_source.drawing import svg
from files_source.page import LOOK
from tests.reports import NOW, busy, with_history

FOLDER = Path(__file__).parent.parent / ".readme"
FILES = 25_000
STYLE = """<style>
svg { --ink: #1f2328; --muted: #59636e; --line: #d9dee3; --mark: #0072b2; --others: #8c959f;
  --s0: #0072b2; --s1: #e69f00; --s2: #009e73; --s3: #d55e00; --s4: #56b4e9; --s5: #cc79a7; }
@media (prefers-color-scheme: dark) { svg { --ink: #e8ebef; --muted: #a2abb5; --line: #353c45; --mark: #3d9fdb;
  --others: #78828d; --s0: #2f8fd0; --s2: #1bb58a; --s3: #e8762d; } }
</style>"""


def main() -> None:
    inventory = busy(FILES)
    drawn = {
        "by_purpose": partial(charts.by, usage.by(inventory.files, "purpose"), "purpose"),
        "by_month": partial(charts.by_month, usage.by_month(inventory.files, "purpose"), "purpose"),
        "over_time": partial(charts.over_time, usage.over_time(with_history(inventory), until=NOW, every="1w")),
    }
    for name, draw in drawn.items():
        head, end, rest = svg(draw(look=LOOK)).partition(">")
        (FOLDER / f"{name}.svg").write_text(f"{head}{end}{STYLE}{rest}\n")


if __name__ == "__main__":
    main()
