from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import duckdb
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from files_source.emulator import Emulator
from tests.benchmarks import bench_load, report, targets
from tests.benchmarks.account import Account, Files
from tests.benchmarks.measuring import Bench, Way
from tests.benchmarks.processes import OURS, environment, run, script
from tests.benchmarks.results import Comparison, Machine, Results, Sample
from tests.benchmarks.runner import RESULTS
from tests.benchmarks.server import ROOT, Server, serving
from tests.conftest import NOW

BLOCK = 30
MACHINE = Machine(2, "3.12.0", {"dlt": "1.31.0"})
SOME_SECONDS = st.floats(0.01, 100)


def http(app: Emulator) -> httpx.Client:
    return httpx.Client(base_url="http://account/v1", transport=httpx.WSGITransport(app=app))


def rows_of(made: Files) -> list[dict[str, object]]:
    """Return all files of an account, ascending, as one page shows them."""
    rows, more = made.page(after=None, limit=10_000, order="asc", purpose=None)
    assert not more
    files: list[dict[str, object]] = json.loads(b"[" + b",".join(rows) + b"]")
    return files


def twin(made: Files) -> Emulator:
    """Return an emulator that holds the same files, one by one."""
    emulator = Emulator(clock=made.clock)
    for file in rows_of(made):
        emulator.add(**{"file_id" if name == "id" else name: value for name, value in file.items()})
    return emulator


@st.composite
def accounts(draw: st.DrawFn) -> Files:
    """Draw an account of a few blocks; files are added to full ones only."""
    made = Files(block=BLOCK, before=NOW)
    count = draw(st.integers(0, 5 * BLOCK))
    made.resize(count, draw(st.integers(0, BLOCK)) if count % BLOCK == 0 else 0)
    return made


@given(made=accounts(), data=st.data())
def test_the_accounts_answers_are_the_emulators(made: Files, data: st.DataObject):
    """Every page, of any size, order and purpose, after any file, and every single file: byte for byte."""
    ids = [str(file["id"]) for file in rows_of(made)]
    purposes = {str(file["purpose"]) for file in rows_of(made)}
    strangers = ["file-unknown", f"{ids[0][:-5]}99999" if ids else "file-", f"{ids[0][:-1]}x" if ids else "x"]
    after = data.draw(st.sampled_from([None, *ids, *strangers]))
    query = {
        "after": after,
        "limit": data.draw(st.integers(0, 4 * BLOCK)),
        "order": data.draw(st.sampled_from(["asc", "desc"])),
        "purpose": data.draw(st.sampled_from([None, "none-of-these", *sorted(purposes)])),
    }
    params = {name: value for name, value in query.items() if value is not None}

    with http(Account(made)) as account, http(twin(made)) as emulator:
        for path in ("/files", f"/files/{after}"):
            given_back, expected = account.get(path, params=params), emulator.get(path, params=params)
            assert given_back.content == expected.content
            assert given_back.status_code == expected.status_code
            assert given_back.headers["date"] == expected.headers["date"]


@given(made=accounts())
def test_an_account_is_as_a_busy_one_is(made: Files):
    """Ids are unique and as long as the API's, times ascend, and what was added has come a minute after the rest."""
    files = rows_of(made)
    times = [int(str(file["created_at"])) for file in files]

    assert len({file["id"] for file in files}) == len(files) == made.count + made.added
    assert {len(str(file["id"])) for file in files} <= {29}
    assert times == sorted(times)
    assert all(second < made.clock() - 60 < NOW - 86_400 for second in times)
    before = Files(block=BLOCK, before=NOW)
    before.resize(made.count)
    assert all(second >= before.clock() - 60 for second in times[made.count :])


def test_an_account_can_have_ten_million_files():
    """Both ends are as near as the middle, and an id is found wherever it stands."""
    made = Files(before=NOW)
    made.resize(10_000_000, 1_000)

    (first,), _ = made.page(after=None, limit=1, order="asc", purpose=None)
    (last,), _ = made.page(after=None, limit=1, order="desc", purpose=None)
    rows, more = made.page(after=json.loads(first)["id"], limit=10_000, order="asc", purpose=None)

    assert made.row(json.loads(last)["id"]) == last
    assert more
    assert made.page(after=json.loads(rows[-1])["id"], limit=10_000, order="desc", purpose=None)[0][-1] == first


