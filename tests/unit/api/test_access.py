"""Who may call what."""

from __future__ import annotations

import pytest

from nsrun.api.access import Access, Caller, Listener, refusal


def port(host: str, origin: str | None = None) -> Caller:
    return Caller(listener=Listener.READ_ONLY_PORT, host=host, origin=origin)


def sock(uid: int | None) -> Caller:
    return Caller(listener=Listener.SOCKET, uid=uid)


@pytest.mark.parametrize(
    ("caller", "access", "allowed"),
    [
        (port("127.0.0.1:10255"), Access.READ, True),
        (port("localhost:10255"), Access.READ, True),
        (port("[::1]:10255"), Access.READ, True),
        (port("node-1:10255"), Access.READ, True),
        (port("evil.example:10255"), Access.READ, False),
        (port(""), Access.READ, False),
        (port("localhost", "https://evil.example"), Access.READ, False),
        (port("localhost"), Access.CONTROL, False),
        (sock(0), Access.CONTROL, True),
        (sock(1000), Access.CONTROL, True),
        (sock(1001), Access.READ, False),
        (sock(None), Access.READ, False),
    ],
)
def test_refusal(caller: Caller, access: Access, *, allowed: bool) -> None:
    assert (refusal(caller, access, owner=1000, host_names=("node-1",)) is None) is allowed
