"""exec, attach and portForward as a kubelet serves them: over SPDY/3.1 and over WebSockets."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from nsrun.api.access import Access
from nsrun.api.connections import Upgrade, WebSocketUpgrade
from nsrun.api.places import Refused, running_container, told
from nsrun.api.requests import Request
from nsrun.api.responses import Answer, Response, json_response, text
from nsrun.api.routes import Route
from nsrun.api.streaming import portforward_streams, remotecommand_streams
from nsrun.api.streaming.portforward import Forwarder, parse_port
from nsrun.api.streaming.remotecommand import OpenSession
from nsrun.errors import NsrunError
from nsrun.supervisor.board import StatusBoard
from nsrun.supervisor.ports import Command, ContainerId, Network, Runtime, SessionRequest

__all__ = ["stream_routes"]

_SPDY = "SPDY/3.1"
_VERSION_HEADER = "X-Stream-Protocol-Version"
_MAX_OUTPUT = 1 << 20
_ONE_STREAM = "you must specify at least 1 of stdin, stdout, stderr"


def stream_routes(board: StatusBoard, *, runtime: Runtime, network: Network) -> tuple[Route, ...]:
    """As ``pkg/kubelet/server`` and ``cri/streaming`` have them; and POST of exec without an upgrade, which answers
    with the output, is nsrun's own."""

    async def run(request: Request) -> Answer:
        id, wanted = running_container(board, request), _session_request(request, attach=False)
        open_session = functools.partial(runtime.open_session, id)
        if not _upgrades(request) and request.method == "POST":
            return await _plain(runtime, id, wanted.command or ())
        return _remote_command(request, open_session, wanted)

    async def attach(request: Request) -> Answer:
        id, wanted = running_container(board, request), _session_request(request, attach=True)
        return _remote_command(request, functools.partial(runtime.open_session, id), wanted)

    async def forward(request: Request) -> Answer:
        return _port_forward(request, _forwarder(board, network, request))

    table = (
        ("/exec/{namespace}/{pod}/{container}", run),
        ("/exec/{namespace}/{pod}/{uid}/{container}", run),
        ("/attach/{namespace}/{pod}/{container}", attach),
        ("/attach/{namespace}/{pod}/{uid}/{container}", attach),
        ("/portForward/{namespace}/{pod}", forward),
        ("/portForward/{namespace}/{pod}/{uid}", forward),
    )
    return tuple(
        Route(method=method, path=path, access=Access.EXEC, handler=told(handler))
        for path, handler in table
        for method in ("GET", "POST")
    )


# --- what the request is about


def _forwarder(board: StatusBoard, network: Network, request: Request) -> Forwarder:
    """Raises Refused."""
    place = request.parameters
    found = board.pod(place["namespace"], place["pod"])
    if found is None:
        raise Refused(text("pod does not exist", status=404))
    pod, _ = found
    if place.get("uid", pod.uid) != pod.uid:
        raise Refused(text("pod not found", status=404))
    return Forwarder(
        connect=functools.partial(network.connect, pod.name), pod=f"{pod.name.name}_{pod.name.namespace}", uid=pod.uid
    )


def _session_request(request: Request, *, attach: bool) -> SessionRequest:
    """Only "1" means yes. Raises Refused."""
    stdin, stdout, stderr, terminal = (request.first(name) == "1" for name in ("input", "output", "error", "tty"))
    if not _upgrades(request):
        stdout = True
    if not (stdin or stdout or stderr):
        raise Refused(text(_ONE_STREAM, status=400))
    command = request.query.get("command", ())
    if not attach and not any(command):
        raise Refused(text("you must specify a command", status=400))
    return SessionRequest(
        command=None if attach else command,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr and not terminal,
        terminal=terminal,
    )


# --- what becomes of the connection


