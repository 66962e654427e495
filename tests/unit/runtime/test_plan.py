"""Launch plans: the order of things, and that the native reader takes every one."""

from __future__ import annotations

import signal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nsrun.model.container import SecurityContext
from nsrun.model.image import ImageConfig
from nsrun.model.running import ContainerRequest
from nsrun.model.volume import VolumeMount
from nsrun.runtime import operations as do
from nsrun.runtime.cgroup_view import CgroupMount, CgroupView
from nsrun.runtime.ocispec import container_config, sandbox_config
from nsrun.runtime.plan import (
    ContainerParts,
    LaunchPlan,
    MountParts,
    OverlayParts,
    SandboxParts,
    VolumeTree,
    container_plan,
    sandbox_plan,
)
from nsrun.support import native
from tests.unit.runtime.requests import ATTACHMENT, MACHINE, SURROUNDINGS, pod_of, request
from tests.waiting import fewer

FILTER = do.Seccomp(program=bytes(8) * 3)
V2 = CgroupView(mounts=(CgroupMount(destination="/sys/fs/cgroup", type="cgroup2"),))
V1 = CgroupView(
    mounts=(
        CgroupMount(destination="/sys/fs/cgroup", type="tmpfs", options=("mode=755",), read_only=False),
        CgroupMount(destination="/sys/fs/cgroup/cpu,cpuacct", type="cgroup", options=("cpu", "cpuacct")),
    ),
    links=(("/sys/fs/cgroup/cpu", "cpu,cpuacct"),),
    seal="/sys/fs/cgroup",
)


def plan(asked: ContainerRequest, view: CgroupView = V2) -> LaunchPlan:
    config = container_config(asked, MACHINE, SURROUNDINGS)
    binds = [m for m in config["mounts"] if m["type"] == "bind" and not m["source"].startswith("/proc/77/root/")]
    trees = {mount["destination"]: VolumeTree(fd=2 + n, file=n == 0) for n, mount in enumerate(binds)}
    mounts = MountParts(
        root=OverlayParts(layers=asked.image.layers, upper="/pods/upper", work="/pods/work"),
        trees=trees,
        cgroup_view=view,
        sandbox_root="/proc/77/root",
    )
    parts = ContainerParts(
        mounts=mounts,
        seccomp=FILTER,
        empty_dir="/run/nsrun/empty",
        session="nsrun-1",
        fd_count=2 + len(trees),
        cgroup_fd=0,
        procs_fds=(1,),
    )
    made = container_plan(config, parts)
    native.plan_check(made.encode(), made.fd_count)
    return made


def kinds(made: LaunchPlan) -> list[str]:
    return [type(operation).__name__ for operation in made.operations]


def place(made: LaunchPlan, kind: type[object]) -> int:
    return next(n for n, operation in enumerate(made.operations) if isinstance(operation, kind))


def test_a_plan_in_words() -> None:
    mounts = (VolumeMount(name="v", mount_path="/data", read_only=True),)
    lines = plan(request(volume_mounts=mounts, volumes={"v": "/host"})).explain()
    assert lines[0] == "make namespaces: mount, pid"
    assert lines[1] == "join namespaces of the sandbox: ipc, uts, network"
    for line in (
        'take the sandbox\'s "/dev/shm"',
        'open host path "/layers/b"',
        'mount proc at "/proc" (nosuid, nodev, noexec)',
        'mount "/host" at "/data"',
        'mount cgroup2 at "/sys/fs/cgroup" (ro, nosuid, nodev, noexec)',
        'make device "/dev/null" (c 1:3)',
        'link "/dev/ptmx" to "pts/ptmx"',
        "wait to be placed in the cgroups",
        "make namespaces of its own: cgroup",
        'mask "/proc/kcore"',
        'make "/proc/sys" read-only',
        "set oom_score_adj to 1000",
        "set RLIMIT_NOFILE to 1048576 of 1048576",
        "set RLIMIT_CORE to 0 of unlimited",
        "set the groups to 0",
        "become user 0, group 0",
        "limit capabilities to 0x800405fb of 0x800405fb",
        "load a system call filter of 3 instructions",
        'enter working directory "/"',
        "set the umask to 0022",
        "ask for SIGKILL when the shim dies",
    ):
        assert line in lines, line
    assert lines[-1] == 'execute "/bin/true"'


