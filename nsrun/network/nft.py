"""The one doorway to libnftables, the library behind the program ``nft``.

In this process it changes a rule in a tenth of a millisecond; starting ``nft`` takes four. Commands are nft's own text.
"""

from __future__ import annotations

import ctypes
import threading

from nsrun.errors import NetworkError

__all__ = ["Nftables", "RulesError"]

_LIBRARY = "libnftables.so.1"
_OUTPUT_JSON = 1 << 4  # NFT_CTX_OUTPUT_JSON


class RulesError(NetworkError):
    """The kernel or the library refused a set of commands; none of them was carried out."""


class Nftables:
    """Runs commands in this process. The first one loads the library, and raises NetworkError when there is none."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # a context serves one thread at a time
        self._opened: _Context | None = None

    def run(self, commands: str) -> None:
        """Carries out all of the commands, or none: one transaction. Raises RulesError."""
        with self._lock:
            self._context().run(commands, flags=0)

    def query(self, command: str) -> str:
        """The answer to a ``list`` command, as JSON (libnftables-json(5)). Raises RulesError."""
        with self._lock:
            return self._context().run(command, flags=_OUTPUT_JSON)

    def _context(self) -> _Context:
        if self._opened is None:
            self._opened = _Context()
        return self._opened


class _Context:
    """An nft_ctx. Its netlink socket lives in the network namespace of the thread that made it."""

    def __init__(self) -> None:
        try:
            self._library = _load()
        except OSError as error:
            raise NetworkError(f'cannot load "{_LIBRARY}": {error}', hint="install the package nftables") from error
        self._pointer = ctypes.c_void_p(self._library.nft_ctx_new(0))
        self._library.nft_ctx_buffer_error(self._pointer)
        self._library.nft_ctx_buffer_output(self._pointer)

    def run(self, commands: str, *, flags: int) -> str:
        """What the library answers. Raises RulesError."""
        self._library.nft_ctx_output_set_flags(self._pointer, flags)
        result = self._library.nft_run_cmd_from_buffer(self._pointer, commands.encode())
        # Reading a buffer empties it: both are read, whatever the result.
        answer, complaint = (
            getattr(self._library, name)(self._pointer).decode("utf-8", "replace")
            for name in ("nft_ctx_get_output_buffer", "nft_ctx_get_error_buffer")
        )
        if result != 0:
            raise RulesError(f"cannot change the packet filter: {_first_line(complaint)}")
        return str(answer)

    def __del__(self) -> None:
        if hasattr(self, "_pointer"):
            self._library.nft_ctx_free(self._pointer)


def _load() -> ctypes.CDLL:
    library = ctypes.CDLL(_LIBRARY)
    library.nft_ctx_new.restype = ctypes.c_void_p
    library.nft_ctx_new.argtypes = [ctypes.c_uint32]
    library.nft_ctx_free.argtypes = [ctypes.c_void_p]
    library.nft_ctx_free.restype = None
    for name in ("nft_ctx_buffer_error", "nft_ctx_buffer_output"):
        getattr(library, name).argtypes = [ctypes.c_void_p]
    library.nft_ctx_output_set_flags.argtypes = [ctypes.c_void_p, ctypes.c_uint]
    library.nft_ctx_output_set_flags.restype = None
    for name in ("nft_ctx_get_error_buffer", "nft_ctx_get_output_buffer"):
        getattr(library, name).argtypes = [ctypes.c_void_p]
        getattr(library, name).restype = ctypes.c_char_p
    library.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    return library


def _first_line(text: str) -> str:
    """``<cmdline>:1:5-9: Error: Could not process rule: No such file or directory`` → the part after ``Error:``."""
    line = text.strip().split("\n", 1)[0]
    reason = line.split("Error: ", 1)[-1].split("process rule: ", 1)[-1] or "no reason given"
    return reason[:1].lower() + reason[1:]
