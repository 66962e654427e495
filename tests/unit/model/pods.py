"""Any valid pod, for hypothesis."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from nsrun.model import defaults
from nsrun.model.container import (
    Container,
    ContainerPort,
    EnvVar,
    MessagePolicy,
    Protocol,
    PullPolicy,
    RestartAction,
    RestartRule,
    SecurityContext,
)
from nsrun.model.environment import EnvFrom, FieldRef, KeyRef, ObjectKind, ResourceFieldRef
from nsrun.model.pod import DnsConfig, DnsPolicy, HostAlias, ObjectMeta, Pod, PodSpec, RestartPolicy
from nsrun.model.probe import Exec, Grpc, HttpGet, Lifecycle, Probe, Scheme, Sleep, TcpSocket
from nsrun.model.quantity import parse_quantity
from nsrun.model.resources import Quantity, ResourceRequirements
from nsrun.model.security import (
    GroupChangePolicy,
    GroupsPolicy,
    PodSecurityContext,
    ProfileType,
    SeccompProfile,
    SeLinuxOptions,
    Sysctl,
)
from nsrun.model.volume import (
    ClaimVolume,
    ConfigMapVolume,
    DownwardFile,
    DownwardVolume,
    EmptyDir,
    EmptyDirMedium,
    HostPath,
    HostPathType,
    ImageVolume,
    KeyFile,
    MountPropagation,
    NfsVolume,
    ProjectedVolume,
    SecretVolume,
    Volume,
    VolumeMount,
    VolumeSource,
)

__all__ = ["pods"]

labels = st.from_regex(r"[a-z]([-a-z0-9]{0,8}[a-z0-9])?", fullmatch=True)
texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
paths = st.lists(st.from_regex(r"[A-Za-z0-9_-]{1,8}", fullmatch=True), min_size=1, max_size=3).map(
    lambda parts: "/" + "/".join(parts)
)
quantities = st.builds(
    lambda number, suffix: parse_quantity(f"{number}{suffix}"),
    st.integers(0, 10**6),
    st.sampled_from(["", "m", "k", "M", "Ki", "Mi", "Gi", "e3"]),
)
OTHER_SOURCES: list[VolumeSource] = [
    EmptyDir(medium=EmptyDirMedium.HUGE_PAGES, page_size="2Mi"),
    ConfigMapVolume(name="a", items=(KeyFile(key="k", path="d/k", mode=0o400),), optional=True),
    SecretVolume(name="b", default_mode=0o440),
    DownwardVolume(items=(DownwardFile(path="l", source=FieldRef(field_path="metadata.labels")),)),
    ProjectedVolume(sources=(SecretVolume(name="b"), ConfigMapVolume(name="a")), default_mode=0),
    ImageVolume(reference="busybox", pull_policy="Never"),
    ClaimVolume(claim_name="data", read_only=True),
    NfsVolume(server="nas", path="/x"),
]
sources: st.SearchStrategy[VolumeSource] = st.one_of(
    st.builds(EmptyDir, medium=st.sampled_from(EmptyDirMedium), size_limit=st.none() | quantities),
    st.builds(HostPath, path=paths, type=st.sampled_from(HostPathType)),
    st.sampled_from(OTHER_SOURCES),
)
variables = st.sampled_from(
    [
        EnvVar(name="IP", source=FieldRef(field_path="status.podIP")),
        EnvVar(name="CPU", source=ResourceFieldRef(resource="limits.cpu", divisor=parse_quantity("1m"))),
        EnvVar(name="KEY", source=KeyRef(kind=ObjectKind.SECRET, name="b", key="k", optional=True)),
    ]
)
env_from = st.sampled_from(
    [
        EnvFrom(kind=ObjectKind.CONFIG_MAP, name="a", prefix="P_"),
        EnvFrom(kind=ObjectKind.SECRET, name="b", optional=True),
    ]
)
probes = st.none() | st.sampled_from(
    [
        Probe(action=Exec(command=("a", ""))),
        Probe(action=HttpGet(port="web", path="/x", scheme=Scheme.HTTPS, headers=(("A", "b"), ("A", "c")))),
        Probe(action=TcpSocket(port=1, host="h"), initial_delay_seconds=3, period_seconds=1, failure_threshold=9),
        Probe(action=Grpc(port=2, service="s"), termination_grace_period_seconds=None, timeout_seconds=7),
    ]
)
lifecycles = st.sampled_from(
    [
        Lifecycle(),
        Lifecycle(post_start=Exec(command=("a",)), pre_stop=HttpGet(port=1), stop_signal="SIGUSR1"),
        Lifecycle(post_start=TcpSocket(port=80), pre_stop=Sleep(seconds=0)),
    ]
)
rules = st.sampled_from(
    [(), (RestartRule(action=RestartAction.RESTART_ALL_CONTAINERS, exit_codes=(1,), within=False),)]
)
pod_contexts = st.sampled_from(
    [
        PodSecurityContext(),
        PodSecurityContext(
            supplemental_groups=(0, 7),
            supplemental_groups_policy=GroupsPolicy.STRICT,
            fs_group=0,
            fs_group_change_policy=GroupChangePolicy.ON_ROOT_MISMATCH,
            sysctls=(Sysctl(name="net.ipv4.tcp_syncookies", value="1"),),
        ),
    ]
)
specs: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {},
    optional={
        "active_deadline_seconds": st.integers(1, 9),
        "node_name": labels,
        "service_account_name": labels,
        "hostname": labels,
        "hostname_override": labels,
        "subdomain": labels,
        "host_aliases": st.just((HostAlias(ip="::1", hostnames=("a",)), HostAlias(ip="10.0.0.1"))),
        "dns_policy": st.sampled_from([one for one in DnsPolicy if one is not DnsPolicy.NONE]),
        "dns_config": st.just(DnsConfig(nameservers=("::1",), searches=(".",), options=(("a", None), ("b", "")))),
        "host_ipc": st.booleans(),
        "share_process_namespace": st.booleans(),
        "security_context": pod_contexts,
        "overhead": st.dictionaries(st.just("cpu"), quantities),
        "priority_class_name": labels,
        "image_pull_secrets": st.tuples(labels),
        "readiness_gates": st.tuples(labels),
    },
)
ids = st.none() | st.integers(0, 2**31 - 1)
capabilities = st.lists(st.sampled_from(["ALL", "NET_ADMIN", "KILL"]), max_size=2).map(tuple)
contexts = st.builds(
    SecurityContext,
    run_as_user=ids,
    run_as_group=ids,
    run_as_non_root=st.none() | st.booleans(),
    read_only_root_filesystem=st.booleans(),
    allow_privilege_escalation=st.none() | st.booleans(),
    capabilities_add=capabilities,
    capabilities_drop=capabilities,
    seccomp_profile=st.none() | st.just(SeccompProfile(type=ProfileType.LOCALHOST, localhost_profile="a/b")),
    se_linux_options=st.none() | st.just(SeLinuxOptions(level="s0")),
)


@st.composite
def resources(draw: st.DrawFn) -> ResourceRequirements:
    names = st.sampled_from(["cpu", "memory"])
    limits: dict[str, Quantity] = draw(st.dictionaries(names, quantities, max_size=2))
    asked = draw(st.dictionaries(names, quantities, max_size=2))
    fitting = {name: quantity for name, quantity in asked.items() if name not in limits or quantity <= limits[name]}
    return ResourceRequirements(requests=defaults.requests(fitting, limits), limits=limits)


@st.composite
def containers(draw: st.DrawFn, name: str, volumes: list[str], *, init: bool = False) -> Container:
    mount_paths = draw(st.lists(paths, max_size=3, unique=True)) if volumes else []
    ports = st.builds(
        ContainerPort,
        container_port=st.integers(1, 65535),
        host_ip=st.sampled_from(["", "127.0.0.1", "::1"]),
        protocol=st.sampled_from(Protocol),
    )
    arguments = st.none() | st.lists(texts.filter(bool), max_size=3).map(tuple)
    return Container(
        name=name,
        image=draw(st.sampled_from(["busybox", "nginx:1.25", "example.com:5000/a/b@sha256:" + "0" * 64])),
        image_pull_policy=draw(st.sampled_from(PullPolicy)),
        command=draw(arguments),
        args=draw(arguments),
        working_dir=draw(st.just("") | paths),
        env=tuple(draw(st.lists(st.builds(EnvVar, name=labels, value=texts) | variables, max_size=2))),
        env_from=tuple(draw(st.lists(env_from, max_size=1))),
        ports=tuple(draw(st.lists(ports, max_size=2))),
        volume_mounts=tuple(
            VolumeMount(
                name=draw(st.sampled_from(volumes)),
                mount_path=path,
                read_only=draw(st.booleans()),
                sub_path=draw(st.sampled_from(["", "a/b"])),
                propagation=draw(st.sampled_from([MountPropagation.NONE, MountPropagation.HOST_TO_CONTAINER])),
            )
            for path in mount_paths
        ),
        resources=draw(resources()),
        security_context=draw(contexts),
        lifecycle=Lifecycle() if init else draw(lifecycles),
        startup_probe=None if init else draw(probes),
        readiness_probe=None if init else draw(probes),
        restart_policy=draw(st.sampled_from([RestartPolicy.NEVER, RestartPolicy.ON_FAILURE])),
        restart_policy_rules=draw(rules),
        termination_message_policy=draw(st.sampled_from(MessagePolicy)),
        tty=draw(st.booleans()),
    )


@st.composite
def pods(draw: st.DrawFn) -> Pod:
    volumes = draw(st.lists(labels, max_size=3, unique=True))
    names = draw(st.lists(labels, min_size=1, max_size=3, unique=True))
    first = names.pop() if len(names) > 1 else None
    return Pod(
        metadata=ObjectMeta(
            name=draw(labels),
            namespace=draw(labels),
            uid=draw(st.from_regex(r"[a-f0-9]{32}", fullmatch=True)),
            labels=draw(st.dictionaries(labels, labels, max_size=2)),
            annotations=draw(st.dictionaries(labels, texts, max_size=2)),
        ),
        spec=PodSpec(
            init_containers=() if first is None else (draw(containers(first, volumes, init=True)),),
            containers=tuple(draw(containers(name, volumes)) for name in names),
            **draw(specs),
            volumes=tuple(Volume(name=name, source=draw(sources)) for name in volumes),
            restart_policy=draw(st.sampled_from(RestartPolicy)),
            termination_grace_period_seconds=draw(st.integers(0, 2**31 - 1)),
        ),
    )
