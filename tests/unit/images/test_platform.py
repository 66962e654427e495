"""Which manifest of an index is for this machine."""

from __future__ import annotations

import pytest

from nsrun.errors import ImageError
from nsrun.images.documents import Descriptor, ImageIndex, MediaType
from nsrun.images.platform import Platform, best_match, platform_of_machine
from nsrun.images.puller import choose_platform


def platform(text: str) -> Platform:
    os, architecture, variant = (*text.split("/"), "")[:3]
    return Platform(os=os, architecture=architecture, variant=variant)


@pytest.mark.parametrize(
    ("wanted", "offered", "best"),
    [
        ("linux/amd64", ["linux/arm64", "linux/amd64"], 1),
        ("linux/amd64", ["linux/amd64/v3", "linux/amd64"], 1),
        ("linux/amd64", ["linux/amd64/v3"], None),
        ("linux/amd64", ["linux/amd64/v1"], 0),
        ("linux/amd64", ["windows/amd64", "unknown/unknown"], None),
        ("linux/amd64", ["linux/amd64", "linux/amd64"], 0),
        ("linux/arm64/v8", ["linux/arm64"], 0),
        ("linux/arm64/v8", ["linux/arm64", "linux/arm64/v8"], 1),
        ("linux/arm/v7", ["linux/arm/v5", "linux/arm/v6", "linux/arm64"], 1),
        ("linux/arm/v6", ["linux/arm/v7", "linux/arm/v5"], 1),
        ("linux/arm", ["linux/arm/v7"], 0),
        ("linux/s390x", ["linux/s390x"], 0),
        ("linux/amd64", [], None),
    ],
)
def test_choice(wanted: str, offered: list[str], best: int | None) -> None:
    assert best_match([platform(text) for text in offered], platform(wanted)) == best


def test_a_single_silent_candidate_is_taken() -> None:
    assert best_match([None], platform("linux/amd64")) == 0
    assert best_match([None, None], platform("linux/amd64")) is None
    assert best_match([None, platform("linux/amd64")], platform("linux/amd64")) == 1


def test_machines() -> None:
    assert str(platform_of_machine("x86_64")) == "linux/amd64"
    assert str(platform_of_machine("aarch64")) == "linux/arm64/v8"
    assert str(platform_of_machine("mips")) == "linux/mips"


def test_nothing_for_this_machine_says_what_there_is() -> None:
    entry = Descriptor(media_type=MediaType.OCI_MANIFEST, digest="sha256:" + "0" * 64, size=1)
    offered = ImageIndex(
        media_type=MediaType.OCI_INDEX,
        manifests=(
            Descriptor(media_type=entry.media_type, digest=entry.digest, size=1, platform=platform("linux/arm64")),
            entry,
        ),
    )
    with pytest.raises(ImageError, match="nothing for linux/amd64 in it, only for linux/arm64"):
        choose_platform(offered, platform("linux/amd64"))
