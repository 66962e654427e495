"""The files of a pod's run directory and of its containers: made, read, removed. Everything here blocks on the file
system; nothing is synced, for the run directory dies with the boot and an upper layer with its container.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

from nsrun.model.container import MessagePolicy
from nsrun.model.defaultcontainer import default_container
from nsrun.model.pod import Pod
from nsrun.model.running import ContainerId
from nsrun.runtime.exits import ExitRecord, parse_record
from nsrun.runtime.ociconfig import OciConfig
from nsrun.runtime.termination import make_message_file, read_message_file, termination_message
from nsrun.runtime.usage import pod_logs
from nsrun.support.atomic import write_atomic
from nsrun.support.layout import Layout, PodName
from nsrun.support.logfiles import read_tail
from nsrun.support.removal import remove_tree

__all__ = ["SANDBOX_ID", "RunDirectory", "RunState", "container_key", "make_directories", "parse_key"]

# The pause process's name at the shim. A container's has a dot in it, so none can be called this.
SANDBOX_ID = "sandbox"

_MAX_FILE = 1 << 22


@dataclass(frozen=True, slots=True, kw_only=True)
class RunState:
    """What of a run must be known again after a restart of nsrun. ``created`` in seconds since the epoch."""

    image_ref: str
    image_digest: str
    stop_signal: int
    created: float
    message_policy: MessagePolicy = MessagePolicy.FILE


def container_key(id: ContainerId) -> str:
    """``web``, attempt 2 → ``web.2``: its name at the shim, and its exit record's."""
    return f"{id.name}.{id.attempt}"


def parse_key(uid: str, key: str) -> ContainerId | None:
    """None when it is no container's."""
    name, dot, attempt = key.rpartition(".")
    if not (dot and name and attempt.isascii() and attempt.isdigit()):
        return None
    return ContainerId(uid=uid, name=name, attempt=int(attempt))


def make_directories(path: Path, mode: int = 0o700) -> None:
    """Makes a directory and its missing parents, each with ``mode`` whatever the umask is. Raises OSError."""
    try:
        os.mkdir(path, mode)
    except FileExistsError:
        return
    except FileNotFoundError:
        make_directories(path.parent, mode)
        make_directories(path, mode)
        return
    os.chmod(path, mode)


