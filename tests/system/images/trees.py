"""What can be known of every file of a rootfs."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

__all__ = ["Facts", "Tree", "merged", "tree_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """One path. ``mode`` with its type; ``mtime`` in ns; ``content``: the digest of a file, the target of a link;
    ``names``: all its hard links, empty when there is but one."""

    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    device: int
    content: str
    xattrs: Mapping[str, bytes]
    names: tuple[str, ...] = ()

    def against(self, other: Facts | None) -> str:
        """What differs, in words."""
        if other is None:
            return f"{self} where the peer has nothing"
        ours, theirs = asdict(self), asdict(other)
        differing = (name for name in ours if ours[name] != theirs[name])
        return ", ".join(f"{name} {ours[name]} instead of {theirs[name]}" for name in differing)

    def with_xattrs(self, xattrs: Mapping[str, bytes]) -> Facts:
        return replace(self, xattrs=xattrs)


Tree = dict[str, Facts]


def tree_of(root: Path) -> Tree:
    """All paths below ``root`` (not itself: no layer here lists it), relative."""
    tree: Tree = {}
    links: dict[tuple[int, int], list[str]] = defaultdict(list)
    pending = [str(root)]
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                try:
                    status = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue  # overlayfs lists a whiteout in a directory that no layer below has, and that is all
                name = os.path.relpath(entry.path, root)
                tree[name] = _facts(entry.path, status)
                if stat.S_ISDIR(status.st_mode):
                    pending.append(entry.path)
                elif status.st_nlink > 1:
                    links[status.st_dev, status.st_ino].append(name)
    for names in links.values():
        if len(names) > 1:
            tree |= {name: replace(tree[name], names=tuple(sorted(names))) for name in names}
    return tree


def _facts(path: str, status: os.stat_result) -> Facts:
    is_file, is_device = stat.S_ISREG(status.st_mode), stat.S_IFMT(status.st_mode) in (stat.S_IFCHR, stat.S_IFBLK)
    names = os.listxattr(path, follow_symlinks=False)
    return Facts(
        mode=status.st_mode,
        uid=status.st_uid,
        gid=status.st_gid,
        size=status.st_size if is_file else 0,
        mtime=status.st_mtime_ns,
        device=status.st_rdev if is_device else 0,
        content=_content(path, status.st_mode),
        xattrs={name: os.getxattr(path, name, follow_symlinks=False) for name in names},
    )


def _content(path: str, mode: int) -> str:
    if stat.S_ISLNK(mode):
        return os.readlink(path)
    if not stat.S_ISREG(mode):
        return ""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def merged(layers: Sequence[Path], where: Path) -> Iterator[Path]:
    """The layers, topmost first, as one read-only tree. mount(2) takes a page of options: hence the short names."""
    where.mkdir()
    below = where / "below"
    below.mkdir()  # overlayfs wants two at least
    for number, layer in enumerate(layers):
        (where / f"{number}").symlink_to(layer)
    root = where / "root"
    root.mkdir()
    options = ":".join([*(str(number) for number in range(len(layers))), "below"])
    subprocess.run(["mount", "-t", "overlay", "-o", f"ro,lowerdir={options}", "overlay", root], cwd=where, check=True)
    try:
        yield root
    finally:
        subprocess.run(["umount", root], check=True)
