"""The plan of a command, from its container's configuration."""

from __future__ import annotations

import os
import struct
import sys
from pathlib import Path

import pytest

from nsrun.model.container import Container, PullPolicy
from nsrun.model.security import SecurityContext
from nsrun.model.session import TerminalSize
from nsrun.runtime import operations as do
from nsrun.runtime.execplan import exec_plan
from nsrun.runtime.exectemplate import complete, read_template, template_path
from nsrun.runtime.launchplan import LaunchPlan
from nsrun.runtime.ociconfig import OciConfig
from nsrun.runtime.ocispec import container_config
from nsrun.support import native
from tests.unit.runtime.requests import MACHINE, SURROUNDINGS, request

EVERY = (
    native.CLONE_NEWNS
    | native.CLONE_NEWPID
    | native.CLONE_NEWIPC
    | native.CLONE_NEWUTS
    | native.CLONE_NEWNET
    | native.CLONE_NEWCGROUP
)


def config(**context: object) -> OciConfig:
    container = Container(
        name="main",
        image="i",
        image_pull_policy=PullPolicy.NEVER,
        command=("/x",),
        working_dir="/work",
        security_context=SecurityContext(**context),  # type: ignore[arg-type]
    )
    return container_config(request(container), MACHINE, SURROUNDINGS)


def plan_of(found: OciConfig, *words: str) -> LaunchPlan:
    return exec_plan(found, words or ("true", "a b"), seccomp=None, session="nsrun-1")


def kinds(plan: LaunchPlan) -> list[type]:
    return [type(operation) for operation in plan.operations]


def test_it_is_well_formed_and_takes_no_descriptors() -> None:
    plan = plan_of(config())
    native.plan_check(plan.encode(), 0)
    assert (plan.new_namespaces, plan.join_namespaces, plan.cgroup_fd, plan.procs_fds) == (0, 0, -1, ())


def test_what_the_container_has_the_command_gets() -> None:
    found = config(run_as_user=7, run_as_group=8)
    plan = plan_of(found)
    (enter,) = (operation for operation in plan.operations if isinstance(operation, do.Enter))
    assert enter.flags == EVERY
    assert do.WorkingDirectory(path="/work", make=False) in plan.operations
    assert do.OomScore(score=found["process"]["oomScoreAdj"]) in plan.operations
    assert do.Keyring(name="nsrun-1") in plan.operations
    assert do.Ids(uid=7, gid=8) in plan.operations
    (execute,) = (operation for operation in plan.operations if isinstance(operation, do.Execute))
    assert execute.arguments == ("true", "a b")
    assert execute.environment == tuple(found["process"]["env"])
    assert "/bin/true" in execute.candidates


def test_what_is_the_hosts_is_not_joined() -> None:
    found = config()
    namespaces = [entry for entry in found["linux"]["namespaces"] if entry["type"] not in ("network", "uts")]
    found["linux"]["namespaces"] = namespaces
    (enter,) = (operation for operation in plan_of(found).operations if isinstance(operation, do.Enter))
    assert enter.flags == EVERY & ~(native.CLONE_NEWNET | native.CLONE_NEWUTS)


def test_it_is_born_first_where_nobody_may_trace_it() -> None:
    order = kinds(plan_of(config()))
    assert order.index(do.Enter) < order.index(do.WorkingDirectory) < order.index(do.Birth) < order.index(do.Ids)


@pytest.mark.parametrize("how", ["capability", "shared", "host"])
def test_it_is_born_last_where_somebody_may(how: str) -> None:
    found = config(capabilities_add=("SYS_PTRACE",)) if how == "capability" else config()
    others = [entry for entry in found["linux"]["namespaces"] if entry["type"] != "pid"]
    if how == "shared":
        found["linux"]["namespaces"] = [*others, {"type": "pid", "path": "/proc/7/ns/pid"}]
    if how == "host":
        found["linux"]["namespaces"] = others
    order = kinds(plan_of(found))
    assert order.index(do.Birth) > order.index(do.Ids)
    assert order.index(do.Birth) > order.index(do.Capabilities)
    assert order[order.index(do.Birth) :] == [do.Birth, do.NewSession, do.Execute]


