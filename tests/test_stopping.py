from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from signal import SIGHUP, SIGINT, SIGTERM, Signals
from threading import Event, Timer

import duckdb
import pytest
from dlt.destinations.impl.duckdb.duck import DuckDbCopyJob
from dlt.load.load import Load
from dlt.pipeline.pipeline import Pipeline

from files_source import stored, syncing
from files_source.emulator import Emulator, Fault, status
from files_source.emulator.delivery import Delivery
from files_source.stopping import hearing_interrupted_queries, stoppable, told
from tests.commands import Ended, finish, hang_and_tell, run, start
from tests.conftest import NOW, loaded

Command = Callable[..., Ended]
DAY = 86_400
ENDLESS = "SELECT count(*) FROM range(1000000000000000) WHERE range % 7 = 3"


class TestWaiting:
    """A process that waits for its server is told to stop."""

    @pytest.mark.usefixtures("url")
    @pytest.mark.parametrize(
        ("arguments", "number", "said"),
        [
            ("list", SIGTERM, "interrupted by SIGTERM"),
            ("list", SIGHUP, "interrupted by SIGHUP"),
            ("content file-1 -o out", SIGTERM, "interrupted by SIGTERM"),
            ("usage --live", SIGTERM, "interrupted by SIGTERM"),
            ("report --live", SIGTERM, "interrupted by SIGTERM"),
            ("cleanup --older-than 1d", SIGTERM, "interrupted by SIGTERM"),
            ("sync", SIGTERM, "interrupted by SIGTERM: nothing is half-loaded, and the next run goes on from here"),
            ("sync --to lake/ --history", SIGINT, "interrupted: nothing is half-loaded, and .*"),
        ],
    )
    def test_it_says_so_in_one_line_and_its_status_names_the_signal(
        self, arguments: str, number: Signals, said: str, emulator: Emulator
    ):
        """Nothing is left that looks like a result."""
        emulator.add_many(5, created_at=NOW - DAY)
        asked = Event()
        emulator.fail(hang_and_tell(asked), times=None, path="*")

        process = start(*arguments.split())
        assert asked.wait(60)
        process.send_signal(number)
        ended = finish(process)

        assert (ended.status, ended.out) == (128 + number, "")
        assert re.fullmatch(said, ended.error)
        assert not list(Path().glob("*.html")) + list(Path().glob("out*"))

    @pytest.mark.usefixtures("url")
    def test_a_wait_before_a_retry_is_cut_short(self, emulator: Emulator):
        """However long the server asks to wait."""
        asked = Event()
        emulator.fail(told_by(asked, status(503, headers={"retry-after": "50"})), times=None)

        process = start("list")
        assert asked.wait(60)
        process.send_signal(SIGTERM)
        ended = finish(process)

        assert (ended.status, ended.error) == (143, "interrupted by SIGTERM")

    @pytest.mark.usefixtures("url")
    def test_a_signal_that_is_ignored_from_the_start_stays_ignored(self, emulator: Emulator):
        """`nohup` lets a command outlive its terminal."""
        emulator.add_many(5, created_at=NOW - DAY)
        emulator.fail(signalling(SIGHUP, lambda: process.pid))
        process = start("list", preexec_fn=lambda: signal.signal(SIGHUP, signal.SIG_IGN))

        ended = finish(process)

        assert (ended.status, len(ended.lines), ended.err) == (0, 5, "")


