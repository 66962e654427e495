"""What must hold of the documents that pods refer to. Nothing that is said holds anything of a Secret's data."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from nsrun.model import names
from nsrun.model.objects import Claim, ConfigMap, PersistentVolume, Secret
from nsrun.model.quantity import canonical
from nsrun.model.resources import Quantity
from nsrun.model.violation import Violation, absolute, faults
from nsrun.model.wording import Path

__all__ = ["validate_object"]

LARGEST = 1 << 20
"""Of a ConfigMap or Secret, as the API server takes them."""
NEEDED: Mapping[str, tuple[str, ...]] = {
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
}
"""Keys that a Secret of a type must have."""


def validate_object(said: ConfigMap | Secret | Claim | PersistentVolume) -> Iterator[Violation]:
    """Every broken rule."""
    yield from faults(("metadata", "name"), names.dns_subdomain(said.name))
    if not isinstance(said, PersistentVolume):
        yield from faults(("metadata", "namespace"), names.dns_label(said.namespace))
    match said:
        case ConfigMap():
            for key in said.data:
                yield from faults(("data", key), names.object_key(key), on_key=True)
            yield from _size(said.data)
        case Secret():
            yield from _secret(said)
        case Claim():
            yield from _amount(said.request, ("spec", "resources", "requests", "storage"))
            for key, name in (("volumeName", said.volume_name), ("storageClassName", said.storage_class)):
                yield from faults(("spec", key), names.dns_subdomain(name) if name else None)
        case PersistentVolume():
            yield from _amount(said.capacity, ("spec", "capacity", "storage"))
            path = absolute(said.path) if said.path else None
            yield from faults(("spec", "local" if said.local else "hostPath", "path"), path)
            name = said.storage_class
            yield from faults(("spec", "storageClassName"), names.dns_subdomain(name) if name else None)


def _secret(said: Secret) -> Iterator[Violation]:
    for key in said.data:
        if names.object_key(key) is not None:
            # The key itself is not said: it may be a value in the wrong place.
            rule = 'every key must be at most 253 letters, digits, "-", "_" and ".", not starting with ".."'
            yield Violation(path=("data",), text=rule)
            break
    yield from _size(said.data)
    for key in NEEDED.get(said.type, ()):
        if key not in said.data:
            yield Violation(path=("data",), text=f'must hold "{key}", as the type is "{said.type}"')
        elif key.startswith(".docker") and not _is_json_object(said.data[key]):
            yield Violation(path=("data", key), text="must be a JSON object")


def _is_json_object(data: bytes) -> bool:
    try:
        return isinstance(json.loads(data), dict)
    except (ValueError, RecursionError):
        return False


def _size(data: Mapping[str, bytes]) -> Iterator[Violation]:
    total = sum(map(len, data.values()))
    if total > LARGEST:
        yield Violation(path=("data",), text=f"must be at most {LARGEST} bytes together, not {total}")


def _amount(quantity: Quantity | None, path: Path) -> Iterator[Violation]:
    if quantity is not None and quantity.milli <= 0:
        yield Violation(path=path, text=f"must be more than 0, not {canonical(quantity)}")
