"""The client of the daemon's socket, against servers that answer as they like."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nsrun.api.client import ApiClient
from nsrun.api.exchange import exchange
from nsrun.errors import ApiError

Serve = Callable[[bytes], Path]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Listens, answers one request with the bytes given, and hangs up."""
    with contextlib.ExitStack() as stack:

        def start(answer: bytes) -> Path:
            path = tmp_path / "nsrun.sock"
            listener = stack.enter_context(socket.socket(socket.AF_UNIX))
            listener.bind(str(path))
            listener.listen()

            def run() -> None:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(1 << 16)
                    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # who reads has heard enough
                        connection.sendall(answer)

            thread = threading.Thread(target=run)
            thread.start()
            stack.callback(thread.join)
            return path

        yield start


def test_pods_are_listed(serve: Serve) -> None:
    path = serve(b'HTTP/1.0 200 OK\r\nContent-Length: 24\r\nX: y\r\n\r\n{"items":[{"kind":"P"}]}')
    assert ApiClient(path).pods() == [{"kind": "P"}]


def test_no_pods_are_null(serve: Serve) -> None:
    assert ApiClient(serve(b'HTTP/1.1 200 OK\r\n\r\n{"items":null}')).pods() == []


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"HTTP/1.0 403 Forbidden\r\n\r\nnot for you\n", "cannot get /pods: not for you"),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 99\r\n\r\n{}", "it broke off after 2 of 99 bytes"),
        (b"", "it broke off in the head of its answer"),
        (b"220 mail.example ESMTP\r\n\r\n", "it is not HTTP"),
        (b"HTTP/1.0 200 OK\r\n" + b"a: b\r\n" * 200, "it has too many headers"),
        (b"HTTP/1.0 200 OK\r\n" + b"a" * 100_000, "it broke off in the head of its answer"),
    ],
)
def test_what_cannot_be_understood_is_one_sentence(serve: Serve, answer: bytes, told: str) -> None:
    with pytest.raises(ApiError, match=told):
        ApiClient(serve(answer)).pods()


def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(ApiError, match="no nsrun is running here"):
        ApiClient(tmp_path / "nsrun.sock").pods()
    assert not ApiClient(tmp_path / "nsrun.sock").running()


def test_one_who_never_answers(tmp_path: Path) -> None:
    path = tmp_path / "nsrun.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        with pytest.raises(ApiError, match=r"no answer within 0\.05 s"):
            ApiClient(path, timeout=0.05).pods()


def test_one_who_does_not_even_accept(tmp_path: Path) -> None:
    """unix(7): connect waits while the queue is full."""
    path = tmp_path / "nsrun.sock"
    with socket.socket(socket.AF_UNIX) as listener, contextlib.ExitStack() as held:
        listener.bind(str(path))
        listener.listen(0)
        held.enter_context(socket.socket(socket.AF_UNIX)).connect(str(path))
        with pytest.raises(ApiError, match=r"no answer within 0\.05 s"):
            ApiClient(path, timeout=0.05).pods()


def test_a_directory_deeper_than_the_name_of_a_socket(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    with pytest.raises(ApiError, match="no nsrun is running here"):
        ApiClient(deep / "nsrun.sock").pods()


def test_an_answer_without_end_is_read_as_it_comes(serve: Serve) -> None:
    path = serve(b"HTTP/1.0 200 OK\r\n\r\none\ntwo\n")
    with exchange(path, "POST", "/nsrun/x", body=b"{}") as answer:
        assert answer.status == 200
        assert list(answer.body) == [b"one\n", b"two\n"]
