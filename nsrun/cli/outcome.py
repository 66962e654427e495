"""What becomes of a command: its exit code, and what is said when it fails. Without click, which not every way has."""

from __future__ import annotations

import os
import sys

from nsrun.errors import NsrunError, describe_errno

TYPE_CHECKING = False  # `typing` is dear, and `nsrun exec` in a hurry
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["EXIT_ERROR", "Ended", "complain", "complain_of_output", "drop_output", "outcome", "say"]

EXIT_ERROR = 1
EXIT_INTERRUPTED = 130


class Ended(Exception):
    """This is the end of the tool, whatever is going on in it. ``code``: its exit code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def outcome(run: Callable[[], int]) -> int:
    """The exit code of what this runs: its own, 1 when it cannot, 130 when it was interrupted."""
    try:
        return run()
    except Ended as end:
        return end.code
    except NsrunError as error:
        complain(error)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except ExceptionGroup as group:
        _complain_of_several(group)
    except BrokenPipeError:
        drop_output()  # the reader has gone (``nsrun logs | head``), which is no failure
        return 0
    except OSError as error:
        complain_of_output(error)
        if error.filename is None:
            drop_output()
    return EXIT_ERROR


def drop_output() -> None:
    """What was printed and cannot be written: it would be tried again at the end, and complained of again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _complain_of_several(group: ExceptionGroup[Exception]) -> None:
    """What ended together: each of ours is told; anything else is a bug, and its traceback goes on."""
    ours, bugs = group.split(NsrunError)
    if bugs is not None:
        raise bugs
    for error in _leaves(ours or group):
        complain(error)


def _leaves(group: ExceptionGroup[Exception]) -> Iterator[NsrunError]:
    for error in group.exceptions:
        if isinstance(error, ExceptionGroup):
            yield from _leaves(error)
        elif isinstance(error, NsrunError):
            yield error


def complain_of_output(error: OSError) -> None:
    """Output that cannot be written: a full disk, a terminal that is gone."""
    what = f'use "{error.filename}"' if error.filename else "write the output"
    try:
        complain(NsrunError(f"cannot {what}: {describe_errno(error.errno or 0)}"))
    except OSError:
        pass  # nor can this be


def complain(error: NsrunError) -> None:
    """One sentence on standard error, the remedy below it."""
    say(f"nsrun: {error.message}")
    if error.hint:
        say(f"       ({error.hint})")


def say(line: str) -> None:
    """On standard error, if there is one. Raises OSError."""
    if sys.stderr is not None:
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()
