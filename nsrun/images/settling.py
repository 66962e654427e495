"""Layers are used as soon as they are whole, and are on the disk a little later.

syncfs(2) waits for all that anybody wrote to the file system, which no pod should wait for. So layer.json says in which
boot a layer was made until that is done (``settle``); in any other boot such a layer is none (``is_lost``), and is
unpacked again from its blob, which was on the disk before.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from itertools import islice
from pathlib import Path

from nsrun.images.layerintake import DIRECTORY
from nsrun.support import native
from nsrun.support.atomic import write_atomic
from nsrun.support.boot import boot_id
from nsrun.support.fds import Fd

__all__ = ["is_lost", "settle", "unsettled"]

# Directories that are held open at once.
_BATCH = 64
_BOOT, _REFUSED = "boot", "refused"


def unsettled(document: Mapping[str, object]) -> dict[str, object]:
    """The document of a layer that was made just now."""
    return {**document, _BOOT: boot_id()}


def is_lost(document: Mapping[str, object]) -> bool:
    """Whether the machine went down before the layer was on the disk, or nobody wrote down that it was."""
    return _BOOT in document and document[_BOOT] != boot_id()


def settle(root: Path) -> None:
    """Blocks until the layers below ``root`` that were made in this boot are on the disk. Raises OSError; what the disk
    refused then is good for this boot alone, whatever it says the next time (fsync(2): an error is told once)."""
    while batch := list(islice(_made_in_this_boot(root), _BATCH)):
        with ExitStack() as opened:
            for home, _ in batch:
                opened.enter_context(home)
            try:
                native.syncfs(batch[0][0].fileno())
            except OSError:
                _write((home, {**document, _REFUSED: True}) for home, document in batch)
                raise
            _write((home, {key: value for key, value in document.items() if key != _BOOT}) for home, document in batch)


def _write(documents: Iterable[tuple[Fd, Mapping[str, object]]]) -> None:
    for home, document in documents:
        with suppress(FileNotFoundError):  # it was removed meanwhile
            write_atomic(_path_of(home) / "layer.json", json.dumps(document).encode(), durable=False)


def _made_in_this_boot(root: Path) -> Iterator[tuple[Fd, dict[str, object]]]:
    """Held open: what has the name later may be another one, which is not on the disk."""
    for path in root.glob("sha*/*"):
        with suppress(FileNotFoundError, NotADirectoryError), Fd.open(path, DIRECTORY) as home:
            document = _document(home)
            if document.get(_BOOT) == boot_id() and _REFUSED not in document:
                yield Fd(home.detach()), document


def _document(home: Fd) -> dict[str, object]:
    with suppress(FileNotFoundError, ValueError):
        document = json.loads((_path_of(home) / "layer.json").read_bytes())
        if isinstance(document, dict):
            return document
    return {}


def _path_of(directory: Fd) -> Path:
    return Path("/proc/self/fd") / str(directory.fileno())
