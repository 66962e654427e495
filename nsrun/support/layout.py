"""Every path nsrun uses, computed here and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nsrun.support.runpaths import RUN_DIR, RunPaths

__all__ = ["Layout", "PodName"]


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class PodName:
    """A pod's full name. Two pods with the same one cannot run at the same time."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"

    @property
    def netns(self) -> str:
        """The name that ``ip netns`` shows: ``<namespace>_<pod>`` (neither part can hold an underscore)."""
        return f"{self.namespace}_{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Roots given by ``--root``, ``--run-dir`` and ``--log-dir``, and everything below them."""

    root: Path = Path("/var/lib/nsrun")
    run_dir: Path = Path(RUN_DIR)
    log_dir: Path = Path("/var/log")
    netns_dir: Path = Path("/run/netns")

    # --- run directory: dies with the boot, as the processes do
    @property
    def run_paths(self) -> RunPaths:
        """What of it `nsrun exec` needs."""
        return RunPaths(str(self.run_dir))

    @property
    def socket(self) -> Path:
        return self.run_dir / "nsrun.sock"

    @property
    def lock(self) -> Path:
        """flock'ed by the one daemon that owns this run directory."""
        return self.run_dir / "nsrun.lock"

    @property
    def run_pods(self) -> Path:
        return Path(self.run_paths.pods)

    @property
    def network(self) -> Path:
        """What is known about the pods' network."""
        return self.run_dir / "network"

    @property
    def leases(self) -> Path:
        """One file per leased address: its name is the address, its content the pod and its host ports."""
        return self.network / "leases"

    @property
    def guests(self) -> Path:
        """One file per pod in the host's network: its name is the pod's UID."""
        return self.network / "guests"

    @property
    def last_address(self) -> Path:
        """Names the address that was leased last, so that the next one is another."""
        return self.network / "last-address"

    @property
    def token(self) -> Path:
        """A token file for the API, when nobody gave it another, nor a CA of its clients."""
        return self.run_dir / "api" / "token.csv"

    @property
    def id_ranges(self) -> Path:
        """One file per range of ids that a pod's user namespace has: its name is the first id, its content the UID."""
        return self.run_dir / "userns"

    @property
    def sysctls(self) -> Path:
        """The host's settings that nsrun changed, as they were before."""
        return self.network / "sysctls.json"

    @property
    def stage(self) -> Path:
        """An empty directory: where a child, in its own mount namespace, mounts a rootfs before it pivots."""
        return self.run_dir / "stage"

    @property
    def empty_dir(self) -> Path:
        """An empty, read-only directory that masks directories."""
        return self.run_dir / "empty"

    @property
    def cache(self) -> Path:
        """What is probed or compiled once per boot: feature probes, seccomp BPF."""
        return self.run_dir / "cache"

    @property
    def run_entries(self) -> frozenset[str]:
        """Names of all that nsrun puts into the run directory."""
        return frozenset(
            {
                *("nsrun.sock", "nsrun.lock", "pods", "names", "network", "stage", "empty", "cache", "api", "userns"),
                *("holder", "netns", "rootless-netns"),
            }
        )

    @property
    def run_names(self) -> Path:
        return Path(self.run_paths.names)

    def run_name(self, pod: PodName) -> Path:
        return self.run_names / pod.netns

    def run_pod(self, uid: str) -> Path:
        return Path(self.run_paths.pod(uid))

    def pod_json(self, uid: str) -> Path:
        return Path(self.run_paths.pod_json(uid))

    def default_container(self, uid: str) -> Path:
        return Path(self.run_paths.default_container(uid))

    def shim_socket(self, uid: str) -> Path:
        return self.run_pod(uid) / "shim.sock"

    def exits(self, uid: str) -> Path:
        return self.run_pod(uid) / "exits"

    def container_runs(self, uid: str, container: str) -> Path:
        return Path(self.run_paths.runs(uid, container))

    def container_run(self, uid: str, container: str, attempt: int) -> Path:
        return Path(self.run_paths.run(uid, container, attempt))

    # --- root: survives the boot
    @property
    def images(self) -> Path:
        """An OCI image layout."""
        return self.root / "images"

    @property
    def root_entries(self) -> frozenset[str]:
        """Names of all that nsrun puts into the root directory."""
        return frozenset({"images", "layers", "pki", "pods", "requested", "seccomp", "volumes"})

    @property
    def requested(self) -> Path:
        """One document per pod that was asked for by ``nsrun run``."""
        return self.root / "requested"

    @property
    def pki(self) -> Path:
        """The API's certificate and its key, when nobody gave it others."""
        return self.root / "pki"

    @property
    def seccomp(self) -> Path:
        """Profiles that the operator put there, for ``seccompProfile: {type: Localhost}``."""
        return self.root / "seccomp"

    @property
    def layers(self) -> Path:
        return self.root / "layers"

    @property
    def pods(self) -> Path:
        return self.root / "pods"

    def pod(self, uid: str) -> Path:
        return self.pods / uid

    def volumes(self, uid: str) -> Path:
        """What was made for a pod to mount."""
        return self.pod(uid) / "volumes"

    def volume(self, uid: str, plugin: str, name: str) -> Path:
        """``plugin`` as the kubelet spells it: ``kubernetes.io~empty-dir``."""
        return self.volumes(uid) / plugin / name

    @property
    def claims(self) -> Path:
        """What persistent volume claims hold. It outlives pods."""
        return self.root / "volumes"

    def claim(self, namespace: str, name: str) -> Path:
        """A claim's own directory, or a link that names the persistent volume it is bound to."""
        return self.claims / f"{namespace}_{name}"

    def container(self, uid: str, name: str, attempt: int) -> Path:
        """Holds ``upper/`` and ``work/`` of the container's overlay."""
        return self.pod(uid) / "containers" / name / str(attempt)

    def termination_log(self, uid: str, name: str, attempt: int) -> Path:
        """What a run says about its end; the container writes it."""
        return self.container(uid, name, attempt) / "termination-log"

    def etc_hosts(self, uid: str) -> Path:
        return self.pod(uid) / "etc-hosts"

    def etc_hostname(self, uid: str) -> Path:
        return self.pod(uid) / "hostname"

    def resolv_conf(self, uid: str) -> Path:
        return self.pod(uid) / "resolv.conf"

    # --- logs
    @property
    def pod_logs(self) -> Path:
        return self.log_dir / "pods"

    @property
    def container_logs(self) -> Path:
        return self.log_dir / "containers"

    def pod_log(self, pod: PodName, uid: str) -> Path:
        return self.pod_logs / f"{pod.namespace}_{pod.name}_{uid}"

    def container_log(self, pod: PodName, uid: str, container: str, attempt: int) -> Path:
        return self.pod_log(pod, uid) / container / f"{attempt}.log"

    def container_log_link(self, pod: PodName, container: str, container_id: str) -> Path:
        return self.container_logs / f"{pod.name}_{pod.namespace}_{container}-{container_id}.log"

    # --- pinned network namespaces, as iproute2 keeps them
    def netns(self, pod: PodName) -> Path:
        return self.netns_dir / pod.netns
