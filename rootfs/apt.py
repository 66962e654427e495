"""Packages of this distribution: which ones, and their files. All comes through apt, which checks signatures."""

from __future__ import annotations

import hashlib
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["AptError", "Package", "PackageCache", "PackageIndex"]


class AptError(Exception):
    """A package cannot be found or fetched."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """The version of a package that apt would install. ``depends``: alternatives of each dependency."""

    name: str
    version: str
    architecture: str
    section: str
    sha256: str
    depends: tuple[tuple[str, ...], ...]

    @property
    def file_name(self) -> str:
        """As ``apt-get download`` names it."""
        return f"{self.name}_{self.version.replace(':', '%3a')}_{self.architecture}.deb"

    @property
    def is_library(self) -> bool:
        """Sections are ``libs`` or, outside the main component, ``universe/libs``."""
        return self.section.rpartition("/")[2] == "libs"


class PackageIndex:
    """What ``apt-cache`` knows, asked once for each name."""

    def __init__(self) -> None:
        self._known: dict[str, Package | None] = {}

    def closure(self, names: Iterable[str], follow: Iterable[str], without: Iterable[str] = ()) -> tuple[Package, ...]:
        """The named packages, and what they depend on as far as it is a library or in ``follow``, but for those of
        ``without``. Sorted by name."""
        followed, unwanted, taken, todo = frozenset(follow), frozenset(without), dict[str, Package](), list(names)
        self._look_up(todo)
        while todo:
            wanted = [self._get(name) for name in todo]
            taken.update((package.name, package) for package in wanted)
            self._look_up(name for package in wanted for alternatives in package.depends for name in alternatives)
            found = (self._choose(alternatives) for package in wanted for alternatives in package.depends)
            todo = sorted(
                {p.name for p in found if p is not None and (p.is_library or p.name in followed)}
                - taken.keys()
                - unwanted
            )
        return tuple(taken[name] for name in sorted(taken))

    def _get(self, name: str) -> Package:
        package = self._known.get(name)
        if package is None:
            raise AptError(f'cannot find package "{name}": apt does not know it (apt-get update may help)')
        return package

    def _choose(self, alternatives: tuple[str, ...]) -> Package | None:
        return next((p for p in map(self._known.get, alternatives) if p is not None), None)

    def _look_up(self, names: Iterable[str]) -> None:
        unknown = sorted(set(names) - self._known.keys())
        if not unknown:
            return
        self._known.update(dict.fromkeys(unknown))
        # The exit status tells nothing: names that are only provided by others are no failure here.
        command = ["apt-cache", "show", "--no-all-versions", *unknown]
        shown = subprocess.run(command, capture_output=True, text=True, check=False, env=C_LOCALE)
        self._known.update((p.name, p) for p in map(parse_record, re.split(r"\n\n+", shown.stdout.strip())) if p)


C_LOCALE: Mapping[str, str] = {
    "LC_ALL": "C",
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    "DEBIAN_FRONTEND": "noninteractive",
}


def parse_record(text: str) -> Package | None:
    """One paragraph of ``apt-cache show``. None when it is no package that can be fetched."""
    fields = dict(re.findall(r"^([A-Za-z0-9-]+): *(.*)$", text, re.MULTILINE))
    if "SHA256" not in fields:
        return None
    relations = ", ".join(filter(None, (fields.get("Pre-Depends", ""), fields.get("Depends", ""))))
    return Package(
        name=fields["Package"],
        version=fields["Version"],
        architecture=fields["Architecture"],
        section=fields.get("Section", ""),
        sha256=fields["SHA256"],
        depends=tuple(_parse_relations(relations)),
    )


def _parse_relations(text: str) -> Iterator[tuple[str, ...]]:
    """``a (>= 1), b | c:any`` → ``("a",)``, ``("b", "c")``."""
    for relation in filter(None, (part.strip() for part in text.split(","))):
        yield tuple(re.split(r"[\s:(\[]", alternative.strip(), maxsplit=1)[0] for alternative in relation.split("|"))


class PackageCache:
    """A directory of package files, each verified against the checksum in apt's signed index."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def missing(self, packages: Iterable[Package]) -> list[Package]:
        return [package for package in packages if not self._is_good(package)]

    def fetch(self, packages: Iterable[Package]) -> None:
        """Has apt download them. Raises AptError."""
        wanted = list(packages)
        self._directory.mkdir(parents=True, exist_ok=True)
        # apt would drop to the user _apt, who cannot write here.
        command = [
            "apt-get",
            "download",
            "-qq",
            "-o",
            "APT::Sandbox::User=root",
            *(f"{p.name}={p.version}" for p in wanted),
        ]
        done = subprocess.run(command, cwd=self._directory, capture_output=True, text=True, check=False, env=C_LOCALE)
        if done.returncode != 0:
            raise AptError(f"cannot download packages: {done.stderr.strip()} (apt-get update may help)")
        for package in self.missing(wanted):
            raise AptError(f'cannot use package "{package.name}": {package.file_name} is not what the index says')

    def path(self, package: Package) -> Path:
        return self._directory / package.file_name

    def _is_good(self, package: Package) -> bool:
        try:
            content = self.path(package).read_bytes()
        except FileNotFoundError:
            return False
        return hashlib.sha256(content).hexdigest() == package.sha256
