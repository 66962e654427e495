"""Addresses: which is next, and files that hold what was given out."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsrun.errors import NetworkError
from nsrun.model.container import Protocol
from nsrun.model.hostports import HostPort
from nsrun.network.guests import Guest, GuestBook
from nsrun.network.ipam import Lease, LeaseBook, decode_lease, encode_lease, next_address
from nsrun.support.layout import PodName

TINY = IPv4Network("10.0.0.0/29")  # .2 to .6 are for pods
A = PodName(namespace="default", name="a")
PORT = HostPort(protocol=Protocol.UDP, host_ip=IPv4Address("192.0.2.1"), host_port=53, container_port=5353)


def address(last: int) -> IPv4Address:
    return IPv4Address(f"10.0.0.{last}")


def book(path: Path) -> LeaseBook:
    return LeaseBook(path / "leases", TINY, last=path / "last-address", guests=GuestBook(path / "guests"))


@pytest.mark.parametrize(
    ("taken", "last", "expected"),
    [
        ([], None, 2),
        ([], 2, 3),
        ([], 6, 2),
        ([3, 4], 2, 5),
        ([5, 6], 4, 2),
        ([2, 3, 4, 5, 6], 4, None),
        ([2, 3, 4, 5], None, 6),
        ([0, 1, 7], 6, 2),
    ],
)
def test_next_address(taken: list[int], last: int | None, expected: int | None) -> None:
    found = next_address(TINY, frozenset(map(address, taken)), address(last) if last is not None else None)
    assert found == (address(expected) if expected is not None else None)


@given(st.sets(st.integers(0, 7)), st.integers(0, 7))
def test_an_address_is_found_exactly_when_one_is_free(taken: set[int], last: int) -> None:
    found = next_address(TINY, frozenset(map(address, taken)), address(last))
    free = {n for n in range(2, 7) if n not in taken}
    assert (found is None) == (not free)
    assert found is None or found in map(address, free)


def test_a_lease_survives_being_written() -> None:
    for ports in ((), (PORT,), (PORT, HostPort(protocol=Protocol.TCP, host_ip=None, host_port=1, container_port=2))):
        lease = Lease(address=address(2), uid="u", name=A, ports=ports)
        assert decode_lease(address(2), encode_lease(lease)) == lease


@pytest.mark.parametrize(
    "content", [b"", b"uid", b"[]", b"{}", b'{"uid": "u", "namespace": "n", "name": "n", "ports": 1}', b"\xff"]
)
def test_what_is_no_lease(content: bytes) -> None:
    with pytest.raises(ValueError):
        decode_lease(address(2), content)


def test_the_same_pod_gets_the_same_address(tmp_path: Path) -> None:
    leases = book(tmp_path)
    first, new = leases.acquire("u", A, ())
    assert (first.address, new) == (address(2), True)
    assert leases.acquire("u", A, ()) == book(tmp_path).acquire("u", A, ()) == (first, False)
    assert leases.find("u") == first
    assert leases.find("other") is None


def test_addresses_go_round_also_over_a_restart(tmp_path: Path) -> None:
    given_out = []
    for n in range(7):
        leases = book(tmp_path)
        given_out.append(leases.acquire(f"u{n}", A, ())[0].address)
        leases.release(f"u{n}")
    assert given_out == list(map(address, (2, 3, 4, 5, 6, 2, 3)))


def test_when_all_are_taken(tmp_path: Path) -> None:
    leases = book(tmp_path)
    for n in range(5):
        leases.acquire(f"u{n}", A, ())
    with pytest.raises(NetworkError, match=r'for pod "default/a": all 5 of 10.0.0.0/29 are taken') as caught:
        leases.acquire("one too many", A, ())
    assert caught.value.hint == "choose a larger range with --pod-cidr"
    leases.release("u3")
    assert leases.acquire("u5", A, ())[0].address == address(5)


def test_a_host_port_belongs_to_one_pod(tmp_path: Path) -> None:
    leases = book(tmp_path)
    leases.acquire("u", A, (PORT,))
    with pytest.raises(NetworkError, match=r'host port 192.0.2.1:53/UDP for pod "default/b": pod "default/a" has it'):
        leases.acquire("v", PodName(namespace="default", name="b"), (PORT,))
    assert [lease.uid for lease in leases.all()] == ["u"]


def test_what_a_crash_or_a_stranger_left_is_cleared(tmp_path: Path) -> None:
    leases = book(tmp_path)
    lease, _ = leases.acquire("u", A, ())
    for name in (".10.0.0.3.0badcafe", "10.0.0.4", "not an address"):
        (tmp_path / "leases" / name).write_bytes(b"half")
    assert leases.all() == (lease,)
    leases.clear_debris()
    assert [path.name for path in (tmp_path / "leases").iterdir()] == ["10.0.0.2"]


def test_a_file_of_a_stranger_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "leases").mkdir()
    (tmp_path / "leases" / "10.0.0.2").write_bytes(b"mine")
    assert book(tmp_path).acquire("u", A, ())[0].address == address(3)
    assert (tmp_path / "leases" / "10.0.0.2").read_bytes() == b"mine"


def test_the_last_address_may_be_lost(tmp_path: Path) -> None:
    for text in ("nonsense", "192.0.2.1"):
        leases = book(tmp_path)
        (tmp_path / "last-address").write_text(text)
        assert leases.acquire("u", A, ())[0].address == address(2)
        leases.release("u")


def test_many_threads_and_books_never_share_an_address(tmp_path: Path) -> None:
    wide = IPv4Network("10.0.0.0/24")

    def lease(n: int) -> IPv4Address:
        guests = GuestBook(tmp_path / "guests")
        leases = LeaseBook(tmp_path / "leases", wide, last=tmp_path / "last", guests=guests)
        return leases.acquire(f"u{n}", A, ())[0].address

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(lease, range(60)))) == 60


def test_the_book_goes_when_it_is_empty(tmp_path: Path) -> None:
    network = tmp_path / "network"
    guests = GuestBook(network / "guests")
    leases = LeaseBook(network / "leases", TINY, last=network / "last", guests=guests)
    leases.acquire("u", A, ())
    leases.release("u")
    leases.remove()
    leases.remove()
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "leases").write_text("a file")
    with pytest.raises(NetworkError, match='cannot lease an address for pod "default/a": file exists'):
        book(tmp_path).acquire("u", A, ())


def test_a_guest_of_the_host_is_found_again(tmp_path: Path) -> None:
    leases = book(tmp_path)
    guest = Guest(uid="g", name=A, ports=(PORT,))
    assert leases.admit(guest)
    assert not book(tmp_path).admit(guest)
    guests = GuestBook(tmp_path / "guests")
    assert guests.all() == (guest,)
    guests.release("g")
    guests.release("g")
    assert guests.all() == ()
    assert leases.admit(guest)


def test_guests_and_tenants_do_not_share_host_ports(tmp_path: Path) -> None:
    leases, b = book(tmp_path), PodName(namespace="default", name="b")
    leases.admit(Guest(uid="g", name=A, ports=(PORT,)))
    with pytest.raises(NetworkError, match=r'host port 192.0.2.1:53/UDP for pod "default/b": pod "default/a" has it'):
        leases.acquire("v", b, (PORT,))
    with pytest.raises(NetworkError, match='pod "default/a" has it'):
        leases.admit(Guest(uid="h", name=b, ports=(PORT,)))
    GuestBook(tmp_path / "guests").release("g")
    leases.acquire("v", b, (PORT,))
    with pytest.raises(NetworkError, match='pod "default/b" has it'):
        leases.admit(Guest(uid="g", name=A, ports=(PORT,)))


def test_what_is_no_guest_is_not_believed(tmp_path: Path) -> None:
    guests = GuestBook(tmp_path / "guests")
    assert guests.all() == ()
    (tmp_path / "guests").mkdir()
    for name, text in {"a": "", "b": "[]", "c": '{"namespace": "n", "name": "p", "ports": 7}', ".d": "{}"}.items():
        (tmp_path / "guests" / name).write_text(text)
    assert guests.all() == ()
    guests.clear_debris()
    assert not (tmp_path / "guests" / ".d").exists()


def test_a_book_of_guests_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "guests").write_text("a file")
    with pytest.raises(NetworkError, match='cannot take host ports for pod "default/a": not a directory'):
        book(tmp_path).admit(Guest(uid="g", name=A))
