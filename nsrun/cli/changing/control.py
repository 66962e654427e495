"""``nsrun stop``, ``start`` and ``restart``: what the three have in common."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Sequence
from types import TracebackType

import click

from nsrun.cli.documents import Document, containers, find_pod, named
from nsrun.cli.lookup import name_of
from nsrun.cli.options import Context
from nsrun.errors import ApiError, NsrunError

__all__ = ["control"]

QUIET = 1.0
"""Seconds before anything is said of what is waited for."""


def control(
    context: Context, verb: str, pod: str, names: Sequence[str], namespace: str | None, *, grace: float | None = None
) -> None:
    """Has it done, and writes the names as they were given: of each container when its turn is over, or of the pod when
    all are. Raises NsrunError, and a group of them when several containers failed."""
    document = find_pod(list(context.api.pods()), pod, namespace)
    for name in names:
        named(containers([document]), name)
    full = name_of(document)
    told = context.api.control(full.namespace, full.name, verb, containers=names, grace=grace)
    failures = _follow(told, names)
    if failures:
        from nsrun.model.wording import printable

        errors = [
            NsrunError(f'cannot {verb} container "{name}" of pod "{full}": {printable(why)}') for name, why in failures
        ]
        raise errors[0] if len(errors) == 1 else ExceptionGroup(f"cannot {verb} all", errors)
    if not names:
        click.echo(pod)


def _follow(told: Iterable[Document], names: Sequence[str]) -> list[tuple[str, str]]:
    """The containers that failed, and why. Raises ApiError when nsrun ends before all of it is done."""
    failures: list[tuple[str, str]] = []
    waiting: dict[str, str] = {}
    with _ProgressLine() as line:
        for said in told:
            container = str(said["container"])
            if "waitsFor" in said:
                waiting[container] = str(said["waitsFor"])
                line.show(f"{container} waits for {waiting[container]}")
                continue
            waiting.pop(container, None)
            if "failure" in said:
                failures.append((container, str(said["failure"])))
            elif container in names:
                line.clear()
                click.echo(container)
    if waiting:
        raise ApiError(
            f"cannot see how it ends: nsrun ended while container {next(iter(waiting))} waited for "
            f"{next(iter(waiting.values()))}"
        )
    return failures


class _ProgressLine:
    """One line on a terminal that is written over again and again, and gone in the end. Elsewhere it is nothing."""

    def __init__(self) -> None:
        self._begins = time.monotonic() + QUIET
        self._is_terminal = sys.stderr.isatty()
        self._shown = False

    def __enter__(self) -> _ProgressLine:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _tb: TracebackType | None
    ) -> None:
        self.clear()

    def show(self, text: str) -> None:
        """The line says this now, if it has taken long enough."""
        if self._is_terminal and time.monotonic() >= self._begins:
            click.echo(f"\r\x1b[K{text}", nl=False, err=True)
            self._shown = True

    def clear(self) -> None:
        """The line is gone."""
        if self._shown:
            click.echo("\r\x1b[K", nl=False, err=True)
            self._shown = False
