"""``nsrun systemd``: the unit that runs nsrun when the machine, or you, are there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import click

from nsrun.cli.options import flag
from nsrun.errors import HostError, NotFoundError, describe_errno

__all__ = ["command"]

_PATIENCE = 60.0


@click.group("systemd")
@click.option(
    "--user",
    "-u",
    is_flag=True,
    envvar="NSRUN_SYSTEMD_USER",
    show_envvar=True,
    help="Your own user manager's unit, not the system's.",
)
@click.pass_context
def command(ctx: click.Context, user: bool) -> None:
    """Let systemd run nsrun: for everybody as root, or for you alone with --user.

    \b
    nsrun systemd --user install --now ~/manifests
    sudo nsrun systemd install --now /etc/kubernetes/manifests
    """
    if not user and os.geteuid() != 0:
        raise HostError("cannot change a unit of the system: you are not root", hint="nsrun systemd --user …")
    ctx.obj = user


@command.command("install")
@click.argument("manifests", type=click.Path(path_type=Path))
@click.argument("flags", nargs=-1, type=click.UNPROCESSED, metavar="[-- FLAGS...]")
@flag("--now", is_flag=True, help="Start it now, and at every boot or login.")
@click.pass_obj
def install(user: bool, manifests: Path, flags: tuple[str, ...], now: bool) -> None:
    """Write the unit that runs the pods of MANIFESTS, with the daemon's FLAGS."""
    from nsrun.host.systemd_unit import DELEGATES_SINCE, UNIT, Unit

    if not manifests.exists():
        raise NotFoundError(f'cannot install the unit: there is no "{manifests}"')
    words = (*_program(), "--manifests", str(manifests.absolute()), *flags)
    path = _directory(user) / UNIT
    text = Unit(words=words, user=user, delegates=_version() >= DELEGATES_SINCE).text
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    except OSError as error:
        raise HostError(f'cannot write "{path}": {describe_errno(error.errno or 0)}') from error
    click.echo(path)
    reached = _systemctl(user, "daemon-reload")
    if now and reached:
        _systemctl(user, "enable", "--now", UNIT, must=True)
    _explain(user, reached=reached, started=now and reached)


@command.command("uninstall")
@click.pass_obj
def uninstall(user: bool) -> None:
    """Stop nsrun and take the unit away. Pods go on: nsrun down ends them."""
    from nsrun.host.systemd_unit import UNIT

    path = _directory(user) / UNIT
    if not path.exists():
        raise NotFoundError(f'cannot take the unit away: there is no "{path}"')
    _systemctl(user, "disable", "--now", UNIT)
    try:
        path.unlink()
    except OSError as error:
        raise HostError(f'cannot remove "{path}": {describe_errno(error.errno or 0)}') from error
    _systemctl(user, "daemon-reload")
    click.echo("The unit is removed. Pods go on: nsrun down ends them.", err=True)


def _directory(user: bool) -> Path:
    from nsrun.host.systemd_unit import unit_directory

    config = os.environ.get("XDG_CONFIG_HOME", "")
    return unit_directory(user=user, home=str(Path.home()), config=config)


def _program() -> tuple[str, ...]:
    """How nsrun was called, so that it can be called from anywhere."""
    called = Path(sys.argv[0])
    if called.name == "nsrun":
        found = called if called.is_absolute() else Path(shutil.which(called) or called)
        return (str(found.absolute()),)
    return (sys.executable, "-m", "nsrun")


def _version() -> int:
    from nsrun.host.systemd_unit import parse_version

    try:
        done = subprocess.run(
            ["systemctl", "--version"], capture_output=True, text=True, timeout=_PATIENCE, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return parse_version(done.stdout)


def _systemctl(user: bool, *words: str, must: bool = False) -> bool:
    """Whether systemd did it. Raises HostError when it ``must`` and did not."""
    said = "systemctl is not installed"
    try:
        done = subprocess.run(
            ["systemctl", *(["--user"] if user else []), *words],
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        done = None
    if done is not None:
        if done.returncode == 0:
            return True
        said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    if must:
        raise HostError(f"cannot start the unit: {said}")
    return False


def _explain(user: bool, *, reached: bool, started: bool) -> None:
    """What to do next."""
    who = "systemctl --user" if user else "systemctl"
    if not reached:
        click.echo(f"systemd does not answer here. Where it does: {who} daemon-reload", err=True)
    if not started:
        click.echo(f"Start it now and from now on: {who} enable --now nsrun", err=True)
    if user:
        click.echo(
            "A user's units start at the login and stop at the logout. To have them from boot to shutdown:\n"
            f"    sudo loginctl enable-linger {os.environ.get('USER') or os.getuid()}",
            err=True,
        )
