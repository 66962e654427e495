"""Which hosts to ask for an image: containers-registries.conf(5), version 2.

Read: ``[[registry]]`` with prefix, location, insecure, blocked, mirror-by-digest-only, and ``[[registry.mirror]]`` with
location, insecure, pull-from-mirror. Short names are Docker's here (``nginx`` is ``docker.io/library/nginx``), so
``unqualified-search-registries``, ``aliases`` and ``short-name-mode`` say nothing to us.

Files: the one given by flag; or $CONTAINERS_REGISTRIES_CONF; or /etc/containers/registries.conf. Then
``<file>.d/*.conf`` in order of their names, each replacing tables of the same prefix. No file at all: every registry by
its own name, by HTTPS.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import cast

from nsrun.errors import ImageError, SettingsError
from nsrun.images.reference import Reference, is_registry_host, is_repository_path

__all__ = ["DEFAULT_PATH", "Endpoint", "Mirror", "MirrorUse", "Registries", "Registry", "load_registries"]

DEFAULT_PATH = Path("/etc/containers/registries.conf")
_ENVIRONMENT = "CONTAINERS_REGISTRIES_CONF"


class MirrorUse(StrEnum):
    """What a mirror is asked for (``pull-from-mirror``)."""

    ALL = "all"
    DIGEST_ONLY = "digest-only"
    TAG_ONLY = "tag-only"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One place that may have an image. ``insecure``: plain HTTP and unverified TLS are allowed."""

    host: str
    repository: str
    insecure: bool = False

    def __str__(self) -> str:
        return f"{self.host}/{self.repository}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirror:
    """A ``[[registry.mirror]]`` table."""

    location: str
    insecure: bool = False
    use: MirrorUse = MirrorUse.ALL


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """A ``[[registry]]`` table. ``location`` empty (only with a ``*.`` prefix): names are used as they are."""

    prefix: str
    location: str
    insecure: bool = False
    blocked: bool = False
    mirrors: tuple[Mirror, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Registries:
    """All tables."""

    tables: tuple[Registry, ...] = ()

    def endpoints(self, reference: Reference) -> tuple[Endpoint, ...]:
        """Where to ask for ``reference``, in order: mirrors first, the registry itself last.

        Raises ImageError when the registry is blocked.
        """
        table = self.table(str(reference))
        if table is None:
            return (Endpoint(host=reference.host, repository=reference.path),)
        if table.blocked:
            raise ImageError(
                f'cannot pull image "{reference}": registries.conf blocks "{table.prefix}"',
                hint="remove blocked = true from its [[registry]] table to allow it",
            )
        unwanted = MirrorUse.TAG_ONLY if reference.digest else MirrorUse.DIGEST_ONLY
        places = [(m.location, m.insecure) for m in table.mirrors if m.use is not unwanted]
        places.append((table.location, table.insecure))
        return tuple(_endpoint(reference, table.prefix, location, insecure) for location, insecure in places)

    def table(self, name: str) -> Registry | None:
        """The table whose prefix covers most of ``name``."""
        ranked = [(_covered(name, t.prefix), len(t.prefix), t) for t in self.tables]
        matching = [entry for entry in ranked if entry[0] > 0]
        return max(matching, key=lambda entry: entry[:2])[2] if matching else None


def load_registries(path: Path | None, environment: Mapping[str, str]) -> Registries:
    """Reads the configuration: ``path`` or, when it is None, the system's own. Raises SettingsError."""
    named = environment.get(_ENVIRONMENT)
    main = path or (Path(named) if named else DEFAULT_PATH)
    if not main.exists():
        if path is not None or named:
            raise SettingsError(f'cannot read "{main}": no such file')
        return Registries()
    tables: dict[str, Registry] = {}
    for file in [main, *sorted(main.with_name(main.name + ".d").glob("*.conf"))]:
        tables.update((table.prefix, table) for table in _read(file))
    return Registries(tables=tuple(tables.values()))


def _covered(name: str, prefix: str) -> int:
    """How much of ``name`` the prefix covers, 0 when it does not match: containers-registries.conf(5), "prefix"."""
    if prefix.startswith("*."):
        host = name.partition("/")[0]
        return len(host) if host.endswith(prefix[1:]) and len(host) >= len(prefix) else 0
    if not name.startswith(prefix):
        return 0
    following = name[len(prefix) : len(prefix) + 1]
    # Behind a bare host, a colon begins a port: "example.com" says nothing about "example.com:5000".
    separators = "/:@" if "/" in prefix else "/@"
    return len(prefix) if not following or following in separators else 0


def _endpoint(reference: Reference, prefix: str, location: str, insecure: bool) -> Endpoint:
    name = str(reference)
    if location:
        head = len(name.partition("/")[0]) if prefix.startswith("*.") else len(prefix)
        name = location + name[head:]
    host, _, rest = name.partition("/")
    repository = rest.partition("@")[0]
    repository = repository.rpartition(":")[0] if ":" in repository else repository
    if not is_registry_host(host) or not is_repository_path(repository):
        raise ImageError(
            f'cannot pull image "{reference}": registries.conf sends it to "{name}", which is not an image name'
        )
    return Endpoint(host=host, repository=repository, insecure=insecure)


def _read(path: Path) -> list[Registry]:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f'cannot read "{path}": {(error.strerror or str(error)).lower()}') from None
    except ValueError as error:
        raise SettingsError(f'cannot read "{path}": {error}') from None
    if "registries" in document:
        raise SettingsError(
            f'cannot read "{path}": it is written in version 1 of the format ([registries.search] and the like)',
            hint="write it in version 2, with [[registry]] tables: see containers-registries.conf(5)",
        )
    return [_Table(path, f"registry[{i}]", t).registry() for i, t in enumerate(_tables(path, "registry", document))]


