"""Volumes and their mounts → the JSON objects of core/v1."""

from __future__ import annotations

from nsrun.model.encode_environment import field_source
from nsrun.model.encoding import Json, known, said
from nsrun.model.quantity import canonical
from nsrun.model.volume import (
    DEFAULT_MODE,
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

__all__ = ["mount", "volume"]


def mount(mount: VolumeMount) -> Json:
    """A v1.VolumeMount."""
    propagation, recursive = mount.propagation, mount.recursive_read_only
    return {
        "name": mount.name,
        **said(readOnly=mount.read_only),
        "mountPath": mount.mount_path,
        **said(subPath=mount.sub_path, subPathExpr=mount.sub_path_expr),
        **known(
            mountPropagation=None if propagation is MountPropagation.NONE else str(propagation),
            recursiveReadOnly=None if recursive is RecursiveReadOnly.DISABLED else str(recursive),
        ),
    }


def volume(volume: Volume) -> Json:
    """A v1.Volume."""
    source = volume.source
    match source:
        case EmptyDir():
            said_of = {"emptyDir": _empty_dir(source)}
        case HostPath():
            said_of = {"hostPath": {"path": source.path, "type": str(source.type)}}
        case ConfigMapVolume():
            said_of = {"configMap": {"name": source.name, **_keys(source)}}
        case SecretVolume():
            said_of = {"secret": {"secretName": source.name, **_keys(source)}}
        case DownwardVolume():
            said_of = {"downwardAPI": _downward(source)}
        case ProjectedVolume():
            sources = [_projection(one) for one in source.sources]
            said_of = {"projected": {"sources": sources, **_mode(source.default_mode)}}
        case ImageVolume():
            said_of = {"image": {"reference": source.reference, "pullPolicy": source.pull_policy}}
        case ClaimVolume():
            claim = {"claimName": source.claim_name, **said(readOnly=source.read_only)}
            said_of = {"persistentVolumeClaim": claim}
        case NfsVolume():
            said_of = {"nfs": {"server": source.server, "path": source.path, **said(readOnly=source.read_only)}}
    return {"name": volume.name, **said_of}


def _empty_dir(source: EmptyDir) -> Json:
    limit = None if source.size_limit is None else canonical(source.size_limit)
    medium = str(source.medium)
    if source.medium is EmptyDirMedium.HUGE_PAGES and source.page_size:
        medium = f"{medium}-{source.page_size}"
    return said(medium=medium, sizeLimit=limit)


def _mode(mode: int) -> Json:
    return {} if mode == DEFAULT_MODE else {"defaultMode": mode}


def _keys(source: ConfigMapVolume | SecretVolume) -> Json:
    items = [_key_file(item) for item in source.items or ()]
    return {**said(items=items), **_mode(source.default_mode), **said(optional=source.optional)}


def _key_file(item: KeyFile) -> Json:
    return {"key": item.key, "path": item.path, **known(mode=item.mode)}


def _downward(source: DownwardVolume) -> Json:
    return {**said(items=[_file(item) for item in source.items]), **_mode(source.default_mode)}


def _file(item: DownwardFile) -> Json:
    return {"path": item.path, **field_source(item.source), **known(mode=item.mode)}


def _projection(source: ConfigMapVolume | SecretVolume | DownwardVolume) -> Json:
    match source:
        case ConfigMapVolume():
            return {"configMap": {"name": source.name, **_keys(source)}}
        case SecretVolume():
            return {"secret": {"name": source.name, **_keys(source)}}
        case DownwardVolume():
            return {"downwardAPI": _downward(source)}
