"""podman with a store, a run directory and a containers.conf of the bench's own."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

__all__ = ["Podman"]

# Without CAP_SYS_RESOURCE podman cannot raise hard limits, and starts nothing unless it is told to keep these.
_CONTAINERS_CONF = """\
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
"""


class Podman:
    """One podman. Raises RuntimeError when a command fails."""

    CGROUPS = ("libpod_parent",)

    def __init__(self, base: Path) -> None:
        base.mkdir(parents=True)
        (base / "containers.conf").write_text(_CONTAINERS_CONF)
        places = {"graphroot": "store", "rootless_storage_path": "store", "runroot": "run"}
        lines = [f'{name} = "{base}/{place}"' for name, place in places.items()]
        (base / "storage.conf").write_text("\n".join(["[storage]", 'driver = "overlay"', *lines, ""]))
        self._environment = {
            **os.environ,
            "CONTAINERS_CONF": str(base / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(base / "storage.conf"),
        }

    @property
    def environment(self) -> Mapping[str, str]:
        """What makes the program speak of this store."""
        return self._environment

    @staticmethod
    def installed() -> bool:
        return all(shutil.which(name) for name in ("podman", "crun", "conmon", "catatonit", "skopeo"))

    def run(self, *arguments: str, program: str = "podman") -> str:
        done = subprocess.run(
            [program, *arguments],
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        if done.returncode != 0:
            raise RuntimeError(f"{program} {' '.join(arguments)}: {done.stderr.strip()[-500:]}")
        return done.stdout

    def load(self, layout: Path, reference: str) -> None:
        """Copies an image of an OCI layout into podman's store."""
        self.run("copy", "-q", f"oci:{layout}:{reference}", f"containers-storage:{reference}", program="skopeo")

    def play(self, manifest: Path) -> None:
        self.run("kube", "play", str(manifest))

    def remove_all(self) -> None:
        self.run("pod", "rm", "--all", "--force", "--time", "0")

    def address(self, pod: str) -> str:
        """A pod's address in its network."""
        infra = self.run("pod", "inspect", pod, "--format", "{{.InfraContainerID}}").strip()
        return self.run(
            "inspect", infra, "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        ).strip()
