"""The words of answers: Go's, where the kubelet passes on what Go says."""

from __future__ import annotations

import os

__all__ = ["LIFECYCLE_AGENT", "PROBE_AGENT", "ProbeFailure", "errno_text", "join_host_port", "quoted", "shortened"]

PROBE_AGENT = "kube-probe/1.36"
LIFECYCLE_AGENT = "kube-lifecycle/1.36"

LONGEST = 1024
"""Characters of a server's own words that go into a message."""


class ProbeFailure(Exception):
    """The pod did not answer as it should. The text is the probe's message."""


def shortened(text: str) -> str:
    """At most ``LONGEST`` characters."""
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def quoted(data: bytes) -> str:
    """What a server said, short, without anything that a terminal would act on: Go's ``%q``."""
    text = data[:LONGEST].decode(errors="surrogateescape")
    return f'"{shortened("".join(map(_shown, text)))}"'


def _shown(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    if "\udc80" <= character <= "\udcff":  # a byte that is not UTF-8
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character if character.isprintable() else character.encode("unicode_escape").decode()


def errno_text(error: OSError) -> str:
    """``connection refused``."""
    text = os.strerror(error.errno) if error.errno else str(error)
    return text[:1].lower() + text[1:]


def join_host_port(host: str, port: int) -> str:
    """``10.0.0.1:80``, ``[::1]:80``."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
