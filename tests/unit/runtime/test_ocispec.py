"""OCI configurations: every one that is made here is held against the schema."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nsrun.runtime
from nsrun.errors import RuntimeFailure
from nsrun.model.container import EnvVar
from nsrun.model.image import ImageConfig
from nsrun.model.pod import Pod
from nsrun.model.resources import ResourceRequirements
from nsrun.model.running import ContainerRequest
from nsrun.model.security import PodSecurityContext, ProcMount, SecurityContext, Sysctl
from nsrun.model.volume import VolumeMount
from nsrun.runtime.capabilities import capability_mask, granted
from nsrun.runtime.ociconfig import Device, OciConfig
from nsrun.runtime.ociprocess import withheld
from nsrun.runtime.ocispec import container_config, sandbox_config
from nsrun.runtime.surroundings import Machine
from tests.unit.runtime.pods import container as sized
from tests.unit.runtime.pods import quantities
from tests.unit.runtime.requests import ATTACHMENT, MACHINE, SURROUNDINGS, pod_of, request

SCHEMA = json.loads((Path(nsrun.runtime.__file__).parent / "schema" / "config.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)

DEFAULT = {"CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "NET_BIND_SERVICE"} | {
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
}


def config(asked: ContainerRequest, machine: Machine = MACHINE) -> OciConfig:
    found = container_config(asked, machine, SURROUNDINGS)
    VALIDATOR.validate(json.loads(json.dumps(found)))
    return found


def destinations(found: OciConfig) -> list[str]:
    return [mount["destination"] for mount in found["mounts"]]


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c.pop("process"),
        lambda c: c["process"].update(args=[]),
        lambda c: c["process"].update(cwd="relative"),
        lambda c: c["process"]["env"].append("NOVALUE"),
        lambda c: c["process"]["user"].update(uid=2**32),
        lambda c: c["process"]["rlimits"][0].pop("hard"),
        lambda c: c["process"]["capabilities"]["bounding"].append("NET_RAW"),
        lambda c: c["linux"]["namespaces"].append({"type": "nothing"}),
        lambda c: c["linux"]["devices"][0].pop("major"),
        lambda c: c["mounts"].append({"destination": "relative"}),
        lambda c: c.update(hooks={}),
        lambda c: c["linux"].update(sysctl={"kernel.core_pattern\n": "x"}),
        lambda c: c["linux"].update(sysctl={"kernel.shm": "1\nx"}),
    ],
)
def test_the_schema_refuses(change: object) -> None:
    broken = json.loads(json.dumps(config(request())))
    change(broken)  # type: ignore[operator]
    with pytest.raises(jsonschema.ValidationError):
        VALIDATOR.validate(broken)


def test_process() -> None:
    found = config(
        request(
            command=("/bin/echo", "$(A)"),
            args=("$(B)",),
            env=(EnvVar(name="A", value="1"),),
            working_dir="/work",
        )
    )["process"]
    assert found["args"] == ["/bin/echo", "$(A)", "$(B)"]  # expanded by whoever asks, or not at all
    assert found["cwd"] == "/work"
    assert found["env"][1:] == ["HOSTNAME=web", "A=1", "HOME=/root"]
    assert found["user"] == {"uid": 0, "gid": 0, "umask": 0o22, "additionalGids": [0]}
    names = found["capabilities"]
    assert {f"CAP_{name}" for name in DEFAULT} == set(names["bounding"]) == set(names["effective"])
    assert names["inheritable"] == names["ambient"] == []
    assert found["noNewPrivileges"] is False
    assert found["terminal"] is False


def test_users_without_root_start_without_capabilities() -> None:
    found = config(request(image=ImageConfig(user="app", working_dir="/image")))["process"]
    assert (found["user"]["uid"], found["user"]["gid"], found["cwd"]) == (1000, 100, "/image")
    assert found["user"]["additionalGids"] == [100, 200]
    assert found["capabilities"]["effective"] == found["capabilities"]["permitted"] == []
    assert len(found["capabilities"]["bounding"]) == 11


@pytest.mark.parametrize("image", ["relative", "a/b", "x\0y"])
def test_working_directories_are_absolute(image: str) -> None:
    with pytest.raises(RuntimeFailure, match="not an absolute path"):
        config(request(image=ImageConfig(working_dir=image)))


def test_security_context() -> None:
    context = SecurityContext(
        allow_privilege_escalation=False,
        read_only_root_filesystem=True,
        capabilities_add=("net_raw", "CAP_SYS_TIME"),
        capabilities_drop=("CHOWN",),
    )
    found = config(request(security_context=context))
    assert found["process"]["noNewPrivileges"] is True
    assert found["root"] == {"path": "/run/nsrun/stage", "readonly": True}
    bounding = set(found["process"]["capabilities"]["bounding"])
    assert {"CAP_NET_RAW", "CAP_SYS_TIME"} <= bounding
    assert "CAP_CHOWN" not in bounding
    hosts = next(mount for mount in found["mounts"] if mount["destination"] == "/etc/hosts")
    assert "ro" in hosts["options"]
    assert (
        config(request(security_context=SecurityContext(allow_privilege_escalation=True)))["process"]["noNewPrivileges"]
        is False
    )


def test_capabilities() -> None:
    assert granted((), ("ALL",)) == ()
    assert granted(("NET_RAW",), ("all",)) == ("CAP_NET_RAW",)
    assert len(granted(("ALL",), ())) == 41
    assert "CAP_SYS_ADMIN" not in granted(("ALL",), ("SYS_ADMIN",))
    assert capability_mask(("CAP_CHOWN", "CAP_SYS_ADMIN", "CAP_CHECKPOINT_RESTORE")) == 1 | 1 << 21 | 1 << 40
    with pytest.raises(RuntimeFailure, match='there is no capability "FLY"'):
        granted(("FLY",), ())


def test_what_the_host_withholds_is_not_granted_and_told() -> None:
    machine = Machine(memory=1, capabilities=frozenset({"CAP_CHOWN"}), hard_limits={"RLIMIT_NOFILE": 1000})
    asked = request(security_context=SecurityContext(capabilities_drop=("ALL",), capabilities_add=("CHOWN", "BPF")))
    found = config(asked, machine)["process"]
    assert found["capabilities"]["bounding"] == ["CAP_CHOWN"]
    assert found["rlimits"][0] == {"type": "RLIMIT_NOFILE", "soft": 1000, "hard": 1000}
    assert withheld(asked, machine) == ("cannot grant CAP_BPF: this machine withholds it from nsrun",)


def test_mounts_come_parents_first() -> None:
    mounts = (
        VolumeMount(name="a", mount_path="/data/x/y/z"),
        VolumeMount(name="b", mount_path="/data/x", read_only=True),
        VolumeMount(name="c", mount_path="//data/./"),
    )
    found = config(request(volume_mounts=mounts, volumes={"a": "/h/a", "b": "/h/b", "c": "/h/c"}))
    places = destinations(found)
    assert places.index("/data") < places.index("/data/x") < places.index("/data/x/y/z")
    assert places.index("/dev") < places.index("/dev/shm")
    by_place = {mount["destination"]: mount for mount in found["mounts"]}
    assert by_place["/data/x"]["options"] == ["rbind", "rprivate", "ro"]
    assert by_place["/data"]["source"] == "/h/c"
    assert by_place["/dev/shm"]["source"] == "/proc/77/root/dev/shm"
    assert by_place["/etc/hosts"]["source"] == "/var/lib/nsrun/pods/uid-1/etc-hosts"


def test_the_manifests_mounts_replace_ours() -> None:
    places = ("/etc/hosts", "/dev/shm", "/sys", "/dev")
    mounts = tuple(VolumeMount(name="v", mount_path=place) for place in places)
    found = config(request(volume_mounts=mounts, volumes={"v": "/h"}))
    for place in places:
        assert [m["source"] for m in found["mounts"] if m["destination"] == place] == ["/h"]
    assert found["linux"]["devices"] == []  # they would be made on the host


@pytest.mark.parametrize("place", ["/", "/proc", "/proc/x", "/x/../proc", "//proc", "/./"])
def test_places_that_are_not_the_manifests(place: str) -> None:
    with pytest.raises(RuntimeFailure, match="the container's own"):
        config(request(volume_mounts=(VolumeMount(name="v", mount_path=place),), volumes={"v": "/h"}))


def test_a_volume_that_is_not_there() -> None:
    with pytest.raises(RuntimeFailure, match='volume "v" is not prepared'):
        config(request(volume_mounts=(VolumeMount(name="v", mount_path="/v"),)))


def test_linux() -> None:
    found = config(
        request(
            container=sized("main", requests={"cpu": 500}, limits={"cpu": 1000, "memory": 64 << 30}),
            image=ImageConfig(cmd=("x",)),
        )
    )["linux"]
    assert found["resources"] == {
        "cpu": {"shares": 512, "quota": 100000, "period": 100000},
        "memory": {"limit": 68719477},
    }
    kinds = {entry["type"]: entry.get("path") for entry in found["namespaces"]}
    assert kinds == {
        "pid": None,
        "mount": None,
        "cgroup": None,
        "ipc": "/proc/77/ns/ipc",
        "uts": "/proc/77/ns/uts",
        "network": ATTACHMENT.netns,
    }
    assert "/sys/devices/system/cpu/cpu0/thermal_throttle" in found["maskedPaths"]
    assert "/proc/sys" in found["readonlyPaths"]
    assert len(found["devices"]) == 6


def test_annotations_are_ours_alone() -> None:
    found = config(request(image=ImageConfig(labels={"io.kubernetes.cri.container-type": "evil"})))
    assert found["annotations"] == {
        "io.kubernetes.cri.container-type": "container",
        "io.kubernetes.cri.sandbox-id": "uid-1",
        "io.kubernetes.cri.sandbox-name": "web",
        "io.kubernetes.cri.sandbox-namespace": "default",
        "io.kubernetes.cri.sandbox-uid": "uid-1",
        "io.kubernetes.cri.container-name": "main",
        "io.kubernetes.cri.image-name": "docker.io/library/i:latest",
    }


def test_sandbox() -> None:
    pod = pod_of(request().container)
    found = sandbox_config(pod, attachment=ATTACHMENT, rootfs="/stage", cgroup_path="c", machine=MACHINE)
    VALIDATOR.validate(json.loads(json.dumps(found)))
    assert found["hostname"] == "web"
    assert found["root"]["readonly"] is True
    assert found["process"]["user"]["uid"] == 65535
    assert found["process"]["noNewPrivileges"] is True
    assert not any(found["process"]["capabilities"].values())
    assert found["linux"].get("sysctl") == {
        "net.ipv4.ip_unprivileged_port_start": "0",
        "net.ipv4.ping_group_range": "0 2147483647",
    }


def test_oom_scores_go_no_lower_than_the_machine_lets_them() -> None:
    withholding = Machine(memory=8 << 30, oom_floor=-5)
    asked = request()
    sandbox = sandbox_config(asked.pod, attachment=ATTACHMENT, rootfs="/r", cgroup_path="/c", machine=withholding)
    assert sandbox["process"]["oomScoreAdj"] == -5
    assert config(asked, withholding)["process"]["oomScoreAdj"] == 1000


@given(
    st.lists(st.text(alphabet="/a.b-", min_size=1, max_size=12).map(lambda text: f"/{text}"), max_size=5),
    st.lists(st.tuples(st.from_regex(r"[A-Z_]{1,4}", fullmatch=True), st.text(max_size=8)), max_size=4),
    st.lists(st.text(max_size=6), max_size=4),
)
def test_whatever_a_manifest_says_the_configuration_is_valid(
    places: list[str], env: list[tuple[str, str]], image_env: list[str]
) -> None:
    mounts = tuple(VolumeMount(name="v", mount_path=place) for place in places)
    variables = tuple(EnvVar(name=name, value=value.replace("\0", "")) for name, value in env)
    asked = request(
        volume_mounts=mounts,
        volumes={"v": "/h"},
        env=variables,
        image=ImageConfig(env=tuple(image_env)),
        resources=ResourceRequirements(),
    )
    try:
        found = config(asked)
    except RuntimeFailure:
        return
    depths = [place.count("/") for place in destinations(found)]
    assert depths == sorted(depths)
    assert len(set(destinations(found))) == len(depths)


def kinds(found: OciConfig) -> dict[str, str | None]:
    return {entry["type"]: entry.get("path") for entry in found["linux"]["namespaces"]}


def test_namespaces_of_the_host_are_left_out() -> None:
    everything: dict[str, Any] = {
        "host_network": True,
        "host_pid": True,
        "host_ipc": True,
        "share_process_namespace": True,
    }
    assert kinds(config(request(spec=everything))) == {"mount": None, "cgroup": None}
    assert set(kinds(config(request(spec={"host_network": True})))) == {"mount", "cgroup", "pid", "ipc"}
    sandbox = sandbox_of(pod_of(request().container, **everything))
    assert kinds(sandbox) == {"mount": None}
    assert sandbox["mounts"] == []
    assert "hostname" not in sandbox
    assert sandbox["linux"].get("sysctl") == {}


def test_one_process_namespace_for_the_pod() -> None:
    assert kinds(config(request(spec={"share_process_namespace": True})))["pid"] == "/proc/77/ns/pid"


def test_the_hosts_shared_memory() -> None:
    found = config(request(spec={"host_ipc": True}))
    assert [mount["source"] for mount in found["mounts"] if mount["destination"] == "/dev/shm"] == ["/dev/shm"]


def test_host_names() -> None:
    pod = pod_of(request().container)
    attachment = replace(ATTACHMENT, hostname="web.sub.default.svc.cluster.local")
    sandbox = sandbox_config(pod, attachment=attachment, rootfs="/stage", cgroup_path="c", machine=MACHINE)
    assert sandbox["hostname"] == "web.sub.default.svc.cluster.local"
    found = config(replace(request(), attachment=attachment))
    assert "HOSTNAME=web.sub.default.svc.cluster.local" in found["process"]["env"]


def sandbox_of(pod: Pod) -> OciConfig:
    found = sandbox_config(pod, attachment=ATTACHMENT, rootfs="/stage", cgroup_path="c", machine=MACHINE)
    VALIDATOR.validate(json.loads(json.dumps(found)))
    return found


def with_sysctls(*names: str, **spec: Any) -> Pod:
    sysctls = tuple(Sysctl(name=name, value="1") for name in names)
    return pod_of(request().container, security_context=PodSecurityContext(sysctls=sysctls), **spec)


def test_sysctls_of_the_pod() -> None:
    asked = ("kernel.shm_rmid_forced", "net/ipv4/conf/eth0.1/forwarding", "net.ipv4.ip_unprivileged_port_start")
    assert sandbox_of(with_sysctls(*asked))["linux"].get("sysctl") == {
        "net.ipv4.ip_unprivileged_port_start": "1",
        "net.ipv4.ping_group_range": "0 2147483647",
        "kernel.shm_rmid_forced": "1",
        "net.ipv4.conf.eth0/1.forwarding": "1",
    }


@pytest.mark.parametrize(
    ("name", "spec"),
    [
        ("kernel.core_pattern", {}),
        ("vm.overcommit_memory", {}),
        ("kernel/../net/x", {}),
        ("net.ipv4.tcp_syncookies", {"host_network": True}),
        ("kernel.sem", {"host_ipc": True}),
    ],
)
def test_sysctls_of_the_host_stay_as_they_are(name: str, spec: dict[str, Any]) -> None:
    """Admission refuses them; were it passed, this would."""
    with pytest.raises(RuntimeFailure, match="it belongs to the host"):
        sandbox_of(with_sysctls(name, **spec))


HOST_DEVICES = (
    Device(path="/dev/null", type="c", major=9, minor=9, fileMode=0o600, uid=5, gid=5),
    Device(path="/dev/ptmx", type="c", major=5, minor=2, fileMode=0o666, uid=0, gid=5),
    Device(path="/dev/vda", type="b", major=254, minor=0, fileMode=0o660, uid=0, gid=6),
)


def test_privileged() -> None:
    context = SecurityContext(privileged=True, capabilities_drop=("ALL",))
    asked = request(security_context=context)
    found = container_config(asked, MACHINE, replace(SURROUNDINGS, host_devices=HOST_DEVICES))
    VALIDATOR.validate(json.loads(json.dumps(found)))
    assert len(found["process"]["capabilities"]["bounding"]) == 41
    assert found["process"]["capabilities"]["inheritable"] == []
    assert found["process"]["noNewPrivileges"] is False
    assert found["linux"]["maskedPaths"] == found["linux"]["readonlyPaths"] == []
    assert "cgroup" not in kinds(found)
    assert next(m for m in found["mounts"] if m["destination"] == "/sys")["options"] == ["nosuid", "noexec", "nodev"]
    devices = {device["path"]: (device["type"], device["major"], device["gid"]) for device in found["linux"]["devices"]}
    assert devices["/dev/vda"] == ("b", 254, 6)
    assert devices["/dev/null"] == ("c", 1, 0)
    assert "/dev/ptmx" not in devices  # a link into the container's own
    assert withheld(asked, Machine(memory=1, capabilities=frozenset({"CAP_CHOWN"}))) == ()


def test_host_devices_are_for_the_privileged() -> None:
    found = container_config(request(), MACHINE, replace(SURROUNDINGS, host_devices=()))
    assert len(found["linux"]["devices"]) == 6


def test_an_unmasked_proc() -> None:
    found = config(request(security_context=SecurityContext(proc_mount=ProcMount.UNMASKED)))
    assert found["linux"]["maskedPaths"] == found["linux"]["readonlyPaths"] == []
    assert len(found["process"]["capabilities"]["bounding"]) == 11
    assert "ro" in next(m for m in found["mounts"] if m["destination"] == "/sys")["options"]


def test_limits_of_the_whole_pod_hold_for_containers_without_their_own() -> None:
    whole = ResourceRequirements(limits=quantities({"cpu": 2000, "memory": (1 << 30) * 1000}))
    found = config(
        request(
            container=sized("a", limits={"memory": (1 << 20) * 1000}),
            spec={"resources": whole},
            image=ImageConfig(cmd=("x",)),
        )
    )
    assert found["linux"]["resources"] == {
        "cpu": {"shares": 2048, "quota": 200000, "period": 100000},
        "memory": {"limit": 1 << 20},
    }
