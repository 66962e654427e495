"""The words of events: the kubelet's reasons, and its sentences where they do not speak of failing to do things.

Each function gives the notice; the worker adds who and when.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nsrun.errors import ImageError, NsrunError
from nsrun.model.container import PullPolicy
from nsrun.model.image import Image
from nsrun.model.pod import Pod
from nsrun.model.status import EventType, Waiting
from nsrun.supervisor.backoff import go_duration
from nsrun.supervisor.container_status import full_name
from nsrun.supervisor.facts import PodFacts

__all__ = [
    "Notice",
    "broken_manifest",
    "cleaning_failed",
    "container_created",
    "container_started",
    "crash_loop",
    "host_withholds",
    "image_failed",
    "image_present",
    "image_pulled",
    "image_pulling",
    "internal",
    "pod_failed",
    "pod_ready",
    "pod_removed",
    "post_start_failed",
    "pre_stop_failed",
    "pull_secrets_unusable",
    "record_failed",
    "rejected",
    "restarting_all",
    "sandbox_changed",
    "sandbox_failed",
    "start_failed",
    "stops",
    "unmaking_failed",
    "volumes_failed",
    "with_hint",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """What an event says. ``container`` is empty when it is about the whole pod."""

    reason: str
    message: str
    warning: bool = False
    container: str = ""

    @property
    def type(self) -> EventType:
        return EventType.WARNING if self.warning else EventType.NORMAL


def with_hint(error: NsrunError) -> str:
    """The sentence, and the remedy in parentheses."""
    return f"{error.message} ({error.hint})" if error.hint else error.message


# --- images


def image_pulling(reference: str, container: str = "") -> Notice:
    """``container`` is empty for the image of a volume, here and below."""
    return Notice(reason="Pulling", message=f'Pulling image "{reference}"', container=container)


def image_pulled(reference: str, image: Image, seconds: float, container: str = "") -> Notice:
    took = go_duration(int(seconds * 1000) / 1000)  # the kubelet leaves out what is less than a millisecond
    return Notice(
        reason="Pulled",
        message=f'Successfully pulled image "{reference}" in {took} ({took} including waiting). '
        f"Image size: {image.size} bytes.",
        container=container,
    )


def image_present(reference: str, container: str = "") -> Notice:
    message = f'Container image "{reference}" already present on machine'
    return Notice(reason="Pulled", message=message, container=container)


def pull_secrets_unusable(names: Sequence[str]) -> Notice:
    """Of the pod as a whole. ``names``: of the secrets that cannot be used."""
    return Notice(
        reason="FailedToRetrieveImagePullSecret",
        message=f"Unable to retrieve some image pull secrets ({', '.join(names)}); "
        "attempting to pull the image may not succeed.",
        warning=True,
    )


def image_failed(
    reference: str, policy: PullPolicy, error: ImageError, container: str = ""
) -> tuple[Waiting, tuple[Notice, ...]]:
    """What waits for it waits with now, and what there is to say about it."""
    message = with_hint(error)
    if error.reason == "ErrImageNeverPull" and policy is PullPolicy.NEVER:
        message = f'Container image "{reference}" is not present with pull policy of Never'
    problem = Waiting(reason=error.reason, message=message)
    said = {"ErrImagePull": "Failed", "ErrImageNeverPull": "ErrImageNeverPull"}.get(error.reason, "InspectFailed")
    notices = [
        Notice(reason=said, message=message, warning=True, container=container),
        Notice(reason="Failed", message=f"Error: {error.reason}", warning=True, container=container),
    ]
    if error.reason == "ErrImagePull":
        backoff = f'Back-off pulling image "{reference}"'
        notices.append(Notice(reason="BackOff", message=backoff, container=container))
    return problem, tuple(notices)


# --- containers


def container_created(name: str) -> Notice:
    return Notice(reason="Created", message=f"Created container: {name}", container=name)


def container_started(name: str) -> Notice:
    return Notice(reason="Started", message=f"Started container {name}", container=name)


def stops(before: PodFacts, after: PodFacts) -> tuple[Notice, ...]:
    """One for each container whose stop has begun."""
    known = {c.name: c for c in before.containers}
    begun = [c for c in after.containers if c.stop is not None and c.name in known and known[c.name].stop is None]
    return tuple(Notice(reason="Killing", message=c.stop.message, container=c.name) for c in begun if c.stop)


def post_start_failed(name: str) -> Notice:
    """Without the cause: it may hold what a server said, and secrets with it (kuberuntime_container.go)."""
    return Notice(reason="FailedPostStartHook", message="PostStartHook failed", warning=True, container=name)


def pre_stop_failed(name: str) -> Notice:
    return Notice(reason="FailedPreStopHook", message="PreStopHook failed", warning=True, container=name)


def start_failed(name: str, error: NsrunError) -> Notice:
    return Notice(reason="Failed", message=f"Error: {with_hint(error)}", warning=True, container=name)


def crash_loop(pod: Pod, name: str) -> Notice:
    return Notice(
        reason="BackOff",
        message=f"Back-off restarting failed container {name} in pod {full_name(pod)}",
        warning=True,
        container=name,
    )


def dns_cut(name: str, what: str) -> Notice:
    """Of what a pod wants of name servers: not all can be had."""
    return Notice(reason="DNSConfigForming", message=what, warning=True, container=name)


def host_withholds(name: str, what: str) -> Notice:
    return Notice(reason="HostLimitation", message=what, warning=True, container=name)


def cleaning_failed(name: str, error: NsrunError) -> Notice:
    return Notice(reason="FailedRemoveContainer", message=with_hint(error), warning=True, container=name)


# --- the pod


def sandbox_failed(error: NsrunError) -> Notice:
    return Notice(
        reason="FailedCreatePodSandBox", message=f"Cannot create pod sandbox: {with_hint(error)}", warning=True
    )


def sandbox_changed(cause: str) -> Notice:
    return Notice(
        reason="SandboxChanged",
        message=f"Pod sandbox changed, it will be killed and re-created: {cause}",
        warning=True,
    )


def volumes_failed(error: NsrunError) -> Notice:
    """The error says itself what cannot be mounted."""
    return Notice(reason="FailedMount", message=with_hint(error), warning=True)


def record_failed(error: NsrunError) -> Notice:
    return Notice(reason="FailedRecord", message=f"Cannot record the pod's state: {with_hint(error)}", warning=True)


def pod_failed(reason: str, message: str) -> Notice:
    return Notice(reason=reason, message=message, warning=reason != "DeadlineExceeded")


def restarting_all(name: str) -> Notice:
    return Notice(
        reason="RestartingAllContainers",
        message=f"Container {name} ended with a code for which all containers are restarted",
        container=name,
    )


def unmaking_failed(error: NsrunError) -> Notice:
    return Notice(reason="FailedKillPod", message=f"Error killing pod: {with_hint(error)}", warning=True)


def pod_ready(address: str) -> Notice:
    return Notice(reason="Ready", message=f"Pod is ready at {address}")


def pod_removed(seconds: float) -> Notice:
    return Notice(reason="Removed", message=f"Everything of the pod is gone, {seconds:.1f}s after its end began")


def rejected(reason: str, message: str) -> Notice:
    return Notice(reason=reason, message=f"Pod was rejected: {message}", warning=True)


def broken_manifest() -> Notice:
    return Notice(
        reason="BrokenManifest",
        message="The manifest cannot be used any more; the pod runs on as it was last understood",
        warning=True,
    )


def internal() -> Notice:
    return Notice(reason="InternalError", message="Internal error: see nsrun's log; it is tried again", warning=True)
