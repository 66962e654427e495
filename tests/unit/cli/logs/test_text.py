"""Several logs in the order of time, whatever is in them."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from nsrun.cli.logs.text import LogSource, drain
from nsrun.support.logreader import LogReader
from nsrun.support.logtext import LogText
from tests.waiting import fewer


def show(*logs: list[str], limit: int | None = None) -> str:
    """What is written of logs with these lines."""
    written = list[bytes]()
    with ExitStack() as opened:
        directory = Path(opened.enter_context(TemporaryDirectory()))
        sources = [
            LogSource(opened.enter_context(LogReader(_log(directory, number, lines))), LogText(), limit=limit)
            for number, lines in enumerate(logs)
        ]
        drain(sources, lambda text: written.append(bytes(text)))
    return b"".join(written).decode()


def _log(directory: Path, number: int, lines: list[str]) -> Path:
    path = directory / str(number) / "0.log"
    path.parent.mkdir()
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def record(time: str, text: str, tag: str = "F") -> str:
    return f"{time} stdout {tag} {text}"


def test_nothing() -> None:
    assert show() == show([]) == show([], ["garbage"]) == ""


def test_a_line_is_not_torn_by_another_log() -> None:
    torn = [record("1", "be", "P"), record("4", "gun")]
    assert show(torn, [record("2", "two"), record("5", "five")]) == "begun\ntwo\nfive\n"


def test_each_log_has_its_limit() -> None:
    assert show([record("1", "one"), record("3", "three")], [record("2", "two")], limit=5) == "one\ntwo\nt"


def test_times_longer_than_any_do_not_stop_it() -> None:
    assert show([record("2" * 70, "long")], [record("2" * 64, "short")]) == "long\nshort\n"


@settings(max_examples=fewer(50), deadline=None)
@given(st.lists(st.lists(st.integers(0, 99), max_size=30).map(sorted), max_size=4))
def test_all_of_it_by_time(logs: list[list[int]]) -> None:
    said = show(*([record(f"{second:02}", str(second)) for second in log] for log in logs))
    assert [int(line) for line in said.split()] == sorted(second for log in logs for second in log)
