"""The README's picture of the speed: how long one load takes, and the pace at every size."""

from __future__ import annotations

from typing import Final

import altair as alt
import vl_convert

from tests.benchmarks import bench_load as load
from tests.benchmarks.processes import OURS
from tests.benchmarks.results import Results

_COLOURS: Final = {OURS: "#0072b2", load.BARE: "#999999", load.CLIENT: "#e69f00", load.REST_API: "#d55e00"}
"""Okabe and Ito's, which colour-blind readers can tell apart."""
_POWERS: Final = [10**power for power in range(3, 7)]
_WAYS: Final = alt.Color("way:N", scale=alt.Scale(domain=list(_COLOURS), range=list(_COLOURS.values())), legend=None)


def drawn(results: Results) -> str:
    """Return the picture as SVG."""
    chart = alt.hconcat(_times(results), _paces(results), spacing=50, background="white", padding=16)
    styled = chart.configure_view(stroke=None).configure_axis(labelFontSize=12, titleFontSize=12)
    return vl_convert.vegalite_to_svg(styled.configure_title(fontSize=14, anchor="start").to_json())


def _times(results: Results) -> alt.LayerChart:
    """Draw the time of the largest load that all the peers did."""
    sizes = results.sizes(load.DUCKDB)
    files = max(sizes, key=lambda size: (len(results.at(load.DUCKDB, size).ways), size))
    one = results.at(load.DUCKDB, files)
    rows = [
        {"way": way, "seconds": one.figure(way).median, "label": f"{one.figure(way).median:.1f} s"}
        for way in sorted(one.ways, key=lambda way: one.figure(way).median)
    ]
    bars = alt.Chart(alt.Data(values=rows), title=f"{files:,} files into DuckDB, whole process").encode(
        x=alt.X("seconds:Q", title="seconds", axis=alt.Axis(grid=False, tickCount=5)),
        y=alt.Y(
            "way:N",
            title=None,
            sort=[row["way"] for row in rows],
            axis=alt.Axis(ticks=False, domain=False, labelPadding=8),
        ),
    )
    return (bars.mark_bar().encode(color=_WAYS) + bars.mark_text(align="left", dx=5).encode(text="label:N")).properties(
        width=330, height=150
    )


def _paces(results: Results) -> alt.LayerChart:
    """Draw the files a second by the size of the account."""
    rows = [
        {"way": way, "files": files, "pace": files / results.at(load.DUCKDB, files).figure(way).median}
        for files in results.sizes(load.DUCKDB)
        for way in results.at(load.DUCKDB, files).ways
    ]
    sizes = alt.Axis(format="~s", grid=False, values=sorted({row["files"] for row in rows}))
    paces = alt.Axis(format="~s", values=_POWERS)
    lines = alt.Chart(alt.Data(values=rows), title="Files a second, by the size of the account").encode(
        x=alt.X("files:Q", title="files", scale=alt.Scale(type="log", nice=False), axis=sizes),
        y=alt.Y("pace:Q", title="files a second", scale=alt.Scale(type="log"), axis=paces),
        color=_WAYS,
    )
    fastest = max((row for row in rows if row["files"] == rows[-1]["files"]), key=lambda row: row["pace"])
    beside = alt.ExprRef(f"datum.way == '{fastest['way']}' ? -7 : 7")  # ours and the bare limit may be as fast
    last = lines.mark_text(align="left", dx=8, dy=beside).encode(text="way:N")
    largest = {way: max(row["files"] for row in rows if row["way"] == way) for way in {row["way"] for row in rows}}
    ends = " || ".join(f"datum.way == '{way}' && datum.files == {files}" for way, files in largest.items())
    return (lines.mark_line(point=True) + last.transform_filter(ends)).properties(width=330, height=150)
