"""Any valid pod, for hypothesis."""

from __future__ import annotations

from hypothesis import strategies as st

from nsrun.model import defaults
from nsrun.model.container import Container, ContainerPort, EnvVar, Protocol, PullPolicy, SecurityContext
from nsrun.model.pod import ObjectMeta, Pod, PodSpec, RestartPolicy
from nsrun.model.quantity import parse_quantity
from nsrun.model.resources import Quantity, ResourceRequirements
from nsrun.model.volume import EmptyDir, EmptyDirMedium, HostPath, HostPathType, Volume, VolumeMount

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
sources = st.one_of(
    st.builds(EmptyDir, medium=st.sampled_from(EmptyDirMedium), size_limit=st.none() | quantities),
    st.builds(HostPath, path=paths, type=st.sampled_from(HostPathType)),
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
)


@st.composite
def resources(draw: st.DrawFn) -> ResourceRequirements:
    names = st.sampled_from(["cpu", "memory"])
    limits: dict[str, Quantity] = draw(st.dictionaries(names, quantities, max_size=2))
    asked = draw(st.dictionaries(names, quantities, max_size=2))
    fitting = {name: quantity for name, quantity in asked.items() if name not in limits or quantity <= limits[name]}
    return ResourceRequirements(requests=defaults.requests(fitting, limits), limits=limits)


@st.composite
def containers(draw: st.DrawFn, name: str, volumes: list[str]) -> Container:
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
        env=tuple(draw(st.lists(st.builds(EnvVar, name=labels, value=texts), max_size=2))),
        ports=tuple(draw(st.lists(ports, max_size=2))),
        volume_mounts=tuple(
            VolumeMount(name=draw(st.sampled_from(volumes)), mount_path=path, read_only=draw(st.booleans()))
            for path in mount_paths
        ),
        resources=draw(resources()),
        security_context=draw(contexts),
    )


@st.composite
def pods(draw: st.DrawFn) -> Pod:
    volumes = draw(st.lists(labels, max_size=3, unique=True))
    names = draw(st.lists(labels, min_size=1, max_size=3, unique=True))
    return Pod(
        metadata=ObjectMeta(
            name=draw(labels),
            namespace=draw(labels),
            uid=draw(st.from_regex(r"[a-f0-9]{32}", fullmatch=True)),
            labels=draw(st.dictionaries(labels, labels, max_size=2)),
            annotations=draw(st.dictionaries(labels, texts, max_size=2)),
        ),
        spec=PodSpec(
            containers=tuple(draw(containers(name, volumes)) for name in names),
            volumes=tuple(Volume(name=name, source=draw(sources)) for name in volumes),
            restart_policy=draw(st.sampled_from(RestartPolicy)),
            termination_grace_period_seconds=draw(st.integers(0, 2**31 - 1)),
        ),
    )
