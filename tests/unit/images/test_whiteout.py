"""What names mean in a layer."""

from __future__ import annotations

import pytest

from nsrun.images.whiteout import Name, NameKind, read_name


@pytest.mark.parametrize(
    ("name", "kind", "hidden"),
    [
        (b"file", NameKind.PLAIN, b"file"),
        (b".wh", NameKind.PLAIN, b".wh"),
        (b"a.wh.b", NameKind.PLAIN, b"a.wh.b"),
        (b".wh.file", NameKind.HIDE, b"file"),
        (b".wh....", NameKind.HIDE, b"..."),
        (b".wh.\xff", NameKind.HIDE, b"\xff"),
        (b".wh..hidden", NameKind.HIDE, b".hidden"),
        (b".wh..wh..opq", NameKind.OPAQUE, b""),
        (b".wh..wh.plnk", NameKind.IGNORE, b""),
        (b".wh..wh.aufs", NameKind.IGNORE, b""),
    ],
)
def test_names(name: bytes, kind: NameKind, hidden: bytes) -> None:
    assert read_name(name) == Name(kind=kind, name=hidden)


@pytest.mark.parametrize("name", [b".wh.", b".wh..", b".wh..."])
def test_whiteouts_of_nothing_are_refused(name: bytes) -> None:
    with pytest.raises(ValueError, match="must name something"):
        read_name(name)
