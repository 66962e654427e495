"""The run of a container that is meant, found in the run directory: commands that go to a pod's shim work without a
daemon, and have no time to ask one."""

from __future__ import annotations

import os

from nsrun.cli.podnames import pod_name
from nsrun.errors import NotFoundError, NsrunError, describe_errno
from nsrun.support.record import Record

TYPE_CHECKING = False  # `typing` is dear, and `nsrun exec` in a hurry
if TYPE_CHECKING:
    from nsrun.support.runpaths import RunPaths

__all__ = ["Run", "find_run"]


class Run(Record):
    """One run of one container. ``key``: its name at the shim."""

    __slots__ = ("attempt", "container", "uid")

    def __init__(self, uid: str, container: str, attempt: int) -> None:
        self.uid = uid
        self.container = container
        self.attempt = attempt

    @property
    def key(self) -> str:
        return f"{self.container}.{self.attempt}"


def find_run(paths: RunPaths, wanted: str, namespace: str | None, container: str | None) -> Run:
    """The last run of a container of the pod called ``name`` or ``namespace/name``. Without ``container``: the one that
    the pod's annotation names, or its first, which is said when there are more. Raises NotFoundError, NsrunError."""
    try:
        uid = _uid(paths, wanted, namespace)
        name = _container(paths, uid, wanted, container)
        attempts = _attempts(paths.runs(uid, name))
    except PermissionError as error:
        raise NsrunError(f'cannot look for pod "{wanted}": permission denied', hint="use sudo") from error
    except (OSError, ValueError) as error:
        cause = describe_errno(error.errno or 0) if isinstance(error, OSError) else "its pod.json is none"
        raise NsrunError(f'cannot look for pod "{wanted}": {cause}') from error
    if not attempts:
        raise NsrunError(f'cannot reach container "{name}": it has not run yet', hint="nsrun pods tells why")
    return Run(uid, name, max(attempts))


def _uid(paths: RunPaths, wanted: str, namespace: str | None) -> str:
    where, name = pod_name(wanted, namespace)
    try:
        links = [link for link in os.listdir(paths.names) if link.rpartition("_")[2] == name]
    except FileNotFoundError:
        links = []
    found = [link for link in links if where in ("", link.rpartition("_")[0])]
    if len(found) > 1:
        places = ", ".join(sorted(link.rpartition("_")[0] for link in found))
        raise NsrunError(
            f'cannot choose pod "{wanted}": it is in several namespaces: {places}', hint="name one with -n"
        )
    if not found:
        raise NotFoundError(f'cannot find pod "{wanted}": none of this name runs here', hint="nsrun pods lists them")
    return os.path.basename(os.readlink(f"{paths.names}/{found[0]}"))


def _container(paths: RunPaths, uid: str, wanted: str, container: str | None) -> str:
    """What pod.json says is asked for only when the directory does not say it."""
    if container is None:
        try:
            return os.path.basename(os.readlink(paths.default_container(uid)))
        except FileNotFoundError:
            pass
    elif container.replace("-", "").isalnum() and _attempts(paths.runs(uid, container)):
        return container
    from nsrun.cli.lookup import container_called, read_document

    return container_called(read_document(paths.pod_json(uid)), wanted, container)


def _attempts(directory: str) -> list[int]:
    try:
        return [int(name) for name in os.listdir(directory) if name.isdigit()]
    except FileNotFoundError:
        return []
