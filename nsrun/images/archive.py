"""Images out of files: an OCI image layout (a directory, or a tar of one) and what ``docker save`` writes and wrote.

Nothing is ever unpacked under a name that an archive gives. A tar is read once, forward, so it may come out of a pipe:
every file in it goes into the store as a blob under its own digest, and the archive's names are keys of a table. Links
(old ``docker save`` writes equal layers as links) are followed in that table. What no image turns out to need is
collected.
"""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from io import FileIO
from pathlib import Path
from typing import Protocol

from nsrun.errors import ImageError
from nsrun.images import dockerv1
from nsrun.images.blobs import Blobs
from nsrun.images.decompress import CorruptBlob, decompressed
from nsrun.images.digests import digest_of, is_digest, new_hasher, split_digest
from nsrun.images.documents import (
    DOCUMENT_LIMIT,
    Descriptor,
    ImageIndex,
    ImageManifest,
    MediaType,
    accept_configuration,
    accept_manifest,
    encode_manifest,
    parse,
    parse_list,
    text_at,
    texts_at,
)
from nsrun.images.limits import DEFAULT_LIMITS, Limits
from nsrun.images.platform import Platform
from nsrun.images.policy import Policy, Transport
from nsrun.images.puller import choose_platform
from nsrun.images.reference import Reference, parse_reference
from nsrun.images.store import Intake, StoredImage
from nsrun.images.tarstream import ByteStream, Entry, Kind, TarError, TarReader
from nsrun.images.wording import printable
from nsrun.support.fds import Fd

__all__ = ["load_archive"]

_REF_NAME = "org.opencontainers.image.ref.name"
_CONTAINERD_NAME = "io.containerd.image.name"  # the full name, where ref.name is only a tag
_LIMITS = Limits(entries=100_000)
_INDEX_DEPTH = 3
_CHUNK = 1 << 20
_LINK_LIMIT = 8
_DEPTH_LIMIT = 128  # layers of an image as docker wrote it before 1.10, which took no more than 127
_MAGICS = ((b"\x1f\x8b", MediaType.OCI_LAYER_GZIP), (b"\x28\xb5\x2f\xfd", MediaType.OCI_LAYER_ZSTD))


class _Files(Protocol):
    """The files of an archive, by name."""

    def has(self, name: str) -> bool: ...

    def blob(self, name: str, expected: Descriptor | None = None) -> tuple[str, int]:
        """Digest and size of a file, which is in the store from now on. Raises ImageError when there is no such file.

        With ``expected``, the digest is of its algorithm, and the file need not be read if the store has it already.
        """
        ...


def load_archive(
    path: Path, intake: Intake, blobs: Blobs, platform: Platform, policy: Policy | None = None
) -> tuple[StoredImage, ...]:
    """Stores the blobs of every named image in the archive; the names are for the caller to give. Blocks.

    ``path`` may be a pipe. Every digest is verified but the diff_ids: that is unpacking's. ``policy`` is asked
    about each image, None accepts all. Raises ImageError, OSError.
    """
    files: _Files = _Directory(path, intake, blobs) if path.is_dir() else _Tar(path, intake, blobs)
    loader = _Loader(files, intake, blobs, platform, _Gate(path, policy or Policy()))
    known = {"index.json": loader.layout, "manifest.json": loader.docker, "repositories": loader.docker_v1}
    present = [read for name, read in known.items() if files.has(name)]
    if not present:
        raise ImageError(
            "it is no OCI image layout (no index.json) and no docker-archive (no manifest.json)",
            hint="nsrun save, skopeo copy, podman save and docker save write what can be loaded",
        )
    for read in present:  # names may be in one of them only
        if images := read():
            return tuple(images)
    raise ImageError(
        f"no image in it has a name (annotation {_REF_NAME}, or RepoTags)",
        hint="save it by a name, or give it one: skopeo copy oci-archive:FILE oci-archive:NAMED:NAME",
    )


class _Gate:
    """What the policy says about the images of one archive."""

    def __init__(self, path: Path, policy: Policy) -> None:
        self._path = path if path.is_fifo() else path.resolve()
        self._layout = Transport.OCI if path.is_dir() else Transport.OCI_ARCHIVE
        self._policy = policy

    def check_layout(self, name: str) -> None:
        self._policy.check_load(self._layout, self._path, name)

    def check_docker(self, name: str) -> None:
        self._policy.check_load(Transport.DOCKER_ARCHIVE, self._path, name)


