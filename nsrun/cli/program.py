"""The console script. A command's process lives for a moment, and half of it is Python's loading of what it runs: so
nothing is loaded here, and `nsrun exec`, if its words are plain, goes a way on which nothing else is."""

from __future__ import annotations

import gc
import os
import sys

from nsrun.cli.flagtable import COMPLETION
from nsrun.cli.outcome import EXIT_ERROR, complain_of_output, outcome
from nsrun.cli.plainwords import PlainWords, plain_exec

TYPE_CHECKING = False  # `typing` is dear, and `nsrun exec` in a hurry
if TYPE_CHECKING:
    from typing import NoReturn

    from nsrun.support.layout import Layout

__all__ = ["program", "run"]

# Objects that are made before anybody looks for garbage, instead of 700. The daemon goes back to those.
_GARBAGE = 50_000


def program() -> NoReturn:
    """For a process that is its own: there is no garbage worth looking for, and it need not be taken apart at the end:
    of 112 ms that leaves 79. Exit codes: 0 done, 1 cannot, 2 wrong usage, 130 interrupted."""
    gc.set_threshold(_GARBAGE)
    code = outcome(_go_in) if os.geteuid() != 0 else 0
    code = code or run(sys.argv[1:])
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        pass  # its reader has gone, which is no failure
    except OSError as error:
        complain_of_output(error)
        code = code or EXIT_ERROR
    os._exit(code)


def _go_in() -> int:
    from nsrun.cli.entrance import go_in

    go_in(sys.argv[1:])
    return 0


def run(arguments: list[str]) -> int:
    """Does what these words say; the exit code."""
    return outcome(lambda: _run(arguments))


def _run(arguments: list[str]) -> int:
    plain = plain_exec(arguments, os.environ)
    # Of a place that nobody may read, click tells; and words that a shell asks for are not to be run.
    readable = plain is not None and all(
        os.access(place, os.R_OK) or not os.path.lexists(place) for place in plain.places.values()
    )
    if plain is not None and readable and COMPLETION not in os.environ:
        return _exec(plain)
    from nsrun.cli.main import by_click

    return by_click(arguments)


def _exec(plain: PlainWords) -> int:
    from nsrun.cli.sessions.execution import execute
    from nsrun.support.runpaths import RUN_DIR, RunPaths

    def layout() -> Layout:
        from nsrun.cli.places import layout_at

        return layout_at(**plain.places)

    paths = RunPaths(os.path.abspath(plain.places.get("run_dir", RUN_DIR)))
    return execute(paths, layout, plain.pod, plain.words, **plain.flags)
