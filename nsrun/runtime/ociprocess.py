"""The process of a container's OCI configuration: what runs, as whom, and with which privileges."""

from __future__ import annotations

from collections.abc import Mapping

from nsrun.errors import RuntimeFailure
from nsrun.model.container import Container
from nsrun.model.pod import Pod
from nsrun.model.resources import QosClass
from nsrun.model.running import ContainerRequest
from nsrun.model.totals import request as requested
from nsrun.runtime import accounts
from nsrun.runtime.capabilities import granted
from nsrun.runtime.environment import arguments, environment
from nsrun.runtime.ociconfig import Capabilities, Process, Rlimit
from nsrun.runtime.surroundings import Machine, hostname

__all__ = ["capability_sets", "container_process", "oom_score", "withheld"]

_NOFILE = _NPROC = 1048576
_UNLIMITED = 2**64 - 1


def container_process(request: ContainerRequest, machine: Machine) -> Process:
    """The first process. Raises RuntimeFailure."""
    pod, container, image = request.pod, request.container, request.image
    context = container.security_context
    pod_id = f"{pod.metadata.name}_{pod.metadata.namespace}({pod.uid})"
    accounts.check_non_root(image.config.user, context, pod=pod_id, container=container.name)
    account = accounts.resolve(image.config.user, context, passwd=image.passwd, group=image.group)
    asked = granted(context.capabilities_add, context.capabilities_drop)
    names = tuple(name for name in asked if name in machine.capabilities)
    return Process(
        terminal=container.tty,
        user={"uid": account.uid, "gid": account.gid, "umask": 0o22, "additionalGids": list(account.groups)},
        args=arguments(container, image.config),
        env=environment(image.config, container, hostname=hostname(pod, request.attachment), home=account.home),
        cwd=_working_directory(container, image.config.working_dir),
        capabilities=capability_sets(names, root=account.uid == 0),
        rlimits=_rlimits(machine.hard_limits),
        noNewPrivileges=context.allow_privilege_escalation is False,
        oomScoreAdj=max(oom_score(pod, container, machine.memory), machine.oom_floor),
    )


def withheld(container: Container, machine: Machine) -> tuple[str, ...]:
    """Warnings for capabilities that the container should have and this machine does not let us give."""
    context = container.security_context
    asked = granted(context.capabilities_add, context.capabilities_drop)
    return tuple(
        f"cannot grant {name}: this machine withholds it from nsrun"
        for name in asked
        if name not in machine.capabilities
    )


def capability_sets(names: tuple[str, ...], *, root: bool) -> Capabilities:
    """An account other than root starts with none, its bounding set stays."""
    have = list(names) if root else []
    return Capabilities(bounding=list(names), effective=have, permitted=list(have), inheritable=[], ambient=[])


def oom_score(pod: Pod, container: Container, memory: int) -> int:
    """The kubelet's oom_score_adj: guaranteed pods die last, best-effort ones first, and in between whoever asked for
    more memory is safer. ``memory``: the machine's, in bytes."""
    match pod.qos_class:
        case QosClass.GUARANTEED:
            return -997
        case QosClass.BEST_EFFORT:
            return 1000
        case QosClass.BURSTABLE:
            asked = -(-requested(container, "memory") // 1000)
            return min(max(1000 - 1000 * asked // max(memory, 1), 3), 999)


def _working_directory(container: Container, of_image: str) -> str:
    path = container.working_dir or of_image or "/"
    if not path.startswith("/") or "\0" in path:
        raise RuntimeFailure(
            f'working directory "{path}" is not an absolute path',
            reason="CreateContainerError",
            hint="set workingDir in the manifest",
        )
    return path


def _rlimits(hard_limits: Mapping[str, int]) -> list[Rlimit]:
    limits = (("RLIMIT_NOFILE", _NOFILE, _NOFILE), ("RLIMIT_NPROC", _NPROC, _NPROC), ("RLIMIT_CORE", 0, _UNLIMITED))
    result = []
    for name, soft, hard in limits:
        most = hard_limits.get(name, _UNLIMITED)
        result.append(Rlimit(type=name, soft=min(soft, most), hard=min(hard, most)))
    return result
