"""How runs ended, as far as records, messages and cgroups can tell; and pods whose shim is gone. Everything here
blocks."""

from __future__ import annotations

from collections.abc import Mapping

from nsrun.errors import RuntimeFailure
from nsrun.model.running import ContainerId, Exit
from nsrun.runtime.cgroups import Cgroups
from nsrun.runtime.exits import ExitRecord, exit_code, lost_exit, to_exit
from nsrun.runtime.rundir import RunDirectory, container_key
from nsrun.support.clock import Clock

__all__ = ["Endings"]


class Endings:
    """Tells ends."""

    def __init__(self, *, run_directory: RunDirectory, cgroups: Cgroups, clock: Clock) -> None:
        self._run = run_directory
        self._cgroups = cgroups
        self._clock = clock

    def of_record(self, id: ContainerId, record: ExitRecord) -> Exit:
        """The end that a record or message tells of. Ask before the container's cgroup is removed. What the first
        process left behind ends with it: where it was no PID 1, the kernel does not see to that."""
        try:
            self._cgroups.end_container(id)
        except (OSError, RuntimeFailure):
            pass  # what resists now will resist when the pod is removed, and be told then
        try:
            oom_killed = self._cgroups.oom_killed(id)
        except (OSError, RuntimeFailure):
            oom_killed = False  # the cgroup is gone, and nobody can tell
        message = self._run.message(id, failed=exit_code(record.wait_status) != 0)
        return to_exit(record, oom_killed=oom_killed, message=message)

    def of_lost_pod(self, uid: str, started: Mapping[ContainerId, float]) -> tuple[dict[ContainerId, Exit], str]:
        """What is left of a pod without its shim is killed. The ends of the containers that were ``started`` (seconds
        since the epoch): by their records, or else lost. Second: what resisted, empty when nothing did."""
        complaint = self._bury(uid)
        records = self._run.records(uid)
        ends: dict[ContainerId, Exit] = {}
        for id, since in started.items():
            record = records.get(container_key(id))
            if record is not None:
                ends[id] = self.of_record(id, record)
            else:
                ends[id] = lost_exit(started_at=since, now=self._clock.now())
        # A process that is born into a cgroup which was killed once is killed too, by kernels around 6.14.
        return ends, complaint or self._quietly_remove(uid)

    def _bury(self, uid: str) -> str:
        try:
            self._cgroups.kill_pod(uid)
        except RuntimeFailure as error:
            return error.message
        return ""

    def _quietly_remove(self, uid: str) -> str:
        try:
            self._cgroups.remove_pod(uid)
        except RuntimeFailure as error:
            return error.message
        return ""
