"""Pods that somebody asked for one by one, as a source beside the manifests: kept as documents, one file each.

They outlive nsrun, so they lie below its root. What a pod is for decides how long: one that is always restarted is
asked for until somebody takes it back; any other was meant for now, names the boot it was asked for in, and is
forgotten after the next.
"""

from __future__ import annotations

import asyncio
import json
import os
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

from nsrun.errors import ManifestError, NsrunError, describe_errno, remedy_for_errno
from nsrun.model.decode import Manifest, parse_manifest
from nsrun.model.encode import encode_pod
from nsrun.model.pod import Pod, RestartPolicy
from nsrun.model.update import SourceUpdate
from nsrun.sources.desired import FileState, desired, next_state
from nsrun.sources.listing import Unreadable, read_manifest
from nsrun.support.atomic import write_atomic
from nsrun.support.layout import PodName

__all__ = ["BOOT_ANNOTATION", "RequestedPods"]

BOOT_ANNOTATION = "nsrun/boot-id"
"""The annotation of a pod that is forgotten when the machine starts anew: this boot's id."""

SUFFIX = ".json"


class RequestedPods:
    """The pods whose documents are in ``directory``. Belongs to one event loop."""

    def __init__(self, directory: Path, *, node_name: str, boot_id: str) -> None:
        self.origin = str(directory)
        self._directory = directory
        self._node_name = node_name
        self._boot_id = boot_id
        self._files: dict[PodName, FileState] = {}
        self._unreadable: list[str] = []
        self._loaded = False
        self._busy = asyncio.Lock()  # whoever reads or writes the directory has it
        self._changed = asyncio.Event()

    async def updates(self) -> AsyncIterator[SourceUpdate]:
        """Every pod that was asked for and not taken back, now and after every change."""
        await self._load()
        self._changed.set()
        while True:
            await self._changed.wait()
            self._changed.clear()
            update, _ = desired([self._files[name] for name in sorted(self._files)], {})
            yield replace(update, problems=(*self._unreadable, *update.problems), broken=self._broken(update))

    def holds(self, name: PodName) -> bool:
        """Whether that pod was asked for."""
        return name in self._files

    async def add(
        self, document: bytes, is_taken: Callable[[PodName], bool] = lambda name: False
    ) -> tuple[Pod, tuple[str, ...]]:
        """Asks for the one pod that a document describes; its UID is a new one. Returns it, with what is doubtful.
        ``is_taken``: whether another pod has that name.

        Raises ManifestError with every problem, and NsrunError when it cannot be kept.
        """
        await self._load()
        asked, warnings = await asyncio.to_thread(self._read, document)
        async with self._busy:
            if asked.name in self._files or is_taken(asked.name):
                raise NsrunError(f'cannot add pod "{asked.name}": it is there already')
            pod, path = self._own(asked), self._path(asked.name)
            text = json.dumps(encode_pod(pod), indent=1).encode()
            try:
                await asyncio.to_thread(self._write, path, text)
            except OSError as error:
                number = error.errno or 0
                raise NsrunError(
                    f'cannot keep pod "{pod.name}" in "{path}": {describe_errno(number)}', hint=remedy_for_errno(number)
                ) from error
            state = self._state(path, text)
            self._files[asked.name] = state
            self._changed.set()
        return state.pods[0].pod, warnings

    async def remove(self, name: PodName) -> bool:
        """Takes a pod back: it is stopped and removed. False when it was not asked for. Raises NsrunError."""
        await self._load()
        async with self._busy:
            if name not in self._files:
                return False
            try:
                await asyncio.to_thread(self._path(name).unlink, missing_ok=True)
            except OSError as error:
                raise NsrunError(f'cannot forget pod "{name}": {describe_errno(error.errno or 0)}') from error
            del self._files[name]
            self._changed.set()
        return True

    def _broken(self, update: SourceUpdate) -> frozenset[str]:
        return update.broken | ({self.origin} if self._unreadable else frozenset())

    def _path(self, name: PodName) -> Path:
        return self._directory / f"{name.namespace}_{name.name}{SUFFIX}"

    def _read(self, document: bytes) -> tuple[Pod, tuple[str, ...]]:
        """Raises ManifestError."""
        manifest = self._parse(document, file="pod", origin=self.origin)
        if manifest.problems:
            raise ManifestError(manifest.problems)
        if len(manifest.pods) != 1 or manifest.objects:
            raise ManifestError(("pod: must be one Pod, and nothing else",))
        return manifest.pods[0].pod, manifest.warnings

    def _parse(self, data: bytes, *, file: str, origin: str) -> Manifest:
        return parse_manifest(data, file=file, node_name=self._node_name, origin=origin, config_source="api")

    def _own(self, pod: Pod) -> Pod:
        """With a UID that no other pod ever had: the same command twice is two pods, with logs of their own."""
        annotations = dict(pod.metadata.annotations)
        annotations.pop(BOOT_ANNOTATION, None)
        if pod.spec.restart_policy is not RestartPolicy.ALWAYS:
            annotations[BOOT_ANNOTATION] = self._boot_id
        return replace(pod, metadata=replace(pod.metadata, uid=str(uuid.uuid4()), annotations=annotations))

    def _state(self, path: Path, data: bytes) -> FileState:
        origin = str(path)
        return next_state(FileState(file=origin, origin=origin), self._parse(data, file=origin, origin=origin))

    # --- the directory

    async def _load(self) -> None:
        """Reads what an earlier nsrun was asked for. Once."""
        async with self._busy:
            if not self._loaded:
                await asyncio.to_thread(self._list)
                self._loaded = True

    def _list(self) -> None:
        try:
            names = sorted(os.listdir(self._directory))
        except FileNotFoundError:
            return
        except OSError as error:
            self._unreadable.append(f"{self.origin}: cannot read: {describe_errno(error.errno or 0)}")
            return
        for name in names:
            path = self._directory / name
            if not name.startswith(".") and name.endswith(SUFFIX):
                self._take(path)
            else:
                path.unlink(missing_ok=True)  # a write that was cut off

    def _take(self, path: Path) -> None:
        namespace, _, name = path.name.removesuffix(SUFFIX).partition("_")
        try:
            state = self._state(path, read_manifest(str(path)))
        except Unreadable as error:
            state = next_state(FileState(file=str(path), origin=str(path)), Manifest(problems=(f"{path}: {error}",)))
        boots = {placed.pod.metadata.annotations.get(BOOT_ANNOTATION, self._boot_id) for placed in state.pods}
        if boots <= {self._boot_id}:
            self._files[PodName(namespace=namespace, name=name)] = state
        else:
            path.unlink(missing_ok=True)

    def _write(self, path: Path, text: bytes) -> None:
        self._directory.mkdir(mode=0o700, exist_ok=True)
        write_atomic(path, text)