class _Loader:
    """Reads the documents of one archive."""

    def __init__(self, files: _Files, intake: Intake, blobs: Blobs, platform: Platform, gate: _Gate) -> None:
        self._files = files
        self._intake = intake
        self._blobs = blobs
        self._platform = platform
        self._gate = gate
        self._diff_ids: dict[str, str] = {}

    def layout(self) -> list[StoredImage]:
        """The images of an OCI image layout."""
        index = accept_manifest(self._read("index.json"), MediaType.OCI_INDEX)
        images: list[StoredImage] = []
        for entry in index.manifests if isinstance(index, ImageIndex) else ():
            name = entry.annotations.get(_CONTAINERD_NAME) or entry.annotations.get(_REF_NAME)
            if name:
                self._gate.check_layout(name)
                images.append(replace(self._image(parse_reference(name), entry), source=entry.digest))
        return images

    def docker(self) -> list[StoredImage]:
        """The images of a docker-archive: manifest.json names a configuration and layers for each."""
        images: list[StoredImage] = []
        for entry in parse_list(self._read("manifest.json")):
            tags = texts_at(entry, "RepoTags", "manifest.json")
            for tag in tags:
                self._gate.check_docker(tag)
            if tags:
                layers = texts_at(entry, "Layers", "manifest.json")
                manifest = self._docker_manifest(text_at(entry, "Config", "manifest.json"), layers)
                images.extend(self._keep(parse_reference(tag), manifest) for tag in tags)
        return images

    def docker_v1(self) -> list[StoredImage]:
        """The images of an archive without manifests: their names lead to chains of layers."""
        names = dockerv1.names_of(parse(self._read("repositories")))
        for name, _ in names:
            self._gate.check_docker(name)
        manifests = {top: self._chain(top) for top in dict(names).values()}
        return [self._keep(parse_reference(name), manifests[top]) for name, top in names]

    def _chain(self, top: str) -> ImageManifest:
        """Writes the configuration and the manifest of an image whose topmost layer has this id."""
        own: list[Mapping[str, object]] = []
        layers: list[Descriptor] = []
        at: str | None = top
        while at is not None:
            if len(own) >= _DEPTH_LIMIT:
                raise ImageError("its layers lie on one another without end")
            own.insert(0, parse(self._read(f"{at}/json")))
            layers.insert(0, self._docker_layer(f"{at}/layer.tar"))
            at = dockerv1.parent_of(own[0])
        data = dockerv1.configuration(own, [self._diff_id(layer) for layer in layers])
        config = self._intake.add(data, MediaType.OCI_CONFIG)
        manifest = ImageManifest(media_type=MediaType.OCI_MANIFEST, config=config, layers=tuple(layers))
        accept_configuration(data, manifest)
        return manifest

    def _keep(self, reference: Reference, manifest: ImageManifest) -> StoredImage:
        data = encode_manifest(manifest)
        own = Descriptor(media_type=manifest.media_type, digest=digest_of(data), size=len(data))
        return self._intake.keep(reference, data, manifest, own)

    def _image(self, reference: Reference, descriptor: Descriptor, depth: int = 0) -> StoredImage:
        """Stores what the descriptor leads to, as far as it is for this machine."""
        data = self._verified(descriptor)
        document = accept_manifest(data, descriptor.media_type)
        if isinstance(document, ImageIndex):
            if depth >= _INDEX_DEPTH:
                raise ImageError("its indexes lead to indexes without end")
            return self._image(reference, choose_platform(document, self._platform), depth + 1)
        accept_configuration(self._verified(document.config), document)
        for layer in document.layers:
            self._take(layer)
        return self._intake.keep(reference, data, document, descriptor)

    def _docker_manifest(self, config: str, layers: Sequence[str]) -> ImageManifest:
        """Writes the manifest that a docker-archive does not have."""
        digest, size = self._files.blob(config)
        named = posixpath.basename(config).removesuffix(".json")
        if is_digest(f"sha256:{named}") and digest != f"sha256:{named}":
            raise ImageError(f"the configuration {printable(config)} has the digest {digest}")
        manifest = ImageManifest(
            media_type=MediaType.OCI_MANIFEST,
            config=Descriptor(media_type=MediaType.OCI_CONFIG, digest=digest, size=size),
            layers=tuple(self._docker_layer(name) for name in layers),
        )
        accept_configuration(self._blobs.read(digest, limit=DOCUMENT_LIMIT), manifest)
        return manifest

    def _docker_layer(self, name: str) -> Descriptor:
        digest, size = self._files.blob(name)
        with self._blobs.reader(digest) as blob:
            begin = blob.read(4)
        media_type = next((kind for magic, kind in _MAGICS if begin.startswith(magic)), MediaType.OCI_LAYER)
        return Descriptor(media_type=media_type, digest=digest, size=size)

    def _diff_id(self, layer: Descriptor) -> str:
        """The digest of what is in a stored layer; only its unpacking verifies more than that it is that."""
        if (known := self._diff_ids.get(layer.digest)) is not None:
            return known
        hasher = new_hasher(layer.digest)
        with self._blobs.reader(layer.digest) as blob:
            try:
                for chunk in decompressed(blob, limits=DEFAULT_LIMITS):
                    hasher.update(chunk)
            except CorruptBlob as error:
                raise ImageError(f"a layer in it cannot be read: {error}") from None
        self._diff_ids[layer.digest] = f"{layer.digest.partition(':')[0]}:{hasher.hexdigest()}"
        return self._diff_ids[layer.digest]

    def _read(self, name: str) -> bytes:
        digest, _ = self._files.blob(name)
        return self._blobs.read(digest, limit=DOCUMENT_LIMIT)

    def _verified(self, descriptor: Descriptor) -> bytes:
        self._take(descriptor)
        return self._blobs.read(descriptor.digest, limit=DOCUMENT_LIMIT)

    def _take(self, descriptor: Descriptor) -> None:
        """Stores a blob of an image layout, verified."""
        found = self._files.blob(_blob_name(descriptor.digest), descriptor)
        if found != (descriptor.digest, descriptor.size):
            raise ImageError(f"its blob {descriptor.digest} has {found[1]} bytes with the digest {found[0]}")


