"""stop, start and restart as their users see them."""

from __future__ import annotations

import pytest

from nsrun.cli.changing import restart, start, stop
from nsrun.errors import ApiError, NotFoundError, NsrunError
from tests.unit.cli.imagined import Api, document, invoke

PODS = (document("web", "main", "side"), document("web", namespace="other"))
MAIN, SIDE = {"container": "main", "done": True}, {"container": "side", "done": True}


def test_the_names_are_written_as_they_were_given() -> None:
    waits = {"container": "main", "waitsFor": "its end"}
    api = Api(listed=PODS, lines=(waits, SIDE, waits, MAIN))
    done = invoke(stop.command, api, "default/web", "main", "side", "-t", "5")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "side\nmain\n", "")
    assert api.asked == [("default", "web", "stop", ("main", "side"), 5.0)]


def test_a_whole_pod() -> None:
    api = Api(listed=PODS, lines=(MAIN, SIDE))
    done = invoke(restart.command, api, "web", "-n", "default")
    assert (done.exit_code, done.stdout) == (0, "web\n")
    assert api.asked == [("default", "web", "restart", (), None)]


def test_all_that_failed_is_said() -> None:
    failures = tuple({"container": name, "failure": "no image"} for name in ("main", "side"))
    one = invoke(start.command, Api(listed=PODS, lines=(failures[0], SIDE)), "default/web", "main", "side")
    assert str(one.exception) == 'cannot start container "main" of pod "default/web": no image'
    assert one.stdout == "side\n"
    both = invoke(start.command, Api(listed=PODS, lines=failures), "default/web")
    assert isinstance(both.exception, ExceptionGroup)
    assert all(isinstance(error, NsrunError) for error in both.exception.exceptions)
    assert both.stdout == ""


def test_nsrun_that_ends_meanwhile_is_no_success() -> None:
    lines = ({"container": "main", "waitsFor": "its end"},)
    done = invoke(stop.command, Api(listed=PODS, lines=lines), "default/web")
    assert isinstance(done.exception, ApiError)
    assert "while container main waited for its end" in str(done.exception)


@pytest.mark.parametrize("words", [("none",), ("default/web", "none")])
def test_what_is_not_there_is_not_asked_for(words: tuple[str, ...]) -> None:
    api = Api(listed=PODS)
    assert isinstance(invoke(stop.command, api, *words).exception, NotFoundError)
    assert api.asked == []


def test_a_terminal_is_told_what_takes_longer_than_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    from nsrun.cli.changing import control

    monkeypatch.setattr(control, "QUIET", 0.0)
    monkeypatch.setattr("click.testing._NamedTextIOWrapper.isatty", lambda self: True, raising=False)
    lines = ({"container": "main", "waitsFor": "its end"}, MAIN)
    done = invoke(stop.command, Api(listed=PODS, lines=lines), "default/web", "main")
    assert done.stdout == "main\n"
    assert "main waits for its end" in done.stderr
    assert done.stderr.endswith("\r\x1b[K")
