"""What the reader of launch plans refuses: everything that the child could not do without harm, before it exists."""

from __future__ import annotations

import random

import pytest

from nsrun.support import native
from nsrun.support.native import abi
from tests.native.plans import Plan, texts


def good() -> Plan:
    plan = Plan(fds=[0, 0], cgroup_fd=0, procs_fds=[1])
    plan.add(abi.NS_OP_PRIVATE)
    plan.add(abi.NS_OP_OPEN, "/lower", c=3)
    plan.add(abi.NS_OP_OVERLAY, "/stage", "lowerdir=%3")
    plan.add(abi.NS_OP_ROOT, "/stage")
    plan.fs("proc", "/proc", "a", "b=c", real=1)
    plan.add(abi.NS_OP_BIND, "/volume", fd=0)
    plan.groups(1, 2)
    plan.add(abi.NS_OP_SECCOMP, bytes(16))
    plan.run("one", "two", environment=["A=1"])
    return plan


def refused(plan: Plan, where: str) -> None:
    with pytest.raises(ValueError, match=where):
        native.plan_check(plan.encode(), len(plan.fds))


def spoiled(data: bytes, offset: int, value: int, size: int = 4) -> bytes:
    return data[:offset] + value.to_bytes(size, "little", signed=value < 0) + data[offset + size :]


def test_good_plan_is_approved() -> None:
    native.plan_check(good().encode(), 2)


@pytest.mark.parametrize(
    ("offset", "value"),
    [
        *(
            (0, 0),
            (4, 2),
            (8, 100),
            (8, 2**32 - 1),
            (12, 0),
            (12, 2**20),
            (16, 3),
            (20, 1),
            (24, 1 << 28),
            (32, 1 << 29),
        ),
        *((40, 7), (40, -2), (44, 17), (44, 2**32 - 1), (48, 1), (60, 1), (64, 2), (64, -1)),
    ],
)
def test_head(offset: int, value: int) -> None:
    """Magic, version, size, counts, namespaces, descriptors, spare room."""
    size = 8 if offset in (24, 32) else 4
    data = spoiled(good().encode(), offset, value, size)
    with pytest.raises(ValueError, match="head"):
        native.plan_check(data, 2)


def test_sizes() -> None:
    data = good().encode()
    for cut in (0, 1, 100, native.PLAN_HEAD_SIZE, len(data) - 1):
        with pytest.raises(ValueError, match="head"):
            native.plan_check(data[:cut], 2)
    with pytest.raises(ValueError, match="head"):
        native.plan_check(data + b"x", 2)
    with pytest.raises(ValueError, match="head"):
        native.plan_check(data, 3)
    with pytest.raises(ValueError, match="head"):
        native.plan_check(spoiled(bytes(5 << 20), 8, 5 << 20), 0)


@pytest.mark.parametrize("kind", [0, 19, 44, 99, 2**32 - 1])
def test_unknown_kinds(kind: int) -> None:
    plan = Plan()
    plan.add(kind)
    plan.run()
    refused(plan, "operation 0")


def test_exec_is_last_and_nowhere_else() -> None:
    plan = good()
    plan.run()
    refused(plan, "operation 8")
    plan = Plan()
    plan.add(abi.NS_OP_SETSID)
    refused(plan, "operation 0")


def test_mounts_need_a_mount_namespace_of_their_own() -> None:
    """Without it the plan would rebuild the host."""
    for kind in range(abi.NS_OP_PRIVATE, abi.NS_OP_SANDBOX_TREE + 1):
        plan = Plan(new_namespaces=native.CLONE_NEWPID, fds=[0])
        plan.add(kind, "x", "x", fd=0 if kind == abi.NS_OP_BIND else -1)
        plan.run()
        refused(plan, "operation 0")
    plan = Plan(new_namespaces=native.CLONE_NEWPID)
    plan.add(abi.NS_OP_HOSTNAME, "x")
    plan.run()
    refused(plan, "operation 0")
    plan.new_namespaces |= native.CLONE_NEWUTS
    native.plan_check(plan.encode(), 0)


NET, IPC = native.CLONE_NEWNET, native.CLONE_NEWIPC


@pytest.mark.parametrize(
    ("name", "namespaces", "fine"),
    [
        ("net/ipv4/tcp_syncookies", NET, True),
        ("net/ipv4/tcp_syncookies", IPC | native.CLONE_NEWUTS, False),
        ("kernel/shm_rmid_forced", IPC, True),
        ("kernel/shm_rmid_forced", NET, False),
        ("kernel/msgmax", IPC, True),
        ("kernel/sem", IPC, True),
        ("kernel/semantics", IPC | NET, False),
        ("fs/mqueue/msg_max", IPC, True),
        ("kernel/core_pattern", NET | IPC, False),
        ("net/../kernel/core_pattern", NET | IPC, False),
        ("kernel/shm/../core_pattern", NET | IPC, False),
        ("/proc/sys/kernel/core_pattern", NET | IPC, False),
        ("net", NET, False),
    ],
)
def test_sysctls_are_those_of_the_childs_own_namespaces(name: str, namespaces: int, fine: bool) -> None:
    """CVE-2022-0811 in miniature: whoever makes the plan, the machine's own parameters are out of reach."""
    plan = Plan(new_namespaces=native.CLONE_NEWNS | namespaces)
    plan.add(abi.NS_OP_SYSCTL, name, "1")
    plan.run()
    if fine:
        native.plan_check(plan.encode(), 0)
    else:
        refused(plan, "operation 0")


