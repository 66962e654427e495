"""What ``podman kube play`` reads from a claim's annotations (``volume.podman.io/*``), as far as it is about
directories of this host. Pure."""

from __future__ import annotations

from nsrun.errors import VolumeError
from nsrun.model.objects import Claim

__all__ = ["podman_device", "podman_owner"]

_PREFIX = "volume.podman.io/"
_LARGEST_ID = 2**31 - 1
_REMEDY = "bind the claim to a PersistentVolume with a hostPath or local source instead"


def podman_device(claim: Claim) -> str | None:
    """The directory of the host that ``device`` binds (``type: none``, ``mount-options: bind``). Raises VolumeError for
    a device to be mounted by podman's driver, for another driver, and for content to be imported: starting with an
    empty directory instead would be starting with the wrong data."""
    said = _said(claim)
    for key in sorted(said.keys() - {"device", "driver", "gid", "mount-options", "type", "uid"}):
        raise _cannot(claim, key, said[key])
    if said.get("driver", "local") not in ("", "local"):
        raise _cannot(claim, "driver", said["driver"])
    options = {option for option in said.get("mount-options", "").split(",") if option}
    is_bind = said.get("type", "") in ("bind", "none") or bool(options & {"bind", "rbind"})
    device = said.get("device", "")
    if not is_bind or not device:
        for key in ("device", "type", "mount-options"):
            if said.get(key):
                raise _cannot(claim, key, said[key])
        return None
    if options - {"bind", "rbind", "rw"}:
        raise _cannot(claim, "mount-options", said["mount-options"])
    return device


def podman_owner(claim: Claim) -> tuple[int, int] | None:
    """``uid`` and ``gid`` of the claim's own directory; None when nothing is said. Raises VolumeError."""
    said = _said(claim)
    if "uid" not in said and "gid" not in said:
        return None
    return _id(claim, "uid", said.get("uid", "0")), _id(claim, "gid", said.get("gid", "0"))


def _id(claim: Claim, key: str, text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > _LARGEST_ID:
        raise VolumeError(f'annotation {_PREFIX}{key} of persistentvolumeclaim "{claim.name}" is no number: "{text}"')
    return int(text)


def _said(claim: Claim) -> dict[str, str]:
    return {key.removeprefix(_PREFIX): value for key, value in claim.annotations.items() if key.startswith(_PREFIX)}


def _cannot(claim: Claim, key: str, value: str) -> VolumeError:
    return VolumeError(
        f'annotation {_PREFIX}{key} of persistentvolumeclaim "{claim.name}" cannot be honoured: "{value}"', hint=_REMEDY
    )
