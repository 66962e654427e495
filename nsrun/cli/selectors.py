"""Which pods are meant: ``-n``, ``-A``, ``-l`` and ``--field-selector``, as kubectl has them.

Other than kubectl, no ``-n`` means every namespace: a machine's few pods are all looked at. So ``-A`` changes nothing,
save that it cannot stand beside ``-n``.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from nsrun.cli.documents import Document, at, text_at
from nsrun.cli.options import flag
from nsrun.errors import SettingsError

__all__ = ["Requirement", "Selection", "parse_fields", "parse_labels", "selection_options"]

F = TypeVar("F", bound=Callable[..., Any])

_FIELDS = (
    "metadata.name",
    "metadata.namespace",
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "status.phase",
    "status.podIP",
)
# Compiled when they are needed: it takes longer than to list all pods.
_KEY = r"(?:[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?/)?[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_VALUE = r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)?"
_EQUALITY = rf"({_KEY})\s*(==|=|!=)\s*({_VALUE})"
_SET = rf"({_KEY})\s+(in|notin)\s*\(([^()]*)\)"
_PRESENCE = rf"(!?)\s*({_KEY})"
_NUMERIC = rf"({_KEY})\s*([<>])\s*(-?[0-9]{{1,18}})"
_PARTS = r"(?:[^,()]|\([^()]*\))*"
_FIELD = r"\s*([A-Za-z.]+)\s*(==|=|!=)\s*(.*?)\s*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """What is asked of one label or field. ``negated``: of whatever is not like that, or not there at all.

    ``values``: one of these; None: it is there. ``above``, ``below``: a number between."""

    key: str
    values: frozenset[str] | None = None
    negated: bool = False
    above: int | None = None
    below: int | None = None

    def holds(self, value: str | None) -> bool:
        """Whether a value is like that; None: it is not there."""
        return self._likes(value) is not self.negated

    def _likes(self, value: str | None) -> bool:
        if value is None:
            return False
        if self.above is None and self.below is None:
            return self.values is None or value in self.values
        if re.fullmatch(r"-?[0-9]{1,18}", value) is None:
            return False
        return (self.above is None or int(value) > self.above) and (self.below is None or int(value) < self.below)


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The pods that are meant. ``namespace``: None for every one."""

    namespace: str | None = None
    labels: tuple[Requirement, ...] = ()
    fields: tuple[Requirement, ...] = ()

    @property
    def by_labels(self) -> bool:
        """Whether labels choose."""
        return bool(self.labels)

    def of(self, pods: Sequence[Document]) -> list[Document]:
        """Those of the pods that are meant, in their order."""
        return [pod for pod in pods if self._means(pod)]

    def _means(self, pod: Document) -> bool:
        if self.namespace is not None and text_at(pod, "metadata", "namespace") != self.namespace:
            return False
        labels = at(pod, "metadata", "labels")
        found: Mapping[str, object] = labels if isinstance(labels, Mapping) else {}
        return all(
            requirement.holds(str(found[requirement.key]) if requirement.key in found else None)
            for requirement in self.labels
        ) and all(requirement.holds(text_at(pod, *requirement.key.split("."))) for requirement in self.fields)


def parse_labels(text: str) -> tuple[Requirement, ...]:
    """``app=web,tier in (front,back),!old,n>3``. Raises SettingsError."""
    return tuple(_label(text, part) for part in _split(text))


def _split(text: str) -> list[str]:
    """At the commas that stand in no parentheses."""
    parts_at, parts, begin = re.compile(_PARTS), [], 0
    while begin <= len(text):
        match = parts_at.match(text, begin)
        assert match is not None
        if match.end() < len(text) and text[match.end()] != ",":
            raise _refused("--selector", text, f'"{text[match.end()]}" at column {match.end() + 1} has no partner')
        parts.append(match[0].strip())
        begin = match.end() + 1
    return [part for part in parts if part]


def _label(text: str, part: str) -> Requirement:
    if match := re.fullmatch(_EQUALITY, part):
        return Requirement(key=match[1], values=frozenset({match[3]}), negated=match[2] == "!=")
    if match := re.fullmatch(_SET, part):
        values = frozenset(value.strip() for value in match[3].split(","))
        return Requirement(key=match[1], values=values, negated=match[2] == "notin")
    if match := re.fullmatch(_PRESENCE, part):
        return Requirement(key=match[2], negated=match[1] == "!")
    if match := re.fullmatch(_NUMERIC, part):
        number = int(match[3])
        return Requirement(
            key=match[1], above=number if match[2] == ">" else None, below=number if match[2] == "<" else None
        )
    raise _refused("--selector", text, f'"{part}" is no requirement of a label')


def parse_fields(text: str) -> tuple[Requirement, ...]:
    """``status.phase=Running,metadata.name!=web``. Raises SettingsError."""
    return tuple(_field(text, part) for part in text.split(",") if part.strip())


def _field(text: str, part: str) -> Requirement:
    match = re.fullmatch(_FIELD, part)
    if match is None:
        raise SettingsError(
            f'cannot use --field-selector "{text}": "{part.strip()}" is no requirement of a field',
            hint="such as status.phase=Running,metadata.name!=web",
        )
    if match[1] not in _FIELDS:
        from nsrun.model.wording import suggestion

        raise SettingsError(
            f'cannot use --field-selector "{text}": there is no field "{match[1]}" to select by'
            f"{suggestion(match[1], _FIELDS)}",
            hint=f"one of {', '.join(_FIELDS)}",
        )
    return Requirement(key=match[1], values=frozenset({match[3]}), negated=match[2] == "!=")


def _refused(name: str, text: str, what: str) -> SettingsError:
    return SettingsError(f'cannot use {name} "{text}": {what}', hint='such as "app=web,tier in (front,back),!old"')


_OPTIONS = (
    flag("--namespace", "-n", group="Which", metavar="NAME", help="Only of this namespace.  [default: of all]"),
    flag("--all-namespaces", "-A", group="Which", is_flag=True, help="Of all namespaces, which is the default."),
    flag(
        "--selector", "-l", group="Which", metavar="LABELS", help='Whose labels are so: "app=web,tier in (a,b),!old".'
    ),
    flag("--field-selector", group="Which", metavar="FIELDS", help='Whose fields are so: "status.phase!=Running".'),
)


def selection_options(command: F) -> F:
    """Gives a command the flags that choose pods, and their meaning as ``selection``."""

    @functools.wraps(command)
    def chosen(
        *arguments: Any,
        namespace: str | None,
        all_namespaces: bool,
        selector: str | None,
        field_selector: str | None,
        **rest: Any,
    ) -> Any:
        if namespace is not None and all_namespaces:
            raise SettingsError("cannot use --namespace and --all-namespaces together")
        selection = Selection(
            namespace=namespace, labels=parse_labels(selector or ""), fields=parse_fields(field_selector or "")
        )
        return command(*arguments, selection=selection, **rest)

    for option in reversed(_OPTIONS):
        chosen = option(chosen)
    return chosen  # type: ignore[return-value]
