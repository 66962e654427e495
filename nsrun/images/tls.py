"""Whom we trust to be a registry: containers-certs.d(5)."""

from __future__ import annotations

import ssl
from pathlib import Path

from nsrun.errors import ImageError

__all__ = ["tls_context"]


def tls_context(directory: Path, *, verify: bool) -> ssl.SSLContext:
    """Trusts the system's authorities (or $SSL_CERT_FILE) and those in ``directory``, one host's part of certs.d.

    ``verify=False`` takes any certificate. Blocks; raises ImageError.
    """
    context = ssl.create_default_context()
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    try:
        for authority in sorted(directory.glob("*.crt")):
            context.load_verify_locations(authority)
        for certificate in sorted(directory.glob("*.cert")):
            context.load_cert_chain(certificate, certificate.with_suffix(".key"))
    except (OSError, ssl.SSLError) as error:
        raise ImageError(f'the certificates in "{directory}" cannot be used: {error}') from None
    return context
