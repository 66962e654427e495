"""From ``nsrun run``'s flags, which are docker's, to a v1.Pod. Pure, but for the randomness that is handed in."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from posixpath import normpath

from nsrun.errors import SettingsError

__all__ = ["RunRequest", "pod_document", "random_name"]

RESTARTS = {"no": "Never", "on-failure": "OnFailure", "always": "Always"}
PULLS = {"always": "Always", "missing": "IfNotPresent", "never": "Never"}
AUTO_REMOVE = "nsrun/auto-remove"
SIZES = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([bkmgt]?)(?:i?b?)", re.IGNORECASE)
PORT = re.compile(r"(?:(?:\[([0-9a-fA-F:]+)\]|([0-9.]+)):)?([0-9]{1,5}):([0-9]{1,5})(?:/(tcp|udp|sctp))?")
MODES = {"ro": True, "rw": False}
LETTERS = "bcdfghjklmnpqrstvwxz2456789"
"""Kubernetes' own for random names: no vowels, so no words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """What was asked for. Texts are as they were given; ``variables`` are KEY=VALUE, or KEY for one of the caller's own
    ``environment``; ``stop_timeout`` is in seconds; ``directory`` is where relative paths begin."""

    image: str
    name: str
    namespace: str = "default"
    command: tuple[str, ...] = ()
    entrypoint: str | None = None
    stdin: bool = False
    terminal: bool = False
    remove: bool = False
    variables: tuple[str, ...] = ()
    environment: Mapping[str, str]
    volumes: tuple[str, ...] = ()
    ports: tuple[str, ...] = ()
    workdir: str | None = None
    user: str | None = None
    restart: str = "no"
    cpus: float | None = None
    memory: str | None = None
    host_network: bool = False
    pull: str = "missing"
    stop_timeout: int = 10
    labels: tuple[str, ...] = ()
    directory: str = "/"


def pod_document(asked: RunRequest) -> dict[str, object]:
    """The Pod, with one container of the same name. What is no valid pod is the daemon's to say. Raises SettingsError
    for flags that cannot be read."""
    volumes = [_volume(text, asked.directory, number) for number, text in enumerate(asked.volumes, 1)]
    container = {
        "name": asked.name,
        "image": asked.image,
        "imagePullPolicy": PULLS[asked.pull],
        "command": [_literal(asked.entrypoint)] if asked.entrypoint is not None else None,
        "args": [_literal(word) for word in asked.command],
        "workingDir": asked.workdir,
        "env": _variables(asked.variables, asked.environment),
        "ports": [_port(text) for text in asked.ports],
        "volumeMounts": [mount for _, mount in volumes],
        "resources": _resources(asked.cpus, asked.memory),
        "securityContext": _user(asked.user),
        "stdin": asked.stdin,
        "stdinOnce": asked.stdin,
        "tty": asked.terminal,
    }
    spec = {
        "containers": [_without_nothing(container)],
        "volumes": [volume for volume, _ in volumes],
        "restartPolicy": RESTARTS[asked.restart],
        "terminationGracePeriodSeconds": asked.stop_timeout,
        "hostNetwork": asked.host_network,
    }
    metadata = {
        "name": asked.name,
        "namespace": asked.namespace,
        "labels": {"run": asked.name, **_labels(asked.labels)},
        "annotations": {AUTO_REMOVE: "true"} if asked.remove else None,
    }
    # A grace of no seconds is something, and must be said.
    kept = {"terminationGracePeriodSeconds": asked.stop_timeout}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": _without_nothing(metadata),
        "spec": {**_without_nothing(spec), **kept},
    }


def random_name(image: str, choose: Callable[[str], str]) -> str:
    """``docker.io/library/redis:7`` → ``redis-x7k2p``. ``choose`` picks a letter."""
    base = image.partition("@")[0].rpartition("/")[2].partition(":")[0].lower()
    base = re.sub(r"[^a-z0-9]+", "-", base).strip("-")[:50].rstrip("-")
    return "-".join(part for part in (base or "pod", "".join(choose(LETTERS) for _ in range(5))) if part)


def _without_nothing(fields: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in fields.items() if value}


def _literal(text: str) -> str:
    """As the container is to see it: a pod's words are expanded ($(NAME), $$), docker's are not."""
    return text.replace("$", "$$") if "$(" in text or "$$" in text else text


def _variables(texts: Sequence[str], environment: Mapping[str, str]) -> list[dict[str, str]]:
    """As docker has it: the last of one name counts, a name alone is the caller's own variable, or none."""
    found: dict[str, str] = {}
    for text in texts:
        name, given, value = text.partition("=")
        if not name:
            raise SettingsError(f'cannot use --env: "{text}" has no name')
        if given:
            found[name] = value
        elif name in environment:
            found[name] = environment[name]
    return [{"name": name, "value": _literal(value)} for name, value in found.items()]


def _labels(texts: Sequence[str]) -> dict[str, str]:
    return {name: value for name, _, value in (text.partition("=") for text in texts)}


def _volume(text: str, directory: str, number: int) -> tuple[dict[str, object], dict[str, object]]:
    """The volume, and where it is mounted."""
    parts = text.split(":")
    modes = parts[2].split(",") if len(parts) == 3 else []
    if len(parts) not in (2, 3) or not all(parts) or not set(modes) <= MODES.keys() | {"z", "Z"}:
        raise SettingsError(f'cannot use --volume: "{text}" is not HOST:CONTAINER[:ro]')
    source, target = parts[0], parts[1]
    if source.startswith("."):
        source = f"{directory}/{source}"
    if not source.startswith("/"):
        raise SettingsError(
            f'cannot use --volume: "{source}" is no path',
            hint="begin it with / or ./; there are no volumes by name",
        )
    name = f"volume-{number}"
    mount = {"name": name, "mountPath": target, "readOnly": any(MODES.get(mode) for mode in modes)}
    return {"name": name, "hostPath": {"path": normpath(source)}}, _without_nothing(mount)


def _port(text: str) -> dict[str, object]:
    match = PORT.fullmatch(text)
    if match is None:
        raise SettingsError(f'cannot use --publish: "{text}" is not [ADDRESS:]HOST:CONTAINER[/udp]')
    address, host, port, protocol = match[1] or match[2] or "", int(match[3]), int(match[4]), match[5] or "tcp"
    return {
        "containerPort": port,
        "hostPort": host,
        "protocol": protocol.upper(),
        **({"hostIP": address} if address else {}),
    }


def _resources(cpus: float | None, memory: str | None) -> dict[str, object]:
    limits: dict[str, str] = {}
    if cpus is not None:
        limits["cpu"] = f"{round(cpus * 1000)}m"
    if memory is not None:
        limits["memory"] = str(_octets(memory))
    return {"limits": limits} if limits else {}


def _octets(text: str) -> int:
    """Docker's sizes: ``512m`` is 512 MiB."""
    match = SIZE.fullmatch(text.strip())
    if match is None:
        raise SettingsError(f'cannot use --memory: must be a size such as "512m", not "{text}"')
    return int(float(match[1]) * SIZES[match[2].lower()])


def _user(text: str | None) -> dict[str, object]:
    if text is None:
        return {}
    user, colon, group = text.partition(":")
    if not user.isascii() or not user.isdigit() or (colon and not (group.isascii() and group.isdigit())):
        raise SettingsError(
            f'cannot use --user: "{text}" is not UID[:GID]',
            hint="a pod names users by number",
        )
    return {"runAsUser": int(user), **({"runAsGroup": int(group)} if colon else {})}