def test_the_overlay() -> None:
    made = plan(request())
    opened = [operation for operation in made.operations if isinstance(operation, do.OpenHost)]
    assert [(entry.path, entry.slot) for entry in opened] == [
        ("/layers/b", 1),
        ("/layers/a", 2),
        ("/pods/upper", 3),
        ("/pods/work", 4),
    ]
    overlay = next(operation for operation in made.operations if isinstance(operation, do.Overlay))
    assert overlay.options == "lowerdir=%1:%2,upperdir=%3,workdir=%4,volatile,redirect_dir=nofollow,index=off"
    assert overlay.flags == native.MS_NODEV


def test_order() -> None:
    made = plan(request(security_context=SecurityContext(read_only_root_filesystem=True), working_dir="/w"))
    order = [
        do.Hide,
        do.SandboxTree,
        do.Private,
        do.OpenHost,
        do.Overlay,
        do.UseRoot,
        do.MountFs,
        do.Gate,
        do.Unshare,
        do.Mask,
        do.ReadOnly,
        do.Directory,
        do.RootReadOnly,
        do.Rlimit,
        do.Pivot,
        do.WorkingDirectory,
        do.NewSession,
        do.Groups,
        do.Ids,
        do.DeathSignal,
        do.Seccomp,
        do.Capabilities,
        do.Execute,
    ]
    places = [place(made, kind) for kind in order]
    assert places == sorted(places)
    assert places[-1] == len(made.operations) - 1


def test_the_cgroup_view_waits_for_the_cgroups() -> None:
    mounts = (VolumeMount(name="v", mount_path="/sys/fs/cgroup/x/y"), VolumeMount(name="v", mount_path="/a/b/c/d/e"))
    made = plan(request(volume_mounts=mounts, volumes={"v": "/host"}), V1)
    gate = place(made, do.Unshare)
    late = [operation.describe() for operation in made.operations[gate + 1 :]][:5]
    assert late == [
        'mount tmpfs at "/sys/fs/cgroup" (nosuid, nodev, noexec, mode=755)',
        'mount cgroup at "/sys/fs/cgroup/cpu,cpuacct" (ro, nosuid, nodev, noexec, cpu, cpuacct)',
        'link "/sys/fs/cgroup/cpu" to "cpu,cpuacct"',
        'make "/sys/fs/cgroup" read-only',
        'mount "/host" at "/sys/fs/cgroup/x/y"',
    ]


def test_real_directories() -> None:
    made = plan(request())
    real = {operation.target for operation in made.operations if isinstance(operation, do.MountFs) and operation.real}
    assert real == {"/proc", "/sys", "/dev"}


def test_seccomp_with_no_new_privileges_comes_last() -> None:
    made = plan(request(security_context=SecurityContext(allow_privilege_escalation=False)))
    assert kinds(made)[-3:] == ["NoNewPrivileges", "Seccomp", "Execute"]


def test_dev_of_the_manifest_gets_no_nodes() -> None:
    made = plan(request(volume_mounts=(VolumeMount(name="v", mount_path="/dev"),), volumes={"v": "/host"}))
    assert "Node" not in kinds(made)
    assert 'link "/dev/ptmx" to "pts/ptmx"' not in made.explain()


def test_candidates() -> None:
    made = plan(request(command=("nginx",), image=ImageConfig(env=("PATH=/a:/b",))))
    last = made.operations[-1]
    assert isinstance(last, do.Execute)
    assert last.candidates == ("/a/nginx", "/b/nginx")
    assert last.describe() == 'execute "nginx"'


def test_sandbox() -> None:
    config = sandbox_config(
        pod_of(request().container), attachment=ATTACHMENT, rootfs="/stage", cgroup_path="c", machine=MACHINE
    )
    made = sandbox_plan(config, SandboxParts(netns_fd=0, pause_fd=1, seccomp=FILTER, fd_count=2))
    native.plan_check(made.encode(), 2)
    assert made.new_namespaces == (native.CLONE_NEWNS | native.CLONE_NEWPID | native.CLONE_NEWIPC | native.CLONE_NEWUTS)
    assert made.join_namespaces == 0
    assert made.explain()[1:] == [
        "refuse to be traced",
        "keep mounts from propagating to the host",
        'join the network namespace "/run/netns/default_web"',
        "set sysctl net.ipv4.ip_unprivileged_port_start to 0",
        "set sysctl net.ipv4.ping_group_range to 0 2147483647",
        "set oom_score_adj to -998",
        "make an empty read-only root file system",
        'mount tmpfs at "/dev/shm" (nosuid, nodev, noexec, mode=1777, size=65536k)',
        "wait to be placed in the cgroups",
        'set the host name to "web"',
        "make the root file system the root and leave the host's",
        "start a session",
        "set the umask to 0022",
        "set the groups to none",
        "become user 65535, group 65535",
        f"ask for {signal.Signals.SIGKILL.name} when the shim dies",
        "limit capabilities to 0x0 of 0x0",
        "set no_new_privs",
        "load a system call filter of 3 instructions",
        'execute "pause"',
    ]


