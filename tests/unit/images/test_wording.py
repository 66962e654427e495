"""How errors of the disk become sentences."""

from __future__ import annotations

import errno
import os

import pytest

from nsrun.errors import ImageError
from nsrun.images.wording import sentences


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ('load "a/b"', 'cannot load "a/b": no such file or directory (ENOENT)'),
        ("load it", 'cannot load it: "a/b": no such file or directory (ENOENT)'),
    ],
)
def test_a_file_is_named_once(what: str, told: str) -> None:
    with pytest.raises(ImageError) as raised, sentences(what):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "a/b")
    assert str(raised.value) == told
