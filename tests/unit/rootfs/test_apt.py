"""Packages: what of apt's answer counts."""

from __future__ import annotations

import pytest

from rootfs.apt import AptError, Package, PackageIndex, parse_record

RECORD = """\
Package: nginx
Version: 1:1.22.1-9+deb12u4
Architecture: amd64
Section: universe/httpd
Pre-Depends: init-system-helpers (>= 1.54~)
Depends: libc6 (>= 2.34), iproute2, nginx-core (<< 1.2.1~) | nginx-full [amd64] | nginx-light, perl:any
Description: small, powerful server
 Depends: this is text
SHA256: cc7ae36d
"""


def test_records() -> None:
    package = parse_record(RECORD)
    assert package is not None
    assert package.file_name == "nginx_1%3a1.22.1-9+deb12u4_amd64.deb"
    assert package.depends == (
        ("init-system-helpers",),
        ("libc6",),
        ("iproute2",),
        ("nginx-core", "nginx-full", "nginx-light"),
        ("perl",),
    )
    assert not package.is_library


def test_what_apt_cannot_fetch_is_no_package() -> None:
    assert parse_record("Package: local\nVersion: 1\n") is None
    assert parse_record("") is None


def package(name: str, *depends: str, section: str = "libs") -> Package:
    pairs = tuple(tuple(d.split("|")) for d in depends)
    return Package(name=name, version="1", architecture="amd64", section=section, sha256="", depends=pairs)


class FakeIndex(PackageIndex):
    """An index that knows these packages and asks nobody."""

    def __init__(self, *packages: Package) -> None:
        super().__init__()
        self._known.update((p.name, p) for p in packages)

    def _look_up(self, names: object) -> None:
        pass


def test_closure_follows_libraries_and_what_is_named() -> None:
    index = FakeIndex(
        package("nginx", "nginx-full|nginx-core|nginx-light", "perl", "libc6", "gone", section="httpd"),
        package("nginx-core", "libssl3", "nginx-common", section="universe/httpd"),
        package("nginx-common", "debconf", section="httpd"),
        package("libssl3", "libc6", section="universe/libs"),
        package("libc6", "libgcc-s1"),
        package("libgcc-s1", "libc6"),
        package("perl", section="perl"),
        package("debconf", section="admin"),
    )
    closure = index.closure(["nginx"], ["nginx-core", "nginx-common"])
    assert [p.name for p in closure] == ["libc6", "libgcc-s1", "libssl3", "nginx", "nginx-common", "nginx-core"]


def test_closure_leaves_out_what_is_not_wanted_and_what_only_that_needs() -> None:
    index = FakeIndex(
        package("postgresql", "libllvm14", "libxml2", section="database"),
        package("libllvm14", "libedit2", "libxml2"),
        package("libedit2"),
        package("libxml2"),
    )
    assert [p.name for p in index.closure(["postgresql"], [], ["libllvm14"])] == ["libxml2", "postgresql"]


def test_unknown_packages_are_told() -> None:
    with pytest.raises(AptError, match='cannot find package "nginx": apt does not know it'):
        FakeIndex().closure(["nginx"], [])
