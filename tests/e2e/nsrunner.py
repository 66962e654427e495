"""The whole program under test: started, asked, killed, and looked for remains, as a user would."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nsrun.api.client import ApiClient
from nsrun.errors import ApiError
from nsrun.runtime.cgroup_marks import mark_of
from tests.waiting import PATIENCE, eventually

__all__ = ["Nsrun", "container_status", "pod_named"]

PROGRAM = (sys.executable, "-m", "nsrun")
Document = dict[str, object]


@dataclass(kw_only=True)
class Nsrun:
    """One nsrun with directories and a cgroup of its own. ``process`` is None while no daemon was started."""

    base: Path
    cgroup_root: str
    flags: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def manifests(self) -> Path:
        return self.base / "manifests"

    @property
    def run_dir(self) -> Path:
        return self.base / "run"

    @property
    def root(self) -> Path:
        return self.base / "root"

    @property
    def log_dir(self) -> Path:
        return self.base / "log"

    @property
    def output(self) -> Path:
        """What every daemon wrote."""
        return self.base / "nsrun.out"

    def environ(self) -> dict[str, str]:
        """Every flag as a variable: so the CLI and the daemon agree, as they do for a user who exports them."""
        return {
            **os.environ,
            "NSRUN_ROOT": str(self.root),
            "NSRUN_RUN_DIR": str(self.run_dir),
            "NSRUN_LOG_DIR": str(self.log_dir),
            "NSRUN_CGROUP_ROOT": self.cgroup_root,
            **self.environment,
        }

    def command(self, *arguments: str) -> list[str]:
        """What runs nsrun with these arguments."""
        return [*PROGRAM, *arguments]

    def start(self) -> None:
        """Starts the daemon; returns when it answers."""
        self.manifests.mkdir(parents=True, exist_ok=True)
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                [*PROGRAM, "--manifests", str(self.manifests), *self.flags],
                env=self.environ(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_hear_hangups,
            )
        eventually(self._answers, what=f"nsrun answers; it wrote: {self.said()[-2000:]}")

    def _answers(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"nsrun ended with {self.process.returncode}: {self.said()}")
        try:
            return bool(ApiClient(self.socket).info())
        except (ApiError, OSError):
            return False

    @property
    def socket(self) -> Path:
        return self.run_dir / "nsrun.sock"

    def said(self) -> str:
        return self.output.read_text(errors="replace") if self.output.exists() else ""

    def kill(self) -> None:
        """SIGKILL, as the OOM killer would."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def terminate(self, number: int = signal.SIGTERM) -> int:
        """Asks it to end; returns the exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(30 * PATIENCE)

    def cli(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*PROGRAM, *arguments],
            env=self.environ(),
            capture_output=True,
            text=True,
            check=False,
            timeout=300 * PATIENCE,
        )
        if check and done.returncode != 0:
            raise AssertionError(f"nsrun {' '.join(arguments)}: {done.returncode}: {done.stdout}{done.stderr}")
        return done

    def apply(self, name: str, text: str) -> Path:
        """Writes a manifest in one step."""
        self.manifests.mkdir(parents=True, exist_ok=True)
        temporary = self.manifests / f".{name}.tmp"
        temporary.write_text(text)
        return temporary.rename(self.manifests / name)

    def pods(self) -> list[Document]:
        """What ``nsrun pods -o json`` lists, without a program that starts for every look."""
        return ApiClient(self.socket).pods()

    def ready(self, name: str, seconds: float = 30.0) -> Document:
        """The pod, once all its containers are ready."""

        def pod() -> Document | None:
            found = pod_named(self.pods(), name)
            return found if found is not None and _is_ready(found) else None

        try:
            return eventually(pod, seconds=seconds, every=0.05) or {}
        except AssertionError as error:
            raise AssertionError(f"{name} is not ready: {self.pods()}\n{self.said()[-3000:]}") from error

    def gone(self, name: str, seconds: float = 40.0) -> None:
        """Returns when the pod is not listed any more."""
        eventually(lambda: pod_named(self.pods(), name) is None, seconds=seconds, every=0.05, what=f"{name} is gone")

    def remains(self) -> list[str]:
        """Everything of any pod that is on the machine: empty when all is well."""
        return [
            *(f"netns {line.split()[0]}" for line in _run("ip", "netns", "list").splitlines()),
            *(f"link {name}" for name in _links() if name.startswith("nsr") and name != "nsrun0"),
            *(
                f"mount {target}"
                for target in _mounts()
                if target.startswith((f"{self.root}/pods", f"{self.run_dir}/pods"))
            ),
            *(f"cgroup {path}" for path in cgroups(self.cgroup_root) if "/pod" in path),
            *(f"process {pid} {name}" for pid, name in self.processes("nsrun-shim", "pause")),
            *(f"lease {path.name}" for path in _listed(self.run_dir / "network" / "leases") if path.name[:1].isdigit()),
            *(f"guest {path.name}" for path in _listed(self.run_dir / "network" / "guests")),
            *(f"run directory {path.name}" for path in _listed(self.run_dir / "pods")),
            *(f"pod directory {path.name}" for path in _listed(self.root / "pods")),
        ]

    def processes(self, *names: str) -> list[tuple[int, str]]:
        """Live processes of this nsrun's pods whose program's name begins with one of the names.

        Those in its cgroup, or that see a mount of that name where there is none, and those that stand in its run
        directory, as shims do: other nsruns may run beside it."""
        return [
            (pid, name) for pid, name in _programs() if name.startswith(names) and self._is_ours(Path(f"/proc/{pid}"))
        ]

    def _is_ours(self, process: Path) -> bool:
        try:
            cgroups_of_it = (process / "cgroup").read_text()
            mark = mark_of((process / "mountinfo").read_text(), self.cgroup_root)
            directory = str((process / "cwd").readlink())
        except OSError:
            return False
        return f"/{self.cgroup_root}/" in cgroups_of_it or bool(mark) or directory.startswith(str(self.run_dir))

    def remains_of_all(self) -> list[str]:
        """The same, and what belongs to no single pod: for after ``nsrun down``."""
        return [
            *self.remains(),
            *(f"link {name}" for name in _links() if name == "nsrun0"),
            *(f"nft {line}" for line in _run("nft", "list", "tables").splitlines() if "nsrun" in line),
            *(f"cgroup {path}" for path in cgroups(self.cgroup_root)),
            *(f"run directory {path.name}" for path in _listed(self.run_dir)),
        ]


def pod_named(pods: Sequence[Document], name: str) -> Document | None:
    """The pod of that name, or None."""
    for pod in pods:
        metadata = pod["metadata"]
        if isinstance(metadata, dict) and metadata["name"] == name:
            return pod
    return None


def container_status(pod: Document, name: str) -> Document:
    """One container's status. Raises KeyError."""
    status = pod["status"]
    assert isinstance(status, dict)
    for container in status.get("containerStatuses") or []:
        if container["name"] == name:
            assert isinstance(container, dict)
            return container
    raise KeyError(name)


