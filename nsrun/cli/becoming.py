"""A command's process becomes another program."""

from __future__ import annotations

import os
import shlex
import signal
from typing import NoReturn

import click

from nsrun.errors import describe_errno

__all__ = ["become"]

EXIT_NOT_EXECUTABLE, EXIT_NOT_FOUND = 126, 127
"""As shells and ``env`` have it."""


def become(words: tuple[str, ...]) -> NoReturn:
    """Executes; Python's own settings for signals are taken back, which the program would inherit."""
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvp(words[0], words)
    except OSError as error:
        click.echo(f'nsrun: cannot run "{shlex.join(words)}": {describe_errno(error.errno or 0)}', err=True)
        missing = isinstance(error, FileNotFoundError | NotADirectoryError)
        raise click.exceptions.Exit(EXIT_NOT_FOUND if missing else EXIT_NOT_EXECUTABLE) from None
