"""``nsrun netns``: a program of the host in the network of a pod, as ``ip netns exec`` runs it.

The process becomes the program: it joins the network namespace, takes a mount namespace of its own, and executes. So
the exit code, the terminal and every signal are the program's."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import click

from nsrun.cli.becoming import become
from nsrun.cli.documents import Document, at
from nsrun.cli.lookup import name_of, pod_called, uid_of
from nsrun.cli.options import Context, flag, pass_context
from nsrun.errors import NsrunError, describe_errno

__all__ = ["command"]


@click.command("netns", context_settings={"allow_interspersed_args": False})
@flag("--namespace", "-n", help="The pod's namespace.")
@flag("--path", is_flag=True, help="Without a command: print the path instead of the name.")
@click.argument("pod")
@click.argument("program", nargs=-1, type=click.UNPROCESSED, metavar="[--] [CMD...]")
@pass_context
def command(context: Context, pod: str, program: tuple[str, ...], namespace: str | None, path: bool) -> None:
    """Run a command of the host in the network namespace of POD.

    It sees the pod's interfaces, addresses and sockets, and below /sys, in /etc/resolv.conf and in /etc/hosts what
    belongs to them; all else is the host's. Without a command: print the name of the namespace, as ip netns wants it.
    """
    document = pod_called(context, pod, namespace)
    pin = _pin(context, document)
    if not program:
        click.echo(pin if path else pin.name)
        return
    words = program[1:] if program[0] == "--" else program
    if not words:
        raise click.UsageError("there is no command after --")
    layout, uid = context.layout, uid_of(document)
    _enter(pin)
    _show_files({"/etc/resolv.conf": layout.resolv_conf(uid), "/etc/hosts": layout.etc_hosts(uid)})
    become(words)


def _pin(context: Context, pod: Document) -> Path:
    """Where the pod's namespace is pinned. Raises NsrunError when it has none."""
    from nsrun.network.netns import is_pinned

    name = name_of(pod)
    if at(pod, "spec", "hostNetwork") is True:
        raise NsrunError(
            f'cannot enter the network namespace of pod "{name}": it is in the host\'s network',
            hint="it sees what the host sees: run the command as it is",
        )
    pin = context.layout.netns(name)
    if not is_pinned(pin):
        raise NsrunError(f'cannot enter the network namespace of pod "{name}": it has none now')
    return pin


def _enter(pin: Path) -> None:
    """Joins the network namespace, and takes a mount namespace whose /sys shows it. Raises NsrunError."""
    from nsrun.support import native
    from nsrun.support.fds import Fd

    try:
        with Fd.open(pin, os.O_RDONLY | os.O_NOFOLLOW) as namespace:
            native.setns(namespace.fileno(), native.CLONE_NEWNET)
        native.unshare(native.CLONE_NEWNS)
        native.mount("", "/", "none", native.MS_SLAVE | native.MS_REC)
        _take_off("/sys")
        native.mount(pin.name, "/sys", "sysfs", native.MS_NOSUID | native.MS_NODEV | native.MS_NOEXEC)
    except OSError as error:
        hint = "run it as root" if error.errno == errno.EPERM else None
        raise NsrunError(
            f'cannot enter network namespace "{pin}": {describe_errno(error.errno or 0)}', hint=hint
        ) from error


def _take_off(place: str) -> None:
    """What is mounted there; in a user's own mount namespace the host's mounts are locked, and are mounted over
    (mount_namespaces(7))."""
    from nsrun.support import native

    try:
        if os.path.ismount(place):
            native.umount(place, native.MNT_DETACH)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise


def _show_files(files: dict[str, Path]) -> None:
    """Binds each file of the pod over the host's, in this mount namespace only; read-only, and only where both are."""
    from nsrun.support import native

    locked = native.MS_RDONLY | native.MS_NOSUID | native.MS_NODEV | native.MS_NOEXEC
    for target, source in files.items():
        if not (source.is_file() and os.path.exists(target)):
            continue
        try:
            native.mount(str(source), target, "none", native.MS_BIND)
            native.mount("", target, "none", native.MS_REMOUNT | native.MS_BIND | locked)
        except OSError as error:
            raise NsrunError(f'cannot show "{source}" as {target}: {describe_errno(error.errno or 0)}') from error
