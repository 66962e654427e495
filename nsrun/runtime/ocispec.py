"""From a pod and its containers to OCI runtime configurations. Pure: what the machine has comes in as Machine.

Where the specification leaves a choice, the kubelet's and containerd's is taken; what differs says so here:

* capabilities: see ``capabilities``. An account other than root starts with none, its bounding set stays.
* /dev/shm is the sandbox's, shared by all containers as the ipc namespace is.
* the root file system is nodev, so no device node of an image or of a layer opens.
* an image's VOLUMES are not made into volumes: the directory lives in the container's own layer and goes with it.
* limits of open files, processes and core dumps are set, so that nothing depends on who started nsrun.
* without a word about seccomp in the manifest, a container has the default filter, where a kubelet would give none
  unless it is told to (``--seccomp-default``).
* oom_score_adj follows the QoS class by the kubelet's formula, as far down as this machine lets us go.

``ocimounts``, ``ociprocess`` and ``ocilinux`` hold the parts.
"""

from __future__ import annotations

from nsrun.host.userns import UserNamespace
from nsrun.model.pod import Pod
from nsrun.model.running import Attachment, ContainerRequest
from nsrun.runtime.ociconfig import Linux, Mount, OciConfig, Process, User
from nsrun.runtime.ocilinux import add_mappings, container_linux, sandbox_namespaces, sandbox_sysctls
from nsrun.runtime.ocimounts import PROC_OPTIONS, SHM_OPTIONS, container_mounts, mount
from nsrun.runtime.ociprocess import capability_sets, container_process
from nsrun.runtime.resources import cpu_shares
from nsrun.runtime.scope import scope_annotations
from nsrun.runtime.surroundings import Machine, Surroundings, hostname
from nsrun.support.idranges import IdRange

__all__ = ["PAUSE_ID", "container_config", "sandbox_config"]

OCI_VERSION = "1.1.0"
PAUSE_ID = 65535


def container_config(request: ContainerRequest, machine: Machine, surroundings: Surroundings) -> OciConfig:
    """The configuration of one container. Raises RuntimeFailure (without the container's name) when the manifest and
    the image do not make one."""
    return OciConfig(
        ociVersion=OCI_VERSION,
        root={"path": surroundings.rootfs, "readonly": request.container.security_context.read_only_root_filesystem},
        process=container_process(request, machine),
        mounts=container_mounts(request, surroundings, machine),
        annotations={
            **_annotations(request.pod, "container", container=request.container.name, image=request.image.reference),
            **scope_annotations(request.pod, machine.users),
        },
        linux=container_linux(request, machine, surroundings),
    )


def sandbox_config(
    pod: Pod,
    *,
    attachment: Attachment,
    rootfs: str,
    cgroup_path: str,
    machine: Machine,
    ids: IdRange | None = None,
) -> OciConfig:
    """The configuration of the pod's pause process: it holds the pod's namespaces, and can do nothing else. ``ids``: of
    the pod's user namespace, which its network namespace belongs to. Raises RuntimeFailure."""
    config = OciConfig(
        ociVersion=OCI_VERSION,
        root={"path": rootfs, "readonly": True},
        process=Process(
            terminal=False,
            user=_pause_user(machine.users),
            args=["pause"],
            env=[],
            cwd="/",
            capabilities=capability_sets((), root=False),
            rlimits=[],
            noNewPrivileges=True,
            oomScoreAdj=max(-998, machine.oom_floor),
        ),
        mounts=_sandbox_mounts(pod),
        annotations=_annotations(pod, "sandbox"),
        linux=Linux(
            namespaces=sandbox_namespaces(pod, attachment.netns),
            devices=[],
            cgroupsPath=cgroup_path,
            resources={"cpu": {"shares": cpu_shares(0)}, "memory": {}},
            sysctl=sandbox_sysctls(pod, machine),
            maskedPaths=[],
            readonlyPaths=[],
            rootfsPropagation="private",
        ),
    )
    add_mappings(config["linux"], ids)
    if not pod.spec.host_network:
        config["hostname"] = hostname(pod, attachment)
    return config


def _pause_user(users: UserNamespace | None) -> User:
    """Nobody else's ids, as far as there are any."""
    if users is None:
        return {"uid": PAUSE_ID, "gid": PAUSE_ID, "umask": 0o22, "additionalGids": []}
    user = User(uid=min(PAUSE_ID, users.uids - 1), gid=min(PAUSE_ID, users.gids - 1), umask=0o22)
    if users.groups:
        user["additionalGids"] = []
    return user


def _sandbox_mounts(pod: Pod) -> list[Mount]:
    """What the pod's containers take from its pause process."""
    mounts = []
    if pod.spec.share_process_namespace and not pod.spec.host_pid:
        mounts.append(mount("/proc", "proc", "proc", PROC_OPTIONS))
    if not pod.spec.host_ipc:
        mounts.append(mount("/dev/shm", "tmpfs", "shm", SHM_OPTIONS))
    return mounts


def _annotations(pod: Pod, kind: str, *, container: str = "", image: str = "") -> dict[str, str]:
    """Who this is, in the names that containerd gives. Nothing of the image's labels or the pod's annotations gets
    in."""
    annotations = {
        "io.kubernetes.cri.container-type": kind,
        "io.kubernetes.cri.sandbox-id": pod.uid,
        "io.kubernetes.cri.sandbox-name": pod.metadata.name,
        "io.kubernetes.cri.sandbox-namespace": pod.metadata.namespace,
        "io.kubernetes.cri.sandbox-uid": pod.uid,
    }
    if container:
        annotations["io.kubernetes.cri.container-name"] = container
        annotations["io.kubernetes.cri.image-name"] = image
    return annotations
