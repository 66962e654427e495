"""Which images may come in: containers-policy.json(5).

The file: one that is named by flag; or $XDG_CONFIG_HOME/containers/policy.json; or /etc/containers/policy.json. Without
any, every image is accepted (skopeo and podman refuse to work then). It is asked before anything is fetched or loaded;
what is here already stays. Parsing is as strict as that page demands: what is unknown, given twice or invalid makes the
whole file mean that nothing is accepted.

nsrun verifies no signatures: where one is demanded, the image is refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import TypeVar, cast

from nsrun.errors import ImageError, SettingsError, describe_errno
from nsrun.images.reference import Reference
from nsrun.images.wording import printable

__all__ = ["CONFIGURATION", "Demand", "Policy", "Transport", "load_policy"]

CONFIGURATION = Path("/etc/containers")
_MAIN = "policy.json"
_LIMIT = 16 << 20
_REASON = "SignatureValidationFailed"  # the kubelet's word


class Demand(StrEnum):
    """What a policy asks of an image (``type`` of a requirement)."""

    NOTHING = "insecureAcceptAnything"
    REJECT = "reject"
    SIGNED_BY = "signedBy"
    SIGNED_BASE_LAYER = "signedBaseLayer"
    SIGSTORE_SIGNED = "sigstoreSigned"


class Transport(StrEnum):
    """The ways in that nsrun has."""

    DOCKER = "docker"
    DOCKER_ARCHIVE = "docker-archive"
    OCI = "oci"
    OCI_ARCHIVE = "oci-archive"


Demands = tuple[Demand, ...]
T = TypeVar("T")

_PATH_SCOPES = frozenset({"dir", Transport.OCI, Transport.OCI_ARCHIVE})
_SIMPLE = frozenset({Demand.NOTHING, Demand.REJECT})


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """``scopes``: demands by transport and scope. ``broken``: why nothing is accepted, empty when the file is good."""

    default: Demands = (Demand.NOTHING,)
    scopes: Mapping[str, Mapping[str, Demands]] = field(default_factory=dict)
    broken: str = ""

    def check_pull(self, reference: Reference) -> None:
        """Raises ImageError when the image may not be pulled: by the name it has, whichever mirror sends it."""
        self._check(f'pull image "{reference}"', Transport.DOCKER, _docker_scopes(reference))

    def check_load(self, transport: Transport, path: Path, name: str) -> None:
        """Raises ImageError when the image ``name`` may not be loaded from ``path``, which has no links in it."""
        scopes = [""] if transport is Transport.DOCKER_ARCHIVE else [f"{path}:{name}", *_parents(path), ""]
        self._check(f'load image "{printable(name)}" from "{path}"', transport, scopes)

    def _check(self, what: str, transport: Transport, scopes: Iterable[str]) -> None:
        if self.broken:
            raise ImageError(
                f"cannot {what}: {self.broken}", reason=_REASON, hint="until it is mended no image comes in"
            )
        table = self.scopes.get(transport, {})
        demands = next((table[scope] for scope in scopes if scope in table), self.default)
        if Demand.REJECT in demands:
            raise ImageError(f"cannot {what}: policy.json rejects it", reason=_REASON)
        if any(demand not in _SIMPLE for demand in demands):
            raise ImageError(
                f"cannot {what}: policy.json demands a signature, and nsrun cannot verify one",
                reason=_REASON,
                hint="copy it with skopeo, which can, into nsrun's store, or demand none of it",
            )


def load_policy(path: Path | None, environment: Mapping[str, str], *, etc: Path = CONFIGURATION) -> Policy:
    """Reads the policy: ``path`` or, when it is None, the system's own. Raises SettingsError when ``path`` is missing.

    A file that makes no sense gives a policy that accepts nothing.
    """
    home = environment.get("HOME")
    config = environment.get("XDG_CONFIG_HOME") or (f"{home}/.config" if home else None)
    own = [Path(config, "containers", _MAIN)] if config else []
    for file in [path] if path is not None else [*own, etc / _MAIN]:
        try:
            return _decode(_read(file))
        except FileNotFoundError:
            if path is not None:
                raise SettingsError(f'cannot read "{path}": no such file') from None
        except OSError as error:
            return Policy(broken=f'cannot read "{file}": {describe_errno(error.errno or 0)}')
        except _Invalid as error:
            return Policy(broken=f'"{file}" is not a policy: {error}')
    return Policy()


class _Invalid(Exception):
    """The file makes no sense."""


def _read(path: Path) -> Mapping[str, object]:
    with path.open("rb") as file:
        data = file.read(_LIMIT + 1)
    try:
        document: object = json.loads(data, object_pairs_hook=_unique) if len(data) <= _LIMIT else None
    except RecursionError:
        document = None
    except UnicodeDecodeError:
        raise _Invalid("it is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise _Invalid(f"line {error.lineno}, column {error.colno}: it is not JSON") from None
    return _object(document, "the file")


def _unique(pairs: list[tuple[str, T]]) -> dict[str, T]:
    found: dict[str, T] = {}
    for key, value in pairs:
        if key in found:
            raise _Invalid(f'"{printable(key)}" is given twice')
        found[key] = value
    return found


def _object(value: object, where: str) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise _Invalid(f"{where} must be an object")
    return cast("dict[str, object]", value)


def _decode(document: Mapping[str, object]) -> Policy:
    unknown = [key for key in document if key not in ("default", "transports")]
    if unknown:
        raise _Invalid(f'"{printable(unknown[0])}" is unknown')
    if "default" not in document:
        raise _Invalid("default must be given")
    default = _demands(document["default"], "default")
    scopes: dict[str, dict[str, Demands]] = {}
    for transport, table in _object(document.get("transports", {}), "transports").items():
        where = f"transports.{printable(transport)}"
        scopes[transport] = _unique(
            [
                (_scope(transport, scope, where), _demands(demands, f'{where}."{printable(scope)}"'))
                for scope, demands in _object(table, where).items()
            ]
        )
    return Policy(default=default, scopes=scopes)


def _scope(transport: str, scope: str, where: str) -> str:
    """Paths must be the real ones, and hosts are in lower case here; else they would silently mean nothing."""
    problem = ""
    if transport == Transport.DOCKER_ARCHIVE and scope:
        problem = 'the only scope of a docker-archive is ""'
    elif transport in _PATH_SCOPES and scope == "/":
        problem = 'write "" instead'
    elif transport in _PATH_SCOPES and scope and (scope != str(PurePosixPath(scope)) or not scope.startswith("/")):
        problem = "it must be an absolute path without . and doubled or trailing slashes"
    elif transport in _PATH_SCOPES and ".." in scope.split("/"):
        problem = "it must be an absolute path without .."
    if problem:
        raise _Invalid(f'{where}: the scope "{printable(scope)}" makes no sense: {problem}')
    host, slash, rest = scope.partition("/")
    return f"{host.lower()}{slash}{rest}" if transport == Transport.DOCKER else scope


def _demands(value: object, where: str) -> Demands:
    if not isinstance(value, list) or not value:
        raise _Invalid(f"{where} must be a list of at least one requirement")
    return tuple(_demand(item, f"{where}[{position}]") for position, item in enumerate(value))


def _demand(value: object, where: str) -> Demand:
    """What signatures have to look like is not looked at: none is ever accepted."""
    requirement = _object(value, where)
    kind = requirement.get("type")
    if not isinstance(kind, str) or kind not in tuple(Demand):
        raise _Invalid(f"{where}.type must be one of {', '.join(Demand)}")
    unknown = [key for key in requirement if key != "type"]
    if kind in _SIMPLE and unknown:
        raise _Invalid(f'{where}: "{printable(unknown[0])}" is unknown')
    return Demand(kind)


def _docker_scopes(reference: Reference) -> Iterator[str]:
    """The most specific first: the image, its repository, what that is in, the host, its domains with ``*.``, all."""
    yield str(reference)
    name = reference.name
    yield name
    while "/" in name:
        name = name.rpartition("/")[0]
        yield name
    host = name.partition(":")[0] if not name.startswith("[") else ""
    while "." in host:
        host = host.partition(".")[2]
        yield f"*.{host}"
    yield ""


def _parents(path: Path) -> Iterator[str]:
    """The path and what it is in, but for the root."""
    for place in (path, *path.parents):
        if str(place) != "/":
            yield str(place)
