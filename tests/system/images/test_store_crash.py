"""nsrun dies at any moment: the store is valid, and the same command done again succeeds."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from nsrun.images.check import Finding, Kind
from nsrun.images.service import ImageService
from nsrun.support.layout import Layout
from tests.layouts import ImageParts, LayoutBuilder, layer_tar
from tests.registry import Registry
from tests.system.images.dying import count_steps, dies_before
from tests.waiting import fewer
from vagrant import examine

pytestmark = [pytest.mark.root, pytest.mark.timeout(600)]

DEATHS = 20
ONE, OTHER = "docker.io/library/one:latest", "docker.io/library/other:latest"
SHARED = layer_tar({"etc/passwd": b"root", "shared": b"x" * 5000})


@pytest.fixture
def source(tmp_path: Path) -> LayoutBuilder:
    """Two images that share a layer; one of them came as Docker's."""
    made = LayoutBuilder(tmp_path / "source")
    made.image(ONE, ImageParts.make([SHARED, layer_tar({"one": b"1" * 3000})]))
    made.image(OTHER, ImageParts.make([SHARED, layer_tar({"other": b"2"})], docker=True))
    return made


class Machine:
    """A root of its own for each death."""

    def __init__(self, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.base = base
        self.layout = Layout(root=base / "root", run_dir=base / "run", log_dir=base / "log")
        self.flags = ("--root", str(base / "root"), "--run-dir", str(base / "run"), "--log-dir", str(base / "log"))
        monkeypatch.setattr(examine, "IMAGES", self.layout.images)
        monkeypatch.setattr(examine, "LAYERS", self.layout.layers)

    def prepare(self, store: Path | None) -> None:
        shutil.rmtree(self.base / "root", ignore_errors=True)
        if store is not None:
            shutil.copytree(store, self.base / "root", symlinks=True)

    def run(self, *command: str) -> None:
        count_steps([*self.flags, *command], self.layout.root)

    def dies(self, *command: str, store: Path | None = None) -> Iterator[int]:
        """The command dies before one step after the other, each time with a store as it was; yields after each."""
        self.prepare(store)
        steps = count_steps([*self.flags, *command], self.layout.root)
        assert steps > 3
        wanted = sorted({1 + step * (steps - 1) // (fewer(DEATHS) - 1) for step in range(fewer(DEATHS))})
        died = 0
        for step in wanted:
            self.prepare(store)
            died += dies_before(step, [*self.flags, *command], self.layout.root)
            yield step
        assert died >= len(wanted) * 3 // 4, f"{died} of {len(wanted)}"

    def check(self) -> tuple[Finding, ...]:
        async def checked() -> tuple[Finding, ...]:
            async with ImageService(layout=self.layout) as images:
                return await images.keeper.check()

        return asyncio.run(checked())

    def is_valid(self) -> bool:
        """To somebody who knows nothing of nsrun, and to nsrun: at most something lies about."""
        assert list(examine.store()) == []
        assert [found for found in self.check() if found.kind not in (Kind.LEFTOVER, Kind.UNNEEDED)] == []
        return True

    def names(self) -> set[str]:
        async def listed() -> set[str]:
            async with ImageService(layout=self.layout) as images:
                return {image.reference for image in await images.list()}

        return asyncio.run(listed())


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    (tmp_path / "machine").mkdir()
    return Machine(tmp_path / "machine", monkeypatch)


def test_load_dies(machine: Machine, source: LayoutBuilder) -> None:
    for step in machine.dies("load", str(source.path)):
        assert machine.is_valid(), step
        machine.run("load", str(source.path))
        assert list(examine.store()) == []
        assert machine.check() == (), step
        assert machine.names() == {ONE, OTHER}


def test_pull_dies(machine: Machine, source: LayoutBuilder, registry: Registry) -> None:
    registry.start()
    registry.push(source.path, ONE)
    pull = ("pull", "--registries-conf", str(registry.registries_conf()), "one")
    for step in machine.dies(*pull):
        assert machine.is_valid(), step
        machine.run(*pull)
        assert list(examine.store()) == []
        assert machine.check() == (), step
        assert machine.names() == {ONE}


@pytest.mark.parametrize("command", [("rmi", "one"), ("prune", "--all", "--force"), ("rmi", "--all")], ids=" ".join)
def test_removal_dies(machine: Machine, source: LayoutBuilder, tmp_path: Path, command: tuple[str, ...]) -> None:
    machine.run("load", str(source.path))
    full = (machine.base / "root").rename(tmp_path / "full")
    left = {OTHER} if command == ("rmi", "one") else set()
    for step in machine.dies(*command, store=full):
        assert machine.is_valid(), step
        assert left <= machine.names()
        machine.run("load", str(source.path))
        assert machine.check() == (), step
        machine.run(*command)
        assert machine.names() == left
        assert machine.check() == (), step


def test_repair_dies(machine: Machine, source: LayoutBuilder, tmp_path: Path) -> None:
    machine.run("load", str(source.path))
    for home in (machine.layout.layers / "sha256").iterdir():
        (home / "diff" / "more").write_bytes(b"damage")
    full = (machine.base / "root").rename(tmp_path / "full")
    for step in machine.dies("store", "check", "--repair", store=full):
        machine.run("store", "check", "--repair")
        assert machine.check() == (), step
        assert machine.names() == {ONE, OTHER}
