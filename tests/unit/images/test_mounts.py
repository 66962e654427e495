"""Which mounts are images of ours."""

from __future__ import annotations

from nsrun.images.mounts import MountedImage, parse_mounts

ONE, TWO = (f"sha256:{digit * 64}" for digit in "12")


def line(path: str, source: str, kind: str = "overlay") -> str:
    return f"36 35 98:0 / {path} ro,relatime shared:1 - {kind} {source} ro,lowerdir=/proc/self/fd/3"


def test_ours_are_told_from_others() -> None:
    text = "\n".join(
        [
            line("/a", f"nsrun-image:{ONE}"),
            line("/b", "overlay"),
            line("/c", f"nsrun-image:{ONE}", "tmpfs"),
            line("/d", "nsrun-image:sha256:../../etc"),
            line("/e", f"other:{ONE}"),
            line("/f", f"nsrun-image:{TWO}"),
        ]
    )
    assert parse_mounts(text) == (MountedImage(digest=ONE, path="/a"), MountedImage(digest=TWO, path="/f"))


def test_what_is_mounted_over_is_not_there() -> None:
    over = [line("/a", f"nsrun-image:{ONE}"), line("/a", "tmpfs", "tmpfs")]
    assert parse_mounts("\n".join(over)) == ()
    assert parse_mounts("\n".join(reversed(over))) == (MountedImage(digest=ONE, path="/a"),)


def test_paths_are_escaped() -> None:
    (found,) = parse_mounts(line("/a\\040b\\134c\\012d", f"nsrun-image:{ONE}"))
    assert found.path == "/a b\\c\nd"


def test_optional_fields_may_be_none_or_many() -> None:
    plain = f"36 35 98:0 / /a ro - overlay nsrun-image:{ONE} ro"
    many = f"36 35 98:0 / /b ro shared:1 master:2 propagate_from:3 - overlay nsrun-image:{TWO} ro"
    assert [found.path for found in parse_mounts(f"{plain}\n{many}\n")] == ["/a", "/b"]
