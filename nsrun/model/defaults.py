"""What a manifest leaves unsaid (k8s.io/kubernetes/pkg/apis/core/v1/defaults.go)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from nsrun.model.container import PullPolicy, SecurityContext
from nsrun.model.resources import Quantity
from nsrun.model.volume import EmptyDir, VolumeSource

__all__ = ["NAMESPACE", "pull_policy", "requests", "security_context", "volume_source"]

NAMESPACE = "default"


def pull_policy(image: str) -> PullPolicy:
    """Always for what may change under its name: the tag ``latest``, or neither tag nor digest."""
    name, _, digest = image.partition("@")
    _, colon, tag = name.rpartition("/")[2].partition(":")
    latest = tag == "latest" if colon else not digest
    return PullPolicy.ALWAYS if latest else PullPolicy.IF_NOT_PRESENT


def requests(asked: Mapping[str, Quantity], limits: Mapping[str, Quantity]) -> Mapping[str, Quantity]:
    """What is limited and not asked for is asked for up to its limit."""
    return {**limits, **asked}


def volume_source() -> VolumeSource:
    """A volume without a source is an emptyDir."""
    return EmptyDir()


def security_context(own: SecurityContext, pod: SecurityContext) -> SecurityContext:
    """A container's user, group and runAsNonRoot where it names none: the pod's."""
    return replace(
        own,
        run_as_user=pod.run_as_user if own.run_as_user is None else own.run_as_user,
        run_as_group=pod.run_as_group if own.run_as_group is None else own.run_as_group,
        run_as_non_root=pod.run_as_non_root if own.run_as_non_root is None else own.run_as_non_root,
        seccomp_profile=own.seccomp_profile or pod.seccomp_profile,
        app_armor_profile=own.app_armor_profile or pod.app_armor_profile,
        se_linux_options=own.se_linux_options or pod.se_linux_options,
    )