def _is_ready(pod: Document) -> bool:
    status = pod["status"]
    assert isinstance(status, dict)
    return any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions") or [])


def _run(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=False).stdout


def _links() -> list[str]:
    return [line.split(": ")[1].partition("@")[0] for line in _run("ip", "-o", "link").splitlines()]


def _mounts() -> list[str]:
    return [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]


def _listed(directory: Path) -> list[Path]:
    return sorted(directory.iterdir()) if directory.is_dir() else []


def cgroups(root: str) -> list[str]:
    """Every cgroup at or below ``root``, in every hierarchy."""
    tops = [
        Path(line.split()[4]) for line in Path("/proc/self/mountinfo").read_text().splitlines() if " - cgroup" in line
    ]
    return sorted({str(p) for top in tops for p in [top / root, *(top / root).rglob("*")] if p.is_dir()})


def _programs() -> Iterator[tuple[int, str]]:
    """Every live process with the name of its program; zombies have none."""
    for directory in Path("/proc").iterdir():
        if not directory.name.isdigit():
            continue
        try:
            command = (directory / "cmdline").read_bytes().split(b"\0")[0].decode(errors="replace")
        except OSError:
            continue
        if command:
            yield int(directory.name), command.rpartition("/")[2]


def _hear_hangups() -> None:
    """Whoever runs the tests under nohup ignores SIGHUP, and children inherit that."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
