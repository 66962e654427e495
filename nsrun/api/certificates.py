"""The certificate of the secure port: one that was given, or one of nsrun's own, which signs itself.

openssl(1) makes it: a library that can would stay in the daemon's memory for good, for one signature a year."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import re
import ssl
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from nsrun.errors import ApiError, describe_errno
from nsrun.support.atomic import write_atomic
from nsrun.support.clock import Clock

__all__ = ["KeyPair", "keep_current", "own_key_pair", "server_context"]

logger = logging.getLogger(__name__)

LIFETIME_DAYS = 365
RENEWED_BEFORE = 30 * 86400.0
LOOK_AGAIN = 3600.0
_MAX_OUTPUT = 1 << 16
_PEM = re.compile(r"-----BEGIN ([A-Z ]+)-----\n.*?-----END \1-----\n", re.DOTALL)
_DNS_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")

_REQUEST = """\
[req]
distinguished_name = name
x509_extensions = extensions
prompt = no
[name]
CN = nsrun
[extensions]
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, digitalSignature, keyCertSign
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
subjectAltName = {names}
"""
"""It is its own CA: who trusts the file trusts this server, and nothing else that anybody could sign with it but for
``pathlen``, and for the key's being nobody else's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPair:
    """PEM files. ``names``: DNS names and addresses that a pair of nsrun's own is for; none: it was given."""

    certificate: Path
    key: Path
    names: frozenset[str] = frozenset()


def own_key_pair(directory: Path, names: Collection[str]) -> KeyPair:
    """Where nsrun's own is, and for which of the names; those that are none are left out."""
    good = frozenset(name for name in (given.lower() for given in names) if _kind(name))
    return KeyPair(certificate=directory / "nsrun.crt", key=directory / "nsrun.key", names=good)


def _kind(name: str) -> str | None:
    try:
        return f"IP:{ipaddress.ip_address(name)}"
    except ValueError:
        return f"DNS:{name}" if _DNS_NAME.fullmatch(name) else None


async def server_context(pair: KeyPair, client_ca: Path | None, *, now: float) -> ssl.SSLContext:
    """TLS 1.2 or newer, with a pair that is made first when it is nsrun's own and not there, or not good any more.
    ``client_ca``: clients may, and need not, show a certificate that one of these signed. Raises ApiError."""
    if pair.names and not await asyncio.to_thread(_is_good, pair, now):
        await _make(pair)
    return await asyncio.to_thread(_context, pair, client_ca)


async def keep_current(context: ssl.SSLContext, pair: KeyPair, clock: Clock) -> None:
    """For ever: who connects sees what the files hold now, and nsrun's own is renewed in time. What cannot be read, or
    made, is told and tried again."""
    seen = await asyncio.to_thread(_stamps, pair)
    while True:
        await clock.sleep(LOOK_AGAIN)
        try:
            if pair.names and not await asyncio.to_thread(_is_good, pair, clock.now()):
                await _make(pair)
            stamps = await asyncio.to_thread(_stamps, pair)
            if stamps != seen:
                await asyncio.to_thread(_load, context, pair)
                seen = stamps
        except ApiError as error:
            logger.error("The API goes on with the certificate it has: %s", error)


def _context(pair: KeyPair, client_ca: Path | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_alpn_protocols(["http/1.1"])
    _load(context, pair)
    if client_ca is not None:
        try:
            context.load_verify_locations(cafile=client_ca)
        except OSError as error:
            raise ApiError(f'cannot use "{client_ca}": {_cause(error)}', hint="certificates in PEM") from error
        context.verify_mode = ssl.CERT_OPTIONAL
    return context


def _load(context: ssl.SSLContext, pair: KeyPair) -> None:
    try:
        context.load_cert_chain(pair.certificate, pair.key, password=_no_password)
    except (OSError, ValueError) as error:
        raise ApiError(
            f'cannot use "{pair.certificate}" with "{pair.key}": {_cause(error)}',
            hint="a certificate and its key, both in PEM, the key not encrypted",
        ) from error


def _no_password() -> str:
    """Else the library asks at the terminal."""
    raise ValueError("the key is encrypted")


def _cause(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "not PEM").replace("_", " ").lower()
    return describe_errno(error.errno or 0) if isinstance(error, OSError) else str(error)


def _stamps(pair: KeyPair) -> tuple[tuple[int, int, int], ...]:
    found = []
    for path in (pair.certificate, pair.key):
        try:
            status = os.stat(path)
        except OSError:
            continue
        found.append((status.st_ino, status.st_size, status.st_mtime_ns))
    return tuple(found)


def _is_good(pair: KeyPair, now: float) -> bool:
    """Whether a pair of nsrun's own is there, belongs together, is for the names, and stays valid for a while."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(pair.certificate, pair.key, password=_no_password)
        context.load_verify_locations(cafile=pair.certificate)
    except (OSError, ValueError):
        return False
    found = context.get_ca_certs()
    if len(found) != 1:
        return False
    # The module's types do not know the shape that its documentation gives.
    names: object = found[0].get("subjectAltName", ())
    assert isinstance(names, tuple)
    expiry = ssl.cert_time_to_seconds(str(found[0]["notAfter"]))
    begin = ssl.cert_time_to_seconds(str(found[0]["notBefore"]))
    return {_plain(name) for _, name in names} == pair.names and begin <= now < expiry - RENEWED_BEFORE


def _plain(name: str) -> str:
    try:
        return str(ipaddress.ip_address(name.strip()))
    except ValueError:
        return name


async def _make(pair: KeyPair) -> None:
    """Raises ApiError."""
    names = ",".join(sorted(kind for name in pair.names if (kind := _kind(name)) is not None))
    words = f"req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -batch -sha256 -days {LIFETIME_DAYS}"
    files = ("-config", "/dev/stdin", "-keyout", "/dev/stdout", "-out", "/dev/stdout")
    try:
        program = await asyncio.create_subprocess_exec(
            "openssl", *words.split(), *files, stdin=PIPE, stdout=PIPE, stderr=DEVNULL
        )
        output, _ = await program.communicate(_REQUEST.format(names=names).encode())
    except OSError as error:
        raise ApiError(
            f"cannot make a certificate for the API: openssl: {describe_errno(error.errno or 0)}",
            hint="install openssl, or give --tls-cert-file and --tls-private-key-file; --port 0 does without",
        ) from error
    found = {match[1]: match[0] for match in _PEM.finditer(output[:_MAX_OUTPUT].decode(errors="replace"))}
    if program.returncode != 0 or found.keys() != {"PRIVATE KEY", "CERTIFICATE"}:
        raise ApiError(f"cannot make a certificate for the API: openssl ended with {program.returncode}")
    await asyncio.to_thread(_write, pair, found["CERTIFICATE"], found["PRIVATE KEY"])


def _write(pair: KeyPair, certificate: str, key: str) -> None:
    try:
        pair.key.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomic(pair.key, key.encode(), mode=0o600)
        write_atomic(pair.certificate, certificate.encode(), mode=0o644)
    except OSError as error:
        raise ApiError(f'cannot write "{pair.key.parent}": {describe_errno(error.errno or 0)}') from error
