"""What is compiled where nsrun itself is in a user namespace: as for root, but for what the kernel withholds there."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import nsrun.runtime
from nsrun.errors import RuntimeFailure
from nsrun.host.overlay import OverlayFlavour
from nsrun.host.userns import UserNamespace
from nsrun.model.pod import Pod
from nsrun.model.running import ContainerRequest
from nsrun.model.security import PodSecurityContext, SecurityContext
from nsrun.runtime import operations as do
from nsrun.runtime.cgroup_view import CgroupView
from nsrun.runtime.ociconfig import OciConfig
from nsrun.runtime.ocispec import container_config, sandbox_config
from nsrun.runtime.plan import (
    ContainerParts,
    LaunchPlan,
    MountParts,
    OverlayParts,
    RootTree,
    SandboxParts,
    VolumeTree,
    container_plan,
    sandbox_plan,
)
from nsrun.support import native
from tests.unit.runtime.requests import ATTACHMENT, MACHINE, SURROUNDINGS, request

USERS = UserNamespace(uids=65537, gids=65537, groups=True)
SINGLE = UserNamespace(uids=1, gids=1, groups=False)
SCHEMA = json.loads((Path(nsrun.runtime.__file__).parent / "schema" / "config.json").read_text())
FILTER = do.Seccomp(program=bytes(8) * 3)
OVERLAY = OverlayParts(layers=("/layers/b", "/layers/a"), upper="/upper", work="/work", user_xattrs=True)


def config(asked: ContainerRequest, users: UserNamespace = USERS) -> OciConfig:
    machine = replace(MACHINE, users=users, overlay=OverlayFlavour.USER)
    found = container_config(asked, machine, SURROUNDINGS)
    jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(json.dumps(found)))
    return found


def plan(found: OciConfig, root: OverlayParts | RootTree = OVERLAY) -> LaunchPlan:
    binds = [m for m in found["mounts"] if m["type"] == "bind" and not m["source"].startswith("/proc/77/root/")]
    mounts = MountParts(
        root=root,
        trees={mount["destination"]: VolumeTree(fd=1 + n, file=False) for n, mount in enumerate(binds)},
        cgroup_view=CgroupView(mounts=()),
        sandbox_root="/proc/77/root",
        makes_devices=False,
    )
    parts = ContainerParts(mounts=mounts, seccomp=FILTER, empty_dir="/e", session="s", fd_count=1 + len(binds))
    made = container_plan(found, parts)
    native.plan_check(made.encode(), made.fd_count)
    return made


def sandbox(users: UserNamespace, **spec: Any) -> OciConfig:
    pod: Pod = request(spec=spec).pod
    machine = replace(MACHINE, users=users)
    return sandbox_config(pod, attachment=ATTACHMENT, rootfs="/stage", cgroup_path="c", machine=machine)


def mounts(found: OciConfig) -> dict[str, tuple[str, list[str]]]:
    return {mount["destination"]: (mount["type"], mount["options"]) for mount in found["mounts"]}


def test_devices_are_the_hosts() -> None:
    made = plan(config(request()))
    nodes = [operation for operation in made.operations if isinstance(operation, do.BindNode)]

    assert [(node.path, node.source, node.major, node.minor) for node in nodes][:2] == [
        ("/dev/null", "/dev/null", 1, 3),
        ("/dev/zero", "/dev/zero", 1, 5),
    ]
    assert not [operation for operation in made.operations if isinstance(operation, do.Node)]
    assert 'mount the host\'s "/dev/tty" (c 5:0) at "/dev/tty"' in made.explain()


def test_overlays_keep_their_marks_in_user_xattrs() -> None:
    made = plan(config(request()))
    overlay = next(operation for operation in made.operations if isinstance(operation, do.Overlay))

    assert overlay.options.endswith("volatile,redirect_dir=nofollow,index=off,userxattr")


def test_a_root_that_is_whole_is_attached() -> None:
    made = plan(config(request()), RootTree(fd=0, source="a copy of the image's layers"))
    lines = made.explain()

    attached = lines.index('mount a copy of the image\'s layers at host path "/run/nsrun/stage"')
    assert lines[attached + 1] == 'use what is mounted at host path "/run/nsrun/stage" as root file system'
    assert not [operation for operation in made.operations if isinstance(operation, do.Overlay | do.OpenHost)]


def test_nothing_else_differs_from_roots() -> None:
    asked = request()
    assert {**config(asked), "root": None} == {**container_config(asked, MACHINE, SURROUNDINGS), "root": None}


@pytest.mark.parametrize(
    ("spec", "privileged", "destination", "expected"),
    [
        ({"host_network": True}, False, "/sys", ("bind", ["rbind", "rprivate", "nosuid", "noexec", "nodev", "rro"])),
        ({"host_network": True}, True, "/sys", ("bind", ["rbind", "rprivate", "nosuid", "noexec", "nodev", "rw"])),
        ({"host_pid": True}, False, "/proc", ("bind", ["rbind", "rprivate", "nosuid", "noexec", "nodev", "rw"])),
        ({}, False, "/sys", ("sysfs", ["nosuid", "noexec", "nodev", "ro"])),
    ],
)
def test_what_shows_the_hosts_namespaces_is_bound(
    spec: dict[str, bool], privileged: bool, destination: str, expected: tuple[str, list[str]]
) -> None:
    found = config(request(spec=spec, security_context=SecurityContext(privileged=privileged)))

    assert mounts(found)[destination] == expected


@pytest.mark.parametrize(("there", "kind"), [(True, "bind"), (False, None)])
def test_the_hosts_message_queues_are_shown_where_they_are_mounted(there: bool, kind: str | None) -> None:
    machine = replace(MACHINE, users=USERS, host_queues=there)
    found = mounts(container_config(request(spec={"host_ipc": True}), machine, SURROUNDINGS))
    assert found.get("/dev/mqueue", (None, []))[0] == kind
    assert mounts(config(request()))["/dev/mqueue"][0] == "mqueue"


def test_with_a_single_id_terminals_have_no_group_and_groups_stay() -> None:
    found = config(request(), SINGLE)

    assert "gid=5" not in mounts(found)["/dev/pts"][1]
    assert "additionalGids" not in found["process"]["user"]
    assert not [operation for operation in plan(found).operations if isinstance(operation, do.Groups)]


@pytest.mark.parametrize(
    ("users", "uid", "groups"), [(USERS, 65535, (65535, 65535)), (SINGLE, 0, (0, 0)), (None, 65535, (65535, 65535))]
)
def test_pause_is_nobody_as_far_as_there_is_one(users: UserNamespace | None, uid: int, groups: tuple[int, int]) -> None:
    found = sandbox(users)  # type: ignore[arg-type]
    user = found["process"]["user"]

    assert (user["uid"], user["gid"]) == (uid, groups[0])
    made = sandbox_plan(found, SandboxParts(netns_fd=0, pause_fd=1, seccomp=None, fd_count=2))
    native.plan_check(made.encode(), 2)
    assert any(isinstance(one, do.Groups) for one in made.operations) == (users is not SINGLE)


@pytest.mark.parametrize(("users", "expected"), [(USERS, "0 65536"), (SINGLE, "0 0")])
def test_who_may_ping_is_who_is_there(users: UserNamespace, expected: str) -> None:
    assert sandbox(users)["linux"].get("sysctl", {})["net.ipv4.ping_group_range"] == expected


@pytest.mark.parametrize(
    ("users", "context", "groups", "said"),
    [
        (USERS, SecurityContext(run_as_user=65537), (), "cannot run as user 65537: whoever runs nsrun has ids up to"),
        (USERS, SecurityContext(run_as_group=70000), (), "cannot run as group 70000"),
        (USERS, SecurityContext(), (99999,), "cannot run as group 99999"),
        (SINGLE, SecurityContext(run_as_user=1), (), "cannot run as user 1: whoever runs nsrun has no id but 0"),
    ],
)
def test_ids_that_are_not_there(
    users: UserNamespace, context: SecurityContext, groups: tuple[int, ...], said: str
) -> None:
    spec = {"security_context": PodSecurityContext(supplemental_groups=groups)}
    with pytest.raises(RuntimeFailure, match=said) as caught:
        config(request(spec=spec, security_context=context), users)
    assert caught.value.reason == "CreateContainerConfigError"
    assert "/etc/sub" in (caught.value.hint or "")


def test_the_last_id_is_there() -> None:
    user = config(request(security_context=SecurityContext(run_as_user=65536)))["process"]["user"]
    assert user["uid"] == 65536
