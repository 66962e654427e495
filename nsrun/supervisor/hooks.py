"""Runs what a manifest asks for right after a container's start and before its end (lifecycle/handlers.go)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from nsrun.errors import NsrunError, RuntimeFailure
from nsrun.model.container import Container
from nsrun.model.pod import Pod
from nsrun.model.probe import Exec, Hook, HttpGet, Sleep, TcpSocket
from nsrun.model.running import Command, ContainerId
from nsrun.supervisor.events import Notice
from nsrun.supervisor.ports import Probes, Runtime
from nsrun.supervisor.probing import resolved_port
from nsrun.supervisor.status import full_name
from nsrun.support.clock import Clock

__all__ = ["run"]


async def run(
    hook: Hook,
    id: ContainerId,
    *,
    pod: Pod,
    address: str,
    runtime: Runtime,
    probes: Probes,
    clock: Clock,
    timeout: float | None,
    say: Callable[[Notice], None] | None = None,
) -> None:
    """Returns when the hook succeeded. ``address``: the pod's. ``timeout`` in seconds, None for as long as it takes.
    ``say`` hears of what went otherwise than was meant and still worked.

    Raises NsrunError, in the kubelet's words, when it failed or was not done in time. Cancelling ends what it runs.
    """
    container = pod.container(id.name)
    try:
        match hook:
            case Exec():
                await _run_command(hook, id, runtime, timeout)
            case HttpGet():
                warning = await probes.call(_numbered(hook, container), address, timeout)
                if warning and say is not None:
                    say(Notice(reason="LifecycleHTTPFallback", message=warning, warning=True, container=id.name))
            case Sleep():
                await _sleep(hook, clock, timeout)
            case TcpSocket():
                # Kept in the API for compatibility; the kubelet has no handler for it either.
                raise RuntimeFailure("invalid handler: tcpSocket", hint="use exec, httpGet or sleep")
    except NsrunError as error:
        text = f'{_name(hook)} for Container "{id.name}" in Pod "{full_name(pod)}" failed - error: {error}'
        raise RuntimeFailure(text, hint=error.hint) from error


async def _run_command(hook: Exec, id: ContainerId, runtime: Runtime, timeout: float | None) -> None:
    result = await runtime.run(id, Command(arguments=hook.command, timeout=timeout))
    words, output = " ".join(hook.command), result.output.decode(errors="replace")
    if result.timed_out:
        raise RuntimeFailure(f'command "{words}" timed out')
    if result.code != 0:
        raise RuntimeFailure(f"command '{words}' exited with {result.code}: {output}")


async def _sleep(hook: Sleep, clock: Clock, timeout: float | None) -> None:
    if timeout is not None and timeout < hook.seconds:
        await clock.sleep(timeout)
        raise RuntimeFailure("container terminated before sleep hook finished")
    await clock.sleep(hook.seconds)


def _numbered(hook: HttpGet, container: Container) -> HttpGet:
    """A hook without a port goes to 80."""
    return replace(hook, port=resolved_port(hook.port, container) if hook.port != "" else 80)


def _name(hook: Hook) -> str:
    match hook:
        case Exec():
            return f"Exec lifecycle hook ([{' '.join(hook.command)}])"
        case HttpGet():
            return f"HTTP lifecycle hook ({hook.path})"
        case Sleep():
            return f"Sleep lifecycle hook ({hook.seconds})"
        case TcpSocket():
            return "TCP lifecycle hook"
