"""Man pages, made from the commands themselves: ``python docs/manpages.py DIRECTORY [LIBRARY]`` writes nsrun.1,
nsrun-exec.1 … of the nsrun that is in LIBRARY (this checkout, unless it says another).

The build does it (``setup.py``), so there is nothing to keep: what a command says of itself is what its page says. Only
the prose that belongs to no command is here.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click

HERE = Path(__file__).resolve().parent

EXIT_STATUS = (
    ("0", "Done."),
    ("1", "It cannot be done; standard error says why, and what would help."),
    ("2", "The command line makes no sense."),
    ("130", "Interrupted."),
)
"""Of every command that does not say more."""

PROSE = {
    "nsrun": (
        (
            "FILES",
            (
                ("/run/nsrun", "Sockets and run-time state (--run-dir). It dies with the boot, as the processes do."),
                ("/var/lib/nsrun", "Images, layers, volumes, and the pods that nsrun run made (--root)."),
                ("/var/log/pods, /var/log/containers", "Logs in the format of the CRI (--log-dir)."),
            ),
        ),
        (
            "ENVIRONMENT",
            (
                ("NSRUN_…", "Each flag has a variable, which is named beside it; the flag wins."),
                ("HTTP_PROXY, HTTPS_PROXY, NO_PROXY", "Proxies for registries and for manifests by URL."),
                ("CONTAINERS_REGISTRIES_CONF", "A registries.conf(5), when no --registries-conf names one."),
                ("NO_COLOR", "When it is set, nothing is coloured."),
            ),
        ),
    ),
}
"""By page: further sections, each with its terms."""


def pages(version: str, day: str) -> dict[str, str]:
    """Every page by the name of its file, such as ``nsrun-exec.1`` and ``nsrun-image-mount.1``."""
    from nsrun.cli.main import cli

    return dict(_pages(cli, "nsrun", version, day))


def _pages(command: click.Command, name: str, version: str, day: str) -> Iterator[tuple[str, str]]:
    context = click.Context(command, info_name=name, parent=None)
    yield f"{name.replace(' ', '-')}.1", _page(command, context, version, day)
    if isinstance(command, click.Group):
        for verb in command.list_commands(context):
            one = command.get_command(context, verb)
            assert one is not None
            yield from _pages(one, f"{name} {verb}", version, day)


def write(directory: Path, version: str) -> list[Path]:
    """Writes every page; returns their paths. The day is that of $SOURCE_DATE_EPOCH, or today."""
    day = time.strftime("%Y-%m-%d", time.gmtime(int(os.environ.get("SOURCE_DATE_EPOCH", time.time()))))
    directory.mkdir(parents=True, exist_ok=True)
    made = []
    for name, text in pages(version, day).items():
        (directory / name).write_text(text, encoding="ascii")
        made.append(directory / name)
    return made


# --- a page


def _page(command: click.Command, context: click.Context, version: str, day: str) -> str:
    name = str(context.info_name).replace(" ", "-")
    lines = [
        f'.TH {_plain(name.upper())} 1 "{day}" "nsrun {version}" "nsrun"',
        ".SH NAME",
        f"{_plain(name)} \\- {_plain(_summary(command))}",
        ".SH SYNOPSIS",
        f"\\fB{_plain(str(context.info_name))}\\fR {_plain(' '.join(command.collect_usage_pieces(context)))}",
        ".SH DESCRIPTION",
        *_body(command.help or ""),
        *_options(command, context),
        *_commands(command, context),
    ]
    for title, terms in (("EXIT STATUS", EXIT_STATUS), *PROSE.get(name, ())):
        if title != "EXIT STATUS" or "Exit codes:" not in (command.help or ""):
            lines.append(f".SH {title}")
            lines.extend(line for term, text in terms for line in _term(term, text))
    others = (("nsrun", 1),) if name != "nsrun" else (("ip-netns", 8), ("kubectl", 1), ("podman", 1))
    lines += [".SH SEE ALSO", ", ".join(f"\\fB{_plain(other)}\\fR({section})" for other, section in others)]
    return "\n".join(lines) + "\n"


def _summary(command: click.Command) -> str:
    """One line: the first sentence, small letters, no full stop."""
    sentence = (command.help or "").partition("\n\n")[0].partition(". ")[0]
    text = " ".join(sentence.split()).rstrip(".")
    return text[:1].lower() + text[1:]


def _body(text: str) -> Iterator[str]:
    """Paragraphs; what follows a \\b stands as it is."""
    for number, paragraph in enumerate(re.split(r"\n\s*\n", text.strip())):
        if number:
            yield ".PP"
        if paragraph.lstrip().startswith("\b"):
            yield from (".nf", ".RS 2")
            yield from map(_plain, paragraph.split("\b", 1)[1].strip("\n").splitlines())
            yield from (".RE", ".fi")
        else:
            yield _plain(" ".join(paragraph.split()))


def _options(command: click.Command, context: click.Context) -> Iterator[str]:
    groups: dict[str, list[tuple[str, str]]] = {}
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None:
            groups.setdefault(getattr(parameter, "group", "") or "Options", []).append(record)
    if groups:
        yield ".SH OPTIONS"
    for title, records in groups.items():
        if len(groups) > 1:
            yield f".SS {_plain(title)}"
        for flags, text in records:
            if text:  # an argument is in the synopsis
                yield from _term(flags, text)


def _commands(command: click.Command, context: click.Context) -> Iterator[str]:
    if not isinstance(command, click.Group):
        return
    yield ".SH COMMANDS"
    for name in command.list_commands(context):
        one = command.get_command(context, name)
        assert one is not None
        summary = _summary(one)
        yield from _term(
            f"{str(context.info_name).replace(' ', '-')}-{name}(1)", f"{summary[:1].upper()}{summary[1:]}."
        )


def _term(term: str, text: str) -> Iterator[str]:
    yield from (".TP", f"\\fB{_plain(term)}\\fR", _plain(" ".join(text.split())))


def _plain(text: str) -> str:
    """Text that roff takes as it is: no requests, no escapes, ASCII."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    text = "".join(c if c.isascii() else f"\\[u{ord(c):04X}]" for c in text)
    return f"\\&{text}" if text[:1] in (".", "'") else text


if __name__ == "__main__":
    sys.path.insert(0, sys.argv[2] if len(sys.argv) > 2 else str(HERE.parent))
    from nsrun import __version__

    write(Path(sys.argv[1]), __version__)
