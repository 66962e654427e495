"""What ``nsrun cp`` is told, and where what it copies will be: docker's and podman's rules. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from nsrun.errors import NsrunError

__all__ = ["InPod", "Landing", "OnHost", "Place", "Shape", "Stream", "landing", "last_name", "means_content", "place"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OnHost:
    """A path of the host."""

    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InPod:
    """A path in a container of a pod, from its root on. ``pod`` may be ``namespace/name``."""

    pod: str
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """An archive on standard input or output."""


Place = OnHost | InPod | Stream


def place(text: str) -> Place:
    """``-``, ``pod:path``, ``namespace/pod:path``, or a path. One with a colon in it begins with ``/`` or ``.``.

    Raises NsrunError."""
    if text == "-":
        return Stream()
    pod, colon, path = text.partition(":")
    if not colon or text.startswith((".", "/")):
        if not text:
            raise NsrunError("cannot copy: a path is empty")
        return OnHost(path=text)
    namespace, slash, name = pod.rpartition("/")
    if not name or "/" in namespace or (slash and not namespace):
        raise NsrunError(f'cannot copy "{text}": "{pod}" names no pod', hint="a path of this machine may begin with ./")
    if not path:
        raise NsrunError(f'cannot copy "{text}": it names no path', hint="POD:/path; POD:/ is all of it")
    return InPod(pod=pod, path=path)


class Shape(Enum):
    """What is at a path, links followed."""

    NOTHING = "nothing"
    FILE = "a file"
    DIRECTORY = "a directory"
    OTHER = "neither a file nor a directory"


@dataclass(frozen=True, slots=True, kw_only=True)
class Landing:
    """``inside``: below the destination, which is a directory, under ``name``, or, with an empty one, in its place.
    Else the destination itself is made or replaced: ``name`` in its parent directory."""

    inside: bool
    name: str = ""


def landing(source: str, what: Shape, destination: str, there: Shape) -> Landing:
    """Where a source of this shape comes to be.

    ============  =======================  ===========================================
    source        destination              becomes
    ============  =======================  ===========================================
    file          nothing, or a file       the destination
    file          a directory              a file of the same name in it
    directory     nothing                  the destination, with the content
    directory     a directory              a directory of the same name in it
    directory/.   a directory              what is in it, beside what is there already
    ============  =======================  ===========================================

    Raises NsrunError for all else."""
    refusal = f'cannot copy "{source}" to "{destination}"'
    if what is Shape.NOTHING:
        raise NsrunError(f'cannot copy "{source}": no such file or directory')
    if what is Shape.OTHER:
        raise NsrunError(f'cannot copy "{source}": it is {what.value}')
    if what is Shape.FILE and _is_directory_by_name(source):
        raise NsrunError(f'cannot copy "{source}": it is not a directory')
    if there is Shape.OTHER:
        raise NsrunError(f"{refusal}: the destination is {there.value}")
    if there is Shape.DIRECTORY:
        content = what is Shape.DIRECTORY and means_content(source)
        return Landing(inside=True, name="" if content else last_name(source))
    if what is Shape.DIRECTORY:
        if there is Shape.FILE:
            raise NsrunError(f"{refusal}: the destination is a file")
    elif _is_directory_by_name(destination):
        raise NsrunError(f"{refusal}: the destination directory does not exist")
    return Landing(inside=False, name=last_name(destination))


def means_content(path: str) -> bool:
    """``dir/.``: what is in it, and not the directory."""
    return path == "." or path.endswith("/.")


def last_name(path: str) -> str:
    """What the path calls it: empty for ``/``, and for what ends in ``.`` or ``..``."""
    name = path.rstrip("/").rpartition("/")[2]
    return "" if name in (".", "..") else name


def _is_directory_by_name(path: str) -> bool:
    return path.endswith("/") or last_name(path) == ""
