"""One document that could be read in two ways: as manifest and index, by one program and another (CVE-2021-41190)."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsrun.errors import ImageError
from nsrun.images.documents import ImageIndex, ImageManifest, MediaType, accept_manifest
from nsrun.images.registries import Registries
from nsrun.model.container import PullPolicy
from tests.attacks.images.lying import LyingRegistry
from tests.layouts import HERE, ImageParts
from tests.system.images.conftest import MakeService

PARTS, OTHER = ImageParts.make(), ImageParts.make([b"other"])
MANIFEST: Mapping[str, object] = json.loads(PARTS.manifest.data)
INDEX: Mapping[str, object] = {
    "schemaVersion": 2,
    "mediaType": str(MediaType.OCI_INDEX),
    "manifests": [{**PARTS.manifest.descriptor, "platform": HERE}],
}
KINDS = {
    MediaType.OCI_MANIFEST: ImageManifest,
    MediaType.DOCKER_MANIFEST: ImageManifest,
    MediaType.OCI_INDEX: ImageIndex,
    MediaType.DOCKER_LIST: ImageIndex,
}

KEYS = st.sampled_from(
    [
        *("schemaVersion", "mediaType", "config", "layers", "manifests", "fsLayers", "history", "signatures", "blobs"),
        *("Layers", "LAYERS", "layer\u017f", "Manifests", "manifest\u017f", "MediaType", "mediatype", "Config", "x"),
    ]
)
VALUES = st.one_of(
    st.sampled_from([*map(str, KINDS), 1, 2, None, [], {}, True]),
    st.sampled_from([MANIFEST["config"], MANIFEST["layers"], INDEX["manifests"], [PARTS.layers[0].descriptor] * 2]),
)
DOCUMENTS = st.builds(
    lambda base, changes, dropped: {k: v for k, v in {**base, **changes}.items() if k not in dropped},
    st.sampled_from([MANIFEST, INDEX, {}]),
    st.dictionaries(KEYS, VALUES, max_size=4),
    st.sets(st.sampled_from(["schemaVersion", "mediaType", "config", "layers", "manifests"]), max_size=2),
)


def readings(data: bytes) -> list[MediaType]:
    """The media types as which the document is accepted."""
    accepted = []
    for media_type, kind in KINDS.items():
        try:
            document = accept_manifest(data, media_type)
        except ImageError as error:
            message = error.message
            assert message.isprintable()
            assert len(message) < 600
        else:
            assert isinstance(document, kind)
            assert document.media_type == media_type
            accepted.append(media_type)
    return accepted


@given(DOCUMENTS)
def test_no_document_is_accepted_as_two_kinds(document: Mapping[str, object]) -> None:
    accepted = readings(json.dumps(document).encode())
    assert len(accepted) <= 1
    folded = [key.casefold() for key in document]
    if accepted:
        assert document.get("mediaType", accepted[0]) == accepted[0]
        assert ("layers" in folded) != ("manifests" in folded)
        # Nor does it hold what a reader in Go, for whom capitals are equal, would take for something else.
        assert len(set(folded)) == len(folded)


def test_what_both_are_made_of_is_honest() -> None:
    assert readings(PARTS.manifest.data) == [MediaType.OCI_MANIFEST]
    assert readings(json.dumps(INDEX).encode()) == [MediaType.OCI_INDEX]


def twice(text: str, key: str, value: object) -> bytes:
    """The document with a key once more at its end, which no dict could hold."""
    return f"{text.rstrip()[:-1]}, {key}: {json.dumps(value)}}}".encode()


OTHERS = [blob.descriptor for blob in OTHER.layers]


@pytest.mark.parametrize(
    "data",
    [
        twice(json.dumps(MANIFEST), '"layers"', OTHERS),
        twice(json.dumps(MANIFEST), '"\\u006cayers"', OTHERS),
        twice(json.dumps(MANIFEST), '"Layers"', OTHERS),
        twice(json.dumps(MANIFEST), '"layer\\u017f"', OTHERS),
        twice(json.dumps(MANIFEST), '"CONFIG"', OTHER.config.descriptor),
        twice(json.dumps(MANIFEST), '"manifests"', INDEX["manifests"]),
        twice(json.dumps(MANIFEST), '"Manifests"', INDEX["manifests"]),
        twice(json.dumps(INDEX), '"LAYERS"', OTHERS),
        twice(json.dumps(INDEX), '"mediatype"', str(MediaType.OCI_MANIFEST)),
        json.dumps({**MANIFEST, "layers": [{**PARTS.layers[0].descriptor, "Digest": OTHERS[0]["digest"]}]}).encode(),
        json.dumps({**MANIFEST, "config": {**PARTS.config.descriptor, "\u017fize": 1}}).encode(),
        json.dumps({**INDEX, "manifests": [{**PARTS.manifest.descriptor, "DIGEST": OTHER.manifest.digest}]}).encode(),
        PARTS.manifest.data + b"\n" + OTHER.manifest.data,
        b"\xef\xbb\xbf" + PARTS.manifest.data,
        PARTS.manifest.data.decode().encode("utf-16"),
        PARTS.manifest.data.replace(b"{", b"/* */{", 1),
        PARTS.manifest.data.rstrip()[:-1] + b",}",
    ],
)
async def test_what_two_parsers_would_read_differently_is_not_pulled(
    lying: LyingRegistry, service: MakeService, data: bytes
) -> None:
    lying.serve("a/b", "good", PARTS)
    lying.serve("a/b", "other", OTHER)
    images = await service(registries=Registries(verify=False))
    for media_type in (MediaType.OCI_MANIFEST, MediaType.OCI_INDEX):
        lying.serve_document("a/b/manifests/1", data, media_type)
        with pytest.raises(ImageError, match="document is not valid"):
            await images.ensure(f"{lying.host}/a/b:1", PullPolicy.ALWAYS)
    assert not lying.requests("/blobs/")
    assert await images.list() == ()
