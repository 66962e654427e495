"""What a manifest says about security, as a real process finds it."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from nsrun.errors import LaunchError, RuntimeFailure
from nsrun.host.facts import CAPABILITIES
from nsrun.model.security import (
    GroupsPolicy,
    PodSecurityContext,
    ProcMount,
    ProfileType,
    SeccompProfile,
    Sysctl,
)
from tests.system.runtime.world import SecurityContext, World, pod, shell

pytestmark = pytest.mark.root

PRIVILEGED = SecurityContext(privileged=True)
LOCALHOST = ProfileType.LOCALHOST


def mask(world: World) -> int:
    """Every capability that this machine lets us give."""
    return sum(1 << number for number, name in enumerate(CAPABILITIES) if name in world.facts.capabilities)


# --- privileged


async def test_a_privileged_container_has_all_there_is(world: World) -> None:
    script = """
    grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status
    readlink /proc/self/ns/cgroup
    cat /proc/self/mountinfo
    """
    code, output = await world.run(script, security_context=PRIVILEGED)
    lines = output.splitlines()
    every = f"{mask(world):016x}"
    assert code == 0
    assert [line.split() for line in lines[:4]] == [
        ["CapEff:", every],
        ["CapBnd:", every],
        ["NoNewPrivs:", "0"],
        ["Seccomp:", "0"],
    ]
    assert lines[4] == os.readlink("/proc/self/ns/cgroup")
    mounts = {line.split()[4]: line.split()[5] for line in lines[5:]}
    assert "nodev" not in mounts["/"]
    assert not [place for place in mounts if place.startswith("/proc/")]
    assert mounts["/sys"].startswith("rw")
    assert mounts["/sys/fs/cgroup"].startswith("rw")
    hosts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines() if " - cgroup" in line]
    assert set(hosts) <= mounts.keys()


# Of the host's: what the kernel says, and a device that a container must ask for.
KMSG = "mknod {place}/said c 1 11 && head -c 1 {place}/said | wc -c"


async def test_a_privileged_container_uses_the_hosts_devices(world: World) -> None:
    code, output = await world.run(
        f"{KMSG.format(place='/tmp')}; stat -c '%t:%T %a %u %g' /dev/kmsg", security_context=PRIVILEGED
    )
    host = Path("/dev/kmsg").stat()
    expected = f"1:b {stat.S_IMODE(host.st_mode):o} {host.st_uid} {host.st_gid}"
    assert (code, output.splitlines()) == (0, ["1", expected])


# Whatever the device asks for beside: only the cgroup's rules are left to refuse it.
WEAK = SecurityContext(capabilities_add=("MKNOD", "SYSLOG"))


async def test_one_privileged_container_makes_its_neighbours_no_stronger(world: World) -> None:
    one = pod(
        shell("strong", KMSG.format(place="/dev"), security_context=PRIVILEGED),
        shell("weak", KMSG.format(place="/dev"), security_context=WEAK),
    )
    strong, weak = await world.start(one, "strong"), await world.start(one, "weak")
    await world.end(strong.id)
    await world.end(weak.id)
    assert world.output(one, strong.id).split()[-1] == "1"
    assert "Operation not permitted" in world.output(one, weak.id)
    assert "0" in world.output(one, weak.id).split(), "it read nothing"


async def test_an_unmasked_proc(world: World) -> None:
    script = "cat /proc/keys | wc -l; cat /proc/self/mountinfo"
    code, output = await world.run(script, security_context=SecurityContext(proc_mount=ProcMount.UNMASKED))
    lines = output.splitlines()
    mounts = {line.split()[4]: line.split()[5] for line in lines[1:]}
    assert code == 0
    assert not [place for place in mounts if place.startswith("/proc/")]
    assert mounts["/sys"].startswith("ro")


# --- seccomp


def profile(world: World, name: str, **content: object) -> None:
    path = world.layout.seccomp / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def using(kind: ProfileType, name: str = "", **more: object) -> SecurityContext:
    return SecurityContext(seccomp_profile=SeccompProfile(type=kind, localhost_profile=name), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("context", "mode"),
    [
        (SecurityContext(), "2"),
        (using(ProfileType.RUNTIME_DEFAULT), "2"),
        (using(ProfileType.UNCONFINED), "0"),
        (using(ProfileType.RUNTIME_DEFAULT, privileged=True), "0"),
    ],
)
async def test_which_filter(world: World, context: SecurityContext, mode: str) -> None:
    code, output = await world.run("grep ^Seccomp: /proc/self/status", security_context=context)
    assert (code, output.split()[1]) == (0, mode)


@pytest.mark.parametrize("escalation", [None, False])
@pytest.mark.parametrize("user", [0, 1000])
async def test_a_profile_of_the_operators(world: World, escalation: bool | None, user: int) -> None:
    """With no_new_privs and without; both before the ids are changed for good and after."""
    deny = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}
    profile(world, "profiles/no-dirs.json", defaultAction="SCMP_ACT_ALLOW", syscalls=[deny])
    context = using(LOCALHOST, "profiles/no-dirs.json", allow_privilege_escalation=escalation, run_as_user=user)
    code, output = await world.run("mkdir /tmp/x; echo; touch /tmp/y && echo fine", security_context=context)
    assert "Not supported" in output or "not supported" in output
    assert output.splitlines()[-1] == "fine"
    assert code == 0


async def test_a_profile_need_let_through_little_more_than_the_program_does(world: World) -> None:
    """What is done on the way to the exec behind the filter is what runc does there, and less."""
    names = [
        "execve",
        "brk",
        "access",
        "openat",
        "close",
        "read",
        "write",
        "fstat",
        "newfstatat",
        "mmap",
        "mprotect",
        "munmap",
        "exit_group",
        "arch_prctl",
        "getuid",
        "setuid",
        "getpid",
        "getppid",
        "rt_sigaction",
        "rt_sigreturn",
        "rt_sigprocmask",
        "stat",
        "lstat",
        "ioctl",
        "fcntl",
        "poll",
        "lseek",
        "wait4",
        "fork",
        "vfork",
        "clone",
        "prctl",
        "capset",
        "capget",
        "set_tid_address",
        "set_robust_list",
        "rseq",
        "prlimit64",
        "getrandom",
        "readlink",
        "uname",
        "getcwd",
        "geteuid",
        "getgid",
        "getegid",
        "pread64",
        "dup2",
        "pipe",
        "setpgid",
        "getpgrp",
        "sigaltstack",
        "faccessat",
        "faccessat2",
        "statx",
        "futex",
    ]
    rule = {"names": names, "action": "SCMP_ACT_ALLOW"}
    profile(world, "tight.json", defaultAction="SCMP_ACT_ERRNO", syscalls=[rule])
    code, output = await world.run("echo hello", security_context=using(LOCALHOST, "tight.json"))
    assert (code, output) == (0, "hello\n")


@pytest.mark.parametrize("name", ["../victim.json", "none.json", "", "empty.json"])
async def test_a_profile_that_is_none(world: World, name: str) -> None:
    """CVE-2023-2431: the container does not start rather than start without a filter."""
    profile(world, "empty.json")
    (world.layout.seccomp / "empty.json").write_text("")
    (world.layout.root / "victim.json").write_text('{"defaultAction": "SCMP_ACT_ALLOW"}')
    one = pod(shell("main", "true", security_context=using(LOCALHOST, name)))
    with pytest.raises(RuntimeFailure, match="cannot read seccomp profile") as caught:
        await world.start(one)
    assert caught.value.reason == "CreateContainerError"
    assert world.cgroups.pids(one.uid) == {(await world.start_sandbox(one)).pause_pid}


# --- sysctls


def sysctls(**values: str) -> PodSecurityContext:
    found = tuple(Sysctl(name=name.replace("__", "."), value=value) for name, value in values.items())
    return PodSecurityContext(sysctls=found)


async def test_sysctls_are_the_pods_own(world: World) -> None:
    asked = {
        "net__ipv4__ip_local_port_range": "40000 50000",
        "kernel__shm_rmid_forced": "1",
        "kernel__msgmax": "12345",
        "fs__mqueue__msg_max": "77",
    }
    files = [Path("/proc/sys") / name.replace("__", "/") for name in asked]
    before = [file.read_text() for file in files]
    script = "".join(f"cat {file}\n" for file in files)
    code, output = await world.run(script, spec={"security_context": sysctls(**asked)})
    assert code == 0
    assert [line.split() for line in output.splitlines()] == [value.split() for value in asked.values()]
    assert [file.read_text() for file in files] == before


async def test_a_sysctl_that_is_not_to_be_had_ends_the_start(world: World) -> None:
    for name, value, cause in (
        ("net.ipv4.no_such_thing", "1", "ENOENT"),
        ("net.ipv4.ip_local_port_range", "many", "EINVAL"),
    ):
        context = PodSecurityContext(sysctls=(Sysctl(name=name, value=value),))
        one = pod(shell("main", "true"), security_context=context)
        with pytest.raises(LaunchError) as caught:
            await world.start_sandbox(one)
        assert f"cannot set sysctl {name} to {value}" in caught.value.message
        assert cause in caught.value.message
        assert caught.value.hint
        await world.engine.remove_sandbox(one.name, one.uid)


# --- groups


@pytest.mark.parametrize(
    ("context", "groups"),
    [
        (PodSecurityContext(supplemental_groups=(5, 7), fs_group=3000), "100 5 7 200 3000"),
        (
            PodSecurityContext(fs_group=3000, supplemental_groups_policy=GroupsPolicy.STRICT),
            "100 3000",
        ),
    ],
)
async def test_groups(world: World, context: PodSecurityContext, groups: str) -> None:
    image = world.image(
        passwd=b"root:x:0:0::/root:/bin/sh\napp:x:1000:100::/home/app:/bin/sh\n",
        group=b"root:x:0:\nusers:x:100:\nextra:x:200:app\n",
        user="app",
    )
    code, output = await world.run("id -G", image=image, spec={"security_context": context})
    assert (code, output.strip()) == (0, groups)