def test_the_native_reader_refuses_what_does_not_fit() -> None:
    made = plan(request())
    with pytest.raises(ValueError, match="head"):
        native.plan_check(made.encode(), made.fd_count + 1)
    with pytest.raises(ValueError, match="head"):
        native.plan_check(made.encode()[:-1], made.fd_count)


WORDS = st.text(max_size=20).map(lambda text: text.replace("\0", ""))


@settings(max_examples=fewer(60))
@given(
    st.lists(WORDS, max_size=6),
    st.lists(WORDS.map(lambda text: f"/v/{text}"), max_size=4),
    st.integers(min_value=0, max_value=2**31 - 1),
)
def test_whatever_is_asked_for_the_plan_is_well_formed(args: list[str], places: list[str], uid: int) -> None:
    mounts = tuple(VolumeMount(name="v", mount_path=where) for where in places if "/../" not in f"{where}/")
    context = SecurityContext(run_as_user=uid)
    made = plan(
        request(args=tuple(args), volume_mounts=mounts, volumes={"v": "/host"}, security_context=context),
        V1,
    )
    assert len(made.explain()) == 2 + len(made.operations)
    last = made.operations[-1]
    assert isinstance(last, do.Execute)
    assert len(last.arguments) == 1 + len(args)


def shared_plan(**fields: Any) -> LaunchPlan:
    """Of a container among the other processes of its pod."""
    asked = request(spec={"share_process_namespace": True}, **fields)
    config = container_config(asked, MACHINE, SURROUNDINGS)
    mounts = MountParts(
        root=OverlayParts(layers=asked.image.layers, upper="/upper", work="/work"),
        trees={"/etc/hosts": VolumeTree(fd=0, file=True)},
        cgroup_view=V2,
        sandbox_root="/proc/77/root",
    )
    parts = ContainerParts(mounts=mounts, seccomp=FILTER, empty_dir="/e", session="s", pid_fd=1, fd_count=2)
    made = container_plan(config, parts)
    native.plan_check(made.encode(), 2)
    return made


@pytest.mark.parametrize("terminal", [False, True])
def test_among_others_it_is_born_last(terminal: bool) -> None:
    """Whoever may trace there finds nothing then that is worth it."""
    made = shared_plan(tty=terminal)
    assert kinds(made)[-3:] == ["Birth", "NewSession", "Execute"]
    assert "start a session on its terminal" in made.explain() or not terminal
    assert made.new_namespaces == native.CLONE_NEWNS
    assert made.join_namespaces & native.CLONE_NEWPID == 0
    places = [place(made, kind) for kind in (do.JoinNamespace, do.Pivot, do.Shut, do.Ids, do.Capabilities, do.Birth)]
    assert places == sorted(places)
    assert place(made, do.Overlay) < places[0]


def test_a_shared_proc_is_the_sandboxs() -> None:
    """It can only be mounted by who is in the process namespace: pause did."""
    made = shared_plan()
    binds = {op.target: op for op in made.operations if isinstance(op, do.Bind)}
    assert isinstance(binds["/proc"].fd, do.Slot)
    assert binds["/proc"].real
    assert not binds["/dev/shm"].real
    assert not [op for op in made.operations if isinstance(op, do.MountFs) and op.type == "proc"]
    assert place(made, do.Mask) > next(n for n, op in enumerate(made.operations) if op is binds["/proc"])
    pod = request(spec={"share_process_namespace": True}).pod
    config = sandbox_config(pod, attachment=ATTACHMENT, rootfs="/stage", cgroup_path="c", machine=MACHINE)
    assert [mount["destination"] for mount in config["mounts"]] == ["/proc", "/dev/shm"]
