"""A broken rule, and the rules that hold of many fields."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from nsrun.model.wording import Path, quoted, render_path

__all__ = ["Violation", "absolute", "between", "faults", "is_address", "relative", "unique", "unique_at"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """A broken rule. ``on_key``: the fault is in the key that ends the path, not in its value."""

    path: Path
    text: str
    on_key: bool = False


def faults(path: Path, text: str | None, *, on_key: bool = False) -> Iterator[Violation]:
    """A violation, where there is something to say."""
    if text is not None:
        yield Violation(path=path, text=text, on_key=on_key)


def between(path: Path, value: int | None, least: int, most: int) -> Iterator[Violation]:
    """None stands for what is not said."""
    if value is not None and not least <= value <= most:
        yield Violation(path=path, text=f"must be between {least} and {most}, not {value}")


def unique(values: Sequence[str], path: Path, key: str) -> Iterator[Violation]:
    """``values``: of the items of the list at ``path``, each at ``key``."""
    yield from unique_at([((*path, index), value) for index, value in enumerate(values)], key)


def unique_at(items: Iterable[tuple[Path, str]], key: str) -> Iterator[Violation]:
    """Empty values stand for missing ones, about which enough is said."""
    seen: dict[str, Path] = {}
    for path, value in items:
        if value and value in seen:
            text = f"must be unique: {render_path(seen[value])} has {quoted(value)} already"
            yield Violation(path=(*path, key), text=text)
        seen.setdefault(value, path)


def absolute(path: str) -> str | None:
    if not path.startswith("/"):
        return f"must be an absolute path, not {quoted(path)}"
    return f'must not hold "..", as {quoted(path)} does' if ".." in path.split("/") else None


def relative(path: str) -> str | None:
    if path.startswith("/"):
        return f"must be a relative path, not {quoted(path)}"
    return f'must not hold "..", as {quoted(path)} does' if ".." in path.split("/") else None


def is_address(text: str) -> bool:
    """An IP address without a zone."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in str(address)
