"""User namespaces: how they are read, and what plans are made of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest

import nsrun.runtime
from nsrun.errors import RuntimeFailure
from nsrun.model.running import ContainerRequest
from nsrun.model.security import PodSecurityContext, SecurityContext, Sysctl
from nsrun.runtime import operations as do
from nsrun.runtime.cgroup_view import CgroupMount, CgroupView
from nsrun.runtime.launchplan import LaunchPlan
from nsrun.runtime.ociconfig import Device, OciConfig
from nsrun.runtime.ociprocess import withheld
from nsrun.runtime.ocispec import container_config, sandbox_config
from nsrun.runtime.plan import (
    ContainerParts,
    MountParts,
    OverlayParts,
    SandboxParts,
    Users,
    VolumeTree,
    container_plan,
    sandbox_plan,
)
from nsrun.runtime.userns import parse_map
from nsrun.support import native
from nsrun.support.idranges import IdRange
from tests.unit.runtime.requests import ATTACHMENT, MACHINE, SURROUNDINGS, request

FILTER = do.Seccomp(program=bytes(8))
IDS = IdRange(first=1 << 30)
DISK = Device(path="/dev/vda", type="b", major=254, minor=0, fileMode=0o660, uid=0, gid=6)
VALIDATOR = jsonschema.Draft202012Validator(
    json.loads((Path(nsrun.runtime.__file__).parent / "schema" / "config.json").read_text())
)


def config(asked: ContainerRequest) -> OciConfig:
    found = container_config(asked, MACHINE, replace(SURROUNDINGS, ids=IDS, host_devices=(DISK,)))
    VALIDATOR.validate(json.loads(json.dumps(found)))
    return found


def plan(asked: ContainerRequest) -> LaunchPlan:
    made = container_plan(
        config(asked),
        ContainerParts(
            mounts=MountParts(
                root=OverlayParts(layers=asked.image.layers, upper="/upper", work="/work"),
                trees={"/etc/hosts": VolumeTree(fd=1, file=True)},
                cgroup_view=CgroupView(mounts=(CgroupMount(destination="/sys/fs/cgroup", type="cgroup2"),)),
                sandbox_root="/proc/77/root",
                users=Users(fd=0, first=IDS.first),
            ),
            seccomp=FILTER,
            empty_dir="/empty",
            session="s",
            fd_count=2,
        ),
    )
    native.plan_check(made.encode(), 2)
    return made


def of_pod(**fields: object) -> ContainerRequest:
    return request(spec={"host_users": False}, **fields)  # type: ignore[arg-type]


def test_the_configuration_says_which_ids() -> None:
    linux = config(of_pod())["linux"]
    mapping = [{"containerID": 0, "hostID": 1 << 30, "size": 65536}]
    assert linux["uidMappings"] == linux["gidMappings"] == mapping
    assert {"type": "user", "path": "/proc/77/ns/user"} in linux["namespaces"]


def test_what_needs_the_hosts_power_comes_first() -> None:
    made = plan(of_pod(security_context=SecurityContext(read_only_root_filesystem=True), working_dir="/w"))
    kinds = [type(operation) for operation in made.operations]
    entered = kinds.index(do.EnterUser)
    for kind in (do.Overlay, do.Maker, do.MountFs, do.Bind, do.Node, do.Mask, do.ReadOnly, do.RootReadOnly):
        assert max(n for n, each in enumerate(kinds) if each is kind) < entered, kind
    before: tuple[type, ...] = (do.OomScore, do.Rlimit, do.Gate, do.Unshare)
    after: tuple[type, ...] = (do.Pivot, do.WorkingDirectory, do.Groups, do.Ids, do.Seccomp, do.Capabilities)
    assert max(kinds.index(kind) for kind in before) < entered < min(kinds.index(kind) for kind in after)
    assert kinds.index(do.UseRoot) + 1 == kinds.index(do.Maker)
    assert made.new_namespaces == native.CLONE_NEWNS | native.CLONE_NEWPID
    assert made.join_namespaces & native.CLONE_NEWUSER == 0


def test_layers_show_its_owners_and_what_it_writes_is_its_own() -> None:
    lines = plan(of_pod()).explain()
    assert 'open host path "/layers/b" with the owners of the pod\'s user namespace' in lines
    assert 'open host path "/upper"' in lines
    assert "make what is missing in the name of user 1073741824, group 1073741824" in lines
    assert "enter the pod's user namespace, and make namespaces that belong to it: mount" in lines
    [pts] = [line for line in lines if "devpts" in line]
    assert f"gid={(1 << 30) + 5}" in pts


def test_the_hosts_devices_keep_their_owners() -> None:
    made = plan(of_pod(security_context=SecurityContext(privileged=True)))
    nodes = {op.path: (op.uid, op.gid) for op in made.operations if isinstance(op, do.Node)}
    assert nodes["/dev/null"] == (1 << 30, 1 << 30)
    assert nodes["/dev/vda"] == (0, 6)


def test_nothing_is_withheld_inside() -> None:
    machine = replace(MACHINE, capabilities=frozenset({"CAP_CHOWN"}))
    asked = of_pod(security_context=SecurityContext(capabilities_add=("SYS_ADMIN",)))
    found = container_config(asked, machine, replace(SURROUNDINGS, ids=IDS))
    assert "CAP_SYS_ADMIN" in found["process"]["capabilities"]["bounding"]
    assert withheld(asked, machine) == ()
    assert withheld(replace(asked, pod=request().pod), machine) != ()


def test_the_sandbox() -> None:
    sysctls = (Sysctl(name="kernel.sem", value="1"), Sysctl(name="net.ipv4.tcp_syncookies", value="1"))
    asked = request(spec={"host_users": False, "security_context": PodSecurityContext(sysctls=sysctls)})
    found = sandbox_config(asked.pod, attachment=ATTACHMENT, rootfs="/stage", cgroup_path="c", machine=MACHINE, ids=IDS)
    VALIDATOR.validate(json.loads(json.dumps(found)))
    users = Users(fd=2, first=IDS.first)
    made = sandbox_plan(found, SandboxParts(netns_fd=0, pause_fd=1, seccomp=FILTER, fd_count=3, users=users))
    native.plan_check(made.encode(), 3)
    lines = made.explain()
    assert lines[0] == "make namespaces: mount, pid"
    entered = lines.index("enter the pod's user namespace, and make namespaces that belong to it: mount, ipc, uts")
    assert lines.index("set sysctl net.ipv4.tcp_syncookies to 1") < entered  # its network is there already
    assert lines.index("set sysctl kernel.sem to 1") > entered
    assert lines.index('set the host name to "web"') > entered
    assert lines.index("wait to be placed in the cgroups") < entered


@pytest.mark.parametrize("text", ["", "0 1 2\n3 4 5", "0 0 4294967295 1", "1 1000 65536", "0 a 1"])
def test_maps_that_are_not_ours(text: str) -> None:
    with pytest.raises(RuntimeFailure, match="not ours"):
        parse_map(text)


def test_a_map() -> None:
    assert parse_map("         0 1073741824      65536\n") == IDS
