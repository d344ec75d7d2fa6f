"""Open reports in Chromium and look for what only a browser shows: `make report-check`.

Give a folder to keep the pages and their pictures there.
"""

from __future__ import annotations

import sys
import tempfile
from itertools import product
from pathlib import Path

from tests.chromium import Opened, browser, program
from tests.reports import REPORTS, page_of

WIDTHS = (1280, 700, 390, 320)
SCHEMES = ("light", "dark")
BACKGROUNDS = {"light": "rgb(246, 248, 250)", "dark": "rgb(15, 18, 22)"}
MISSING = """\
report-check: Chromium is not installed, so NOTHING WAS CHECKED.
Install it (Debian: apt-get install chromium) and run make report-check again.
"""

LOOK = """(() => {
  const box = element => element.getBoundingClientRect();
  const shown = element => box(element).width > 0 && box(element).height > 0;
  const trouble = [];
  if (document.documentElement.scrollWidth > innerWidth) trouble.push('the page is wider than the screen');
  const charts = [...document.querySelectorAll('.chart')];
  for (const chart of charts) {
    const name = chart.getAttribute('aria-label') || '';
    const svgs = [...chart.querySelectorAll('svg')].filter(shown);
    if (chart.getAttribute('role') !== 'img' || !name) trouble.push('a chart has no name');
    if (svgs.length !== 1) { trouble.push(`${svgs.length} pictures of: ${name}`); continue; }
    const [svg] = svgs, edge = box(svg);
    const marks = [...svg.querySelectorAll('.role-mark path, .role-mark line')].filter(mark => {
      const {width, height} = box(mark), {fill, opacity, fillOpacity} = getComputedStyle(mark);
      const filled = mark.tagName === 'path' && fill !== 'none' && fillOpacity !== '0';
      return opacity !== '0' && (filled ? width > 0 && height > 0 : width > 0 || height > 0);
    });
    if (!marks.length) trouble.push(`nothing is drawn: ${name}`);
    const texts = [...svg.querySelectorAll('text')].filter(shown).filter(text => text.getAttribute('opacity') !== '0');
    if (!texts.length) trouble.push(`nothing is said: ${name}`);
    texts.forEach((text, place) => {
      const one = box(text);
      const across = one.left < edge.left - 2 || one.right > edge.right + 2;
      if (across || one.top < edge.top - 3 || one.bottom > edge.bottom + 3)
        trouble.push(`cut off: ${text.textContent} in ${name}`);
      if (parseFloat(getComputedStyle(text).fontSize) * edge.width / svg.viewBox.baseVal.width < 8.5)
        trouble.push(`too small: ${text.textContent} in ${name}`);
      for (const mark of marks) {
        const other = box(mark);
        const across = Math.min(one.right, other.right) - Math.max(one.left, other.left);
        const down = Math.min(one.bottom, other.bottom) - Math.max(one.top, other.top);
        if (across >= 0 && down > 1.5) trouble.push(`a mark on ${text.textContent} in ${name}`);
      }
      for (const next of texts.slice(place + 1)) {
        const two = box(next);
        const across = Math.min(one.right, two.right) - Math.max(one.left, two.left);
        const down = Math.min(one.bottom, two.bottom) - Math.max(one.top, two.top);
        if (across > 1 && down > 3)
          trouble.push(`one on the other: ${text.textContent}, ${next.textContent} in ${name}`);
      }
    });
  }
  return {charts: charts.length, trouble, background: getComputedStyle(document.body).backgroundColor};
})()"""


def main(folder: Path) -> int:
    path = program()
    if path is None:
        sys.stderr.write(MISSING)
        return 2
    trouble: list[str] = []
    with browser(path) as opened:
        for name, (_, charts) in REPORTS.items():
            page = folder / f"{name.replace(' ', '-')}.html"
            page.write_text(page_of(name))
            for width, scheme in product(WIDTHS, SCHEMES):
                seen = opened.open(page, width=width, scheme=scheme, script=LOOK)
                page.with_name(f"{page.stem}-{width}-{scheme}.png").write_bytes(seen.picture)
                trouble += [f"{name}, {width} px, {scheme}: {what}" for what in wrong(seen, charts, scheme)]
            print(f"{name}: {charts} charts, {page.stat().st_size:,} bytes")
    print("\n".join(trouble) or f"no trouble at {', '.join(map(str, WIDTHS))} px in {' and '.join(SCHEMES)}")
    return 1 if trouble else 0


def wrong(seen: Opened, charts: int, scheme: str) -> list[str]:
    """Return what is wrong with a page that was opened."""
    found = seen.found
    trouble = [f"asks for {url}" for url in seen.requests] + [f"says {what}" for what in seen.said] + found["trouble"]
    if found["charts"] != charts:
        trouble.append(f"{found['charts']} charts instead of {charts}")
    if found["background"] != BACKGROUNDS[scheme]:
        trouble.append(f"the background is {found['background']}")
    return trouble


if __name__ == "__main__":
    if len(sys.argv) > 1:
        kept = Path(sys.argv[1]).resolve()
        kept.mkdir(parents=True, exist_ok=True)
        sys.exit(main(kept))
    with tempfile.TemporaryDirectory() as passing:
        sys.exit(main(Path(passing)))
