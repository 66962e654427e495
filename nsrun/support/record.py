"""What ``dataclasses`` gives a class of values, for where it may not be loaded: that takes ten milliseconds."""

from __future__ import annotations

__all__ = ["Record"]


class Record:
    """Equal to another of its class when all that is in ``__slots__`` is, and shown with it."""

    __slots__: tuple[str, ...] = ()

    def _values(self) -> tuple[object, ...]:
        return tuple(getattr(self, name) for name in self.__slots__)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Record) and type(other) is type(self) and other._values() == self._values()

    def __hash__(self) -> int:
        return hash(self._values())

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in zip(self.__slots__, self._values(), strict=True))
        return f"{type(self).__name__}({shown})"