@pytest.mark.parametrize(("flags", "fine"), [(0, True), (2, True), (4, True), (6, True), (1, False), (8, False)])
def test_flags_of_a_filter(flags: int, fine: bool) -> None:
    plan = Plan()
    plan.add(abi.NS_OP_SECCOMP, bytes(8), a=flags)
    plan.run()
    if fine:
        native.plan_check(plan.encode(), 0)
    else:
        refused(plan, "operation 0")


@pytest.mark.parametrize(
    ("kind", "words", "fields"),
    [
        (abi.NS_OP_OPEN, ("/x",), {"c": 512}),
        (abi.NS_OP_OPEN, ("",), {"c": 1}),
        (abi.NS_OP_OPEN, ("/x\0y",), {"c": 1}),
        (abi.NS_OP_OPEN, ("/x", "more"), {"c": 1}),
        (abi.NS_OP_OPEN, ("/x",), {"c": 1, "fd": 2}),
        (abi.NS_OP_USER, (), {}),
        (abi.NS_OP_USER, (), {"a": native.CLONE_NEWIPC}),
        (abi.NS_OP_USER, (), {"a": native.CLONE_NEWNS | native.CLONE_NEWPID}),
        (abi.NS_OP_USER, (), {"a": native.CLONE_NEWNS | native.CLONE_NEWUSER}),
        (abi.NS_OP_USER, (), {"a": native.CLONE_NEWNS, "fd": 2}),
        (abi.NS_OP_LABEL, ("exec",), {}),
        (abi.NS_OP_LABEL, ("current", "x"), {}),
        (abi.NS_OP_LABEL, ("../mem", "x"), {}),
        (abi.NS_OP_OPEN, ("/x",), {"c": 1, "fd2": 0}),
        (abi.NS_OP_OPEN, ("/x",), {"c": 1, "flags": 2}),
        (abi.NS_OP_OVERLAY, ("/x", "lowerdir=%1"), {}),
        (abi.NS_OP_OVERLAY, ("/x", "lowerdir=%"), {}),
        (abi.NS_OP_OVERLAY, ("/x", "lowerdir=%x"), {}),
        (abi.NS_OP_OVERLAY, ("/x", "lowerdir=%99999999999999999999"), {}),
        (abi.NS_OP_BIND, ("/x",), {}),
        (abi.NS_OP_BIND, ("/x",), {"fd": 2}),
        (abi.NS_OP_BIND, ("/x",), {"fd": 2 + 511}),
        (abi.NS_OP_BIND, ("/x",), {"fd": 2**31 - 1}),
        (abi.NS_OP_ROOT, (), {}),
        (abi.NS_OP_ROOT, ("/x",), {"fd": 0}),
        (abi.NS_OP_FS, ("tmpfs", b"no end", "/x"), {}),
        (abi.NS_OP_GROUPS, (b"123",), {}),
        (abi.NS_OP_SECCOMP, (b"1234567",), {}),
        (abi.NS_OP_SECCOMP, (), {}),
        (abi.NS_OP_SECCOMP, (bytes(8 * 4097),), {}),
        (abi.NS_OP_JOIN, (), {}),
    ],
)
def test_operations(kind: int, words: tuple[str | bytes, ...], fields: dict[str, int]) -> None:
    plan = Plan(fds=[0, 0])
    plan.add(abi.NS_OP_PRIVATE)
    plan.add(kind, *words, **fields)
    plan.run()
    refused(plan, "operation 1")


def test_slot_is_filled_once() -> None:
    plan = Plan()
    plan.add(abi.NS_OP_OPEN, "/x", c=1)
    plan.add(abi.NS_OP_OPEN, "/y", c=1)
    plan.run()
    refused(plan, "operation 1")


def test_lists_are_bounded() -> None:
    plan = Plan()
    plan.add(abi.NS_OP_EXEC, texts("/x"), texts(*["a"] * (abi.NS_PLAN_MAX_STRINGS + 1)), b"")
    refused(plan, "operation 0")
    plan = Plan()
    plan.add(abi.NS_OP_EXEC, texts("/x"), texts(*["a"] * abi.NS_PLAN_MAX_STRINGS), b"")
    native.plan_check(plan.encode(), 0)
    plan = Plan()
    plan.add(abi.NS_OP_EXEC, b"", texts("a"), b"")
    refused(plan, "operation 0")


def test_random_damage_never_harms() -> None:
    """Whatever is flipped, the reader answers yes or no."""
    chance = random.Random(1)
    data = good().encode()
    for _ in range(3000):
        damaged = bytearray(data)
        for _ in range(chance.randint(1, 4)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        try:
            native.plan_check(bytes(damaged), 2)
        except ValueError:
            continue