class TestLoading:
    """A run that is loading is told to stop."""

    @pytest.mark.parametrize(
        ("owner", "step"),
        [(Pipeline, "normalize"), (DuckDbCopyJob, "run"), (Load, "complete_package")],
        ids=["before dlt normalizes", "while DuckDB takes rows", "before the load is entered as complete"],
    )
    @pytest.mark.parametrize("number", [SIGINT, SIGTERM], ids=lambda number: number.name)
    def test_the_run_is_told_as_interrupted_and_the_next_one_loads_each_file_once(
        self,
        owner: type,
        step: str,
        number: Signals,
        emulator: Emulator,
        command: Command,
        monkeypatch: pytest.MonkeyPatch,
    ):
        """A signal is never lost, as dlt loses one that comes near a load's end, nor is it a failure."""
        emulator.add_many(50, created_at=NOW - DAY)
        with monkeypatch.context() as patched:
            once = iter([number])
            before(patched, owner, step, lambda: [os.kill(os.getpid(), signal) for signal in islice(once, 1)])
            stopped = command("sync")

        again = command("sync")

        assert (stopped.status, stopped.out) == (128 + number, "")
        assert stopped.error.endswith("nothing is half-loaded, and the next run goes on from here")
        assert again.status == 0
        assert loaded("inventory.duckdb") == sorted(emulator.ids())

    @pytest.mark.parametrize("number", [SIGINT, SIGTERM], ids=lambda number: number.name)
    def test_a_query_of_duckdb_that_is_interrupted_is_no_failure(
        self, number: Signals, command: Command, monkeypatch: pytest.MonkeyPatch
    ):
        """DuckDB raises an error of its own in place of the signal's."""
        monkeypatch.setattr(syncing, "remove_leftovers", query_for_ever(number))

        ended = command("sync")

        assert ended.status == 128 + number
        assert re.fullmatch(r"interrupted( by SIGTERM)?: nothing is half-loaded, and .*", ended.error)


@pytest.mark.parametrize("name", ["scans", "usage", "report"])
def test_reading_that_is_interrupted_is_no_failure(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    """Neither is it the database that cannot be read."""
    duckdb.connect("inventory.duckdb").close()
    monkeypatch.setattr(stored, "_table", query_for_ever(SIGTERM))

    ended = run(capsys, name)

    assert (ended.status, ended.out, ended.error) == (143, "", "interrupted by SIGTERM")


def test_ctrl_c_in_a_query_is_a_keyboard_interrupt():
    """In a program that has no handlers of ours, too."""
    with pytest.raises(KeyboardInterrupt), hearing_interrupted_queries():
        query_for_ever(SIGINT)()


def test_a_second_signal_ends_the_process_at_once():
    """One that would rather finish what it has begun to close."""
    code = """if True:
        from threading import Event
        from files_source.stopping import stoppable
        with stoppable():
            try:
                print("waiting", flush=True)
                Event().wait()
            except KeyboardInterrupt:
                print("closing", flush=True)
                Event().wait()
    """
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        process.stdout.readline()
        process.send_signal(SIGTERM)
        process.stdout.readline()

        while process.poll() is None:  # the first half second of them is taken for one wish
            process.send_signal(SIGTERM)

    assert process.returncode == 143


def test_a_command_leaves_the_handlers_of_signals_as_they_were(capsys: pytest.CaptureFixture[str]):
    """Whoever calls it in a process of his own has his."""
    before_it = [signal.getsignal(number) for number in (SIGINT, SIGTERM, SIGHUP)]

    run(capsys, "--help")

    assert [signal.getsignal(number) for number in (SIGINT, SIGTERM, SIGHUP)] == before_it


def test_what_a_process_was_told_is_forgotten_when_the_next_command_begins():
    """One process can run several, as tests do."""
    with pytest.raises(KeyboardInterrupt), stoppable():
        os.kill(os.getpid(), SIGTERM)
    assert told() is SIGTERM

    with stoppable():
        assert told() is None


def before(patched: pytest.MonkeyPatch, owner: object, name: str, call: Callable[[], None]) -> None:
    """Let *call* go before a function."""
    function = getattr(owner, name)

    def both(*arguments: object, **named: object) -> object:
        call()
        return function(*arguments, **named)

    patched.setattr(owner, name, both)


def told_by(event: Event, fault: Fault) -> Fault:
    """Spoil an answer, and tell when that begins."""

    def spoil(call):  # noqa: ANN001, ANN202 - as `Fault.spoil`
        event.set()
        return fault.spoil(call)

    return Fault(fault.name, spoil)


def signalling(number: Signals, pid: Callable[[], int]) -> Fault:
    """Answer rightly, but send a signal to who asks before."""

    def spoil(call):  # noqa: ANN001, ANN202 - as `Fault.spoil`
        os.kill(pid(), number)
        return Delivery(call.answer())

    return Fault("signal", spoil)


def query_for_ever(number: Signals) -> Callable[..., None]:
    """Return what begins a query that never ends, and sends this process a signal meanwhile."""

    def query(*_: object, **__: object) -> None:
        Timer(0.3, os.kill, (os.getpid(), number)).start()
        duckdb.connect(config={"threads": 1}).execute(ENDLESS)  # of several, the one that hears signals may only wait

    return query
