"""The default AppArmor profile, loaded into the kernel when the first container needs it.

It closes what a container could still reach by its paths were every other defence gone: what the kernel lets be written
in /proc and /sys, mounts, and the tracing of anything that is not a container of ours.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from threading import Lock

from nsrun.errors import RuntimeFailure, describe_errno

__all__ = ["DEFAULT_PROFILE", "AppArmor"]

DEFAULT_PROFILE = "nsrun-default"
_LOADED = Path("/sys/kernel/security/apparmor/profiles")
_SECONDS = 30.0

_RULES = f"""\
profile {DEFAULT_PROFILE} flags=(attach_disconnected,mediate_deleted) {{
  network,
  capability,
  file,
  umount,
  deny mount,

  signal (receive) peer=unconfined,
  signal (receive) peer=nsrun,
  signal (send,receive) peer={DEFAULT_PROFILE},
  ptrace (trace,read,tracedby,readby) peer={DEFAULT_PROFILE},

  # The kernel's own settings, whatever is mounted where.
  deny /proc/* w,
  deny /proc/{{acpi,bus,driver,fs,irq,scsi,tty}}/** w,
  deny /proc/sys/{{abi,crypto,debug,dev,fs,kernel,sunrpc,user,vm}}/** w,
  deny /proc/{{kcore,kmem,mem,sysrq-trigger}} rwklx,
  deny /sys/{{block,bus,class,dev,devices,firmware,hypervisor,kernel,module,power}}/** wklx,
  deny /sys/fs/[^c]*/** wklx,
  deny /sys/{{firmware,kernel/security}}/** rwklx,
}}
"""


class AppArmor:
    """Blocks. May be used from several threads. ``loaded``: the kernel's list of profiles."""

    def __init__(self, loaded: Path = _LOADED) -> None:
        self._loaded = loaded
        self._lock = Lock()

    def load_default(self) -> None:
        """Raises RuntimeFailure when the profile is not there and cannot be loaded."""
        with self._lock:
            if not self._has_default():
                _load()

    def _has_default(self) -> bool:
        try:
            return re.search(rf"^{DEFAULT_PROFILE} \(", self._loaded.read_text(), re.MULTILINE) is not None
        except OSError:
            return False


def _load() -> None:
    parser = shutil.which("apparmor_parser")
    if parser is None:
        raise RuntimeFailure(
            f'cannot load AppArmor profile "{DEFAULT_PROFILE}": apparmor_parser is not installed',
            reason="CreateContainerError",
            hint="install it (Debian, Ubuntu: apparmor), or set appArmorProfile: {type: Unconfined}",
        )
    try:
        done = subprocess.run(
            [parser, "--replace", "--skip-cache"],
            input=_RULES,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        cause = describe_errno(error.errno or 0) if isinstance(error, OSError) else f"no answer in {_SECONDS:.0f} s"
        raise RuntimeFailure(
            f'cannot load AppArmor profile "{DEFAULT_PROFILE}": {parser}: {cause}', reason="CreateContainerError"
        ) from error
    if done.returncode != 0:
        told = " ".join(done.stderr.split())[:300]
        raise RuntimeFailure(
            f'cannot load AppArmor profile "{DEFAULT_PROFILE}": {told or f"{parser} ended with {done.returncode}"}',
            reason="CreateContainerError",
        )
