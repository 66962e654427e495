"""From objects and the pod itself to files: keys, items, modes, what may be missing."""

from __future__ import annotations

import pytest

from nsrun.errors import VolumeError
from nsrun.model.environment import FieldRef, ResourceFieldRef
from nsrun.model.objects import Objects
from nsrun.model.pod import Pod
from nsrun.model.volume import (
    ConfigMapVolume,
    DownwardFile,
    DownwardVolume,
    EmptyDir,
    KeyFile,
    ProjectedVolume,
    SecretVolume,
)
from nsrun.volumes.keys import clean_path
from nsrun.volumes.projected import FileSource, Sight, in_memory, lacks_objects, plugin, volume_files
from tests.unit.volumes.world import NODE, objects, pod_with

OBJECTS = objects(
    config={"cfg": {"a": b"1", "b.bin": b"\xff\x00"}, "other": {"a": b"2"}}, secret={"key": {"token": b"secret"}}
)


def sight(known: Objects = OBJECTS, of: Pod | None = None) -> Sight:
    return Sight(pod=of or pod_with(EmptyDir(), labels={"app": "x"}), objects=known, node=NODE, attachment=None)


def files(source: FileSource, known: Objects = OBJECTS) -> dict[str, tuple[bytes, int]]:
    found, _ = volume_files(source, sight(known))
    return {path: (file.data, file.mode) for path, file in found.items()}


@pytest.mark.parametrize("kind", [ConfigMapVolume, SecretVolume])
def test_all_keys_or_those_that_are_asked_for(kind: type[ConfigMapVolume] | type[SecretVolume]) -> None:
    same = {"x": {"a": b"1", "b": b"2"}}
    known = objects(config=same, secret=same)
    assert files(kind(name="x", default_mode=0o400), known) == {"a": (b"1", 0o400), "b": (b"2", 0o400)}
    items = (KeyFile(key="a", path="dir/./x"), KeyFile(key="a", path="y", mode=0o755))
    assert files(kind(name="x", items=items), known) == {"dir/x": (b"1", 0o644), "y": (b"1", 0o755)}
    assert files(kind(name="x", items=()), known) == {}


def test_bytes_stay_bytes() -> None:
    assert files(ConfigMapVolume(name="cfg"))["b.bin"] == (b"\xff\x00", 0o644)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (ConfigMapVolume(name="none"), 'configmap "none" not found'),
        (SecretVolume(name="none"), 'secret "none" not found'),
        (
            ConfigMapVolume(name="cfg", items=(KeyFile(key="none", path="x"),)),
            'configmap "cfg" references non-existent key: none',
        ),
        (
            SecretVolume(name="key", items=(KeyFile(key="none", path="x"),)),
            'secret "key" references non-existent key: none',
        ),
    ],
)
def test_what_is_missing_is_told(source: FileSource, message: str) -> None:
    with pytest.raises(VolumeError) as raised:
        volume_files(source, sight())
    assert str(raised.value) == message


@pytest.mark.parametrize("kind", [ConfigMapVolume, SecretVolume])
def test_what_is_optional_may_be_missing(kind: type[ConfigMapVolume] | type[SecretVolume]) -> None:
    items = (KeyFile(key="none", path="x"), KeyFile(key="a", path="y"))
    same = {"x": {"a": b"1"}}
    assert files(kind(name="none", optional=True, items=items)) == {}
    assert files(kind(name="x", optional=True, items=items), objects(config=same, secret=same)) == {"y": (b"1", 0o644)}


def test_another_namespace_is_another_world() -> None:
    elsewhere = Objects(config_maps={("else", "cfg"): OBJECTS.config_maps["default", "cfg"]})
    with pytest.raises(VolumeError, match="not found"):
        volume_files(ConfigMapVolume(name="cfg"), sight(elsewhere))


def test_fields_and_limits_of_the_pod() -> None:
    source = DownwardVolume(
        items=(
            DownwardFile(path="labels", source=FieldRef(field_path="metadata.labels")),
            DownwardFile(path="who/name", source=FieldRef(field_path="metadata.name"), mode=0o400),
            DownwardFile(path="memory", source=ResourceFieldRef(resource="limits.memory", container="web")),
        ),
        default_mode=0o440,
    )
    assert files(source) == {
        "labels": (b'app="x"', 0o440),
        "who/name": (b"pod", 0o400),
        "memory": (str(1 << 30).encode(), 0o440),
    }


def test_a_container_that_is_not_there_is_told() -> None:
    source = DownwardVolume(
        items=(DownwardFile(path="x", source=ResourceFieldRef(resource="limits.cpu", container="no")),)
    )
    with pytest.raises(VolumeError, match='file "x" cannot be made: the pod has no'):
        volume_files(source, sight())


def test_several_sources_in_one_directory() -> None:
    source = ProjectedVolume(
        sources=(
            ConfigMapVolume(name="cfg", default_mode=0o111),
            SecretVolume(name="key", items=(KeyFile(key="token", path="s/token", mode=0o400),)),
            DownwardVolume(items=(DownwardFile(path="name", source=FieldRef(field_path="metadata.name")),)),
            ConfigMapVolume(name="other"),
        ),
        default_mode=0o600,
    )
    found, twice = volume_files(source, sight())
    assert {path: (file.data, file.mode) for path, file in found.items()} == {
        "a": (b"2", 0o600),
        "b.bin": (b"\xff\x00", 0o600),
        "s/token": (b"secret", 0o400),
        "name": (b"pod", 0o600),
    }
    assert twice == ("a",)


def test_only_config_maps_may_be_on_a_disk() -> None:
    kinds = (ConfigMapVolume(name="x"), SecretVolume(name="x"), DownwardVolume(), ProjectedVolume())
    assert [in_memory(kind) for kind in kinds] == [False, True, True, True]
    assert [plugin(kind) for kind in kinds] == [
        "kubernetes.io~configmap",
        "kubernetes.io~secret",
        "kubernetes.io~downward-api",
        "kubernetes.io~projected",
    ]


@pytest.mark.parametrize("kind", [ConfigMapVolume, SecretVolume])
def test_what_lacks_objects(kind: type[ConfigMapVolume] | type[SecretVolume]) -> None:
    same = {"x": {"a": b"1"}}
    known = sight(objects(config=same, secret=same))
    assert not lacks_objects(kind(name="x"), known)
    assert lacks_objects(kind(name="none"), known)
    assert not lacks_objects(kind(name="none", optional=True), known)
    assert lacks_objects(ProjectedVolume(sources=(kind(name="x"), kind(name="none"))), known)
    assert not lacks_objects(DownwardVolume(), known)


@pytest.mark.parametrize(
    ("path", "clean"), [("a", "a"), ("a//b/./c/", "a/b/c"), ("/a", "/a"), ("../a", "../a"), ("", ""), ("/", "/")]
)
def test_paths_get_their_shortest_form(path: str, clean: str) -> None:
    assert clean_path(path) == clean
