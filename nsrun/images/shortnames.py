"""Names without a registry, ``nginx``: containers-registries.conf(5), "Short-Name Aliasing".

An alias decides alone. Else every registry of ``unqualified-search-registries`` may be meant, in that order; with
``enforcing``, several are one too many to pull from. Where neither is configured a short name is Docker's:
``docker.io/library/nginx``. Nobody is asked here, neither a registry nor a person.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeVar

from nsrun.errors import ImageError
from nsrun.images.reference import Reference, is_short_name, parse_reference
from nsrun.images.wording import printable

__all__ = ["ShortNameMode", "ShortNames", "bare_name", "first_of"]

T = TypeVar("T")


class ShortNameMode(StrEnum):
    """What to do about a short name that several registries may have (``short-name-mode``)."""

    ENFORCING = "enforcing"
    PERMISSIVE = "permissive"
    DISABLED = "disabled"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShortNames:
    """``registries``: where unqualified names are looked for. ``aliases``: full names, without tag, by short name."""

    registries: tuple[str, ...] = ()
    mode: ShortNameMode = ShortNameMode.PERMISSIVE
    aliases: Mapping[str, str] = field(default_factory=dict)

    def meanings(self, text: str) -> tuple[Reference, ...]:
        """What ``text`` may mean, in order; at least one. What is here already counts under any of them.

        Raises ImageError (InvalidImageName).
        """
        docker = parse_reference(text)
        if not is_short_name(text):
            return (docker,)
        name = bare_name(text)
        alias = self.aliases.get(name)
        if alias is not None:
            return (parse_reference(alias + text[len(name) :]),)
        found = tuple(parse_reference(f"{registry}/{text}") for registry in self.registries)
        return tuple(dict.fromkeys(found)) or (docker,)

    def to_pull(self, text: str) -> tuple[Reference, ...]:
        """Where ``text`` is pulled from when nobody can be asked what was meant, in order.

        Raises ImageError: InvalidImageName, or that ``enforcing`` forbids to guess.
        """
        meanings = self.meanings(text)
        if len(meanings) > 1 and self.mode is ShortNameMode.ENFORCING:
            places = " or ".join(reference.host for reference in meanings)
            raise ImageError(
                f'cannot pull image "{printable(text)}": it may be on {places}, and short-name-mode is enforcing',
                hint=f'write its full name ("{meanings[0]}"), or an alias for it in registries.conf',
            )
        return meanings

    def to_choose(self, text: str) -> tuple[Reference, ...]:
        """What to ask a person to choose from before a pull; empty when there is nothing to ask.

        Raises ImageError (InvalidImageName).
        """
        meanings = self.meanings(text)
        return meanings if len(meanings) > 1 and self.mode is not ShortNameMode.DISABLED else ()


def bare_name(text: str) -> str:
    """A short name without tag and digest: ``a/b:1@sha256:…`` → ``a/b``. It has no port, so any colon begins a tag."""
    return text.partition("@")[0].partition(":")[0]


async def first_of(text: str, meanings: Sequence[Reference], ask: Callable[[Reference], Awaitable[T]]) -> T:
    """The answer for the first meaning that has one. Raises ImageError with what was said about each of them."""
    if len(meanings) == 1:
        return await ask(meanings[0])
    failures: list[ImageError] = []
    for reference in meanings:
        try:
            return await ask(reference)
        except ImageError as error:
            failures.append(error)
    causes = "; ".join(failure.message.removeprefix("cannot pull image ") for failure in failures)
    hints = [failure.hint for failure in failures if failure.hint is not None]
    raise ImageError(
        f'cannot pull image "{printable(text)}" from any of its registries: {causes}',
        reason=failures[0].reason,
        hint=hints[0] if hints else None,
    )
