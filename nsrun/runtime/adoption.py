"""What runs on this machine already, and what ended while nobody looked: run directories, shims and cgroups read
together.

A shim that answers knows everything about its pod. Without one the pod is lost: whatever still runs of it is killed,
for nobody reads its output or could tell how it ends; exit records tell about those that ended before."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from nsrun.errors import RuntimeFailure
from nsrun.model.running import AdoptedContainer, AdoptedPod, ContainerId, Exit, RunningContainer, SandboxInfo
from nsrun.runtime.cgroups import Cgroups
from nsrun.runtime.endings import Endings
from nsrun.runtime.rundir import SANDBOX_ID, RunDirectory, RunState, container_key, parse_key
from nsrun.runtime.sandbox import Ended, Gone, Sandbox, open_sandbox, record_of
from nsrun.support.layout import Layout
from nsrun.support.native import Message, abi

__all__ = ["Adoption", "Found"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One pod as it was found. ``sandbox`` None: its shim does not answer, or its pause process does not run."""

    pod: AdoptedPod
    sandbox: Sandbox | None = None
    stop_signals: Mapping[ContainerId, int] = field(default_factory=dict)


class Adoption:
    """Adopts pods, one at a time."""

    def __init__(self, *, layout: Layout, run_directory: RunDirectory, cgroups: Cgroups, endings: Endings) -> None:
        self._layout = layout
        self._run = run_directory
        self._cgroups = cgroups
        self._endings = endings

    async def adopt(self, uid: str, tell: Callable[[Ended | Gone], None]) -> Found:
        """Connects to the pod's shim, or clears the pod away. Ends from now on go to ``tell``."""
        make = await asyncio.to_thread(self._connect, uid, tell)
        if make is not None:
            sandbox = make()
            try:
                found = await self._living(sandbox)
            except RuntimeFailure:  # it died under our hands
                found = None
            if found is not None:
                return found
            await sandbox.shut_down()
        return await asyncio.to_thread(self._lost, uid)

    def _connect(self, uid: str, tell: Callable[[Ended | Gone], None]) -> Callable[[], Sandbox] | None:
        try:
            return open_sandbox(uid, self._layout.run_pod(uid), tell)
        except OSError:
            return None

    async def _living(self, sandbox: Sandbox) -> Found | None:
        """None without a pause process. Raises RuntimeFailure."""
        uid = sandbox.uid
        entries = {entry.id: entry for entry in await sandbox.shim.entries()}
        pause = entries.get(SANDBOX_ID)
        if pause is None or pause.state != abi.NS_STATE_RUNNING:
            return None
        sandbox.info = SandboxInfo(
            uid=uid, shim_pid=sandbox.shim.pid, pause_pid=pause.pid, started_at=pause.started_ns / 1e9
        )
        document, states, exits = await asyncio.to_thread(self._read_living, uid, entries)
        containers = []
        for key, entry in entries.items():
            id = parse_key(uid, key)
            if id is None:
                continue
            containers.append(self._container(id, entry.pid, entry.started_ns / 1e9, states.get(id), exits.get(id)))
            if id in exits:
                sandbox.ended.add(id)
            else:
                sandbox.running[id] = containers[-1].running
        await sandbox.subscribe()
        pod = AdoptedPod(uid=uid, document=document, sandbox=sandbox.info, containers=tuple(containers))
        return Found(pod=pod, sandbox=sandbox, stop_signals=_stop_signals(states))

    def _read_living(
        self, uid: str, entries: Mapping[str, Message]
    ) -> tuple[Mapping[str, object] | None, dict[ContainerId, RunState], dict[ContainerId, Exit]]:
        states = dict(self._run.containers(uid))
        for known in states:
            if container_key(known) not in entries:  # prepared, and never launched
                self._clear(known)
        exits: dict[ContainerId, Exit] = {}
        for key, entry in entries.items():
            id = parse_key(uid, key)
            if id is not None and entry.state == abi.NS_STATE_EXITED:
                exits[id] = self._endings.of_record(id, record_of(entry))
        return self._run.document(uid), states, exits

    def _lost(self, uid: str) -> Found:
        states = dict(self._run.containers(uid))
        # What resists here will resist when the pod is removed, and be told then.
        ends, _ = self._endings.of_lost_pod(uid, {id: state.created for id, state in states.items()})
        containers = tuple(self._container(id, 0, ends[id].started_at, state, ends[id]) for id, state in states.items())
        pod = AdoptedPod(uid=uid, document=self._run.document(uid), sandbox=None, containers=containers)
        return Found(pod=pod, stop_signals=_stop_signals(states))

    def _container(
        self, id: ContainerId, pid: int, started_at: float, state: RunState | None, end: Exit | None
    ) -> AdoptedContainer:
        return AdoptedContainer(
            running=RunningContainer(id=id, hash=self._run.hash(id), pid=pid, started_at=started_at),
            image_ref=state.image_ref if state is not None else "",
            image_digest=state.image_digest if state is not None else "",
            exit=end,
        )

    def _clear(self, id: ContainerId) -> None:
        try:
            self._cgroups.remove_container(id)
            self._run.remove_container(id)
        except (OSError, RuntimeFailure):
            pass  # it goes with the pod


def _stop_signals(states: Mapping[ContainerId, RunState]) -> dict[ContainerId, int]:
    return {id: state.stop_signal for id, state in states.items()}
