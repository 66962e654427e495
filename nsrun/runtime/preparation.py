"""Everything of a launch that can be done before the shim is asked: one call in one thread, from a request to a sealed
plan with its descriptors. What fails leaves nothing behind."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nsrun.errors import RuntimeFailure, describe_errno, remedy_for_errno
from nsrun.model.pod import Pod
from nsrun.model.running import Attachment, ContainerId, ContainerRequest
from nsrun.model.security import ProfileType, SecurityContext
from nsrun.runtime import operations as do
from nsrun.runtime.apparmor import DEFAULT_PROFILE, AppArmor
from nsrun.runtime.cgroups import Cgroups, ContainerCgroup
from nsrun.runtime.exits import parse_stop_signal
from nsrun.runtime.failure import in_context, warnings
from nsrun.runtime.host_devices import host_devices
from nsrun.runtime.launchplan import LaunchPlan
from nsrun.runtime.ociconfig import Mount, OciConfig
from nsrun.runtime.ociprocess import withheld
from nsrun.runtime.ocispec import container_config, sandbox_config
from nsrun.runtime.plan import (
    ContainerParts,
    MountParts,
    SandboxParts,
    Users,
    container_plan,
    sandbox_plan,
)
from nsrun.runtime.rootfs import root_parts
from nsrun.runtime.rundir import RunDirectory, RunState
from nsrun.runtime.scope import NO_KEYS
from nsrun.runtime.seccomp import Seccomp, load_flags
from nsrun.runtime.seccomp_localhost import read_profile
from nsrun.runtime.surroundings import Machine, Surroundings, hostname
from nsrun.runtime.travel import Luggage, sealed_plan
from nsrun.runtime.userns import owner_of, range_of, users_of
from nsrun.runtime.volume_trees import pack_trees
from nsrun.support.fds import Fd
from nsrun.support.idranges import IdRange, IdRanges
from nsrun.support.layout import Layout
from nsrun.support.native import Message

__all__ = ["Launch", "Preparation", "subject"]

# With the namespace of the host's own the whole tree is seen. A mount of its own would change settings of the host's
# (nsdelegate), so this one is shown.
_HOST_CGROUPS = Mount(
    destination="/sys/fs/cgroup", type="bind", source="/sys/fs/cgroup", options=["rbind", "rprivate", "rw"]
)

_CGROUP_MOUNT = Mount(
    destination="/sys/fs/cgroup",
    type="cgroup",
    source="cgroup",
    options=["nosuid", "noexec", "nodev", "relatime", "ro"],
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """A launch, ready to be sent; whoever got it closes it. ``log``: the log's directory and file name, None for a
    process without output. ``warnings``: what will not be enforced."""

    plan: LaunchPlan
    memory: Fd
    luggage: Luggage
    log: tuple[Fd, str] | None
    warnings: tuple[str, ...]

    def numbers(self) -> list[int]:
        """The descriptors in the order that the shim wants them."""
        log = [self.log[0].fileno()] if self.log is not None else []
        return [self.memory.fileno(), *log, *self.luggage.numbers()]

    def told(self, message: Message) -> tuple[str, ...]:
        """What the host withheld, as the shim's answer tells it."""
        return tuple(warnings(self.plan, message.tolerated))

    def close(self) -> None:
        self.memory.close()
        self.luggage.close()
        if self.log is not None:
            self.log[0].close()


def subject(request: ContainerRequest) -> str:
    """``container "web" from image "docker.io/library/nginx:latest"``: how failures name it."""
    return f'container "{request.container.name}" from image "{request.image.reference}"'


