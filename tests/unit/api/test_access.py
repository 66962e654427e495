"""Who may call what."""

from __future__ import annotations

import pytest

from nsrun.api.access import DEBUG_PATHS, GRANTS, Access, Caller, Listener, refusal, suspicion
from nsrun.api.users import ANONYMOUS, User

OWNER = 1000
MASTER = User(name="admin", groups=frozenset({"system:masters"}))
MONITOR = User(name="prometheus", groups=frozenset({"system:monitoring", "other"}))
STRANGER = User(name="stranger", groups=frozenset({"developers"}))


def refused(
    caller: Caller, access: Access | None, *, method: str = "GET", path: str = "/pods"
) -> tuple[int, str] | None:
    answer = refusal(caller, access, owner=OWNER, method=method, path=path)
    return (answer.status, answer.body.decode()) if answer is not None else None


@pytest.mark.parametrize(
    ("host", "origin", "suspect"),
    [
        ("127.0.0.1:10255", None, False),
        ("localhost:10255", None, False),
        ("[::1]:10255", None, False),
        ("node-1:10255", None, False),
        ("Node-1", None, False),
        ("evil.example:10255", None, True),
        ("", None, True),
        ("localhost.evil.example", None, True),
        ("localhost", "https://evil.example", True),
        ("localhost", "null", True),
        ("localhost", "", True),
    ],
)
@pytest.mark.parametrize("listener", list(Listener))
def test_browsers_are_kept_out_everywhere(listener: Listener, host: str, origin: str | None, *, suspect: bool) -> None:
    answer = suspicion(Caller(listener=listener, host=host, origin=origin), host_names=("node-1",))
    # No name leads a browser to the socket: there it is the Origin alone.
    assert (answer is not None) is (suspect and (listener is not Listener.SOCKET or origin is not None))
    assert answer is None or answer.status == 403


@pytest.mark.parametrize("listener", list(Listener))
def test_what_no_browser_sends_unasked_may_have_an_origin_on_the_secure_port(listener: Listener) -> None:
    caller = Caller(listener=listener, host="localhost", origin="https://api.example", deliberate=True)
    assert (suspicion(caller, host_names=()) is None) is (listener is Listener.SECURE_PORT)
    named = Caller(listener=listener, host="evil.example", deliberate=True)
    assert (suspicion(named, host_names=()) is None) is (listener is Listener.SOCKET)


@pytest.mark.parametrize(
    ("uid", "allowed"),
    [(0, True), (OWNER, True), (1001, False), (None, False)],
    ids=["root", "owner", "other", "nobody"],
)
@pytest.mark.parametrize("access", [*Access, None])
def test_the_socket_is_for_its_owner(uid: int | None, access: Access | None, *, allowed: bool) -> None:
    assert (refused(Caller(listener=Listener.SOCKET, uid=uid), access) is None) is allowed


@pytest.mark.parametrize(
    ("access", "status"),
    [
        (Access.READ, None),
        (Access.LOGS, 405),
        (Access.EXEC, 405),
        (Access.CONFIG, 405),
        (Access.CONTROL, 403),
        (None, None),
    ],
)
def test_the_read_only_port_reads(access: Access | None, status: int | None) -> None:
    answer = refused(Caller(listener=Listener.READ_ONLY_PORT), access)
    assert (answer[0] if answer else None) == status
    assert status != 405 or answer == (405, "Debug endpoints are disabled.\n")


@pytest.mark.parametrize("path", DEBUG_PATHS)
def test_the_read_only_port_knows_where_it_is_silent(path: str) -> None:
    assert refused(Caller(listener=Listener.READ_ONLY_PORT), None, path=f"{path}x/y") == (
        405,
        "Debug endpoints are disabled.\n",
    )


@pytest.mark.parametrize("access", [*Access, None])
def test_nobody_may_do_nothing(access: Access | None) -> None:
    assert refused(Caller(listener=Listener.SECURE_PORT), access) == (401, "Unauthorized")


@pytest.mark.parametrize(
    ("user", "granted"),
    [
        (MASTER, {Access.READ, Access.LOGS, Access.EXEC, Access.CONFIG, None}),
        (MONITOR, {Access.READ, None}),
        (ANONYMOUS, {Access.READ, None}),
        (STRANGER, set()),
    ],
    ids=lambda value: value.name if isinstance(value, User) else "",
)
def test_groups_decide(user: User, granted: set[Access | None]) -> None:
    caller = Caller(listener=Listener.SECURE_PORT, user=user)
    assert {access for access in [*Access, None] if refused(caller, access) is None} == granted


def test_control_is_granted_to_no_group() -> None:
    assert all(Access.CONTROL not in granted for granted in GRANTS.values())


@pytest.mark.parametrize(
    ("method", "path", "words"),
    [
        ("GET", "/pods", "verb=get, resource=nodes, subresource(s)=[pods proxy]"),
        ("POST", "/exec/ns/p/c", "verb=create, resource=nodes, subresource(s)=[proxy]"),
        ("GET", "/exec/ns/p/c", "verb=get, resource=nodes, subresource(s)=[proxy]"),
        ("GET", "/logs/syslog", "verb=get, resource=nodes, subresource(s)=[log]"),
        ("GET", "/metrics/cadvisor", "verb=get, resource=nodes, subresource(s)=[metrics]"),
        ("PURGE", "/nothing", "verb=, resource=nodes, subresource(s)=[proxy]"),
    ],
)
def test_a_refusal_has_the_kubelets_words(method: str, path: str, words: str) -> None:
    caller = Caller(listener=Listener.SECURE_PORT, user=STRANGER)
    assert refused(caller, Access.EXEC, method=method, path=path) == (403, f"Forbidden (user=stranger, {words})\n")
