"""A gRPC health service over plain HTTP/2, on an event loop, or as a program: ``grpc_server.py PORT STATUS-FILE``.

The program answers what the file says at that moment: SERVING, NOT_SERVING, …; anything else hangs.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, StreamEnded

__all__ = ["Answer", "health"]

Headers = list[tuple[str, str]]
Answer = tuple[Headers, bytes | None, Headers]
"""Headers, a message (framed) or None, trailers; no trailers: the headers are all."""

STATUSES = {"UNKNOWN": 0, "SERVING": 1, "NOT_SERVING": 2, "SERVICE_UNKNOWN": 3}
HEAD: Headers = [(":status", "200"), ("content-type", "application/grpc")]


def status_answer(status: str) -> Answer:
    """A plain answer."""
    message = bytes([8, STATUSES[status]]) if STATUSES[status] else b""
    return HEAD, b"\0" + len(message).to_bytes(4, "big") + message, [("grpc-status", "0")]


def refusal(code: int, message: str) -> Answer:
    """An error, as gRPC servers give it: headers alone."""
    return [*HEAD, ("grpc-status", str(code)), ("grpc-message", message)], None, []


def health(
    answer: Callable[[dict[str, str], bytes], Answer | None],
) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], object]:
    """What to do with a connection. ``answer``: from the request's headers and its framed message; None hangs."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        connection.initiate_connection()
        writer.write(connection.data_to_send())
        headers: dict[int, dict[str, str]] = {}
        bodies: dict[int, bytes] = {}
        while data := await reader.read(65536):
            for event in connection.receive_data(data):
                if isinstance(event, RequestReceived):
                    headers[event.stream_id] = {str(n): str(v) for n, v in event.headers or ()}
                elif isinstance(event, DataReceived):
                    bodies[event.stream_id] = bodies.get(event.stream_id, b"") + (event.data or b"")
                elif isinstance(event, StreamEnded):
                    id = event.stream_id
                    _send(connection, id, answer(headers[id], bodies.get(id, b"")))
            writer.write(connection.data_to_send())
            await writer.drain()

    return serve


def _send(connection: H2Connection, id: int, answer: Answer | None) -> None:
    if answer is None:
        return
    head, message, trailers = answer
    connection.send_headers(id, head, end_stream=not trailers)
    if message is not None:
        connection.send_data(id, message)
    if trailers:
        connection.send_headers(id, trailers, end_stream=True)


async def main(port: int, file: Path) -> None:
    """The program."""

    def answer(headers: dict[str, str], body: bytes) -> Answer | None:
        status = file.read_text().strip()
        return status_answer(status) if status in STATUSES else None

    server = await asyncio.start_server(health(answer), "", port)  # type: ignore[arg-type]
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), Path(sys.argv[2])))