class Preparation:
    """Prepares launches. Blocks; may be used from several threads at once. ``pause``: path of the pause program.

    Invariant: what is kept by capabilities is a pure function of them, so threads may fill it side by side.
    """

    def __init__(
        self,
        *,
        layout: Layout,
        run_directory: RunDirectory,
        cgroups: Cgroups,
        seccomp: Seccomp,
        machine: Machine,
        pause: Path,
    ) -> None:
        self._layout = layout
        self._run = run_directory
        self._cgroups = cgroups
        self._seccomp = seccomp
        self._machine = machine
        self._pause = pause
        self._app_armor = AppArmor()
        self._ranges = IdRanges(layout.id_ranges)
        self._profiles: dict[frozenset[str], dict[str, object]] = {}
        self._filters: dict[frozenset[str], do.Seccomp] = {}

    # --- sandbox

    def sandbox(self, pod: Pod, attachment: Attachment, document: Mapping[str, object]) -> Launch:
        """Raises RuntimeFailure."""
        what = f'sandbox of pod "{pod.name}"'
        try:
            self._run.make_pod(pod, document, hostname(pod, attachment))
            id = ContainerId(uid=pod.uid, name="sandbox", attempt=0)
            with self._cgroups.create_container(pod, id, None) as cgroup:
                return self._sandbox_launch(pod, attachment, cgroup)
        except OSError as error:
            raise _cannot(what, error) from error
        except RuntimeFailure as error:
            raise in_context(what, error) from error

    def _sandbox_launch(self, pod: Pod, attachment: Attachment, cgroup: ContainerCgroup) -> Launch:
        ids = self._ids(pod)
        config = sandbox_config(
            pod,
            attachment=attachment,
            rootfs=str(self._layout.stage),
            cgroup_path=cgroup.path,
            machine=self._machine,
            ids=ids,
        )
        self._profiles.setdefault(frozenset(), self._seccomp.oci_profile(frozenset()))
        config["linux"]["seccomp"] = self._profiles[frozenset()]
        self._run.write_sandbox_config(pod.uid, config)
        luggage = Luggage()
        try:
            # Pause uses nothing that could be limited: one hierarchy that holds it is enough. The clone puts it into
            # v2's at no cost; each of v1's takes milliseconds.
            cgroup_fd, procs = _pack_cgroup(luggage, cgroup, most=0 if cgroup.into is not None else 1)
            netns = luggage.add(Fd.open(attachment.netns, os.O_RDONLY)) if attachment.netns else -1
            users = None
            if ids is not None:
                users = Users(fd=luggage.add(owner_of(luggage[netns])), first=ids.first)
            pause = luggage.add(Fd.open(self._pause, os.O_RDONLY | os.O_NOFOLLOW))
            parts = SandboxParts(
                netns_fd=netns,
                pause_fd=pause,
                seccomp=self.filter(config),
                fd_count=len(luggage),
                users=users,
                cgroup_fd=cgroup_fd,
                procs_fds=procs,
            )
            plan = sandbox_plan(config, parts)
            return Launch(plan=plan, memory=sealed_plan(plan), luggage=luggage, log=None, warnings=cgroup.warnings)
        except BaseException:
            luggage.close()
            raise

    # --- container

    def container(self, request: ContainerRequest, pause_pid: int, now: float) -> Launch:
        """Raises RuntimeFailure; nothing is left then but the trace of the attempt."""
        try:
            with self._cgroups.create_container(request.pod, request.id, request.container) as cgroup:
                return self._container_launch(request, cgroup, pause_pid, now)
        except OSError as error:
            self.discard(request)
            raise _cannot(subject(request), error) from error
        except RuntimeFailure as error:
            self.discard(request)
            raise in_context(subject(request), error) from error
        except BaseException:
            self.discard(request)
            raise

    def discard(self, request: ContainerRequest) -> None:
        """Undoes ``container``, as far as it came. What resists stays until the pod is removed."""
        try:
            self._run.discard_container(request.pod.name, request.id)
            self._cgroups.remove_container(request.id)
        except (OSError, RuntimeFailure):
            pass

    def stop_signal(self, request: ContainerRequest) -> int:
        """What asks this container to stop."""
        return _stop_signal(request)

    def config(self, request: ContainerRequest, *, pause_pid: int, cgroup_path: str) -> OciConfig:
        """The container's OCI configuration, with its system call filter. Raises RuntimeFailure."""
        privileged = request.container.security_context.privileged
        surroundings = Surroundings(
            pause_pid=pause_pid,
            rootfs=str(self._layout.stage),
            cgroup_path=cgroup_path,
            cgroup_mounts=(_HOST_CGROUPS if privileged and self._cgroups.exist else _CGROUP_MOUNT,),
            etc=self._etc(request.pod.uid),
            termination_log=str(self._layout.termination_log(*_parts(request.id))),
            host_devices=host_devices() if privileged else (),
            ids=range_of(pause_pid) if not request.pod.spec.host_users else None,
        )
        config = container_config(request, self._machine, surroundings)
        bounding = frozenset(config["process"]["capabilities"]["bounding"])
        self._prepare_labels(request, config)
        profile = self._profile(request.container.security_context, bounding)
        if profile is not None:
            config["linux"]["seccomp"] = profile
        return config

    def _prepare_labels(self, request: ContainerRequest, config: OciConfig) -> None:
        """The default AppArmor profile is loaded; who did not ask for it goes without where it cannot be."""
        if config["process"].get("apparmorProfile") != DEFAULT_PROFILE:
            return
        try:
            self._app_armor.load_default()
        except RuntimeFailure:
            if request.container.security_context.app_armor_profile is not None:
                raise
            del config["process"]["apparmorProfile"]

    def _profile(self, context: SecurityContext, bounding: frozenset[str]) -> dict[str, object] | None:
        """A kubelet starts with no filter what says nothing about it; here that has the default one."""
        kind = context.seccomp_profile.type if context.seccomp_profile is not None else ProfileType.RUNTIME_DEFAULT
        if context.privileged or kind is ProfileType.UNCONFINED:
            return NO_KEYS if self._machine.users is not None else None
        if context.seccomp_profile is not None and kind is ProfileType.LOCALHOST:
            return read_profile(self._layout.seccomp, context.seccomp_profile.localhost_profile, bounding)
        if bounding not in self._profiles:
            self._profiles[bounding] = self._seccomp.oci_profile(bounding)
        return self._profiles[bounding]

    def _container_launch(
        self, request: ContainerRequest, cgroup: ContainerCgroup, pause_pid: int, now: float
    ) -> Launch:
        config = self.config(request, pause_pid=pause_pid, cgroup_path=cgroup.path)
        self._run.make_container(request.pod, request.id, config, _state(request, now))
        luggage = Luggage()
        try:
            cgroup_fd, procs = _pack_cgroup(luggage, cgroup)
            users = self._users(request, config, luggage, pause_pid)
            trees = pack_trees(
                luggage,
                request,
                config,
                sandbox_root=_sandbox_root(pause_pid),
                stage=str(self._layout.stage),
                users=luggage[users.fd] if users is not None else None,
            )
            pid_fd = -1
            if request.pod.spec.share_process_namespace and not request.pod.spec.host_pid:
                pid_fd = luggage.add(Fd.open(f"/proc/{pause_pid}/ns/pid", os.O_RDONLY))
            mounts = MountParts(
                root=root_parts(request.image.layers, self._files(request), self._machine.overlay, luggage),
                trees=trees,
                cgroup_view=self._cgroups.container_mounts(cgroup.path),
                sandbox_root=_sandbox_root(pause_pid),
                nodev=not request.container.security_context.privileged,
                users=users,
                makes_devices=self._machine.makes_devices,
            )
            parts = ContainerParts(
                mounts=mounts,
                seccomp=self.filter(config),
                empty_dir=str(self._layout.empty_dir),
                session=self._run.session(request.id),
                pid_fd=pid_fd,
                fd_count=len(luggage),
                cgroup_fd=cgroup_fd,
                procs_fds=procs,
            )
            plan = container_plan(config, parts)
            memory = sealed_plan(plan)
            log = self._layout.container_log(
                request.pod.name, request.pod.uid, request.container.name, request.id.attempt
            )
            directory = Fd.open(log.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            warned = cgroup.warnings + withheld(request, self._machine)
            return Launch(plan=plan, memory=memory, luggage=luggage, log=(directory, log.name), warnings=warned)
        except BaseException:
            luggage.close()
            raise

    def _ids(self, pod: Pod) -> IdRange | None:
        """Raises RuntimeFailure for a pod that should have a user namespace and was given no ids with its network."""
        if pod.spec.host_users:
            return None
        ids = self._ranges.find(pod.uid)
        if ids is None:
            raise RuntimeFailure("the pod has no range of user ids", reason="CreatePodSandboxError")
        return ids

    def _users(self, request: ContainerRequest, config: OciConfig, luggage: Luggage, pause_pid: int) -> Users | None:
        """The pod's user namespace; what the container writes over its image is its root's from the start."""
        if "uidMappings" not in config["linux"]:
            return None
        first = config["linux"]["uidMappings"][0]["hostID"]
        os.chown(self._files(request) / "upper", first, first, follow_symlinks=False)
        return Users(fd=luggage.add(users_of(pause_pid)), first=first)

    def filter(self, config: OciConfig) -> do.Seccomp | None:
        """The system call filter that a configuration asks for. Raises RuntimeFailure."""
        profile = config["linux"].get("seccomp")
        if profile is None:
            return None
        bounding = frozenset(config["process"]["capabilities"]["bounding"])
        if profile is not self._profiles.get(bounding):
            return do.Seccomp(program=self._seccomp.program(profile), flags=load_flags(profile))
        if bounding not in self._filters:
            self._filters[bounding] = do.Seccomp(program=self._seccomp.program(profile))
        return self._filters[bounding]

    def _files(self, request: ContainerRequest) -> Path:
        return self._layout.container(request.id.uid, request.id.name, request.id.attempt)

    def _etc(self, uid: str) -> dict[str, str]:
        """The files that the pod's containers share, those that are there."""
        places = {
            "/etc/hosts": self._layout.etc_hosts(uid),
            "/etc/resolv.conf": self._layout.resolv_conf(uid),
            "/etc/hostname": self._layout.etc_hostname(uid),
        }
        return {place: str(path) for place, path in places.items() if path.is_file()}


def _sandbox_root(pause_pid: int) -> str:
    return f"/proc/{pause_pid}/root"


def _state(request: ContainerRequest, now: float) -> RunState:
    return RunState(
        image_ref=request.image.reference,
        image_digest=request.image.digest,
        stop_signal=_stop_signal(request),
        created=now,
        message_policy=request.container.termination_message_policy,
    )


def _stop_signal(request: ContainerRequest) -> int:
    """The manifest's word over the image's."""
    return parse_stop_signal(request.container.lifecycle.stop_signal or request.image.config.stop_signal)


def _parts(id: ContainerId) -> tuple[str, str, int]:
    return id.uid, id.name, id.attempt


def _pack_cgroup(luggage: Luggage, cgroup: ContainerCgroup, *, most: int | None = None) -> tuple[int, tuple[int, ...]]:
    """Copies, since the cgroup's own descriptors are its. ``most``: how many of v1's hierarchies to join.

    Where the kernel refuses to clone into a cgroup, the shim writes the process into its ``cgroup.procs`` instead."""
    procs = [Fd(os.dup(fd.fileno())) for fd in cgroup.procs[:most]]
    into = -1
    if cgroup.into is not None:
        into = luggage.add(Fd(os.dup(cgroup.into.fileno())))
    return into, tuple(luggage.add(fd) for fd in procs)


def _cannot(what: str, error: OSError) -> RuntimeFailure:
    place = f' "{error.filename}"' if error.filename else ""
    return RuntimeFailure(
        f"cannot start {what}: cannot use{place or ' a file'}: {describe_errno(error.errno or 0)}",
        reason="CreateContainerError",
        hint=remedy_for_errno(error.errno or 0),
    )