class _Directory:
    """An image layout in a directory. No link in it is followed."""

    def __init__(self, path: Path, intake: Intake, blobs: Blobs) -> None:
        self._path = path
        self._intake = intake
        self._blobs = blobs

    def has(self, name: str) -> bool:
        try:
            self._open(name).close()
        except (ImageError, OSError):
            return False
        return True

    def blob(self, name: str, expected: Descriptor | None = None) -> tuple[str, int]:
        if expected is not None and self._blobs.has(expected.digest, expected.size):
            return expected.digest, expected.size
        with self._open(name) as file, self._intake.writer(expected.digest if expected is not None else None) as writer:
            while chunk := os.read(file.fileno(), _CHUNK):
                writer.write(chunk)
            return writer.commit(), writer.offset

    def _open(self, name: str) -> Fd:
        key = _key(name)
        if key is None:
            raise ImageError(f'it names the file "{printable(name)}", which is outside of it')
        *parents, last = key.split("/")
        place = Fd.open(self._path, os.O_RDONLY | os.O_DIRECTORY)
        for parent in parents:
            with place as above:
                place = Fd.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=above.fileno())
        with place:
            file = Fd.open(last, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=place.fileno())
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            file.close()
            raise ImageError(f'"{printable(name)}" is not a regular file')
        return file


class _Tar:
    """A tar, plain or compressed, read whole at the start. ``_links``: links within the archive, by name."""

    def __init__(self, path: Path, intake: Intake, blobs: Blobs) -> None:
        self._intake = intake
        self._blobs = blobs
        self._files: dict[str, tuple[str, int]] = {}
        self._links: dict[str, str] = {}
        with FileIO(path) as file:
            try:
                self._read(TarReader(ByteStream(decompressed(file, limits=_LIMITS)), limits=_LIMITS))
            except (TarError, CorruptBlob) as error:
                raise ImageError(f"it is not a tar archive that can be read: {error}") from None

    def has(self, name: str) -> bool:
        return self._find(name) is not None

    def blob(self, name: str, expected: Descriptor | None = None) -> tuple[str, int]:
        found = self._find(name)
        if found is None:
            raise ImageError(f'it has no file "{printable(name)}"')
        return found

    def _find(self, name: str) -> tuple[str, int] | None:
        key = _key(name)
        for _ in range(_LINK_LIMIT):
            if key is None or key in self._files:
                break
            key = self._links.get(key)
        return None if key is None else self._files.get(key)

    def _read(self, reader: TarReader) -> None:
        for entry in reader:
            name = _key(entry.path.decode("utf-8", "surrogateescape"))
            if name is None or entry.kind not in (Kind.FILE, Kind.SYMLINK, Kind.HARD_LINK):
                continue
            if name in self._files or name in self._links:
                raise ImageError(f'"{printable(name)}" is in it twice')
            target = entry.target.decode("utf-8", "surrogateescape")
            if entry.kind is Kind.FILE:
                self._files[name] = self._take(name, entry, reader.data())
            elif entry.kind is Kind.SYMLINK:
                self._links[name] = _key(posixpath.join(posixpath.dirname(name), target)) or ""
            else:
                self._links[name] = _key(target) or ""

    def _take(self, name: str, entry: Entry, data: Iterator[memoryview]) -> tuple[str, int]:
        if entry.regions is not None:
            raise ImageError(f'"{printable(name)}" is a sparse file')
        digest = _blob_digest(name)
        if digest is not None and self._blobs.has(digest, entry.size):
            return digest, entry.size
        with self._intake.writer(digest) as writer:
            for piece in data:
                writer.write(piece)
            return writer.commit(), writer.offset


def _key(name: str) -> str | None:
    """The name within the archive, None when it leads out of it: ``./a//b`` → ``a/b``."""
    key = posixpath.normpath(name)
    outside = key.startswith(("/", "../")) or key in (".", "..") or "\0" in key
    return None if outside else key


def _blob_name(digest: str) -> str:
    algorithm, encoded = split_digest(digest)
    return f"blobs/{algorithm}/{encoded}"


def _blob_digest(name: str) -> str | None:
    """The digest that a blob's place in an image layout gives it, None for other files."""
    parts = name.split("/")
    digest = ":".join(parts[1:])
    return digest if len(parts) == 3 and parts[0] == "blobs" and is_digest(digest) else None
