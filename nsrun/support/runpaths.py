"""What of the run directory a tool needs that has no time for more: paths as text, without ``pathlib``."""

from __future__ import annotations

__all__ = ["RUN_DIR", "RunPaths"]

RUN_DIR = "/run/nsrun"
"""Where it is by default."""


class RunPaths:
    """The pods' part of a run directory. Layout, which has all paths, asks here for these."""

    __slots__ = ("directory",)

    def __init__(self, directory: str = RUN_DIR) -> None:
        self.directory = directory

    @property
    def pods(self) -> str:
        return f"{self.directory}/pods"

    @property
    def names(self) -> str:
        """One link per pod that has a run directory: ``<namespace>_<pod>`` leads there."""
        return f"{self.directory}/names"

    def pod(self, uid: str) -> str:
        return f"{self.pods}/{uid}"

    def pod_json(self, uid: str) -> str:
        """The pod as it was accepted, so that it can be stopped, or go on, without its manifest."""
        return f"{self.pod(uid)}/pod.json"

    def default_container(self, uid: str) -> str:
        """A link to the ``runs`` of the container that is meant when none is named; not there when that is a guess."""
        return f"{self.pod(uid)}/default-container"

    def runs(self, uid: str, container: str) -> str:
        """One directory for each run of a container."""
        return f"{self.pod(uid)}/containers/{container}"

    def run(self, uid: str, container: str, attempt: int) -> str:
        return f"{self.runs(uid, container)}/{attempt}"