def _tables(path: Path, where: str, document: Mapping[str, object]) -> Sequence[Mapping[str, object]]:
    tables = document.get(where.rpartition(".")[2], [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise SettingsError(f'cannot read "{path}": {where}: must be tables, written [[{where}]]')
    return cast("list[dict[str, object]]", tables)


class _Table:
    """One TOML table, with its name for errors."""

    def __init__(self, path: Path, name: str, values: Mapping[str, object]) -> None:
        self._path = path
        self._name = name
        self._values = values

    def registry(self) -> Registry:
        prefix, location = self._place("prefix"), self._place("location")
        if not prefix and not location:
            raise self._wrong("location", "must be given, or prefix")
        if not location and not prefix.startswith("*."):
            location = prefix
        by_digest = self._flag("mirror-by-digest-only")
        tables = _tables(self._path, "registry.mirror", self._values)
        mirrors = [_Table(self._path, f"{self._name}.mirror[{i}]", t).mirror(by_digest) for i, t in enumerate(tables)]
        return Registry(
            prefix=prefix or location,
            location=location,
            insecure=self._flag("insecure"),
            blocked=self._flag("blocked"),
            mirrors=tuple(mirrors),
        )

    def mirror(self, by_digest: bool) -> Mirror:
        location = self._place("location")
        if not location or location.startswith("*."):
            raise self._wrong("location", "must be host[:port][/path]")
        use = self._text("pull-from-mirror")
        if use and by_digest:
            raise self._wrong("pull-from-mirror", "must not be given beside mirror-by-digest-only = true")
        if use not in ("", *MirrorUse):
            raise self._wrong("pull-from-mirror", f'must be all, digest-only or tag-only, not "{use}"')
        default = MirrorUse.DIGEST_ONLY if by_digest else MirrorUse.ALL
        return Mirror(location=location, insecure=self._flag("insecure"), use=MirrorUse(use) if use else default)

    def _place(self, key: str) -> str:
        """``host[:port][/path]``, for a prefix also ``*.host`` and with tag or digest; empty when it is not given."""
        text = self._text(key).rstrip("/")
        if "://" in text:
            raise self._wrong(key, f'must be host[:port][/path] without a scheme, not "{text}"')
        host, slash, rest = text.partition("/")
        wildcard = key == "prefix" and host.startswith("*.") and not slash
        if text and not is_registry_host(host[2:] if wildcard else host):
            raise self._wrong(key, f'must be host[:port][/path], not "{text}"')
        if slash and not is_repository_path(rest.partition("@")[0].partition(":")[0]):
            raise self._wrong(key, f'must be host[:port][/path], not "{text}"')
        return text

    def _text(self, key: str) -> str:
        value = self._values.get(key, "")
        if not isinstance(value, str):
            raise self._wrong(key, "must be text")
        return value

    def _flag(self, key: str) -> bool:
        value = self._values.get(key, False)
        if not isinstance(value, bool):
            raise self._wrong(key, "must be true or false")
        return value

    def _wrong(self, key: str, text: str) -> SettingsError:
        return SettingsError(f'cannot read "{self._path}": {self._name}.{key}: {text}')
