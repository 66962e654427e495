"""Owned file descriptors: whoever holds an Fd closes it, exactly once."""

from __future__ import annotations

import os

TYPE_CHECKING = False  # `typing` is dear, and `nsrun exec` in a hurry
if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Fd"]


class Fd:
    """One file descriptor and the duty to close it. Invariant: ``number`` is ≥ 0 exactly while the Fd owns it."""

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number

    @classmethod
    def open(cls, path: str | os.PathLike[str], flags: int, mode: int = 0o600, *, dir_fd: int | None = None) -> Fd:
        """``os.open`` with O_CLOEXEC. Raises OSError."""
        return cls(os.open(path, flags | os.O_CLOEXEC, mode, dir_fd=dir_fd))

    def fileno(self) -> int:
        if self.number < 0:
            raise ValueError("the file descriptor is closed")
        return self.number

    def detach(self) -> int:
        """Hands the number over to the caller, who closes it from now on."""
        number, self.number = self.fileno(), -1
        return number

    def close(self) -> None:
        """Closes it; closing twice is harmless."""
        if self.number >= 0:
            number, self.number = self.number, -1
            os.close(number)

    def __enter__(self) -> Fd:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Fd({self.number})"
