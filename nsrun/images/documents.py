"""The JSON documents of images: checked against our schemas, decoded into values.

Three gates, in this order, for everything that comes from outside:

1. ``parse``: strict JSON (no duplicate keys, no NaN, no bottomless nesting), at most ``DOCUMENT_LIMIT`` bytes;
2. the schema of the *declared* media type, which must also be the one the document itself names (CVE-2021-41190: one
   document must not be a manifest to one reader and an index to another);
3. decoding, which takes only what it knows and checks every type again.

``accept_*`` pass all three. ``stored_*`` leave the schemas out: they read what was accepted before, by digest.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import cast

from nsrun.errors import ImageError
from nsrun.images.digests import is_digest
from nsrun.images.platform import Platform
from nsrun.images.schemas import schema_problem
from nsrun.images.wording import printable
from nsrun.model.image import ImageConfig

__all__ = [
    "CONFIG_TYPES",
    "DOCUMENT_LIMIT",
    "INDEX_TYPES",
    "MANIFEST_TYPES",
    "Descriptor",
    "ImageConfiguration",
    "ImageIndex",
    "ImageManifest",
    "MediaType",
    "accept_configuration",
    "accept_manifest",
    "decode_descriptor",
    "encode_descriptor",
    "encode_manifest",
    "json_text",
    "parse",
    "parse_list",
    "stored_configuration",
    "stored_manifest",
    "text_at",
    "texts_at",
]

DOCUMENT_LIMIT = 4 << 20
_LAYERS_LIMIT = 500  # overlayfs takes fewer; a longer list is an attack or a mistake


class MediaType(StrEnum):
    """Every media type that can be part of an image here."""

    OCI_INDEX = "application/vnd.oci.image.index.v1+json"
    OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
    OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
    OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
    OCI_LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
    OCI_LAYER_ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"
    OCI_FOREIGN = "application/vnd.oci.image.layer.nondistributable.v1.tar"
    OCI_FOREIGN_GZIP = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
    OCI_FOREIGN_ZSTD = "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd"
    DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
    DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
    DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
    DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
    DOCKER_LAYER_GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip"
    DOCKER_LAYER_ZSTD = "application/vnd.docker.image.rootfs.diff.tar.zstd"
    DOCKER_FOREIGN_GZIP = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"


INDEX_TYPES = frozenset({MediaType.OCI_INDEX, MediaType.DOCKER_LIST})
MANIFEST_TYPES = frozenset({MediaType.OCI_MANIFEST, MediaType.DOCKER_MANIFEST})
CONFIG_TYPES = frozenset({MediaType.OCI_CONFIG, MediaType.DOCKER_CONFIG})
_LAYER_TYPES = frozenset(MediaType) - INDEX_TYPES - MANIFEST_TYPES - CONFIG_TYPES

_OCI_EQUALS: Mapping[str, MediaType] = {
    MediaType.DOCKER_CONFIG: MediaType.OCI_CONFIG,
    MediaType.DOCKER_LAYER: MediaType.OCI_LAYER,
    MediaType.DOCKER_LAYER_GZIP: MediaType.OCI_LAYER_GZIP,
    MediaType.DOCKER_LAYER_ZSTD: MediaType.OCI_LAYER_ZSTD,
    MediaType.DOCKER_FOREIGN_GZIP: MediaType.OCI_FOREIGN_GZIP,
}

_KEYS = frozenset(
    {
        *("schemaVersion", "mediaType", "artifactType", "config", "layers", "manifests", "subject", "annotations"),
        *("digest", "size", "urls", "data", "platform", "fsLayers", "blobs"),
    }
)
_FOLDED_KEYS = frozenset(key.casefold() for key in _KEYS)

_SCHEMAS = {
    MediaType.OCI_INDEX: "oci-index",
    MediaType.OCI_MANIFEST: "oci-manifest",
    MediaType.DOCKER_LIST: "docker-list",
    MediaType.DOCKER_MANIFEST: "docker-manifest",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    """What names content: type, digest, size in bytes. ``urls`` is not kept, so nothing can follow it."""

    media_type: str
    digest: str
    size: int
    platform: Platform | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageIndex:
    """One image for several platforms."""

    media_type: str
    manifests: tuple[Descriptor, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageManifest:
    """One image for one platform. ``layers``: bottom first, as the document has them."""

    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageConfiguration:
    """An image's configuration. ``diff_ids``: digests of the uncompressed layers, bottom first."""

    platform: Platform
    config: ImageConfig
    diff_ids: tuple[str, ...]


def accept_manifest(data: bytes, media_type: str) -> ImageManifest | ImageIndex:
    """Decodes a manifest or an index that a stranger sent as ``media_type``. Raises ImageError."""
    declared = _known_manifest_type(media_type)
    document = parse(data)
    own = document.get("mediaType", declared)
    if own != declared:
        raise _bad(f"it was sent as {declared}, but calls itself {printable(str(own))}")
    _check_letters(document)
    _check_one_kind(document)
    _check_schema(_SCHEMAS[declared], document)
    return _decode_manifest(document, declared)


