"""Sizes of huge pages, and modes under an fsGroup."""

from __future__ import annotations

import pytest

from nsrun.errors import VolumeError
from nsrun.model.volume import EmptyDir, EmptyDirMedium
from nsrun.volumes.empty_dir import huge_page_size
from nsrun.volumes.group import shared_mode
from tests.unit.runtime.pods import container, pod

HUGE = EmptyDirMedium.HUGE_PAGES


def limited(*sizes: str) -> dict[str, int]:
    return {f"hugepages-{size}": 1000 for size in sizes}


@pytest.mark.parametrize(
    ("said", "limits", "size"),
    [("", (), ""), ("2Mi", (), "2M"), ("1Gi", ("2Mi",), "1G"), ("", ("2Mi",), "2M"), ("", ("64Ki",), "64K")],
)
def test_pages_are_of_the_size_that_is_said(said: str, limits: tuple[str, ...], size: str) -> None:
    asked = pod(container("a", limits=limited(*limits)), container("b"))
    assert huge_page_size(asked, EmptyDir(medium=HUGE, page_size=said)) == size


def test_several_sizes_must_be_told_apart() -> None:
    asked = pod(container("a", limits=limited("2Mi", "1Gi")))
    with pytest.raises(VolumeError, match="several sizes: hugepages-1Gi, hugepages-2Mi"):
        huge_page_size(asked, EmptyDir(medium=HUGE))


@pytest.mark.parametrize("said", ["2M", "2", "Mi", "2Mi,uid=0"])
def test_what_is_no_size(said: str) -> None:
    with pytest.raises(VolumeError, match="no size of huge pages"):
        huge_page_size(pod(), EmptyDir(medium=HUGE, page_size=said))


@pytest.mark.parametrize(
    ("mode", "directory", "read_only", "shared"),
    [
        (0o600, False, False, 0o660),
        (0o400, False, True, 0o440),
        (0o755, False, False, 0o775),
        (0o700, True, False, 0o2770),
        (0o755, True, True, 0o2755),
        (0o4711, False, False, 0o4771),
    ],
)
def test_what_the_group_gets(mode: int, directory: bool, read_only: bool, shared: int) -> None:
    assert shared_mode(mode, directory=directory, read_only=read_only) == shared
