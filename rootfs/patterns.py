"""Trees that are made up by rule, for images that are hard on whoever unpacks them. The same number, the same tree."""

from __future__ import annotations

import random
import struct
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import replace

from rootfs.recipes import Pattern
from rootfs.tree import Node, Tree

__all__ = ["pattern_tree"]

# Sundays of 2023 and after: times that no clock here shows by chance.
START = 1_700_000_000
WORDS = 40_000
XATTR = "SCHILY.xattr."
# struct vfs_cap_data, revision 2: cap_net_raw, permitted and effective.
CAPABILITY = struct.pack("<5I", 0x02000001, 1 << 13, 0, 0, 0)


def pattern_tree(pattern: Pattern) -> Tree:
    return _PATTERNS[pattern.name](pattern.number)


def _directory(mode: int = 0o755, *, mtime: int = START, uid: int = 0, gid: int = 0) -> Node:
    return Node(kind=tarfile.DIRTYPE, mode=mode, mtime=mtime, uid=uid, gid=gid)


def _file(data: bytes, mode: int = 0o644, *, mtime: int = START, uid: int = 0, gid: int = 0) -> Node:
    return Node(kind=tarfile.REGTYPE, mode=mode, mtime=mtime, uid=uid, gid=gid, data=data)


def _link(target: str) -> Node:
    return Node(kind=tarfile.SYMTYPE, mode=0o777, mtime=START, target=target)


def _hard_link(tree: Tree, target: str) -> Node:
    """With the header that archivers write: its target's."""
    return replace(tree[target], kind=tarfile.LNKTYPE, target=target, data=b"", records={})


def _many_files(count: int) -> Tree:
    """``count`` files as a package manager of some language leaves them: 40 in a directory, a few KiB each, with
    attributes, set-user-ID bits, and links of both kinds here and there."""
    chance = random.Random(count)
    text = " ".join(
        chance.choices(["return", "const", "import", "node", "=>", "{", "}\n", "null;\n"], k=WORDS)
    ).encode()
    tree: Tree = {"srv": _directory(), "srv/modules": _directory()}
    for number in range(count):
        package = f"srv/modules/p{number // 4000:02}/p{number // 400:04}"
        directory = f"{package}/lib{number // 40:05}"
        if number % 40 == 0:
            tree |= {package.rpartition("/")[0]: _directory(), package: _directory(), directory: _directory()}
        tree[f"{directory}/file{number:06}.js"] = _one_of_many(number, directory, tree, text, chance)
    return tree