def stored_manifest(data: bytes, media_type: str) -> ImageManifest | ImageIndex:
    """Decodes a manifest or index out of our own store. Raises ImageError."""
    return _decode_manifest(parse(data), _known_manifest_type(media_type))


def accept_configuration(data: bytes, manifest: ImageManifest) -> ImageConfiguration:
    """Decodes the configuration that belongs to ``manifest``. Raises ImageError."""
    document = parse(data)
    _check_schema("image-config", document)
    return _decode_configuration(document, manifest)


def stored_configuration(data: bytes, manifest: ImageManifest) -> ImageConfiguration:
    """Decodes a configuration out of our own store. Raises ImageError."""
    return _decode_configuration(parse(data), manifest)


def parse(data: bytes, *, limit: int = DOCUMENT_LIMIT) -> Mapping[str, object]:
    """Reads one JSON object, strictly. Raises ImageError."""
    return _object(_json(data, limit), "the document")


def parse_list(data: bytes) -> Sequence[Mapping[str, object]]:
    """Reads a JSON list of objects, strictly. Raises ImageError."""
    items = _list(_json(data, DOCUMENT_LIMIT), "the document")
    return [_object(item, f"[{i}]") for i, item in enumerate(items)]


def encode_manifest(manifest: ImageManifest) -> bytes:
    """The manifest as an OCI document; Docker's media types become their OCI equals."""
    config, *layers = (
        encode_descriptor(replace(blob, media_type=_OCI_EQUALS.get(blob.media_type, blob.media_type)))
        for blob in (manifest.config, *manifest.layers)
    )
    return json_text({"schemaVersion": 2, "mediaType": str(MediaType.OCI_MANIFEST), "config": config, "layers": layers})


def text_at(document: Mapping[str, object], key: str, where: str) -> str:
    """A text that must be there; ``where`` names the document in errors. Raises ImageError."""
    return _text(document, key, where)


def texts_at(document: Mapping[str, object], key: str, where: str) -> tuple[str, ...]:
    """A list of texts; absent and null are empty. Raises ImageError."""
    return _texts(document.get(key), f"{where}.{key}")


def _json(data: bytes, limit: int) -> object:
    if len(data) > limit:
        raise _bad(f"it is larger than {limit >> 20} MiB")
    try:
        document: object = json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise _bad(f"it is not JSON ({printable(str(error), 120)})") from None
    return document


def json_text(document: Mapping[str, object] | Sequence[object]) -> bytes:
    """The document as bytes, always the same for the same content."""
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def decode_descriptor(value: object, where: str) -> Descriptor:
    """Reads a content descriptor; ``where`` names it in errors. Raises ImageError."""
    document = _object(value, where)
    digest, size = _text(document, "digest", where), document.get("size")
    if not is_digest(digest):
        raise _bad(f"{where}.digest is not a sha256 or sha512 digest: {printable(digest)}")
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise _bad(f"{where}.size is not a size")
    platform = document.get("platform")
    return Descriptor(
        media_type=_text(document, "mediaType", where),
        digest=digest,
        size=size,
        platform=None if platform is None else _platform(_object(platform, f"{where}.platform"), where),
        annotations=_mapping(document.get("annotations"), f"{where}.annotations"),
    )


def encode_descriptor(descriptor: Descriptor) -> dict[str, object]:
    """The descriptor as it stands in a document."""
    document: dict[str, object] = {
        "mediaType": str(descriptor.media_type),
        "digest": descriptor.digest,
        "size": descriptor.size,
    }
    if descriptor.platform is not None:
        document["platform"] = descriptor.platform.document()
    if descriptor.annotations:
        document["annotations"] = dict(descriptor.annotations)
    return document


def _known_manifest_type(media_type: str) -> MediaType:
    essence = media_type.partition(";")[0].strip().lower()
    if essence in INDEX_TYPES | MANIFEST_TYPES:
        return MediaType(essence)
    if "manifest.v1+" in essence:
        raise _bad("it is a Docker schema 1 manifest", hint="push the image again with a current tool")
    raise _bad(f'its media type "{printable(essence)}" is not an image manifest\'s')


def _check_one_kind(document: Mapping[str, object]) -> None:
    if "manifests" in document and ("layers" in document or "config" in document):
        raise _bad("it has both layers and manifests")


def _check_letters(document: Mapping[str, object]) -> None:
    """Programs in Go read ``Layers`` as ``layers``, and the later one of both counts: what they verify, scan and sign
    would be another image than the one that we run."""
    named = [document, document.get("config"), *_items(document, "layers"), *_items(document, "manifests")]
    for keys in named:
        for key in keys if isinstance(keys, dict) else ():
            if key not in _KEYS and key.casefold() in _FOLDED_KEYS:
                raise _bad(f'its key "{printable(key)}" is another one in other letters')


