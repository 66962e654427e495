"""Commands over an API that says what a test wants."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import click
from click.testing import CliRunner, Result

from nsrun.api.client import ApiClient
from nsrun.cli.options import Context
from nsrun.support.layout import Layout

__all__ = ["Api", "document", "invoke"]

Document = dict[str, Any]


@dataclass(slots=True, kw_only=True)
class Api:
    """Gives its pods, events and lines; remembers what was asked of it."""

    listed: Sequence[Document] = ()
    happened: Sequence[Document] = ()
    lines: Sequence[Document] = ()
    asked: list[tuple[Any, ...]] = field(default_factory=list)

    def pods(self) -> list[Document]:
        return list(self.listed)

    def events(self) -> list[Document]:
        return list(self.happened)

    def watch(self, what: str, *, seconds: float | None = None) -> Iterator[Document]:
        self.asked.append((what, seconds))
        yield from self.lines

    def control(
        self, namespace: str, pod: str, verb: str, *, containers: Sequence[str] = (), grace: float | None = None
    ) -> Iterator[Document]:
        self.asked.append((namespace, pod, verb, tuple(containers), grace))
        yield from self.lines


class _Context(Context):
    """A context whose API is the one given."""

    imagined: Api

    @property
    def api(self) -> ApiClient:
        return self.imagined  # type: ignore[return-value]


def invoke(command: click.Command, api: Api, *words: str) -> Result:
    """What the command writes and how it ends."""
    context = _Context(layout=Layout())
    object.__setattr__(context, "imagined", api)
    return CliRunner().invoke(command, words, obj=context, color=True)


def document(name: str, *containers: str, namespace: str = "default", uid: str = "", **status: Any) -> Document:
    """A v1.Pod."""
    return {
        "metadata": {"name": name, "namespace": namespace, "uid": uid or f"uid-{name}"},
        "spec": {"containers": [{"name": container} for container in containers or ("main",)]},
        "status": status,
    }
