"""A file tree in memory: filled from packages and recipes, written as a layer's tar; the same tree, the same bytes."""

from __future__ import annotations

import io
import posixpath
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from rootfs.recipes import Directory, File, Link

__all__ = ["Node", "Tree", "applet_links", "package_tree", "recipe_tree", "write_tar"]

# What nobody reads in a container. Licences (usr/share/doc/*/copyright) stay.
UNWANTED = (
    "etc/default",
    "etc/init.d",
    "etc/logrotate.d",
    "etc/ufw",
    "usr/lib/systemd",
    "usr/share/bug",
    "usr/share/lintian",
    "usr/share/locale",
    "usr/share/man",
    "usr/share/vim",
)
MERGED = frozenset({"bin", "sbin", "lib", "lib64"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One entry. ``kind`` is tarfile's type byte; ``target`` of a symbolic link, or of a hard link the path in the same
    tree; ``data`` of a regular file; ``device``: major and minor; ``records``: of the PAX header, as they are."""

    kind: bytes
    mode: int
    uid: int = 0
    gid: int = 0
    mtime: int = 0
    target: str = ""
    data: bytes = b""
    device: tuple[int, int] = (0, 0)
    records: Mapping[str, str] = field(default_factory=dict)


Tree = dict[str, Node]


def package_tree(package: Path) -> Tree:
    """The files of a .deb, without what nobody needs in a container. Paths are relative and below merged /usr."""
    command = ["dpkg-deb", "--fsys-tarfile", str(package)]
    content = subprocess.run(command, check=True, capture_output=True).stdout
    tree: Tree = {}
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        for member in archive:
            path = _merged(posixpath.normpath(member.name.lstrip("/")))
            if path != "." and path not in MERGED and _is_wanted(path):
                tree[path] = _node(archive, member, tree)
    return _without_empty(tree)


def _merged(path: str) -> str:
    """``bin/sh`` → ``usr/bin/sh``: where the file is on a system with merged /usr."""
    return f"usr/{path}" if path.partition("/")[0] in MERGED and "/" in path else path


def _is_wanted(path: str) -> bool:
    if path.startswith("usr/share/doc/"):
        return path.endswith("/copyright")
    if "/gconv/" in path:
        return False
    return not any(path == unwanted or path.startswith(f"{unwanted}/") for unwanted in UNWANTED)


def _node(archive: tarfile.TarFile, member: tarfile.TarInfo, tree: Tree) -> Node:
    if member.islnk():
        target = _merged(posixpath.normpath(member.linkname))
        return replace(tree[target], kind=tarfile.LNKTYPE, target=target, data=b"")
    content = archive.extractfile(member) if member.isfile() else None
    return Node(
        kind=tarfile.REGTYPE if member.isfile() else member.type,
        mode=member.mode & 0o7777,
        uid=member.uid,
        gid=member.gid,
        mtime=int(member.mtime),
        target=member.linkname,
        data=content.read() if content is not None else b"",
    )


def _without_empty(tree: Tree) -> Tree:
    """Drops directories of /usr/share that lost all they had."""
    full = {posixpath.dirname(path) for path in tree}
    return {
        path: node
        for path, node in tree.items()
        if node.kind != tarfile.DIRTYPE or path in full or not path.startswith("usr/share/")
    }


def recipe_tree(files: Mapping[str, File | Directory | Link], mtime: int) -> Tree:
    """The files that a recipe spells out."""
    return {path: replace(_recipe_node(item), mtime=mtime) for path, item in files.items()}


def _recipe_node(item: File | Directory | Link) -> Node:
    match item:
        case File():
            return Node(kind=tarfile.REGTYPE, mode=item.mode, data=item.text.encode())
        case Directory():
            return Node(kind=tarfile.DIRTYPE, mode=item.mode, uid=item.uid, gid=item.gid)
        case Link():
            return Node(kind=tarfile.SYMTYPE, mode=0o777, target=item.target)


def applet_links(tree: Tree, path: str) -> Tree:
    """Links beside the multi-call binary ``path``, one for each name it lists."""
    with tempfile.TemporaryDirectory() as directory:
        program = Path(directory) / posixpath.basename(path)
        program.write_bytes(tree[path].data)
        program.chmod(0o755)
        names = subprocess.run([program, "--list"], check=True, capture_output=True, text=True).stdout.split()
    link = Node(kind=tarfile.SYMTYPE, mode=0o777, mtime=tree[path].mtime, target=program.name)
    return {posixpath.join(posixpath.dirname(path), name): link for name in names if name != program.name}


def write_tar(tree: Tree) -> bytes:
    """The layer: parents before children, in the order of names; hard links at the end, as they need their target."""
    buffer = io.BytesIO()
    parent = Node(kind=tarfile.DIRTYPE, mode=0o755, mtime=max(node.mtime for node in tree.values()))
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        nodes = {path: tree.get(path, parent) for path in _with_parents(tree)}
        for path in sorted(nodes, key=lambda path: (nodes[path].kind == tarfile.LNKTYPE, path.split("/"))):
            node = nodes[path]
            member = tarfile.TarInfo(path)
            member.type, member.mode, member.uid, member.gid = node.kind, node.mode, node.uid, node.gid
            member.mtime, member.linkname, member.size = node.mtime, node.target, len(node.data)
            (member.devmajor, member.devminor), member.pax_headers = node.device, dict(node.records)
            archive.addfile(member, io.BytesIO(node.data))
    return buffer.getvalue()


def _with_parents(tree: Iterable[str]) -> set[str]:
    paths = set(tree)
    for path in tree:
        while path := posixpath.dirname(path):
            paths.add(path)
    return paths
