"""Certificates of containers-certs.d(5)."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

from nsrun.errors import ImageError
from nsrun.images.tls import Certificates, own_certificates, tls_context


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a certificate (``client.cert``) and its key (``client.key``)."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    directory = tmp_path_factory.mktemp("pair")
    openssl(
        "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
        "-subj", "/CN=client", "-keyout", str(directory / "client.key"), "-out", str(directory / "client.cert"),
    )  # fmt: skip
    return directory


def openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


@pytest.mark.parametrize("directory", [None, "empty"])
def test_without_certificates_the_system_is_trusted(tmp_path: Path, directory: str | None) -> None:
    context = tls_context(None if directory is None else tmp_path, verify=True)
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


def test_without_verification_everybody_is(tmp_path: Path) -> None:
    context = tls_context(tmp_path, verify=False)
    assert context.verify_mode is ssl.CERT_NONE
    assert not context.check_hostname


def test_an_authority_is_trusted_besides_the_system(pair: Path, tmp_path: Path) -> None:
    shutil.copy(pair / "client.cert", tmp_path / "ca.crt")
    (tmp_path / "README").write_text("nothing of ours")
    before = tls_context(None, verify=True).cert_store_stats()["x509"]
    assert tls_context(tmp_path, verify=True).cert_store_stats()["x509"] == before + 1


def test_a_pair_is_used(pair: Path) -> None:
    tls_context(pair, verify=True)


@pytest.mark.parametrize("name", ["ca.crt", "client.cert"])
def test_certificates_that_are_none_are_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("nothing")
    (tmp_path / "client.key").write_text("nothing")
    with pytest.raises(ImageError, match=rf'the certificate "{tmp_path}/{name}" cannot be used: \w+'):
        tls_context(tmp_path, verify=True)


@pytest.mark.parametrize(("left", "missing"), [("client.cert", 'key "client.key"'), ("client.key", 'e "client.cert"')])
def test_half_a_pair_is_a_mistake(pair: Path, tmp_path: Path, left: str, missing: str) -> None:
    shutil.copy(pair / left, tmp_path / left)
    with pytest.raises(ImageError, match=f'{left}" is half of a pair: its .*{missing} is missing'):
        tls_context(tmp_path, verify=True)


def test_a_key_of_another_certificate(pair: Path, tmp_path: Path) -> None:
    shutil.copy(pair / "client.cert", tmp_path)
    openssl("ecparam", "-genkey", "-name", "prime256v1", "-noout", "-out", str(tmp_path / "client.key"))
    with pytest.raises(ImageError, match="key values mismatch"):
        tls_context(tmp_path, verify=True)


def test_nobody_is_asked_for_the_password_of_a_key(pair: Path, tmp_path: Path) -> None:
    shutil.copy(pair / "client.cert", tmp_path)
    openssl(
        "ec", "-in", str(pair / "client.key"), "-aes128", "-passout", "pass:x", "-out", str(tmp_path / "client.key")
    )
    with pytest.raises(ImageError, match="its key is encrypted"):
        tls_context(tmp_path, verify=True)


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: path.symlink_to("/nowhere")])
def test_what_is_no_file(tmp_path: Path, make: object) -> None:
    assert callable(make)
    make(tmp_path / "ca.crt")
    with pytest.raises(ImageError, match=r'ca\.crt" cannot be used'):
        tls_context(tmp_path, verify=True)


def test_a_directory_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ImageError, match=r"cannot be read: not a directory \(ENOTDIR\)"):
        tls_context(tmp_path / "file", verify=True)


def test_the_first_directory_for_a_host_counts(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for place in (one / "a.x", two / "a.x", two / "b.x:5000"):
        place.mkdir(parents=True)
    found = Certificates(roots=(tmp_path / "none", one, two))
    assert found.directory("a.x", home=True) == one / "a.x"
    assert found.directory("b.x:5000", home=True) == two / "b.x:5000"
    assert found.directory("b.x", home=True) is None


def test_a_directory_for_the_registry_is_for_nobody_else(tmp_path: Path) -> None:
    (tmp_path / "certs.d" / "a.x").mkdir(parents=True)
    found = Certificates(roots=(tmp_path / "certs.d",), home=tmp_path)
    assert found.directory("a.x", home=True) == tmp_path
    assert found.directory("a.x", home=False) == tmp_path / "certs.d" / "a.x"
    assert found.directory("b.x", home=False) is None


@pytest.mark.parametrize(
    ("environment", "own"),
    [
        ({"HOME": "/h"}, [Path("/h/.config/containers/certs.d")]),
        ({"HOME": "/h", "XDG_CONFIG_HOME": "/c"}, [Path("/c/containers/certs.d")]),
        ({}, []),
    ],
)
def test_where_they_are(environment: dict[str, str], own: list[Path]) -> None:
    system = [Path("/etc/containers/certs.d"), Path("/etc/docker/certs.d")]
    assert list(own_certificates(environment).roots) == [*own, *system]
