"""The plan of a command, from its container's configuration."""

from __future__ import annotations

import pytest

from nsrun.model.container import Container, PullPolicy
from nsrun.model.security import SecurityContext
from nsrun.runtime import operations as do
from nsrun.runtime.execplan import exec_plan
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
