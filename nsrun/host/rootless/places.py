"""Where nsrun keeps things for somebody who is not root: the XDG Base Directory Specification. Environment in, paths
out; only ``runtime_directory`` looks at the machine.

Nothing that takes long to load: every command comes by here.
"""

from __future__ import annotations

import os
import stat

from nsrun.errors import HostError

TYPE_CHECKING = False  # `typing` is dear, and `nsrun exec` in a hurry
if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["NETNS_DIR", "RUN_DIR", "home_directory", "places", "runtime_directory"]

RUN_DIR, NETNS_DIR = "NSRUN_RUN_DIR", "NSRUN_NETNS_DIR"
"""The variables of ``--run-dir`` and ``--netns-dir``."""


def places(environment: Mapping[str, str], *, home: str, runtime: str) -> dict[str, str]:
    """Variable → value, of those that are not set in ``environment``. ``runtime``: the user's runtime directory."""
    data = _absolute(environment, "XDG_DATA_HOME") or f"{home}/.local/share"
    state = _absolute(environment, "XDG_STATE_HOME") or f"{home}/.local/state"
    run_dir = environment.get(RUN_DIR) or f"{runtime}/nsrun"
    values = {
        "HOME": home,
        "XDG_RUNTIME_DIR": runtime,
        "NSRUN_ROOT": f"{data}/nsrun",
        RUN_DIR: run_dir,
        "NSRUN_LOG_DIR": f"{state}/nsrun/log",
        NETNS_DIR: f"{run_dir}/netns",
    }
    return {name: value for name, value in values.items() if name == "XDG_RUNTIME_DIR" or not environment.get(name)}


def home_directory(environment: Mapping[str, str], uid: int) -> str:
    """``HOME``, or what the user database says. Raises HostError when neither does."""
    home = _absolute(environment, "HOME")
    if home:
        return home
    import pwd

    try:
        return pwd.getpwuid(uid).pw_dir
    except KeyError:
        raise HostError(
            f"cannot tell where user {uid} is at home: HOME is not set, and there is no such user",
            hint="export HOME, or NSRUN_ROOT and NSRUN_LOG_DIR",
        ) from None


def runtime_directory(environment: Mapping[str, str], uid: int, *, candidates: tuple[str, ...] | None = None) -> str:
    """The user's directory for what dies with the boot: what XDG_RUNTIME_DIR says when it is the user's own (after
    ``su`` it is somebody else's), what systemd makes, or one of its own below /tmp, which need not be there yet.

    Raises HostError when that is somebody else's."""
    if candidates is None:
        candidates = (_absolute(environment, "XDG_RUNTIME_DIR"), f"/run/user/{uid}")
    for path in candidates:
        if path and _is_private(path, uid):
            return path
    last = f"/tmp/nsrun-run-{uid}"
    if os.path.lexists(last) and not _is_private(last, uid):
        raise HostError(
            f'cannot use "{last}": it is not a directory that only user {uid} may enter',
            hint="export XDG_RUNTIME_DIR, a directory of yours with mode 0700",
        )
    return last


def _absolute(environment: Mapping[str, str], name: str) -> str:
    """Relative paths are to be ignored, says the specification."""
    value = environment.get(name, "")
    return value.rstrip("/") or "/" if value.startswith("/") else ""


def _is_private(path: str, uid: int) -> bool:
    """A directory, no link to one, of this user, with nothing in its mode for others."""
    try:
        found = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == uid and not found.st_mode & 0o077
