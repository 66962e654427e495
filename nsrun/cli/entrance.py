"""Which commands of somebody who is not root go into the user's namespaces, and which make them. Pure but for
``go_in``; nothing that takes long to load."""

from __future__ import annotations

import os
import sys

from nsrun.cli.flagtable import COMPLETION
from nsrun.support.record import Record

TYPE_CHECKING = False  # `typing` is dear, and `nsrun exec` in a hurry
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["LOOKING", "MAKING", "OUTSIDE", "SWITCHES", "Entrance", "entrance", "go_in"]

MAKING = frozenset({"down", "image", "load", "prune", "pull", "rmi", "save", "store", "unshare"})
"""Commands that unpack, mount or remove what belongs to ids of the user's namespace."""

LOOKING = frozenset(
    {
        *("attach", "check", "completion", "cp", "events", "exec", "history", "images", "inspect", "login", "logout"),
        *("logs", "netns", "pods", "port-forward", "ps", "push", "restart", "rm", "run", "start", "stats", "stop"),
        *("tag", "top", "version", "wait"),
    }
)
"""Commands that do their work where there are such namespaces, and need none."""

OUTSIDE = frozenset({"doctor", "systemd"})
"""Commands that go in by themselves, or not at all."""

SWITCHES = frozenset({"--anonymous-auth", "--help", "--tips", "--verbose", "--version"})
"""Flags before a command that have no value."""

_HELP = frozenset({"-h", "--help", "--version"})
_MANIFESTS = ("--manifests", "--pod-manifest-path", "--manifest-url")
_VARIABLES = ("NSRUN_MANIFESTS", "NSRUN_MANIFEST_URL")


class Entrance(Record):
    """``run_dir``: what the words say, or "". ``start``: whether the namespaces are made; ``outside``: whether this
    process stays out of them. ``daemon``: whether this is what runs the pods."""

    __slots__ = ("daemon", "outside", "run_dir", "start")

    def __init__(self, *, run_dir: str = "", start: bool = False, outside: bool = False, daemon: bool = False) -> None:
        self.run_dir = run_dir
        self.start = start
        self.outside = outside
        self.daemon = daemon


def entrance(arguments: Sequence[str], environment: Mapping[str, str]) -> Entrance:
    """How the process of these words goes in."""
    run_dir, verb, help_wanted, manifests = "", "", False, any(environment.get(name) for name in _VARIABLES)
    words = iter(arguments)
    for word in words:
        name, equals, value = word.partition("=")
        if word.startswith("--") and word not in SWITCHES and not equals:
            value = next(words, "")  # which may be a command's name
        if name == "--run-dir":
            run_dir = value
        elif word in MAKING or word in LOOKING or word in OUTSIDE:
            verb = word
            break
        manifests = manifests or name in _MANIFESTS
        help_wanted = help_wanted or word in _HELP
    help_wanted = help_wanted or next(words, "") in _HELP
    daemon = not verb and manifests
    making = (daemon or verb in MAKING) and not help_wanted and COMPLETION not in environment
    return Entrance(run_dir=run_dir, start=making, outside=verb in OUTSIDE, daemon=daemon and making)


def go_in(arguments: Sequence[str]) -> None:
    """Does that, as far as these words need it. The daemon's process begins anew inside: only who was executed in a
    user namespace owns its own files of /proc once nobody may look into its memory (proc(5)). Raises HostError."""
    wanted = entrance(arguments, os.environ)
    from nsrun.cli.outcome import complain
    from nsrun.host.rootless.entering import enter, prepare

    run_dir = prepare(os.environ, run_dir=wanted.run_dir)
    if wanted.outside:
        return
    if wanted.start:
        from nsrun.host.rootless.delegation import enter_scope

        enter_scope(os.environ)
    for warning in enter(run_dir, start=wanted.start) or ():
        complain(warning)
    if wanted.daemon:
        sys.stdout.flush()
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
