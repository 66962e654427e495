"""The process of a container's OCI configuration: what runs, as whom, and with which privileges."""

from __future__ import annotations

from collections.abc import Mapping

from nsrun.errors import RuntimeFailure
from nsrun.host.facts import CAPABILITIES
from nsrun.host.userns import UserNamespace
from nsrun.model.container import Container
from nsrun.model.running import ContainerRequest
from nsrun.runtime import accounts
from nsrun.runtime.capabilities import granted
from nsrun.runtime.environment import arguments, environment
from nsrun.runtime.labels import app_armor_profile, process_label
from nsrun.runtime.ociconfig import Capabilities, Process, Rlimit, User
from nsrun.runtime.oom import oom_score
from nsrun.runtime.surroundings import Machine, hostname

__all__ = ["capability_sets", "container_process", "withheld"]

_NOFILE = _NPROC = 1048576
_UNLIMITED = 2**64 - 1


def container_process(request: ContainerRequest, machine: Machine) -> Process:
    """The first process. Raises RuntimeFailure."""
    pod, container, image = request.pod, request.container, request.image
    context = container.security_context
    pod_id = f"{pod.metadata.name}_{pod.metadata.namespace}({pod.uid})"
    accounts.check_non_root(image.config.user, context, pod=pod_id, container=container.name)
    account = accounts.resolve(
        image.config.user, context, pod.spec.security_context, passwd=image.passwd, group=image.group
    )
    if machine.users is not None:
        accounts.check_mapped(account, machine.users)
    grantable = machine.capabilities if pod.spec.host_users else machine.kernel_capabilities
    names = tuple(name for name in _asked(container) if name in grantable)
    process = Process(
        terminal=container.tty,
        user=_user(account, machine.users),
        args=arguments(container, image.config),
        env=environment(image.config, container, hostname=hostname(pod, request.attachment), home=account.home),
        cwd=_working_directory(container, image.config.working_dir),
        capabilities=capability_sets(names, root=account.uid == 0),
        rlimits=_rlimits(machine.hard_limits),
        noNewPrivileges=context.allow_privilege_escalation is False,
        oomScoreAdj=max(oom_score(pod, container, machine.memory), machine.oom_floor),
    )
    if profile := app_armor_profile(context, here=machine.app_armor):
        process["apparmorProfile"] = profile
    if label := process_label(context, here=machine.se_linux):
        process["selinuxLabel"] = label
    return process


def _user(account: accounts.Account, users: UserNamespace | None) -> User:
    user = User(uid=account.uid, gid=account.gid, umask=0o22)
    if users is None or users.groups:
        user["additionalGids"] = list(account.groups)
    return user


def withheld(request: ContainerRequest, machine: Machine) -> tuple[str, ...]:
    """Warnings for capabilities that the container should have and this machine does not let us give. Who is privileged
    has all there are; in a user namespace of its own there is nothing that could be withheld."""
    container = request.container
    if container.security_context.privileged or not request.pod.spec.host_users:
        return ()
    return tuple(
        f"cannot grant {name}: this machine withholds it from nsrun"
        for name in _asked(container)
        if name not in machine.capabilities
    )


def _asked(container: Container) -> tuple[str, ...]:
    context = container.security_context
    if context.privileged:
        return CAPABILITIES
    return granted(context.capabilities_add, context.capabilities_drop)


def capability_sets(names: tuple[str, ...], *, root: bool) -> Capabilities:
    """An account other than root starts with none, its bounding set stays."""
    have = list(names) if root else []
    return Capabilities(bounding=list(names), effective=have, permitted=list(have), inheritable=[], ambient=[])


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