def _items(document: Mapping[str, object], key: str) -> Sequence[object]:
    value = document.get(key)
    return value if isinstance(value, list) else ()


def _check_schema(schema: str, document: Mapping[str, object]) -> None:
    problem = schema_problem(schema, document)
    if problem is not None:
        raise _bad(printable(problem, 300))


def _decode_manifest(document: Mapping[str, object], media_type: MediaType) -> ImageManifest | ImageIndex:
    _check_one_kind(document)
    if media_type in INDEX_TYPES:
        entries = _list(document.get("manifests"), "manifests")
        manifests = tuple(decode_descriptor(entry, f"manifests[{i}]") for i, entry in enumerate(entries))
        return ImageIndex(media_type=media_type, manifests=manifests)
    config = decode_descriptor(document.get("config"), "config")
    if config.media_type not in CONFIG_TYPES:
        raise _bad(f'its configuration is "{printable(config.media_type)}": an artifact, not a container image')
    entries = _list(document.get("layers"), "layers")
    if len(entries) > _LAYERS_LIMIT:
        raise _bad(f"it has more than {_LAYERS_LIMIT} layers")
    layers = tuple(decode_descriptor(entry, f"layers[{i}]") for i, entry in enumerate(entries))
    for i, layer in enumerate(layers):
        if layer.media_type not in _LAYER_TYPES:
            raise _bad(f'layers[{i}].mediaType "{printable(layer.media_type)}" is not a layer\'s')
    return ImageManifest(media_type=media_type, config=config, layers=layers)


def _decode_configuration(document: Mapping[str, object], manifest: ImageManifest) -> ImageConfiguration:
    rootfs = _object(document.get("rootfs"), "rootfs")
    diff_ids = _texts(rootfs.get("diff_ids"), "rootfs.diff_ids")
    for diff_id in diff_ids:
        if not is_digest(diff_id):
            raise _bad(f"rootfs.diff_ids holds what is not a sha256 or sha512 digest: {printable(diff_id)}")
    if len(diff_ids) != len(manifest.layers):
        raise _bad(f"it names {len(diff_ids)} diff_ids for {len(manifest.layers)} layers")
    return ImageConfiguration(
        platform=_platform(document, "the configuration"),
        config=_image_config(_optional(document.get("config"), "config")),
        diff_ids=diff_ids,
    )


def _image_config(document: Mapping[str, object]) -> ImageConfig:
    env = _texts(document.get("Env"), "config.Env")
    for variable in env:
        # Whoever merges environments splits at the "="; without one, a name could pick up a value of the host's.
        if variable.find("=") < 1:
            raise _bad(f'config.Env holds "{printable(variable, 60)}", which is not NAME=VALUE')
    return ImageConfig(
        user=_word(document, "User"),
        env=env,
        entrypoint=_texts(document.get("Entrypoint"), "config.Entrypoint"),
        cmd=_texts(document.get("Cmd"), "config.Cmd"),
        working_dir=_word(document, "WorkingDir"),
        stop_signal=_word(document, "StopSignal"),
        volumes=tuple(sorted(_optional(document.get("Volumes"), "config.Volumes"))),
        labels=_mapping(document.get("Labels"), "config.Labels"),
    )


def _platform(document: Mapping[str, object], where: str) -> Platform:
    variant = document.get("variant", "")
    return Platform(
        os=_text(document, "os", where),
        architecture=_text(document, "architecture", where),
        variant=variant if isinstance(variant, str) else "",
    )


def _unique(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("a key occurs twice in one object")
    return document


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


def _object(value: object, where: str) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise _bad(f"{where} is not an object")
    return cast("dict[str, object]", value)  # JSON objects have text as keys


def _optional(value: object, where: str) -> Mapping[str, object]:
    return {} if value is None else _object(value, where)


def _list(value: object, where: str) -> Sequence[object]:
    if not isinstance(value, list):
        raise _bad(f"{where} is not a list")
    return cast("list[object]", value)


def _text(document: Mapping[str, object], key: str, where: str) -> str:
    value = document.get(key)
    if not isinstance(value, str) or "\0" in value:
        raise _bad(f"{where}.{key} is not text")
    return value


def _word(document: Mapping[str, object], key: str) -> str:
    return _text(document, key, "config") if key in document else ""


def _texts(value: object, where: str) -> tuple[str, ...]:
    if value is None:
        return ()
    texts: list[str] = []
    for item in _list(value, where):
        if not isinstance(item, str) or "\0" in item:
            raise _bad(f"{where} holds what is not text")
        texts.append(item)
    return tuple(texts)


def _mapping(value: object, where: str) -> dict[str, str]:
    document = _optional(value, where)
    texts: dict[str, str] = {}
    for key, item in document.items():
        if not isinstance(item, str):
            raise _bad(f"{where} holds what is not text")
        texts[key] = item
    return texts


def _bad(cause: str, *, hint: str | None = None) -> ImageError:
    return ImageError(f"the image's document is not valid: {cause}", hint=hint)
