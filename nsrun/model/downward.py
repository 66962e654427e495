"""What a pod may be told about itself: its fields, and requests and limits of its containers (core/v1
ObjectFieldSelector and ResourceFieldSelector; k8s.io/kubernetes/pkg/fieldpath, pkg/api/v1/resource).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

from nsrun.model import names
from nsrun.model.container import Container
from nsrun.model.environment import ResourceFieldRef
from nsrun.model.node import Node
from nsrun.model.pod import Pod
from nsrun.model.resources import Quantity
from nsrun.model.running import Attachment
from nsrun.model.wording import listed, quoted

__all__ = ["divisor_fault", "env_field_fault", "field_value", "resource_fault", "resource_value", "volume_field_fault"]

_SUBSCRIPT = re.compile(r"metadata\.(labels|annotations)\['(.*)'\]", re.DOTALL)
_Reader = Callable[[Pod, Node, Attachment | None], str]


def _addresses(node: Node, attachment: Attachment | None) -> tuple[str, ...]:
    """The host's, one of each family, the first one first."""
    told = (attachment.host_ip,) if attachment is not None and attachment.host_ip else ()
    families: dict[int, str] = {}
    for address in (*told, *node.addresses):
        families.setdefault(ipaddress.ip_address(address).version, address)
    return tuple(families.values())


_METADATA: Mapping[str, _Reader] = MappingProxyType(
    {
        "metadata.name": lambda pod, node, attachment: pod.metadata.name,
        "metadata.namespace": lambda pod, node, attachment: pod.metadata.namespace,
        "metadata.uid": lambda pod, node, attachment: pod.metadata.uid,
    }
)
_ENV: Mapping[str, _Reader] = MappingProxyType(
    {
        **_METADATA,
        "spec.nodeName": lambda pod, node, attachment: pod.spec.node_name or node.name,
        "spec.serviceAccountName": lambda pod, node, attachment: pod.spec.service_account_name,
        "status.hostIP": lambda pod, node, attachment: next(iter(_addresses(node, attachment)), ""),
        "status.hostIPs": lambda pod, node, attachment: ",".join(_addresses(node, attachment)),
        "status.podIP": lambda pod, node, attachment: attachment.address if attachment is not None else "",
        "status.podIPs": lambda pod, node, attachment: attachment.address if attachment is not None else "",
    }
)
_VOLUME: Mapping[str, _Reader] = MappingProxyType(
    {
        **_METADATA,
        "metadata.labels": lambda pod, node, attachment: _formatted(pod.metadata.labels),
        "metadata.annotations": lambda pod, node, attachment: _formatted(pod.metadata.annotations),
    }
)

_SIZES = frozenset({"1", *(f"1{unit}" for unit in "kMGTPE"), *(f"1{unit}i" for unit in "KMGTPE")})
_DIVISORS: Mapping[str, frozenset[str]] = MappingProxyType({"cpu": frozenset({"1", "1m"})})


def env_field_fault(path: str) -> str | None:
    """None for a field that a variable can be made of, else what it must be."""
    return _field_fault(path, _ENV)


def volume_field_fault(path: str) -> str | None:
    """The same for a file of a downwardAPI volume."""
    return _field_fault(path, _VOLUME)


def _field_fault(path: str, fields: Mapping[str, _Reader]) -> str | None:
    match = _SUBSCRIPT.fullmatch(path)
    if match is None:
        known = [*fields, "metadata.labels['<key>']", "metadata.annotations['<key>']"]
        return None if path in fields else f"must be {listed(known)}, not {quoted(path)}"
    key = match[2] if match[1] == "labels" else match[2].lower()
    return names.qualified_name(key)


def field_value(pod: Pod, path: str, *, node: Node, attachment: Attachment | None) -> str:
    """A field, for a variable or a file. A label or annotation that is not there is "", and so is the pod's address
    while it has none. ``path`` passed one of the checks above; else KeyError is raised."""
    match = _SUBSCRIPT.fullmatch(path)
    if match is None:
        return {**_ENV, **_VOLUME}[path](pod, node, attachment)
    values = pod.metadata.labels if match[1] == "labels" else pod.metadata.annotations
    return values.get(match[2], "")


def _formatted(values: Mapping[str, str]) -> str:
    """``key="value"`` lines in order of the keys, values quoted as Go does (pkg/fieldpath FormatMap)."""
    return "\n".join(f"{key}={_go_quoted(values[key])}" for key in sorted(values))


_ESCAPES: Mapping[str, str] = MappingProxyType(
    {
        "\a": "\\a",
        "\b": "\\b",
        "\f": "\\f",
        "\n": "\\n",
        "\r": "\\r",
        "\t": "\\t",
        "\v": "\\v",
        '"': '\\"',
        "\\": "\\\\",
    }
)


def _go_quoted(text: str) -> str:
    """strconv.Quote."""
    return f'"{"".join(map(_go_character, text))}"'


def _go_character(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character.isprintable():
        return character
    code = ord(character)
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def resource_fault(resource: str) -> str | None:
    """None for ``limits.cpu`` and its like, else what it must be."""
    side, _, name = resource.partition(".")
    if side in ("limits", "requests") and (
        name in ("cpu", "memory", "ephemeral-storage") or (name.startswith("hugepages-") and len(name) > 10)
    ):
        return None
    known = [f"{side}.{name}" for side in ("limits", "requests") for name in ("cpu", "memory", "ephemeral-storage")]
    return f"must be {listed([*known, 'limits.hugepages-<size>', 'requests.hugepages-<size>'])}, not {quoted(resource)}"


def divisor_fault(resource: str, divisor: Quantity) -> str | None:
    """None for a unit that ``resource`` can be counted in; 0 stands for 1."""
    allowed = _DIVISORS.get(resource.partition(".")[2], _SIZES)
    if divisor.milli == 0 or divisor.text in allowed:
        return None
    return f"must be {listed(sorted(allowed))}, not {quoted(divisor.text)}"


def resource_value(pod: Pod, asking: Container | None, ref: ResourceFieldRef, *, node: Node) -> int:
    """A request or limit in units of the divisor, rounded up. ``asking``: the container that asks, for a reference that
    names none. A limit of cpu, memory or ephemeral-storage that is not set is the pod's, or what the node offers.

    Raises KeyError for a container that the pod does not have.
    """
    container = pod.container(ref.container) if ref.container or asking is None else asking
    side, _, name = ref.resource.partition(".")
    said = container.resources.limits if side == "limits" else container.resources.requests
    quantity = said.get(name)
    milli = quantity.milli if quantity is not None else 0
    if side == "limits" and milli == 0 and not name.startswith("hugepages-"):
        milli = _offered(pod, name, node)
    divisor = ref.divisor.milli if ref.divisor is not None and ref.divisor.milli else 1000
    return -(-milli // divisor)


def _offered(pod: Pod, name: str, node: Node) -> int:
    whole = pod.spec.resources.limits.get(name) if pod.spec.resources is not None else None
    return whole.milli if whole is not None and whole.milli else node.allocatable.get(name, 0)
