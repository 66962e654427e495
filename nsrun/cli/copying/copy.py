"""One copy: from where to where, and the sentence when it cannot be done."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import BinaryIO, cast

from nsrun.cli.copying.archive import write_archive
from nsrun.cli.copying.places import InPod, OnHost, Place, Shape, Stream, landing, last_name, means_content
from nsrun.cli.copying.root import IN_CONTAINER, ON_HOST, Root, shape_of
from nsrun.cli.copying.target import Dress, Target
from nsrun.cli.copying.tree import Tree
from nsrun.errors import NsrunError, describe_errno, remedy_for_errno
from nsrun.images.entrypath import EntryError
from nsrun.images.limits import DEFAULT_LIMITS
from nsrun.images.tarstream import ByteStream, TarError, TarReader
from nsrun.images.wording import printable
from nsrun.runtime.container_root import ContainerRoot
from nsrun.support import native
from nsrun.support.fds import Fd

__all__ = ["copy"]

_READ = 1 << 20
_PATH = 4096


def copy(
    source: Place,
    destination: Place,
    container: ContainerRoot,
    dress: Dress,
    *,
    passed_over: Callable[[str, str], None],
) -> None:
    """Copies; one of the two is in ``container``. ``dress``: what is asked for, whoever it is that owns the container's
    side. ``passed_over`` is told what was left out, and why. Raises NsrunError; BrokenPipeError."""

    def tell(path: bytes, why: str) -> None:
        passed_over(_shown(path), why)

    with ExitStack() as held:
        side = _Side(container=container, held=held, passed_over=tell)
        try:
            match source, destination:
                case InPod(path=path), OnHost(path=to):
                    side.between(side.inside(), path, side.host(), to, dress)
                case InPod(path=path), Stream():
                    side.out(path)
                case OnHost(path=path), InPod(path=to):
                    side.between(side.host(), path, side.inside(), to, side.dressed(dress))
                case Stream(), InPod(path=to):
                    side.unpack(to, side.dressed(dress))
        except BrokenPipeError:
            raise
        except OSError as error:
            raise _failure(source, destination, error) from error
        except TarError as error:
            raise NsrunError(
                f"cannot copy {_named(source)} to {_named(destination)}: {error}",
                hint="what comes in must be a tar archive that is not compressed",
            ) from error
        except EntryError as error:
            raise NsrunError(f"cannot copy {_named(source)} to {_named(destination)}: {_shown(str(error))}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class _Side:
    """``held`` closes what is opened."""

    container: ContainerRoot
    held: ExitStack
    passed_over: Callable[[bytes, str], None]

    def inside(self) -> Root:
        return Root(top=self.container.root, resolve=IN_CONTAINER)

    def host(self) -> Root:
        top = self.held.enter_context(Fd.open("/", os.O_PATH | os.O_DIRECTORY))
        return Root(top=top, resolve=ON_HOST, base=os.getcwd())

    def dressed(self, dress: Dress) -> Dress:
        """Of files that are made in the container: they are its user's, and its file systems may know no users but its
        own."""
        users = self.container.users
        if users is not None:
            native.set_fs_ids(users.first, users.first)
        return replace(dress, owner=self.container.owner, users=users)

    def between(self, root: Root, source: str, other: Root, destination: str, dress: Dress) -> None:
        tree = self._tree(root, source)
        where = landing(source, shape_of(tree.top), destination, self._shape(other, destination))
        if where.inside:
            directory, name = other.open(destination, os.O_RDONLY | os.O_DIRECTORY), where.name
        else:
            directory, name = other.parent(destination)
        self._fill(directory, dress).fill(tree.entries(os.fsencode(name)))

    def out(self, source: str) -> None:
        if sys.stdout.isatty():
            raise NsrunError("cannot write an archive to a terminal", hint="nsrun cp POD:/path - > archive.tar")
        tree = self._tree(self.inside(), source)
        name = "" if means_content(source) else last_name(source)
        write_archive(tree.entries(os.fsencode(name or ".")), sys.stdout.buffer)

    def unpack(self, destination: str, dress: Dress) -> None:
        if sys.stdin.isatty():
            raise NsrunError("cannot read an archive from a terminal", hint="tar c . | nsrun cp - POD:/path")
        root = self.inside()
        if self._shape(root, destination) is not Shape.DIRECTORY:
            raise NsrunError(f'cannot unpack an archive in "{destination}": it is not a directory')
        directory = root.open(destination, os.O_RDONLY | os.O_DIRECTORY)
        stdin = cast("BinaryIO", sys.stdin.buffer)
        reader = TarReader(ByteStream(iter(lambda: stdin.read(_READ), b"")), limits=DEFAULT_LIMITS)
        self._fill(directory, dress).fill((entry, reader.data()) for entry in reader)

    def _tree(self, root: Root, path: str) -> Tree:
        """Raises NsrunError for what cannot be copied anywhere."""
        top = root.find(path)
        landing(path, shape_of(top), ".", Shape.DIRECTORY)
        assert top is not None
        self.held.enter_context(top)
        if root.resolve == ON_HOST:
            return Tree(top=top, passed_over=self.passed_over)
        container = self.container
        return Tree(top=top, users=container.users, without=container.pseudo, passed_over=self.passed_over)

    def _shape(self, root: Root, path: str) -> Shape:
        found = root.find(path)
        if found is None:
            return Shape.NOTHING
        with found:
            return shape_of(found)

    def _fill(self, directory: Fd, dress: Dress) -> Target:
        return Target(self.held.enter_context(directory), dress, passed_over=self.passed_over)


def _named(place: Place) -> str:
    match place:
        case OnHost(path=path):
            return f'"{path}"'
        case InPod(pod=pod, path=path):
            return f'"{pod}:{path}"'
        case Stream():
            return '"-"'


def _failure(source: Place, destination: Place, error: OSError) -> NsrunError:
    """With the entry's name, where one is known."""
    name = error.filename
    entry = f'entry "{_shown(name)}": ' if isinstance(name, bytes) and name else ""
    number = error.errno or 0
    return NsrunError(
        f"cannot copy {_named(source)} to {_named(destination)}: {entry}{describe_errno(number)}",
        hint=remedy_for_errno(number),
    )


def _shown(name: str | bytes) -> str:
    """A name of the container's, fit for a terminal."""
    text = name.decode("utf-8", "backslashreplace") if isinstance(name, bytes) else name
    return printable(text, limit=_PATH)
