"""JSON documents: what is taken, and what is not taken for what it seems."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsrun.errors import ImageError
from nsrun.images.documents import (
    DOCUMENT_LIMIT,
    ImageIndex,
    ImageManifest,
    MediaType,
    accept_configuration,
    accept_manifest,
    decode_descriptor,
    encode_descriptor,
    encode_manifest,
    parse,
    parse_list,
    stored_configuration,
    stored_manifest,
)
from nsrun.images.platform import Platform
from tests.layouts import HERE, ImageParts, sha256

PARTS = ImageParts.make()
MANIFEST = json.loads(PARTS.manifest.data)
CONFIG = json.loads(PARTS.config.data)


def as_bytes(document: object) -> bytes:
    return json.dumps(document).encode()


def manifest_of(parts: ImageParts) -> ImageManifest:
    manifest = accept_manifest(parts.manifest.data, parts.manifest.media_type)
    assert isinstance(manifest, ImageManifest)
    return manifest


@pytest.mark.parametrize("docker", [False, True])
@pytest.mark.parametrize("compression", ["gzip", "zstd", "none"])
def test_manifest_and_configuration(docker: bool, compression: str) -> None:
    parts = ImageParts.make(
        docker=docker, compression=compression if not (docker and compression == "zstd") else "gzip"
    )
    manifest = manifest_of(parts)
    assert [layer.digest for layer in manifest.layers] == [blob.digest for blob in parts.layers]
    assert stored_manifest(parts.manifest.data, parts.manifest.media_type) == manifest
    configuration = accept_configuration(parts.config.data, manifest)
    assert configuration == stored_configuration(parts.config.data, manifest)
    assert configuration.config.cmd == ("/hello",)
    assert configuration.platform == Platform(os="linux", architecture="amd64")


def test_a_content_type_may_have_parameters_and_capitals() -> None:
    accept_manifest(PARTS.manifest.data, PARTS.manifest.media_type.upper().replace("JSON", "json") + "; charset=utf-8")


def test_a_docker_manifest_in_oci_words() -> None:
    docker = manifest_of(ImageParts.make(docker=True))
    again = accept_manifest(encode_manifest(docker), MediaType.OCI_MANIFEST)
    assert isinstance(again, ImageManifest)
    assert [b.digest for b in (again.config, *again.layers)] == [b.digest for b in (docker.config, *docker.layers)]
    assert again.config.media_type == MediaType.OCI_CONFIG
    assert again.layers[0].media_type == MediaType.OCI_LAYER_GZIP


def test_an_index() -> None:
    entry = {**PARTS.manifest.descriptor, "platform": {"os": "linux", "architecture": "arm", "variant": "v7"}}
    index = accept_manifest(as_bytes({"schemaVersion": 2, "manifests": [entry]}), MediaType.OCI_INDEX)
    assert isinstance(index, ImageIndex)
    assert index.manifests[0].platform == Platform(os="linux", architecture="arm", variant="v7")
    docker = {"schemaVersion": 2, "mediaType": str(MediaType.DOCKER_LIST), "manifests": [entry]}
    assert isinstance(accept_manifest(as_bytes(docker), MediaType.DOCKER_LIST), ImageIndex)


@pytest.mark.parametrize(
    "changes",
    [
        {"schemaVersion": 1},
        {"schemaVersion": "2"},
        {"layers": None},
        {"layers": {}},
        {"layers": [1]},
        {"layers": []},
        {"layers": [{**PARTS.layers[0].descriptor, "size": "1"}]},
        {"layers": [{**PARTS.layers[0].descriptor, "size": True}]},
        {"layers": [{**PARTS.layers[0].descriptor, "size": 1.5}]},
        {"layers": [{**PARTS.layers[0].descriptor, "size": 1 << 63}]},
        {"layers": [{**PARTS.layers[0].descriptor, "mediaType": "text/plain"}]},
        {"layers": [{**PARTS.layers[0].descriptor, "mediaType": "none"}]},
        {"layers": [{**PARTS.layers[0].descriptor, "digest": "sha256:" + "A" * 64}]},
        {"layers": [{**PARTS.layers[0].descriptor, "digest": sha256(b"") + "\n"}]},
        {"layers": [PARTS.layers[0].descriptor] * 501},
        {"config": None},
        {"config": {**PARTS.config.descriptor, "mediaType": str(MediaType.OCI_LAYER)}},
        {"annotations": {"a": 1}},
        {"manifests": []},
        {"fsLayers": []},
        {"mediaType": str(MediaType.DOCKER_MANIFEST)},
    ],
)
def test_manifests_that_are_none(changes: dict[str, object]) -> None:
    with pytest.raises(ImageError, match="document is not valid") as caught:
        accept_manifest(as_bytes({**MANIFEST, **changes}), MediaType.OCI_MANIFEST)
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 600


def test_docker_documents_must_name_their_type() -> None:
    """Without it, schema 2 could be read as anything."""
    document = {key: value for key, value in MANIFEST.items() if key != "mediaType"}
    accept_manifest(as_bytes(document), MediaType.OCI_MANIFEST)
    with pytest.raises(ImageError):
        accept_manifest(as_bytes(document), MediaType.DOCKER_MANIFEST)


@pytest.mark.parametrize(
    "changes",
    [
        {"rootfs": None},
        {"rootfs": {"type": "layers", "diff_ids": []}},
        {"rootfs": {"type": "layers", "diff_ids": [sha256(b"")] * 2}},
        {"rootfs": {"type": "layers", "diff_ids": ["sha256:../x"]}},
        {"rootfs": {"type": "tar", "diff_ids": [sha256(b"")]}},
        {"os": None},
        {"config": []},
        {"config": {"Env": ["PATH"]}},
        {"config": {"Env": ["=x"]}},
        {"config": {"Env": ["A=\0"]}},
        {"config": {"Env": "A=b"}},
        {"config": {"Cmd": "sh"}},
        {"config": {"Cmd": ["a\0b"]}},
        {"config": {"Entrypoint": [1]}},
        {"config": {"User": 0}},
        {"config": {"Labels": {"a": 1}}},
        {"config": {"Volumes": ["/x"]}},
    ],
)
def test_configurations_that_are_none(changes: dict[str, object]) -> None:
    manifest = manifest_of(PARTS)
    with pytest.raises(ImageError, match="document is not valid"):
        accept_configuration(as_bytes({**CONFIG, **changes}), manifest)


@pytest.mark.parametrize(
    "config", [{"Env": ["PATH"]}, {"Cmd": "sh"}, {"Cmd": ["a\0b"]}, {"Labels": {"a": 1}}, {"User": 0}]
)
def test_stored_configurations_are_still_checked(config: dict[str, object]) -> None:
    """The schema is not the only gate."""
    with pytest.raises(ImageError):
        stored_configuration(as_bytes({**CONFIG, "config": config}), manifest_of(PARTS))


def test_null_is_nothing_said() -> None:
    """As Docker writes it."""
    said = {"Env": None, "Cmd": None, "Entrypoint": None, "Volumes": None, "Labels": None, "ExposedPorts": None}
    for config in (said, None):
        configuration = accept_configuration(as_bytes({**CONFIG, "config": config}), manifest_of(PARTS))
        assert configuration.config.env == ()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"nothing",
        b"[]",
        b"1",
        b'{"a": NaN}',
        b'{"a": 1, "a": 2}',
        b'{"layers": [], "layers": []}',
        b'{"a": ' + b"[" * 100_000,
        b'{"a": ' + b"9" * 5000 + b"}",
        b'{"a": "' + b"x" * DOCUMENT_LIMIT + b'"}',
    ],
)
def test_json_that_is_not_taken(data: bytes) -> None:
    with pytest.raises(ImageError, match="document is not valid"):
        parse(data)


def test_lists() -> None:
    assert parse_list(b'[{"a": 1}]') == [{"a": 1}]
    for data in (b"{}", b"[1]"):
        with pytest.raises(ImageError):
            parse_list(data)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_any_json_is_a_document_or_an_error(document: object) -> None:
    for media_type in (MediaType.OCI_MANIFEST, MediaType.OCI_INDEX):
        for take in (accept_manifest, stored_manifest):
            with suppress(ImageError):
                take(as_bytes(document), media_type)


def test_descriptors() -> None:
    document = {**PARTS.manifest.descriptor, "platform": HERE, "annotations": {"a": "b"}, "urls": ["http://x/"]}
    descriptor = decode_descriptor(document, "x")
    assert encode_descriptor(descriptor) == {key: value for key, value in document.items() if key != "urls"}
    for bad in (None, {}, {**document, "digest": "x"}, {**document, "size": -1}, {**document, "platform": {"os": 1}}):
        with pytest.raises(ImageError):
            decode_descriptor(bad, "x")
