"""Certificates of containers-certs.d(5)."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from nsrun.errors import ImageError
from nsrun.images.tls import tls_context


def test_without_certificates_the_system_is_trusted(tmp_path: Path) -> None:
    context = tls_context(tmp_path / "none", verify=True)
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


def test_without_verification_everybody_is(tmp_path: Path) -> None:
    context = tls_context(tmp_path, verify=False)
    assert context.verify_mode is ssl.CERT_NONE
    assert not context.check_hostname


@pytest.mark.parametrize("name", ["ca.crt", "client.cert"])
def test_certificates_that_are_none_are_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("nothing")
    with pytest.raises(ImageError, match=f'the certificates in "{tmp_path}" cannot be used'):
        tls_context(tmp_path, verify=True)
