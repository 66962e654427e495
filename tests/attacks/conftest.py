"""The scene of the unpacking attacks: a directory to unpack into, and victims beside it that must stay as they are."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

import pytest

from nsrun.host.userns import own_user_namespace
from nsrun.images.layers import TRUSTED, USER
from nsrun.images.limits import DEFAULT_LIMITS, Limits
from nsrun.images.unpack import Unpacked, unpack_layer
from nsrun.images.unpacker import PROGRAM
from nsrun.support.fds import Fd
from tests.attacks.archives import diff_id

# What overlayfs reads here.
MARKS = TRUSTED if own_user_namespace() is None else USER
TAR = "application/vnd.oci.image.layer.v1.tar"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """``layer``: unpacked into. ``victim``: not to be touched; archives may name it by its absolute path. ``program``:
    who unpacks."""

    layer: Path
    victim: Path
    program: Path = PROGRAM

    @property
    def victim_bytes(self) -> bytes:
        return os.fsencode(self.victim)

    def unpack(
        self, tar: bytes, *, blob: bytes | None = None, limits: Limits = DEFAULT_LIMITS, expected: str | None = None
    ) -> Unpacked:
        """``blob``: the tar compressed; ``expected``: another diff_id than the tar's own."""
        source = self.layer.with_name("blob")
        source.write_bytes(tar if blob is None else blob)
        with FileIO(source) as opened, Fd.open(self.layer, os.O_RDONLY | os.O_DIRECTORY) as root:
            return unpack_layer(
                opened,
                root.fileno(),
                media_type=TAR,
                diff_id=expected or diff_id(tar),
                limits=limits,
                xattr_prefix=MARKS,
                program=self.program,
            )


def snapshot(top: Path) -> dict[str, tuple[object, ...]]:
    """All that can be seen of a tree, by path, without following anything."""
    seen: dict[str, tuple[object, ...]] = {}
    for path in [top, *sorted(top.rglob("*"))]:
        status = path.lstat()
        content: object = None
        if path.is_symlink():
            content = os.readlink(path)
        elif path.is_file():
            content = path.read_bytes()
        attributes = {
            name: os.getxattr(path, name, follow_symlinks=False) for name in os.listxattr(path, follow_symlinks=False)
        }
        where = str(path.relative_to(top))
        seen[where] = (
            oct(status.st_mode),
            status.st_uid,
            status.st_gid,
            status.st_nlink,
            status.st_mtime_ns,
            content,
            attributes,
        )
    return seen


@pytest.fixture(scope="session")
def sanitized(repo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """nsrun-unpack with AddressSanitizer and UndefinedBehaviorSanitizer. What they find is in the layer, and the end of
    the program."""
    program = tmp_path_factory.mktemp("programs") / "nsrun-unpack-asan"
    subprocess.run(["make", "--silent", "-C", repo / "native", f"BIN={program.parent}", program], check=True)
    return program


@pytest.fixture(params=["plain", "sanitized"])
def unpack_program(request: pytest.FixtureRequest) -> Path:
    """The program as it is shipped, and the sanitizers'."""
    return PROGRAM if request.param == "plain" else request.getfixturevalue("sanitized")


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory whose path is short enough for a header: 100 bytes."""
    with tempfile.TemporaryDirectory(dir="/tmp") as path:
        yield Path(path)


@pytest.fixture
def scene(place: Path, unpack_program: Path) -> Iterator[Scene]:
    """Fails the test when anything of the victim changed, or anything appeared beside the layer."""
    victim = place / "victim"
    (victim / "sub").mkdir(parents=True)
    (victim / "secret").write_text("secret\n")
    (victim / "shadow").write_text("root:*:\n")
    (victim / "shadow").chmod(0o640)
    (victim / "sub" / "file").write_text("kept\n")
    (victim / "link").symlink_to("secret")
    layer = place / "work" / "layer"
    layer.mkdir(parents=True)
    before = snapshot(victim)
    yield Scene(layer=layer, victim=victim, program=unpack_program)
    assert snapshot(victim) == before
    assert sorted(p.name for p in place.iterdir()) == ["victim", "work"]
    assert {p.name for p in (place / "work").iterdir()} <= {"layer", "blob"}
