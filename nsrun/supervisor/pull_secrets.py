"""The credentials of a pod's imagePullSecrets. Pure.

As the kubelet does: of the pod's own namespace, of the two types that hold credentials of registries; one that is not
there is told, and the image pulled without it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from nsrun.model.credentials import Credential, Credentials
from nsrun.model.dockerconfig import DockerConfig, read_docker_config, read_dockercfg, secret_key
from nsrun.model.objects import Objects, Secret
from nsrun.model.pod import Pod

__all__ = ["PullSecrets", "pull_secrets"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PullSecrets:
    """``credentials`` of those that can be used; ``unusable``: the others' names, with what is wrong with those that
    are there."""

    credentials: Credentials
    unusable: tuple[str, ...] = ()


_Reader = Callable[..., DockerConfig]
_TYPES: Mapping[str, tuple[str, _Reader]] = {
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson", read_docker_config),
    "kubernetes.io/dockercfg": (".dockercfg", read_dockercfg),
}


def pull_secrets(pod: Pod, objects: Objects) -> PullSecrets:
    """What the Secrets of that name say now."""
    entries: list[tuple[str, Credential]] = []
    unusable: list[str] = []
    for name in filter(None, dict.fromkeys(pod.spec.image_pull_secrets)):
        secret = objects.secrets.get((pod.metadata.namespace, name))
        if secret is None:
            unusable.append(name)
            continue
        try:
            entries.extend(_read(secret))
        except ValueError as error:
            unusable.append(f"{name}: {error}")
    return PullSecrets(credentials=Credentials(entries=tuple(entries)), unusable=tuple(unusable))


def _read(secret: Secret) -> tuple[tuple[str, Credential], ...]:
    """Raises ValueError with a clause that holds nothing of its data."""
    if secret.type not in _TYPES:
        raise ValueError(f"its type is not {' or '.join(_TYPES)}")
    key, read = _TYPES[secret.type]
    return read(secret.data.get(key, b""), secret_key, secret=f"{secret.namespace}/{secret.name}").auths
