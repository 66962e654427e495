"""What the daemon writes about containers is one line each, whatever they say."""

from __future__ import annotations

import logging

from nsrun.cli.serving.daemon import OneLine


def line(message: str, *arguments: object, error: BaseException | None = None) -> str:
    info = (type(error), error, None) if error is not None else None
    record = logging.LogRecord("nsrun", logging.WARNING, "", 0, message, arguments, info)
    return OneLine("%(message)s").format(record)


def test_a_message_stays_as_it_is() -> None:
    assert line('Pod "%s": ü → %d', "web", 3) == 'Pod "web": ü → 3'


def test_no_container_forges_lines() -> None:
    assert line("Unhealthy: %s", "no\n12:00:00 all is well\n") == "Unhealthy: no\\n12:00:00 all is well"


def test_no_container_reaches_the_terminal() -> None:
    assert line("Unhealthy: %s", "\x1b]0;owned\x07\x1b[2J\r\x9b1m\u202e") == (
        "Unhealthy: \\x1b]0;owned\\x07\\x1b[2J\\r\\x9b1m\\u202e"
    )


def test_tracebacks_keep_their_lines() -> None:
    assert line("Internal error", error=ValueError("x")).splitlines() == ["Internal error", "ValueError: x"]
