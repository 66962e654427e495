"""Which registries to ask for an image: containers-registries.conf(5) and containers-registries.conf.d(5).

The files, each overriding those before it:

* one that is named, by flag or $CONTAINERS_REGISTRIES_CONF: it, then ``<file>.d/*.conf``;
* else $XDG_CONFIG_HOME/containers/registries.conf when there is one: it, then ``registries.conf.d/*.conf`` beside it;
* else /etc/containers/registries.conf, its ``registries.conf.d/*.conf``, and the user's ``registries.conf.d/*.conf``.

Last come the aliases that answers to questions have made (``short-name-aliases.conf``). No file at all: every registry
by its own name, by HTTPS, and short names are Docker's.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from nsrun.errors import ImageError, SettingsError
from nsrun.images.reference import Reference, is_registry_host, is_repository_path
from nsrun.images.registriesfile import MirrorUse, RegistriesFile, Registry, read_registries_file
from nsrun.images.shortnames import ShortNames
from nsrun.support.atomic import write_atomic

__all__ = ["CONFIGURATION", "Endpoint", "Registries", "load_registries", "record_alias"]

CONFIGURATION = Path("/etc/containers")
_CACHE = "/var/cache"
_MAIN, _ENVIRONMENT = "registries.conf", "CONTAINERS_REGISTRIES_CONF"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One place that may have an image. ``insecure``: plain HTTP and unverified TLS are allowed."""

    host: str
    repository: str
    insecure: bool = False

    def __str__(self) -> str:
        return f"{self.host}/{self.repository}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Registries:
    """All that the files say together.

    ``credential_helpers`` None: nothing was said about them. ``verify``: whether TLS is verified, whatever tables say
    about it; None: as they say. ``recorded``: where aliases are kept that answers to questions make, None for nowhere.
    """

    tables: tuple[Registry, ...] = ()
    names: ShortNames = field(default_factory=ShortNames)
    credential_helpers: tuple[str, ...] | None = None
    verify: bool | None = None
    recorded: Path | None = None

    def endpoints(self, reference: Reference) -> tuple[Endpoint, ...]:
        """Where to ask for ``reference``, in order: mirrors first, the registry itself last.

        Raises ImageError when the registry is blocked.
        """
        found = self._configured(reference)
        return found if self.verify is None else tuple(replace(e, insecure=not self.verify) for e in found)

    def _configured(self, reference: Reference) -> tuple[Endpoint, ...]:
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


def load_registries(
    path: Path | None,
    environment: Mapping[str, str],
    *,
    etc: Path = CONFIGURATION,
    uid: int | None = None,
) -> Registries:
    """Reads the configuration: ``path`` or, when it is None, the system's own.

    Raises SettingsError with every problem of every file, a line each.
    """
    named = environment.get(_ENVIRONMENT)
    chosen = path or (Path(named) if named else None)
    recorded = _recorded(environment, everybodys=_keeps_for_everybody() if uid is None else uid == 0)
    files = list(_named_files(chosen) if chosen is not None else _own_files(environment, etc))
    if recorded is not None:
        files.append(recorded)
    said: list[RegistriesFile] = []
    problems: list[SettingsError] = []
    for file in files:
        try:
            said.append(read_registries_file(file))
        except FileNotFoundError:
            if file == chosen:
                problems.append(SettingsError(f'cannot read "{file}": no such file'))
        except SettingsError as error:
            problems.append(error)
    if problems:
        hints = [problem.hint for problem in problems if problem.hint is not None]
        raise SettingsError("\n".join(p.message for p in problems), hint=hints[0] if hints else None)
    return replace(_merged(said), recorded=recorded)


def record_alias(path: Path, name: str, reference: Reference) -> None:
    """Remembers that ``name`` means ``reference`` from now on, as other programs do. Blocks; raises SettingsError."""
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        try:
            aliases = dict(read_registries_file(path).aliases)
        except FileNotFoundError:
            aliases = {}
        aliases[name] = reference.name
        lines = [f'  "{short}" = "{full}"\n' for short, full in sorted(aliases.items())]
        write_atomic(path, f"[aliases]\n{''.join(lines)}".encode(), mode=0o644)
    except OSError as error:
        raise SettingsError(f'cannot write "{path}": {(error.strerror or str(error)).lower()}') from None


def _named_files(main: Path) -> Iterator[Path]:
    yield main
    yield from _drop_ins(main)


def _own_files(environment: Mapping[str, str], etc: Path) -> Iterator[Path]:
    home = environment.get("HOME")
    config = environment.get("XDG_CONFIG_HOME") or (f"{home}/.config" if home else None)
    own = Path(config, "containers", _MAIN) if config else None
    if own is None or not own.exists():
        yield from _named_files(etc / _MAIN)
        if own is not None:
            yield from _drop_ins(own)
    else:
        yield from _named_files(own)


def _drop_ins(main: Path) -> list[Path]:
    return sorted(file for file in main.with_name(main.name + ".d").glob("*.conf") if not file.is_dir())


def _keeps_for_everybody() -> bool:
    """Whether this is who writes /var/cache. Root of a user namespace of his own has a cache at home."""
    return os.geteuid() == 0 and (os.access(_CACHE, os.W_OK) or not os.path.isdir(_CACHE))


def _recorded(environment: Mapping[str, str], *, everybodys: bool) -> Path | None:
    home = environment.get("HOME")
    cache = environment.get("XDG_CACHE_HOME") or (f"{home}/.cache" if home else None)
    if everybodys:
        cache = _CACHE
    return Path(cache, "containers", "short-name-aliases.conf") if cache else None


def _merged(files: list[RegistriesFile]) -> Registries:
    """Fields that are given replace those before; tables do by prefix, aliases by name."""
    tables: dict[str, Registry] = {}
    merged = RegistriesFile()
    for file in files:
        tables.update((table.prefix, table) for table in file.tables)
        merged = RegistriesFile(
            search=merged.search if file.search is None else file.search,
            mode=file.mode or merged.mode,
            aliases={**merged.aliases, **file.aliases},
            credential_helpers=(
                merged.credential_helpers if file.credential_helpers is None else file.credential_helpers
            ),
        )
    names = ShortNames(
        registries=merged.search or (),
        aliases={name: target for name, target in merged.aliases.items() if target},
    )
    return Registries(
        tables=tuple(tables.values()),
        names=names if merged.mode is None else replace(names, mode=merged.mode),
        credential_helpers=merged.credential_helpers,
    )


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
