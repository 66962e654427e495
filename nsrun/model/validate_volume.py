"""What must hold of volumes and of their mounts."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Sequence

from nsrun.model import downward, names
from nsrun.model.container import Container
from nsrun.model.environment import FieldRef, ResourceFieldRef
from nsrun.model.validate_resources import page_size_fault
from nsrun.model.violation import Violation, absolute, faults, relative, unique
from nsrun.model.volume import (
    ClaimVolume,
    ConfigMapVolume,
    DownwardFile,
    DownwardVolume,
    EmptyDir,
    EmptyDirMedium,
    HostPath,
    ImageVolume,
    KeyFile,
    MountPropagation,
    NfsVolume,
    ProjectedVolume,
    RecursiveReadOnly,
    SecretVolume,
    Volume,
    VolumeMount,
)
from nsrun.model.wording import Path, quoted

__all__ = ["image_fault", "mounts", "resource_ref", "volume"]

LARGEST_MODE = 0o777


def volume(volume: Volume, containers: Iterable[str], path: Path) -> Iterator[Violation]:
    """``containers``: their names, for the fields that a downwardAPI volume shows."""
    known = frozenset(containers)
    yield from faults((*path, "name"), names.dns_label(volume.name))
    match volume.source:
        case EmptyDir():
            yield from _empty_dir(volume.source, (*path, "emptyDir"))
        case HostPath(path=host_path):
            yield from faults((*path, "hostPath", "path"), absolute(host_path))
        case ConfigMapVolume(name=name):
            yield from faults((*path, "configMap", "name"), names.dns_subdomain(name))
            yield from _keys(volume.source, (*path, "configMap"))
        case SecretVolume(name=name):
            yield from faults((*path, "secret", "secretName"), names.dns_subdomain(name))
            yield from _keys(volume.source, (*path, "secret"))
        case DownwardVolume():
            yield from _downward(volume.source, known, (*path, "downwardAPI"))
        case ProjectedVolume():
            yield from _projected(volume.source, known, (*path, "projected"))
        case ImageVolume(reference=reference):
            yield from faults((*path, "image", "reference"), image_fault(reference))
        case ClaimVolume(claim_name=name):
            yield from faults((*path, "persistentVolumeClaim", "claimName"), names.dns_subdomain(name))
        case NfsVolume(server=server, path=exported):
            if server.startswith("-") or any(not c.isprintable() or c.isspace() for c in server):
                text = f"must be the name or address of a server, not {quoted(server)}"
                yield Violation(path=(*path, "nfs", "server"), text=text)
            yield from faults((*path, "nfs", "path"), absolute(exported))


def image_fault(reference: str) -> str | None:
    if any(not c.isprintable() or c.isspace() for c in reference):
        return f"must not hold spaces, as {quoted(reference)} does"
    return None


def _empty_dir(source: EmptyDir, path: Path) -> Iterator[Violation]:
    limit = source.size_limit
    if limit is not None and limit.milli < 0:
        yield Violation(path=(*path, "sizeLimit"), text=f"must be 0 or more, not {limit.text}")
    if source.medium is EmptyDirMedium.HUGE_PAGES and source.page_size:
        yield from faults((*path, "medium"), page_size_fault(source.page_size))


def _keys(source: ConfigMapVolume | SecretVolume, path: Path) -> Iterator[Violation]:
    yield from _mode(source.default_mode, (*path, "defaultMode"))
    for index, item in enumerate(source.items or ()):
        where = (*path, "items", index)
        yield from faults((*where, "key"), names.object_key(item.key) if item.key else None)
        yield from _file(item, where)


def _file(item: KeyFile | DownwardFile, path: Path) -> Iterator[Violation]:
    yield from _mode(item.mode, (*path, "mode"))
    yield from faults((*path, "path"), _file_path(item.path))


def _file_path(path: str) -> str | None:
    """``..data`` and its like are what the files are swapped with."""
    if path.startswith(".."):
        return f'must not start with "..", as {quoted(path)} does'
    if path and not posixpath.normpath(path).strip("/."):
        return f"must name a file, not {quoted(path)}"
    return relative(path)


def _mode(mode: int | None, path: Path) -> Iterator[Violation]:
    if mode is not None and not 0 <= mode <= LARGEST_MODE:
        digits = str(mode)
        octal = len(digits) == 3 and all(digit in "01234567" for digit in digits)
        hint = f": did you mean 0{digits}?" if octal else ""
        text = f"must be between 0 and {LARGEST_MODE} (0777), not {mode}{hint}"
        yield Violation(path=path, text=text)


def _downward(source: DownwardVolume, containers: frozenset[str], path: Path) -> Iterator[Violation]:
    yield from _mode(source.default_mode, (*path, "defaultMode"))
    for index, item in enumerate(source.items):
        where = (*path, "items", index)
        yield from _file(item, where)
        match item.source:
            case FieldRef(field_path=field):
                fault = downward.volume_field_fault(field)
                yield from faults((*where, "fieldRef", "fieldPath"), fault)
            case ResourceFieldRef():
                yield from resource_ref(item.source, containers, (*where, "resourceFieldRef"), named=True)


def resource_ref(ref: ResourceFieldRef, containers: frozenset[str], path: Path, *, named: bool) -> Iterator[Violation]:
    """``named``: the container must be, as nobody asks for itself."""
    yield from faults((*path, "resource"), downward.resource_fault(ref.resource))
    if ref.divisor is not None:
        yield from faults((*path, "divisor"), downward.divisor_fault(ref.resource, ref.divisor))
    if named and not ref.container:
        yield Violation(path=(*path, "containerName"), text="is required")
    elif ref.container and ref.container not in containers and "" not in containers:
        text = f"must be one of the pod's containers, not {quoted(ref.container)}"
        yield Violation(path=(*path, "containerName"), text=text)


def _projected(source: ProjectedVolume, containers: frozenset[str], path: Path) -> Iterator[Violation]:
    yield from _mode(source.default_mode, (*path, "defaultMode"))
    taken: set[str] = set()
    for index, projection in enumerate(source.sources):
        where: Path = (*path, "sources", index)
        match projection:
            case ConfigMapVolume():
                where = (*where, "configMap")
            case SecretVolume():
                where = (*where, "secret")
            case DownwardVolume():
                where = (*where, "downwardAPI")
        if isinstance(projection, DownwardVolume):
            yield from _downward(projection, containers, where)
        else:
            yield from faults((*where, "name"), names.dns_subdomain(projection.name))
            yield from _keys(projection, where)
        items: tuple[KeyFile | DownwardFile, ...] = projection.items or ()
        for number, item in enumerate(items):
            normal = posixpath.normpath(item.path)
            if item.path and normal in taken:
                text = f"must be unique: another item of the volume is {quoted(normal)} already"
                yield Violation(path=(*where, "items", number, "path"), text=text)
            taken.add(normal)


def mounts(container: Container, volumes: Sequence[Volume], path: Path) -> Iterator[Violation]:
    """``volumes``: of the pod; ``path``: of the list of mounts."""
    known = {volume.name for volume in volumes}
    for index, mount in enumerate(container.volume_mounts):
        where = (*path, index)
        if mount.name and mount.name not in known and "" not in known:
            text = f"must be one of the pod's volumes, not {quoted(mount.name)}"
            yield Violation(path=(*where, "name"), text=text)
        yield from faults((*where, "mountPath"), _mount_path(mount.mount_path))
        yield from _sub_path(mount, where)
        yield from _propagation(mount, container, where)
    paths = [mount.mount_path for mount in container.volume_mounts]
    yield from unique([posixpath.normpath(one) if one else "" for one in paths], path, "mountPath")


def _sub_path(mount: VolumeMount, path: Path) -> Iterator[Violation]:
    yield from faults((*path, "subPath"), relative(mount.sub_path))
    yield from faults((*path, "subPathExpr"), relative(mount.sub_path_expr))
    if mount.sub_path and mount.sub_path_expr:
        yield Violation(path=(*path, "subPathExpr"), text="must not stand beside subPath", on_key=True)


def _propagation(mount: VolumeMount, container: Container, path: Path) -> Iterator[Violation]:
    if mount.propagation is MountPropagation.BIDIRECTIONAL and not container.security_context.privileged:
        text = 'must not be "Bidirectional" unless the container is privileged'
        yield Violation(path=(*path, "mountPropagation"), text=text)
    if mount.recursive_read_only is RecursiveReadOnly.DISABLED:
        return
    where, value = (*path, "recursiveReadOnly"), quoted(mount.recursive_read_only)
    if not mount.read_only:
        yield Violation(path=where, text=f"must not be {value} unless readOnly is true")
    if mount.propagation is not MountPropagation.NONE:
        yield Violation(path=where, text=f'must not be {value} unless mountPropagation is "None"')


def _mount_path(path: str) -> str | None:
    if ":" in path:
        return f'must not hold ":", as {quoted(path)} does'
    if path.startswith("/") and not path.strip("/."):
        return f"must be below the root directory, not {quoted(path)}"
    return absolute(path)