def _remote_command(request: Request, open_session: OpenSession, wanted: SessionRequest) -> Answer:
    if _is_websocket(request):
        return WebSocketUpgrade(
            protocols=remotecommand_streams.WEBSOCKET_PROTOCOLS,
            run=lambda socket: remotecommand_streams.over_websocket(socket, open_session, wanted),
        )
    protocol = _spdy_protocol(request, remotecommand_streams.SPDY_PROTOCOLS)
    return Upgrade(
        protocol=_SPDY,
        headers={_VERSION_HEADER: protocol},
        run=lambda connection: remotecommand_streams.over_spdy(connection, protocol, open_session, wanted),
    )


def _port_forward(request: Request, forwarder: Forwarder) -> Answer:
    if _is_websocket(request):
        return _port_forward_websocket(request, forwarder)
    protocol = _spdy_protocol(request, (portforward_streams.SPDY_PROTOCOL,))
    return Upgrade(
        protocol=_SPDY,
        headers={_VERSION_HEADER: protocol},
        run=lambda connection: portforward_streams.over_spdy(connection, forwarder),
    )


def _port_forward_websocket(request: Request, forwarder: Forwarder) -> Answer:
    offered = [name.strip() for name in request.headers.get("sec-websocket-protocol", "").split(",")]
    tunnel = portforward_streams.TUNNEL_PROTOCOL
    if tunnel in offered:
        return WebSocketUpgrade(
            protocols=(tunnel,), run=lambda socket: portforward_streams.over_tunnel(socket, forwarder)
        )
    ports = _ports(request)
    return WebSocketUpgrade(
        protocols=portforward_streams.WEBSOCKET_PROTOCOLS,
        run=lambda socket: portforward_streams.over_websocket(socket, forwarder, ports),
    )


def _ports(request: Request) -> Sequence[int]:
    """``port=80&port=81`` or ``port=80,81``. Raises Refused."""
    given = request.query.get("port", ())
    if not given:
        raise Refused(text('query parameter "port" is required', status=400))
    if not all(given):
        raise Refused(text('query parameter "port" cannot be empty', status=400))
    numbers = [number for value in given for number in value.split(",")]
    if len(numbers) > portforward_streams.MAX_PORTS:
        raise Refused(text(f"more than {portforward_streams.MAX_PORTS} ports", status=400))
    try:
        return [parse_port(number) for number in numbers]
    except ValueError as error:
        raise Refused(text(str(error), status=400)) from None


def _upgrades(request: Request) -> bool:
    return "upgrade" in request.headers.get("connection", "").lower() and "upgrade" in request.headers


def _is_websocket(request: Request) -> bool:
    return _upgrades(request) and request.headers["upgrade"].lower() == "websocket"


def _spdy_protocol(request: Request, known: Sequence[str]) -> str:
    """The first of the client's protocols that is known. Raises Refused."""
    if not _upgrades(request):
        raise Refused(text("Upgrade request required", status=500))
    if "spdy/3.1" not in request.headers["upgrade"].lower():
        raise Refused(text("unable to upgrade: missing upgrade headers in request", status=400))
    offered = [name.strip() for name in request.headers.get(_VERSION_HEADER.lower(), "").split(",") if name.strip()]
    if not offered:
        raise Refused(text(f"unable to upgrade: header {_VERSION_HEADER} does not exist in request", status=400))
    chosen = next((name for name in offered if name in known), None)
    if chosen is not None:
        return chosen
    answer = text(
        f"unable to upgrade: unable to negotiate protocol: client supports [{' '.join(offered)}], "
        f"server accepts [{' '.join(known)}]",
        status=403,
    )
    raise Refused(
        Response(
            status=answer.status,
            content_type=answer.content_type,
            body=answer.body,
            headers={"X-Accepted-Stream-Protocol-Versions": ",".join(known)},
        )
    )


# --- without an upgrade


async def _plain(runtime: Runtime, id: ContainerId, command: Sequence[str]) -> Response:
    """``{"exitCode": 3, "output": "…"}``: standard output and error as they came, up to a mebibyte of them."""
    try:
        result = await runtime.run(id, Command(arguments=tuple(command), output_limit=_MAX_OUTPUT))
    except NsrunError as error:
        return json_response({"message": str(error)}, status=500)
    return json_response({"exitCode": result.code, "output": result.output.decode("utf-8", "replace")})