def test_files_are_added_to_whole_blocks_only():
    """Others would have to be older than the server's clock was."""
    with pytest.raises(ValueError, match="multiple of 30 files, not to 31"):
        Files(block=BLOCK, before=NOW).resize(31, 1)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


def test_late_answers_overlap(server: Server):
    """A request is answered while another, on another connection, waits for its time."""
    server.serve(files=10, latency=3_600)

    def ask() -> None:
        with suppress(httpx.HTTPError):
            httpx.get(f"{server.url}/files", timeout=3_600, trust_env=False)

    waiting = threading.Thread(target=ask, daemon=True)
    waiting.start()
    while not server.traffic().requests:
        pass
    server.serve(files=20)
    answer = httpx.get(f"{server.url}/files", trust_env=False)

    assert len(answer.json()["data"]) == 20
    assert waiting.is_alive()
    assert (server.traffic().requests, server.traffic().sent) == (1, len(answer.content))


def test_the_server_ends_with_whoever_started_it():
    """However that ends: here it is killed."""
    code = (
        "from tests.benchmarks.server import serving\nwith serving() as server: print(server.url, flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        url = httpx.URL(owner.stdout.readline().strip())
        with socket.create_connection((url.host, url.port or 0)) as connection:
            owner.send_signal(signal.SIGKILL)
            left = b""
            with suppress(ConnectionResetError):  # it had not got round to this connection yet
                left = connection.recv(1)

            assert left == b""


@pytest.mark.parametrize(
    ("peer", "count"),
    [
        ("bare_to_duckdb", bench_load.FILES_LOADED),
        ("bare_to_parquet", bench_load.FILES_WRITTEN),
        ("openai_to_duckdb", bench_load.FILES_LOADED),
        ("rest_api_to_duckdb", bench_load.FILES_LOADED),
    ],
)
def test_a_peer_loads_every_file(peer: str, count: str):
    """So that the others are measured at the same work: more than a page of it."""
    made = Files(before=NOW)
    made.resize(10_050)

    with Account(made).serve() as server:
        run(script(f"peers/{peer}.py"), folder=Path.cwd(), environment=environment(server.url, Path.cwd()))

    with duckdb.connect() as database:
        assert database.execute(count).fetchone() == (10_050,)


def test_the_scans_list_every_file():
    """On one chain, on several from both ends, and from the borders that such a one leaves."""
    made = Files(before=NOW)
    made.resize(45_000)
    several = ["--workers", "3", "--borders", "borders.json"]

    with Account(made).serve() as server:
        for arguments in ([], several, several):
            command = script("scanning.py", *arguments)
            ended = run(command, folder=Path.cwd(), environment=environment(server.url, Path.cwd()))
            assert json.loads(ended.printed)["rows"] == 45_000

    assert len(json.loads(Path("borders.json").read_text())) > 1


def scripted(name: str, rows: int, *, had: int = 0) -> Way:
    """Return a way that says what it did."""
    code = f'print(\'{{"seconds": 2.5, "rows": {rows}}}\')'
    return Way(name=name, command=[sys.executable, "-c", code], rows=3, had=had, files=3)


def test_ways_are_taken_in_turn(server: Server, tmp_path: Path):
    """A, B, A, B: what slows the machine down for a while slows both."""
    results = Results(tmp_path / RESULTS)

    Bench(server, tmp_path, results, run="now", rounds=2).compare("listing", 3, [scripted("a", 3), scripted("b", 3)])

    samples = Results(tmp_path / RESULTS).at("listing", 3).samples
    assert [(sample.way, sample.seconds, sample.rows) for sample in samples] == [("a", 2.5, 3), ("b", 2.5, 3)] * 2
    assert all(sample.peak > 1_000_000 for sample in samples)


def test_files_that_were_there_before_are_not_counted(server: Server, tmp_path: Path):
    """A run that finds one new file on top of two has taken in one."""
    results = Results(tmp_path / RESULTS)

    Bench(server, tmp_path, results, run="now", rounds=1).compare("listing", 3, [scripted("a", 3, had=2)])

    assert results.at("listing", 3).samples[0].rows == 1


def test_a_way_that_loses_files_counts_as_a_failure(server: Server, tmp_path: Path):
    """It is told, and what follows is measured all the same."""
    results = Results(tmp_path / RESULTS)
    bench = Bench(server, tmp_path, results, run="now", rounds=1)

    bench.compare("listing", 3, [scripted("a", 2)])
    bench.compare("another", 3, [scripted("a", 3)])

    assert bench.failures == ["listing, 3 files: a came to 2 files, not to 3"]
    assert results.find("listing", 3) is None
    assert results.find("another", 3) is not None


def test_a_run_goes_on_where_it_was_interrupted(server: Server, tmp_path: Path):
    """What it has measured it leaves out; what an earlier run has measured it measures again."""
    path = tmp_path / RESULTS
    Results(path).put(comparison(OURS, seconds=[1.0], subject="old", run="before"))
    Results(path).put(comparison(OURS, seconds=[1.0], subject="done", run="now"))
    bench = Bench(server, tmp_path, Results(path), run="now", rounds=1)

    for subject in ("old", "done"):
        bench.compare(subject, 1_000_000, [scripted("a", 3)])

    assert [(one.subject, one.ways) for one in Results(path)] == [("old", ["a"]), ("done", [OURS])]


def comparison(
    *ways: str, seconds: list[float], subject: str = bench_load.DUCKDB, files: int = 1_000_000, run: str = "2026-01-31"
) -> Comparison:
    """Return what was measured of some ways in one round."""
    samples = [Sample(way=way, seconds=one, rows=files, peak=100) for way, one in zip(ways, seconds, strict=True)]
    return Comparison(subject=subject, files=files, run=run, machine=MACHINE, samples=samples)


@given(one=SOME_SECONDS, other=SOME_SECONDS, slowness=st.lists(SOME_SECONDS, min_size=1))
def test_a_slow_machine_changes_no_ratio(one: float, other: float, slowness: list[float]):
    """A ratio is taken within a round, whatever the others were."""
    samples = [
        Sample(way=way, seconds=seconds * slow, rows=1)
        for slow in slowness
        for way, seconds in (("one", one), ("other", other))
    ]

    ratio = Comparison(subject="load", files=1, run="", machine=MACHINE, samples=samples).ratio("one", "other")

    assert ratio.least == pytest.approx(one / other)
    assert ratio.most == pytest.approx(one / other)


@pytest.mark.parametrize(
    ("files", "bare", "line"),
    [
        (1_000_000, 10.0, "pass 1,000,000 files, into DuckDB: 1.10 x the bare limit's time (at most 1.2)"),
        (1_000_000, 5.0, "FAIL 1,000,000 files, into DuckDB: 2.20 x the bare limit's time (at most 1.2)"),
        (10_000, 5.0, "-    10,000 files, into DuckDB: 2.20 x the bare limit's time (at most 1.2, at 1,000,000 files)"),
        (10_000_000, 5.0, "-    1,000,000 files, into DuckDB: ? x the bare limit's time (at most 1.2): not measured"),
    ],
    ids=["kept", "broken", "another size", "not measured"],
)
def test_a_target_says_whether_it_is_met(tmp_path: Path, files: int, bare: float, line: str):
    """Only at the size that it is about is there a verdict."""
    results = Results(tmp_path / RESULTS)

    results.put(comparison(OURS, bench_load.BARE, seconds=[11.0, bare], files=files))

    assert next(targets.lines(results)) == line


def test_the_readme_shows_what_was_measured():
    """Its table and the document beside it are what the kept results give."""
    results = Results(ROOT / ".readme" / RESULTS)

    assert f"<!-- speed -->\n{report.short(results)}<!-- /speed -->" in (ROOT / "README.md").read_text()
    assert (ROOT / ".readme" / report.FULL_NAME).read_text() == report.full(results)
