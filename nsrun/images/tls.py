"""Whom we trust to be a registry, and how we show who we are: containers-certs.d(5).

HOST[:PORT]/ca.crt           an authority, besides the system's
HOST[:PORT]/client.cert      a certificate of ours, and its key
HOST[:PORT]/client.key
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nsrun.errors import ImageError, describe_errno

__all__ = ["Certificates", "own_certificates", "tls_context"]

_SYSTEM = (Path("/etc/containers/certs.d"), Path("/etc/docker/certs.d"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificates:
    """Where they are. ``roots``: certs.d directories; the first that has one for a host counts. ``home``: that of every
    registry, instead, but of no other host that a registry sends us to."""

    roots: tuple[Path, ...] = ()
    home: Path | None = None

    def directory(self, authority: str, *, home: bool) -> Path | None:
        """The directory for ``host[:port]``, None when there is none. ``home``: it is a registry's own. Blocks."""
        if home and self.home is not None:
            return self.home
        return next((place for root in self.roots if (place := root / authority).is_dir()), None)


def own_certificates(environment: Mapping[str, str]) -> Certificates:
    """The user's, then the machine's."""
    home = environment.get("HOME")
    config = environment.get("XDG_CONFIG_HOME") or (f"{home}/.config" if home else None)
    own = (Path(config, "containers", "certs.d"),) if config else ()
    return Certificates(roots=(*own, *_SYSTEM))


def tls_context(directory: Path | None, *, verify: bool) -> ssl.SSLContext:
    """Trusts the system's authorities (or $SSL_CERT_FILE) and those in ``directory``, one host's part of certs.d.

    ``verify=False`` takes any certificate. Blocks; raises ImageError.
    """
    context = ssl.create_default_context()
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    for file in _files(directory):
        try:
            if file.suffix == ".crt":
                context.load_verify_locations(file)
            elif file.suffix == ".cert":
                context.load_cert_chain(file, _beside(file, ".key", "key"), password=_refuse)
            elif file.suffix == ".key":
                _beside(file, ".cert", "certificate")
        except ssl.SSLError as error:
            reason = (error.reason or "it is not PEM").lower().replace("_", " ")
            raise ImageError(f'the certificate "{file}" cannot be used: {reason}') from None
        except OSError as error:
            raise ImageError(f'the certificate "{file}" cannot be used: {describe_errno(error.errno or 0)}') from None
        except ValueError as error:
            raise ImageError(f'the certificate "{file}" cannot be used: {error}') from None
    return context


def _files(directory: Path | None) -> list[Path]:
    if directory is None:
        return []
    try:
        return sorted(directory.iterdir())
    except OSError as error:
        raise ImageError(
            f'the certificates in "{directory}" cannot be read: {describe_errno(error.errno or 0)}'
        ) from None


def _beside(file: Path, suffix: str, what: str) -> Path:
    """The other half of a pair. Raises ImageError when it is missing: half a pair is a mistake, not a choice."""
    other = file.with_suffix(suffix)
    if not other.exists():
        raise ImageError(f'"{file}" is half of a pair: its {what} "{other.name}" is missing')
    return other


def _refuse() -> str:
    """Instead of a question on the terminal."""
    raise ValueError("its key is encrypted")