def test_every_step_says_what_it_does() -> None:
    lines = plan_of(config()).explain()
    assert any("join the container's namespaces: mount, pid, ipc, uts, network, cgroup" in line for line in lines)
    assert "create a process in the container's process namespace" in lines


def test_a_terminal_of_its_own() -> None:
    """Opened from outside, before the command is anybody; controlled by the session that the command leads."""
    found = config(run_as_user=7)
    size = TerminalSize(columns=99, rows=33)
    plan = exec_plan(found, ("sh",), seccomp=None, session="nsrun-1", terminal=True, size=size)
    native.plan_check(plan.encode(), 0)
    order = kinds(plan)
    assert order.index(do.Enter) < order.index(do.Terminal) < order.index(do.Birth) < order.index(do.NewSession)
    assert do.Maker not in order
    assert do.Terminal(uid=7, size=size, console=False) in plan.operations
    assert do.NewSession(terminal=True) in plan.operations
    (execute,) = (operation for operation in plan.operations if isinstance(operation, do.Execute))
    assert execute.environment[-1] == "TERM=xterm"
    found["process"]["env"].append("TERM=vt100")
    again = exec_plan(found, ("sh",), seccomp=None, session="nsrun-1", terminal=True)
    assert [entry for entry in _environment(again) if entry.startswith("TERM=")] == ["TERM=vt100"]


def test_a_terminal_in_a_user_namespace_is_its_roots_first() -> None:
    found = config(run_as_user=7)
    found["linux"]["namespaces"].append({"type": "user", "path": "/proc/1/ns/user"})
    plan = exec_plan(found, ("sh",), seccomp=None, session="nsrun-1", terminal=True)
    native.plan_check(plan.encode(), 0)
    order = kinds(plan)
    assert order[order.index(do.Terminal) - 1] is do.Maker


def _environment(plan: LaunchPlan) -> tuple[str, ...]:
    (execute,) = (operation for operation in plan.operations if isinstance(operation, do.Execute))
    return execute.environment


@pytest.mark.parametrize("terminal", [False, True])
def test_a_template_is_the_plan_without_its_words(terminal: bool, tmp_path: Path) -> None:
    found = config()
    size = TerminalSize(columns=99, rows=33) if terminal else None

    def plan(*words: str, size: TerminalSize | None = None) -> LaunchPlan:
        return exec_plan(found, words, seccomp=None, session="nsrun-1", terminal=terminal, size=size)

    template = plan("/").encode()
    whole = complete(template, ("ls", "-l", "ä b"), os.terminal_size((99, 33)) if terminal else None)
    native.plan_check(whole, 0)
    assert native.plan_environment(template) == list(_environment(plan("/")))
    assert meaning(whole) == meaning(plan("ls", "-l", "ä b", size=size).encode())
    run = str(tmp_path)
    assert read_template(run, terminal=terminal) is None
    Path(template_path(run, terminal=terminal)).write_bytes(template)
    assert read_template(run, terminal=terminal) == template
    assert template_path(run, terminal=terminal) != template_path(run, terminal=not terminal)


def meaning(plan: bytes) -> list[tuple[object, ...]]:
    """The operations with their texts, wherever those lie."""
    found: list[tuple[object, ...]] = []
    for index in range(int.from_bytes(plan[12:16], sys.byteorder)):
        start = native.PLAN_HEAD_SIZE + index * native.OP_SIZE
        numbers = struct.unpack_from("=IIiiQQQ6I", plan, start)
        texts = [plan[numbers[at] : numbers[at] + numbers[at + 1]] for at in (7, 9, 11)]
        found.append((*numbers[:7], *texts))
    return found


@pytest.mark.parametrize("content", [b"", b"x" * 500, bytes(500)])
def test_what_is_no_template(content: bytes) -> None:
    with pytest.raises(ValueError, match="no launch plan"):
        complete(content, ("ls",))
