"""Layers that hypothesis thinks of: links, whiteouts and replacements in every order, and a victim beside them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nsrun.errors import ImageError
from nsrun.support.removal import remove_tree
from tests.attacks.archives import Archive
from tests.attacks.conftest import Scene, snapshot
from tests.waiting import fewer

pytestmark = pytest.mark.root

# Few names, so that entries meet; some lead out, to "victim" beside the layer's parent.
PARTS = st.sampled_from([b"a", b"b", b"c", b".wh.a", b".wh.b", b".wh..wh..opq", b".", b"", b"sub", b"secret"])
PATHS = st.lists(PARTS, min_size=1, max_size=4).map(b"/".join)
TARGETS = st.one_of(
    PATHS,
    st.sampled_from(
        [b"..", b"../..", b"../../victim", b"a/../../../victim/sub", b"/", b"/proc/self/root", b"VICTIM", b"VICTIM/sub"]
    ),
)


Step = Callable[[Archive, bytes], object]


@st.composite
def steps(draw: st.DrawFn) -> Step:
    path, target, mode = draw(PATHS), draw(TARGETS), draw(st.sampled_from([0o644, 0o4777, 0]))
    kinds: list[Step] = [
        lambda archive, victim: archive.file(path, b"evil", mode=mode),
        lambda archive, victim: archive.directory(path, mode=mode),
        lambda archive, victim: archive.symlink(path, target.replace(b"VICTIM", victim)),
        lambda archive, victim: archive.symlink(path, target.replace(b"VICTIM", victim)),
        lambda archive, victim: archive.hard_link(path, target.replace(b"VICTIM", victim)),
        lambda archive, victim: archive.node(path, b"3", 1, 3),
    ]
    return draw(st.sampled_from(kinds))


@settings(deadline=None, max_examples=fewer(400))
@given(st.lists(steps(), min_size=2, max_size=9))
def test_nothing_outside_is_ever_touched(sanitized: Path, actions: list[Step]) -> None:
    """Also: every entry that was refused was refused by a sentence, and what came out can be removed."""
    with tempfile.TemporaryDirectory() as directory:
        top = Path(directory)
        (top / "victim" / "sub").mkdir(parents=True)
        (top / "victim" / "secret").write_text("secret")
        (top / "work" / "layer").mkdir(parents=True)
        before = snapshot(top / "victim")
        archive = Archive()
        for action in actions:
            action(archive, os.fsencode(top / "victim"))
        refusal = ""
        try:
            scene = Scene(layer=top / "work" / "layer", victim=top / "victim", program=sanitized)
            scene.unpack(archive.bytes())
        except ImageError as error:
            refusal = error.message
        assert "internal error" not in refusal
        assert snapshot(top / "victim") == before
        assert {path.name for path in top.iterdir()} == {"victim", "work"}
        assert {path.name for path in (top / "work").iterdir()} == {"layer", "blob"}
        remove_tree(top / "work")
        assert snapshot(top / "victim") == before