def _one_of_many(number: int, directory: str, tree: Tree, text: bytes, chance: random.Random) -> Node:
    first = f"file{number // 40 * 40:06}.js"
    if number % 40 == 38:
        return _hard_link(tree, f"{directory}/{first}")
    if number % 40 == 39:
        return _link(first)
    start = chance.randrange(len(text) // 2)
    node = _file(
        b"/* %d */ " % number + text[start : start + int(chance.expovariate(1 / 1500))],
        mode=0o4755 if number % 1000 == 1 else 0o644,
        mtime=START + number,
        uid=1000 + number % 3,
        gid=1000,
    )
    return replace(node, records={f"{XATTR}user.number": str(number)}) if number % 100 == 2 else node


def _one_of_sixty(number: int) -> Tree:
    """A layer on ``number`` of its like: what each adds, changes, hides, and puts in another's place."""
    top = "srv/layers"
    tree: Tree = {
        "srv": _directory(),
        top: _directory(mtime=START + number),
        f"{top}/all": _directory(mode=0o2775, uid=number, gid=50, mtime=START + 2 * number),
        f"{top}/all/{number:02}": _file(b"of layer %d\n" % number, mtime=START + number, uid=number),
        f"{top}/changing": _file(b"%d" % number * number, mode=0o600 + number, mtime=START + number),
        f"{top}/kind": _KINDS[number % len(_KINDS)](number),
        f"{top}/own{number:02}": _directory(),
        **{f"{top}/own{number:02}/{name}": node for name, node in _of_all_kinds(number).items()},
    }
    for name in ("set-user-id", "to-nowhere"):
        tree[f"{top}/own{number:02}/hard-link-{name}"] = _hard_link(tree, f"{top}/own{number:02}/{name}")
    if number >= 7:
        tree[f"{top}/all/.wh.{number - 7:02}"] = _file(b"")
    if number % 10 == 9:
        tree |= {f"{top}/own{number - 3:02}": _directory(), f"{top}/own{number - 3:02}/.wh..wh..opq": _file(b"")}
        tree[f"{top}/own{number - 3:02}/again"] = _file(b"again")
    if number % 10 == 5:
        tree[f"{top}/.wh.own{number - 2:02}"] = _file(b"")
    return tree


# What "kind" is in turn: each layer puts another in the place of the one below.
_KINDS: tuple[Callable[[int], Node], ...] = (
    lambda number: _file(b"a file", mtime=START + number),
    lambda number: _link(f"all/{number:02}"),
    lambda number: _directory(mode=0o1777, mtime=START + number),
    lambda number: Node(kind=tarfile.FIFOTYPE, mode=0o640, mtime=START + number),
)


def _of_all_kinds(number: int) -> Tree:
    """One of everything a layer can hold."""
    precise = f"{START + number}.{number:02}7654321"
    return {
        "set-user-id": _file(b"#!/bin/sh\n", mode=0o4755),
        "set-group-id": _file(b"#!/bin/sh\n", mode=0o2711, uid=number, gid=number),
        "set-id-and-owner": _file(b"", mode=0o7777, uid=65534, gid=65533),
        "large-owner": _file(b"", uid=3_000_000 + number, gid=4_000_000),
        "no-access": _file(b"secret", mode=0),
        "empty": _file(b""),
        "long-" + "n" * 200: _file(b"a name that no ustar header holds"),
        "deep": _directory(),
        **{"deep" + "/directory" * depth: _directory(mtime=START - depth) for depth in range(1, 40)},
        "deep" + "/directory" * 39 + "/file": _file(b"deep"),
        "not-utf8-\udcff\udcfe": _file(b"bytes"),
        "blank and\ttab": _file(b""),
        "\u043a\u0438\u0440\u0438\u043b\u043b\u0438\u0446\u0430": _file(b"letters"),
        "attributes": replace(_file(b""), records={f"{XATTR}user.layer": f"{number}", f"{XATTR}user.empty": ""}),
        "trusted-attribute": replace(_file(b""), records={f"{XATTR}trusted.layer": f"{number}"}),
        "attributed-directory": replace(_directory(), records={f"{XATTR}user.layer": f"{number}"}),
        "capable": replace(
            _file(b"\x7fELF", mode=0o755),
            records={f"{XATTR}security.capability": CAPABILITY.decode("utf-8", "surrogateescape")},
        ),
        "nanoseconds": replace(_file(b""), records={"mtime": precise}),
        "precise-directory": replace(_directory(), records={"mtime": precise}),
        "before-the-epoch": _file(b"", mtime=-86_400),
        "after-2038": _file(b"", mtime=1 << 33),
        "to-nowhere": _link("/nowhere/at/all"),
        "to-above": _link("../../../../../../etc/passwd"),
        "to-a-long-way": _link("x/" * 300),
        "fifo": Node(kind=tarfile.FIFOTYPE, mode=0o622, mtime=START),
        "null": Node(kind=tarfile.CHRTYPE, mode=0o666, mtime=START, device=(1, 3)),
        "disk": Node(kind=tarfile.BLKTYPE, mode=0o660, mtime=START, device=(8, number)),
    }


_PATTERNS: Mapping[str, Callable[[int], Tree]] = {"many files": _many_files, "one of sixty": _one_of_sixty}
