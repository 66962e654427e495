"""One file of containers-registries.conf(5), version 2, as values. Every problem in it is found before it is refused.

As in the other programs that read these files, what is not known is passed over.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TypeVar, cast

from nsrun.errors import ImageError, SettingsError, describe_errno
from nsrun.images.reference import is_registry_host, is_repository_path, is_short_name, parse_reference
from nsrun.images.shortnames import ShortNameMode, bare_name

__all__ = ["Mirror", "MirrorUse", "RegistriesFile", "Registry", "read_registries_file"]

C = TypeVar("C", bound=StrEnum)

_POSITION = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")
_HEADER = re.compile(r"[ \t]*\[\[[ \t]*registry[ \t]*\]\]")
_NUMBER = re.compile(r"\[\d+\]")
_PLACE = "must be host[:port][/path]"


class MirrorUse(StrEnum):
    """What a mirror is asked for (``pull-from-mirror``)."""

    ALL = "all"
    DIGEST_ONLY = "digest-only"
    TAG_ONLY = "tag-only"


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
class RegistriesFile:
    """What the file says. None: nothing, so that what an earlier file said counts.

    ``aliases``: full names by short name, an empty one takes an earlier file's alias back.
    """

    tables: tuple[Registry, ...] = ()
    search: tuple[str, ...] | None = None
    mode: ShortNameMode | None = None
    aliases: Mapping[str, str] = field(default_factory=dict)
    credential_helpers: tuple[str, ...] | None = None


def read_registries_file(path: Path) -> RegistriesFile:
    """Raises SettingsError, a line for each problem; FileNotFoundError when there is no file."""
    try:
        text = path.read_text(encoding="utf-8")
        document = tomllib.loads(text)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise SettingsError(f'cannot read "{path}": {describe_errno(error.errno or 0)}') from None
    except UnicodeDecodeError:
        raise SettingsError(f'cannot read "{path}": it is not UTF-8') from None
    except tomllib.TOMLDecodeError as error:
        raise _no_toml(path, str(error)) from None
    if "registries" in document:
        raise SettingsError(
            f'cannot read "{path}": it is written in version 1 of the format ([registries.search] and the like)',
            hint="write it in version 2, with [[registry]] tables: see containers-registries.conf(5)",
        )
    problems: list[str] = []
    found = _file(_Table("", document, problems), _header_lines(text))
    if problems:
        raise SettingsError("\n".join(f'cannot read "{path}": {problem}' for problem in problems))
    return found


def _no_toml(path: Path, said: str) -> SettingsError:
    position = _POSITION.search(said)
    cause = said[: position.start()] if position else said
    where = f":{position[1]}:{position[2]}" if position and position[1] else ""
    tail = "" if where or not position else " at its end"
    return SettingsError(f'cannot read "{path}{where}": {cause[:1].lower()}{cause[1:]}{tail}')


def _header_lines(text: str) -> list[int]:
    """The lines of ``[[registry]]``: the parser tells none."""
    return [number for number, line in enumerate(text.splitlines(), 1) if _HEADER.match(line)]


def _file(document: _Table, lines: Sequence[int]) -> RegistriesFile:
    given = document.tables("registry")
    known = lines if len(lines) == len(given) else ()
    for position, line in enumerate(known):
        given[position].line = line
    tables = tuple(_registry(table) for table in given)
    search = document.texts("unqualified-search-registries")
    for host in search or ():
        if not is_registry_host(host):
            document.wrong("unqualified-search-registries", f'must be host[:port], not "{host}"')
    return RegistriesFile(
        tables=tables,
        search=None if search is None else tuple(host.lower() for host in search),
        mode=document.choice("short-name-mode", ShortNameMode),
        aliases=_aliases(document),
        credential_helpers=document.texts("credential-helpers"),
    )


def _registry(table: _Table) -> Registry:
    prefix, location = _place(table, "prefix"), _place(table, "location")
    if prefix == location == "":
        table.wrong("location", "must be given, or prefix")
    prefix, location = prefix or "", location or ""
    if not location and not prefix.startswith("*."):
        location = prefix
    by_digest = table.flag("mirror-by-digest-only")
    mirrors = tuple(_mirror(mirror, by_digest=by_digest) for mirror in table.tables("mirror"))
    return Registry(
        prefix=prefix or location,
        location=location,
        insecure=table.flag("insecure"),
        blocked=table.flag("blocked"),
        mirrors=mirrors,
    )


def _mirror(table: _Table, *, by_digest: bool) -> Mirror:
    location = _place(table, "location")
    if location == "":
        table.wrong("location", _PLACE)
    use = table.choice("pull-from-mirror", MirrorUse)
    if use is not None and by_digest:
        table.wrong("pull-from-mirror", "must not be given beside mirror-by-digest-only = true")
    default = MirrorUse.DIGEST_ONLY if by_digest else MirrorUse.ALL
    return Mirror(location=location or "", insecure=table.flag("insecure"), use=use or default)


def _place(table: _Table, key: str) -> str | None:
    """``host[:port][/path]``, a prefix also ``*.host`` and with tag or digest; "" when not given, None when wrong."""
    text = table.text(key).rstrip("/")
    host, slash, rest = text.partition("/")
    wildcard = key == "prefix" and host.startswith("*.") and not slash
    if "://" in text:
        table.wrong(key, f'{_PLACE} without a scheme, not "{text}"')
        return None
    known = is_registry_host(host[2:] if wildcard else host)
    if text and not (known and (not slash or is_repository_path(rest.partition("@")[0].partition(":")[0]))):
        table.wrong(key, f'{_PLACE}, not "{text}"')
        return None
    return f"{host.lower()}{slash}{rest}"


def _aliases(document: _Table) -> dict[str, str]:
    table = document.table("aliases")
    aliases = {name: table.text(name) for name in table.keys}
    for name, target in aliases.items():
        if not is_short_name(name) or bare_name(name) != name or not _is_name(name):
            table.wrong(f'"{name}"', "must be a name without registry, tag and digest")
        if target and (is_short_name(target) or ":" in target.partition("/")[2] or not _is_name(target)):
            table.wrong(f'"{name}"', f'must lead to a full name without tag and digest, not "{target}"')
    return aliases


def _is_name(text: str) -> bool:
    try:
        return not parse_reference(text).digest
    except ImageError:
        return False


class _Table:
    """One TOML table: its values, those of the wrong type as if they were not there. ``name`` "": the whole file."""

    def __init__(self, name: str, values: Mapping[str, object], problems: list[str], line: int | None = None) -> None:
        self._name = name
        self._values = values
        self._problems = problems
        self.line = line

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(self._values)

    def wrong(self, key: str, text: str) -> None:
        where = f"line {self.line}: " if self.line is not None else ""
        self._problems.append(f"{where}{self._path(key)}: {text}")

    def text(self, key: str) -> str:
        value = self._values.get(key, "")
        if isinstance(value, str):
            return value
        self.wrong(key, "must be text")
        return ""

    def flag(self, key: str) -> bool:
        value = self._values.get(key, False)
        if isinstance(value, bool):
            return value
        self.wrong(key, "must be true or false")
        return False

    def texts(self, key: str) -> tuple[str, ...] | None:
        value = self._values.get(key)
        if value is None or (isinstance(value, list) and all(isinstance(item, str) for item in value)):
            return None if value is None else tuple(value)
        self.wrong(key, "must be a list of texts")
        return None

    def choice(self, key: str, choices: type[C]) -> C | None:
        text = self.text(key)
        if text in ("", *choices):
            return choices(text) if text else None
        first, *others = reversed(list(choices))
        self.wrong(key, f'must be {", ".join(reversed(others))} or {first}, not "{text}"')
        return None

    def table(self, key: str) -> _Table:
        value = self._values.get(key, {})
        if not isinstance(value, dict):
            self.wrong(key, f"must be a table, written [{self._path(key)}]")
            value = {}
        return _Table(self._path(key), cast("dict[str, object]", value), self._problems)

    def tables(self, key: str) -> list[_Table]:
        values = self._values.get(key, [])
        if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
            header = _NUMBER.sub("", self._path(key))  # [[registry.mirror]], not [[registry[0].mirror]]
            self.wrong(key, f"must be tables, written [[{header}]]")
            values = []
        named = [(f"{self._path(key)}[{i}]", value) for i, value in enumerate(values)]
        return [_Table(name, cast("dict[str, object]", value), self._problems, self.line) for name, value in named]

    def _path(self, key: str) -> str:
        return f"{self._name}.{key}" if self._name else key