class RunDirectory:
    """The files of all pods, below one layout. ``boot``: the boot's id, part of what makes a container's hash."""

    def __init__(self, layout: Layout, *, boot: str) -> None:
        self._layout = layout
        self._boot = boot

    def hash(self, id: ContainerId) -> str:
        """64 hex digits that no other run has; computed, so that they need not be kept."""
        text = f"{id.uid}/{id.name}/{id.attempt}/{self._boot}"
        return hashlib.sha256(text.encode()).hexdigest()

    def session(self, id: ContainerId) -> str:
        """What the keyring of a run is called."""
        return f"nsrun-{self.hash(id)[:32]}"

    # --- a pod

    def make_pod(self, pod: Pod, document: Mapping[str, object], hostname: str) -> None:
        """Directories, pod.json and the hostname file. Raises OSError."""
        layout = self._layout
        make_directories(layout.exits(pod.uid))
        make_directories(layout.pod(pod.uid))
        for directory, mode in ((layout.stage, 0o700), (layout.empty_dir, 0o555)):
            make_directories(directory.parent)
            make_directories(directory, mode)
        self._write_pod(pod.uid, document)
        make_directories(layout.run_names)
        _link(layout.run_name(pod.name), Path("..", layout.run_pods.name, pod.uid))
        write_atomic(layout.etc_hostname(pod.uid), f"{hostname}\n".encode(), mode=0o644, durable=False)

    def pods(self) -> list[str]:
        """UIDs of the pods that have a run directory."""
        try:
            return sorted(
                entry.name for entry in os.scandir(self._layout.run_pods) if entry.is_dir(follow_symlinks=False)
            )
        except FileNotFoundError:
            return []

    def write_document(self, uid: str, document: Mapping[str, object]) -> None:
        """Another pod.json, unless the run directory is gone. Raises OSError."""
        try:
            self._write_pod(uid, document)
        except FileNotFoundError:
            return

    def _write_pod(self, uid: str, document: Mapping[str, object]) -> None:
        """pod.json, and the container of it that is meant when none is named, if that is no guess: who runs a command
        there shall not have to read pod.json for it."""
        _write_json(self._layout.pod_json(uid), document)
        default, link = default_container(document), self._layout.default_container(uid)
        if default.name is None or default.guessed:
            link.unlink(missing_ok=True)
        else:
            _link(link, Path("containers", default.name))

    def document(self, uid: str) -> Mapping[str, object] | None:
        """pod.json, None when it cannot be read."""
        found = _read_json(self._layout.pod_json(uid))
        return found if isinstance(found, dict) else None

    def write_sandbox_config(self, uid: str, config: OciConfig) -> None:
        """Raises OSError."""
        _write_json(self._layout.run_pod(uid) / "config.json", config)

    def remove_pod(self, name: PodName | None, uid: str) -> None:
        """The run directory, what containers wrote, and (with a name) their logs and the links to them.

        Raises OSError.
        """
        if name is not None:
            self._unlink_logs(name, uid)
            remove_tree(self._layout.pod_log(name, uid))
        remove_tree(self._layout.pod(uid) / "containers")
        remove_tree(self._layout.etc_hostname(uid))
        self._unlink_name(uid)
        remove_tree(self._layout.run_pod(uid))

    # --- a container

    def make_container(self, pod: Pod, id: ContainerId, config: OciConfig, state: RunState) -> None:
        """Run directory, upper and work of the overlay, log directory and link. Raises OSError."""
        layout = self._layout
        run = layout.container_run(id.uid, id.name, id.attempt)
        make_directories(run)
        _write_json(run / "config.json", config)
        _write_json(run / "state.json", asdict(state))
        files = layout.container(id.uid, id.name, id.attempt)
        remove_tree(files)
        make_directories(files)
        make_directories(files / "upper", 0o755)
        make_directories(files / "work")
        make_message_file(layout.termination_log(id.uid, id.name, id.attempt))
        log = layout.container_log(pod.name, id.uid, id.name, id.attempt)
        make_directories(log.parent, 0o755)
        make_directories(layout.container_logs, 0o755)
        _link(layout.container_log_link(pod.name, id.name, self.hash(id)), log)

    def containers(self, uid: str) -> Iterator[tuple[ContainerId, RunState]]:
        """Every run that has its state here."""
        for name in _names(self._layout.run_pod(uid) / "containers"):
            for attempt in _numbers(self._layout.run_pod(uid) / "containers" / name):
                id = ContainerId(uid=uid, name=name, attempt=attempt)
                state = _state(_read_json(self._layout.container_run(uid, name, attempt) / "state.json"))
                if state is not None:
                    yield id, state

    def config(self, id: ContainerId) -> OciConfig:
        """The configuration that a run was started with. Raises OSError; ValueError when it is not readable."""
        path = self._layout.container_run(id.uid, id.name, id.attempt) / "config.json"
        return cast(OciConfig, json.loads(_read(path)))

    def message(self, id: ContainerId, *, failed: bool) -> str:
        """What a run that has ended says about it."""
        state = _state(_read_json(self._layout.container_run(id.uid, id.name, id.attempt) / "state.json"))
        return termination_message(
            state.message_policy if state is not None else MessagePolicy.FILE,
            failed=failed,
            file=lambda: read_message_file(self._layout.termination_log(id.uid, id.name, id.attempt)),
            log=lambda lines, limit: self._log_tail(id, lines, limit),
        )

    def _log_tail(self, id: ContainerId, lines: int, limit: int) -> bytes:
        for directory in pod_logs(self._layout, id.uid):
            return read_tail(directory / id.name / f"{id.attempt}.log", lines, limit)
        return b""

    def records(self, uid: str) -> dict[str, ExitRecord]:
        """Exit records by the shim's key; what cannot be read is left out."""
        records: dict[str, ExitRecord] = {}
        for name in _names(self._layout.exits(uid)):
            try:
                records[name] = parse_record(_read(self._layout.exits(uid) / name))
            except (OSError, ValueError):
                continue
        return records

    def discard_container(self, pod: PodName, id: ContainerId) -> None:
        """Undoes ``make_container`` after a failed start; the empty run directory stays, as a trace that the attempt is
        used. Raises OSError."""
        run = self._layout.container_run(id.uid, id.name, id.attempt)
        for name in _names(run):
            remove_tree(run / name)
        remove_tree(self._layout.container(id.uid, id.name, id.attempt))
        self._layout.container_log_link(pod, id.name, self.hash(id)).unlink(missing_ok=True)

    def remove_container(self, id: ContainerId) -> None:
        """All of a run but its log. Raises OSError."""
        remove_tree(self._layout.container(id.uid, id.name, id.attempt))
        remove_tree(self._layout.container_run(id.uid, id.name, id.attempt))
        (self._layout.exits(id.uid) / container_key(id)).unlink(missing_ok=True)

    def next_attempt(self, pod: Pod, container: str) -> int:
        """One more than the highest attempt that has a run directory or a log."""
        runs = _numbers(self._layout.run_pod(pod.uid) / "containers" / container)
        logs = _numbers(self._layout.pod_log(pod.name, pod.uid) / container)
        return max((*runs, *logs), default=-1) + 1

    def _unlink_name(self, uid: str) -> None:
        """Another pod of the name has the link by now, or none."""
        for name in _names(self._layout.run_names):
            link = self._layout.run_names / name
            try:
                if os.path.basename(os.readlink(link)) == uid:
                    os.unlink(link)
            except OSError:
                continue  # not a link, or gone already

    def _unlink_logs(self, name: PodName, uid: str) -> None:
        """Only links into this pod's logs: another pod may have the same name by now."""
        target = f"{self._layout.pod_log(name, uid)}/"
        for link in _names(self._layout.container_logs):
            if not link.startswith(f"{name.name}_{name.namespace}_"):
                continue
            try:
                if os.readlink(self._layout.container_logs / link).startswith(target):
                    os.unlink(self._layout.container_logs / link)
            except OSError:
                continue  # not a link, or gone already


