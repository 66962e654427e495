"""A container with everything filled in, as the kubelet does it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nsrun.errors import RuntimeFailure, VolumeError
from nsrun.model.container import Container, PullPolicy
from nsrun.model.environment import EnvFrom, EnvVar, FieldRef, KeyRef, ObjectKind, ResourceFieldRef
from nsrun.model.node import Node
from nsrun.model.objects import ConfigMap, Objects, Secret
from nsrun.model.pod import ObjectMeta, Pod, PodSpec
from nsrun.model.probe import Exec, Lifecycle, Probe, TcpSocket
from nsrun.model.running import Attachment
from nsrun.model.volume import ConfigMapVolume, VolumeMount
from nsrun.supervisor.environment import resolved
from nsrun.volumes.config_map import config_map_files

CONFIG, SECRET = ObjectKind.CONFIG_MAP, ObjectKind.SECRET
NODE = Node(name="node", addresses=("192.0.2.1",), allocatable={"cpu": 4000})
ATTACHMENT = Attachment(netns="", address="10.99.0.2", gateway="10.99.0.1", host_ip="192.0.2.1")
OBJECTS = Objects(
    config_maps={
        ("team", "settings"): ConfigMap(
            namespace="team", name="settings", data={"b": b"2", "a": b"1", "raw": b"$(X)", "bytes": b"\xff"}
        ),
        ("other", "far"): ConfigMap(namespace="other", name="far", data={"a": b"far"}),
        ("team", "plain"): ConfigMap(namespace="team", name="plain", data={"b": b"two", "a": b"one"}),
        ("team", "nul"): ConfigMap(namespace="team", name="nul", data={"k": b"a\0b"}),
    },
    secrets={("team", "login"): Secret(namespace="team", name="login", data={"password": b"hunter2", "up": b"../x"})},
)


def container(*env: EnvVar, **values: object) -> Container:
    return Container(name="main", image="i", image_pull_policy=PullPolicy.NEVER, env=env, **values)  # type: ignore[arg-type]


def literal(name: str, value: str) -> EnvVar:
    return EnvVar(name=name, value=value)


def key(name: str, kind: ObjectKind, object_name: str, key: str, *, optional: bool = False) -> EnvVar:
    return EnvVar(name=name, source=KeyRef(kind=kind, name=object_name, key=key, optional=optional))


def resolve(said: Container, *, attachment: Attachment | None = ATTACHMENT) -> Container:
    pod = Pod(metadata=ObjectMeta(name="web", namespace="team", uid="u"), spec=PodSpec(containers=(said,)))
    return resolved(pod, said, objects=OBJECTS, node=NODE, attachment=attachment)


def variables(said: Container) -> dict[str, str]:
    found = resolve(said)
    assert not found.env_from
    assert all(variable.source is None for variable in found.env)
    assert len({variable.name for variable in found.env}) == len(found.env)
    return {variable.name: variable.value for variable in found.env}


def failure(said: Container) -> str:
    with pytest.raises(RuntimeFailure) as caught:
        resolve(said)
    assert caught.value.reason == "CreateContainerConfigError"
    return caught.value.message


def test_values_refer_to_those_before_them() -> None:
    said = container(literal("A", "$(B)"), literal("B", "b"), literal("C", "$(B)$$(B)"), literal("B", "$(B)2"))
    assert variables(said) == {"A": "$(B)", "C": "b$(B)", "B": "b2"}


def test_env_wins_over_env_from_and_later_over_earlier() -> None:
    said = container(
        literal("a", "own $(b)"),
        env_from=(
            EnvFrom(kind=CONFIG, name="plain"),
            EnvFrom(kind=CONFIG, name="far", optional=True),
            EnvFrom(kind=SECRET, name="login", prefix="DB_"),
        ),
    )
    assert variables(said) == {"b": "two", "DB_password": "hunter2", "DB_up": "../x", "a": "own two"}
    twice = container(env_from=(EnvFrom(kind=CONFIG, name="plain"), EnvFrom(kind=CONFIG, name="plain", prefix="")))
    assert list(variables(twice).items()) == [("a", "one"), ("b", "two")]


def test_what_comes_from_elsewhere_is_not_expanded() -> None:
    said = container(literal("X", "x"), key("RAW", CONFIG, "settings", "raw"), literal("Y", "$(RAW)"))
    assert variables(said) == {"X": "x", "RAW": "$(X)", "Y": "$(X)"}


def test_fields_and_resources() -> None:
    said = container(
        EnvVar(name="IP", source=FieldRef(field_path="status.podIP")),
        EnvVar(name="CORES", source=ResourceFieldRef(resource="limits.cpu")),
    )
    assert variables(said) == {"IP": "10.99.0.2", "CORES": "4"}


def test_optional_ones_are_left_out() -> None:
    said = container(
        literal("A", "kept"),
        key("A", CONFIG, "settings", "none", optional=True),
        key("B", SECRET, "none", "none", optional=True),
        env_from=(EnvFrom(kind=SECRET, name="none", optional=True),),
    )
    assert variables(said) == {"A": "kept"}


def test_the_remedy_for_a_missing_object_is_the_one_that_volumes_name() -> None:
    with pytest.raises(RuntimeFailure) as environment:
        resolve(container(key("A", CONFIG, "none", "k")))
    with pytest.raises(VolumeError) as volume:
        config_map_files(ConfigMapVolume(name="none"), "team", OBJECTS, mode=0o644)
    assert environment.value.hint == volume.value.hint
    assert "ConfigMap team/none" in (volume.value.hint or "")


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (container(key("A", CONFIG, "none", "k")), 'configmap "none" not found'),
        (container(key("A", CONFIG, "far", "a")), 'configmap "far" not found'),
        (container(key("A", SECRET, "none", "k")), 'secret "none" not found'),
        (container(key("A", CONFIG, "settings", "k")), "couldn't find key k in ConfigMap team/settings"),
        (container(key("A", SECRET, "login", "k")), "couldn't find key k in Secret team/login"),
        (container(env_from=(EnvFrom(kind=SECRET, name="none"),)), 'secret "none" not found'),
        (container(key("A", CONFIG, "settings", "bytes")), "key bytes of ConfigMap team/settings is not UTF-8 text"),
        (container(env_from=(EnvFrom(kind=CONFIG, name="nul"),)), "key k of ConfigMap team/nul holds a NUL character"),
    ],
)
def test_what_is_missing(said: Container, expected: str) -> None:
    assert failure(said) == expected


def test_commands_are_expanded_with_all_of_it() -> None:
    found = resolve(
        container(key("P", SECRET, "login", "password"), command=("run", "$(P)", "$$(P)"), args=("$(NONE)",))
    )
    assert (found.command, found.args) == (("run", "hunter2", "$(P)"), ("$(NONE)",))
    assert (resolve(container()).command, resolve(container(args=())).args) == (None, ())


def mount(expression: str) -> VolumeMount:
    return VolumeMount(name="v", mount_path="/v", sub_path_expr=expression)


def test_sub_paths() -> None:
    said = container(literal("A", "a"), volume_mounts=(mount("$(A)/b"), VolumeMount(name="v", mount_path="/w")))
    first, second = resolve(said).volume_mounts
    assert (first.sub_path, first.sub_path_expr) == ("a/b", "")
    assert (second.sub_path, second.sub_path_expr) == ("", "")


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("$(NONE)/$(EMPTY)/$(A)", "missing value for EMPTY, NONE"),
        ("$(ROOT)", "error SubPath `$(ROOT)` must not be an absolute path"),
        ("a/$(UP)", "unable to provision SubPath `a/$(UP)`: must not contain '..'"),
    ],
)
def test_sub_paths_that_lead_elsewhere(expression: str, expected: str) -> None:
    said = container(
        literal("A", "a"),
        literal("EMPTY", ""),
        literal("ROOT", "/etc"),
        key("UP", SECRET, "login", "up"),
        volume_mounts=(mount(expression),),
    )
    assert failure(said) == expected


def test_probes_know_what_the_manifest_says_literally() -> None:
    probe = Probe(action=Exec(command=("test", "$(A)", "$(P)", "$(B)")))
    said = container(
        literal("A", "a"),
        literal("B", "$(A)"),
        key("P", SECRET, "login", "password"),
        liveness_probe=probe,
        readiness_probe=Probe(action=TcpSocket(port=1)),
        lifecycle=Lifecycle(post_start=Exec(command=("$(A)",))),
    )
    found = resolve(said)
    assert found.liveness_probe == replace(probe, action=Exec(command=("test", "a", "$(P)", "$(A)")))
    assert found.readiness_probe == said.readiness_probe
    assert found.lifecycle == said.lifecycle


def test_a_secret_is_in_no_repr() -> None:
    said = container(
        key("P", SECRET, "login", "password"),
        command=("$(P)",),
        args=("$(P)",),
        env_from=(EnvFrom(kind=SECRET, name="login"),),
    )
    found = resolve(said)
    assert found.command == ("hunter2",)
    assert "hunter2" not in repr((found, OBJECTS))


def test_a_second_time_changes_nothing() -> None:
    said = container(literal("A", "a"), literal("B", "plain"), command=("$(A)",))
    once = resolve(said)
    assert resolve(once) == once
