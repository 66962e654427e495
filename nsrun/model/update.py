"""What a source of manifests says: the desired set of pods, and what had to be said about it."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass, field

from nsrun.model.objects import Objects
from nsrun.model.pod import Pod
from nsrun.support.layout import PodName

__all__ = ["MANIFEST_ANNOTATION", "SourceUpdate"]

MANIFEST_ANNOTATION = "nsrun/manifest"
"""The annotation that names the file or the URL a pod came from. It survives in pod.json, so that a pod which runs on
after a restart of nsrun can still be told from one whose manifest was removed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceUpdate:
    """What the manifests say now: the whole desired set, with what had to be said about it.

    ``pods`` is in order of file name and document. ``problems`` and ``warnings`` are lines ``file:line:column: text``
    (``file: text`` where a line means nothing); each update's lines are all that is true now.
    ``objects``: ConfigMaps, Secrets, PersistentVolumeClaims and PersistentVolumes; those of a file that is broken now
    are the last good ones.
    ``retained``: full names of pods kept from the last good version of a file that is broken now.
    ``broken``: absolute paths of the files (or of the directory), or URLs, that cannot be read as a whole now.
    ``missing``: the directory itself is not there.
    ``partial``: a source has not said anything sound yet since nsrun started, so what belongs to no pod that is wanted
    may belong to one of its own.
    """

    pods: tuple[Pod, ...]
    objects: Objects = field(default_factory=Objects)
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    retained: frozenset[PodName] = frozenset()
    broken: frozenset[str] = frozenset()
    missing: bool = False
    partial: bool = False

    def keeps(self, pod: Pod) -> bool:
        """Whether a pod that runs, but is not in ``pods``, must run on: its manifest is there and cannot be read.

        This matters only after a restart of nsrun, when no last good version of the file is remembered.
        """
        manifest = pod.metadata.annotations.get(MANIFEST_ANNOTATION, "")
        return manifest in self.broken or posixpath.dirname(manifest) in self.broken
