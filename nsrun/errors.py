"""The one tree of exceptions.

    NsrunError                      anything nsrun tells a user; carries a sentence and, often, a hint
    ├── SettingsError               a flag, variable or file of settings makes no sense
    ├── ManifestError               a manifest cannot be read or is not valid; carries every problem
    ├── ImageError                  an image cannot be had; ``reason`` is the kubelet's word
    ├── VolumeError                 a volume cannot be prepared
    ├── NetworkError                a pod's network cannot be made
    ├── RuntimeFailure              a sandbox or container cannot be made
    │   └── LaunchError             one step of a launch plan failed: step, errno, object
    ├── HostError                   this machine withholds something nsrun cannot do without
    ├── NotFoundError               what was asked for does not exist
    ├── ConflictError               what was asked for cannot be, as things are now
    └── ApiError                    the daemon cannot be reached, or answered with an error

Texts read ``cannot <verb> <object>: <cause>``, lower case, names in quotes; the remedy goes in ``hint``.
``InternalError`` is for our own bugs only.
"""

from __future__ import annotations

import errno as errno_module
import os

__all__ = [
    "ApiError",
    "ConflictError",
    "HostError",
    "ImageError",
    "InternalError",
    "LaunchError",
    "ManifestError",
    "NetworkError",
    "NotFoundError",
    "NsrunError",
    "RuntimeFailure",
    "SettingsError",
    "VolumeError",
    "describe_errno",
    "remedy_for_errno",
]


def describe_errno(number: int) -> str:
    """``2`` → ``no such file or directory (ENOENT)``."""
    name = errno_module.errorcode.get(number, str(number))
    text = os.strerror(number)
    return f"{text[:1].lower()}{text[1:]} ({name})"


_REMEDIES = {
    errno_module.ENOSPC: "no space is left there, or no inode: make room",
    errno_module.EDQUOT: "the disk quota is used up",
    errno_module.ENOMEM: "the machine, or the cgroup, is out of memory",
    errno_module.EMFILE: "too many open files: raise ulimit -n",
    errno_module.ENFILE: "too many open files on this machine: raise fs.file-max",
    errno_module.EROFS: "the file system is read-only",
}


def remedy_for_errno(number: int) -> str | None:
    """A hint for what can go wrong with any call: the machine is full, or read-only. None for everything else."""
    return _REMEDIES.get(number)


class NsrunError(Exception):
    """Anything nsrun tells a user. ``message`` is one sentence without a full stop, ``hint`` the remedy."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message


class SettingsError(NsrunError):
    """A flag, an environment variable or a settings file makes no sense."""


class ManifestError(NsrunError):
    """A manifest cannot be used. ``problems`` holds every problem as ``file:line:column: text``, in file order."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class ImageError(NsrunError):
    """An image cannot be had. ``reason``: ErrImagePull, ErrImageNeverPull, InvalidImageName, ImageInspectError …"""

    def __init__(self, message: str, *, reason: str = "ErrImagePull", hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.reason = reason


class VolumeError(NsrunError):
    """A volume cannot be prepared."""


class NetworkError(NsrunError):
    """A pod's network cannot be made or unmade."""


class RuntimeFailure(NsrunError):
    """A sandbox or a container cannot be made. ``reason`` is the kubelet's word for it."""

    def __init__(self, message: str, *, reason: str = "RunContainerError", hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.reason = reason


class LaunchError(RuntimeFailure):
    """One step of a launch plan failed in the child: ``step`` names it, ``errno`` is the kernel's answer."""

    def __init__(
        self, message: str, *, step: str, errno: int, reason: str = "StartError", hint: str | None = None
    ) -> None:
        super().__init__(message, reason=reason, hint=hint)
        self.step = step
        self.errno = errno


class HostError(NsrunError):
    """This machine withholds something nsrun cannot do without."""


class NotFoundError(NsrunError):
    """What was asked for does not exist."""


class ConflictError(NsrunError):
    """What was asked for cannot be, as things are now."""


class ApiError(NsrunError):
    """The daemon cannot be reached, or answered with an error."""


class InternalError(NsrunError):
    """A bug of ours. The text starts with ``internal error:``."""

    def __init__(self, message: str) -> None:
        super().__init__(f"internal error: {message}")
