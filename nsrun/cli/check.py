"""``nsrun check``: what nsrun would say of manifests, without running anything."""

from __future__ import annotations

import json
import os
import platform
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from nsrun.cli.options import flag
from nsrun.errors import SettingsError

if TYPE_CHECKING:
    from nsrun.model.update import SourceUpdate
    from nsrun.sources.desired import FileState

__all__ = ["Finding", "command"]

_STDIN = "-"
_PLACE = r"(?P<file>.+?):(?P<line>[0-9]+):(?P<column>[0-9]+): (?P<text>.*)"
_FILE = r"(?P<file>.+?): (?P<text>.*)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing to say. ``line`` and ``column`` from 1, 0 when it is about the whole file."""

    file: str
    line: int
    column: int
    text: str
    severity: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{place}: {'warning: ' if self.severity == 'warning' else ''}{self.text}"


@click.command("check")
@click.argument("paths", nargs=-1, required=True, metavar="FILE|DIR|-...")
@flag("--strict", is_flag=True, help="Warnings are errors.")
@flag("--quiet", "-q", is_flag=True, help="Only what makes the exit code 1.")
@flag("--output", "-o", type=click.Choice(("json",)), help="The findings as JSON.")
@click.pass_context
def command(ctx: click.Context, paths: tuple[str, ...], strict: bool, quiet: bool, output: str | None) -> None:
    """Check manifests as nsrun would read them, all together; - is standard input.

    Every problem is told, as FILE:LINE:COLUMN: text. Exit codes: 0 all is well, 1 there are problems.
    """
    if paths.count(_STDIN) > 1:
        raise SettingsError("cannot read standard input twice")
    files, update, beside = _read(paths)
    findings = [
        *(_finding(line, "error") for line in update.problems),
        *(_finding(line, "error" if strict else "warning") for line in (*beside, *update.warnings)),
    ]
    findings.sort(key=lambda finding: (finding.file, finding.line, finding.column))
    wrong = [finding for finding in findings if finding.severity == "error"]
    if output == "json":
        _write_json(findings, update, files)
    else:
        for finding in wrong if quiet else findings:
            click.echo(finding)
        if not quiet:
            click.echo(_summary(files, update, len(wrong), len(findings) - len(wrong)), err=True)
    ctx.exit(1 if wrong else 0)


def _read(paths: Sequence[str]) -> tuple[int, SourceUpdate, list[str]]:
    """How many files there are, what they say together, and what there is to say beside it: paths that are skipped."""
    from nsrun.sources.desired import desired

    states: dict[str, FileState] = {}
    beside: list[str] = []
    for path in paths:
        for state in _states(path, beside):
            states.setdefault(state.origin, state)
    update, _ = desired(states.values(), {})
    return len(states), update, beside


def _states(path: str, beside: list[str]) -> Iterator[FileState]:
    """What is said by a file, or by each of a directory, or by standard input."""
    from nsrun.model.document import MAX_BYTES
    from nsrun.model.wording import printable
    from nsrun.sources.desired import FileState
    from nsrun.sources.listing import Unreadable, list_manifests, read_manifest

    if path == _STDIN:
        yield _state(_STDIN, _STDIN, sys.stdin.buffer.read(MAX_BYTES + 1))
        return
    absolute, shown = os.path.abspath(path), printable(path)
    try:
        listing = list_manifests(absolute)
    except Unreadable as error:
        yield FileState(file=shown, origin=absolute, problems=(f"{shown}: {error}",))
        return
    if listing.missing:
        yield FileState(file=shown, origin=absolute, problems=(f"{shown}: is not there",))
    beside += [f"{os.path.join(shown, os.path.basename(skipped))}: {why}" for skipped, why, _ in listing.skipped]
    for found in listing.files:
        name = shown if found.path == absolute else os.path.join(shown, printable(found.name))
        try:
            yield _state(name, found.path, read_manifest(found.path))
        except Unreadable as error:
            yield FileState(file=name, origin=found.path, problems=(f"{name}: {error}",))


def _state(file: str, origin: str, data: bytes) -> FileState:
    from nsrun.model.decode import parse_manifest
    from nsrun.sources.desired import FileState, next_state

    manifest = parse_manifest(
        data,
        file=file,
        node_name=platform.node().strip().lower(),
        origin=origin,
        json_only=origin.endswith(".json"),
    )
    return next_state(FileState(file=file, origin=origin), manifest)


def _finding(line: str, severity: str) -> Finding:
    match = re.fullmatch(_PLACE, line, re.DOTALL) or re.fullmatch(_FILE, line, re.DOTALL)
    found = match.groupdict() if match is not None else {"file": "", "text": line}
    return Finding(
        file=found["file"],
        line=int(found.get("line", 0)),
        column=int(found.get("column", 0)),
        text=found["text"],
        severity=severity,
    )


def _write_json(findings: Sequence[Finding], update: SourceUpdate, files: int) -> None:
    document = {
        "files": files,
        "pods": [str(pod.name) for pod in update.pods],
        "findings": [
            {
                "file": finding.file,
                "line": finding.line,
                "column": finding.column,
                "severity": finding.severity,
                "text": finding.text,
            }
            for finding in findings
        ],
    }
    click.echo(json.dumps(document, indent=4))


def _summary(files: int, update: SourceUpdate, problems: int, warnings: int) -> str:
    counts = ((files, "file"), (len(update.pods), "pod"), (problems, "problem"), (warnings, "warning"))
    return ", ".join(f"{number} {word}{'' if number == 1 else 's'}" for number, word in counts)