def _names(directory: Path) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _numbers(directory: Path) -> list[int]:
    """``0``, ``1.log``, ``1.log.20260101`` → 0, 1, 1."""
    heads = (name.split(".", 1)[0] for name in _names(directory))
    return [int(head) for head in heads if head.isascii() and head.isdigit() and len(head) < 10]


def _link(link: Path, target: Path) -> None:
    try:
        os.symlink(target, link)
    except FileExistsError:
        link.unlink(missing_ok=True)
        os.symlink(target, link)


def _write_json(path: Path, value: object) -> None:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    write_atomic(path, text.encode("utf-8", "surrogateescape"), durable=False)


def _read(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(_MAX_FILE)


def _read_json(path: Path) -> object:
    try:
        return json.loads(_read(path))
    except (OSError, ValueError):
        return None


def _state(value: object) -> RunState | None:
    if not isinstance(value, dict):
        return None
    match value:
        case {
            "image_ref": str(image_ref),
            "image_digest": str(image_digest),
            "stop_signal": int(stop_signal),
            "created": int(created) | float(created),
        }:
            return RunState(
                image_ref=image_ref,
                image_digest=image_digest,
                stop_signal=stop_signal,
                created=float(created),
                message_policy=_policy(value.get("message_policy")),
            )
    return None


def _policy(value: object) -> MessagePolicy:
    try:
        return MessagePolicy(str(value))
    except ValueError:
        return MessagePolicy.FILE
