"""``nsrun wait``: ``kubectl wait`` for pods."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import click

from nsrun.cli.age import seconds_of
from nsrun.cli.documents import Document, find_pod, rows_at, text_at
from nsrun.cli.options import Context, flag, pass_context
from nsrun.cli.selectors import Selection, selection_options
from nsrun.errors import ApiError, NotFoundError, NsrunError, SettingsError

__all__ = ["Wish", "command", "parse_wish"]

WEEK = 7 * 86400.0

Key = tuple[str, str]
"""Namespace and name of a pod."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is waited for. ``met``: whether a pod is so; ``gone``: whether it is that the pod is not there any more;
    ``made``: whether the pod need not be there yet."""

    met: Callable[[Document], bool]
    gone: bool = False
    made: bool = False


@click.command("wait")
@click.argument("pods", nargs=-1, metavar="[POD]...")
@flag(
    "--for",
    "wish",
    required=True,
    metavar="WHAT",
    help="condition=Ready, condition=Ready=false, delete, create, jsonpath={.status.phase}=Running.",
)
@flag("--timeout", default="30s", show_default=True, help="For so long: 20s, 1m30s. 0 looks once; negative is a week.")
@flag("--all", "everyone", group="Which", is_flag=True, help="For all pods that are there now.")
@selection_options
@pass_context
def command(
    context: Context, pods: tuple[str, ...], wish: str, timeout: str, everyone: bool, selection: Selection
) -> None:
    """Wait until PODs are so, and say it of each. Exit code 1: it took too long."""
    chosen = everyone or selection.labels or selection.fields
    if bool(pods) == bool(chosen):
        raise click.UsageError("name pods, or choose them with --all, --selector or --field-selector")
    meant = parse_wish(wish)
    seconds = _seconds(timeout)
    began = time.monotonic()
    told = context.api.watch("pods", seconds=seconds)
    left = _wait(told, meant, lambda there: _chosen(there, pods, selection, meant))
    if not left:
        return
    if time.monotonic() - began < seconds:
        raise ApiError("cannot wait any longer: nsrun has ended")
    errors = [NsrunError(f"timed out waiting for the condition on pods/{name}") for _, name in left]
    raise errors[0] if len(errors) == 1 else ExceptionGroup("timed out", errors)


def _seconds(text: str) -> float:
    """Raises SettingsError."""
    try:
        seconds = -seconds_of(text[1:]) if text.startswith("-") else seconds_of(text)
    except ValueError as error:
        raise SettingsError(f'cannot use --timeout "{text}": it {error}') from error
    return seconds if 0 <= seconds <= WEEK else WEEK


# --- which


def _chosen(
    there: Sequence[Document], names: Sequence[str], selection: Selection, wish: Wish
) -> Mapping[Key, Document | None]:
    """The pods that are meant; None for one that is not there yet, or not any more. Raises NotFoundError."""
    if not names:
        found = selection.of(there)
        if not found and not wish.gone:
            raise NotFoundError("no matching resources found", hint="nsrun pods lists what there is")
        return {_key(pod): pod for pod in found}
    meant: dict[Key, Document | None] = {}
    for name in names:
        try:
            pod = find_pod(there, name, selection.namespace)
        except NotFoundError:
            if wish.made:
                where, _, bare = name.rpartition("/")
                meant[selection.namespace or where or "default", bare] = None
            elif not wish.gone:
                raise
        else:
            meant[_key(pod)] = pod
    return meant


def _key(pod: Document) -> Key:
    return text_at(pod, "metadata", "namespace"), text_at(pod, "metadata", "name")


# --- until


def _wait(
    told: Iterable[Document], wish: Wish, choose: Callable[[Sequence[Document]], Mapping[Key, Document | None]]
) -> list[Key]:
    """Says of each pod when it is so; those of which it could not in the end. A pod that is replaced by another of its
    name is gone, or else is waited for like the first."""
    there: list[Document] = []
    waiting: dict[Key, str] | None = None  # the UID each had in the beginning
    for said in told:
        pod, type = said["object"], said["type"]
        assert isinstance(pod, dict)
        if type == "BOOKMARK":
            meant = choose(there)
            waiting = {key: text_at(found, "metadata", "uid") for key, found in meant.items()}
            for key, found in meant.items():
                if found is not None and not wish.gone and wish.met(found):
                    _say(waiting, key)
        elif waiting is None:
            there.append(pod)
        elif _key(pod) in waiting and _is_so(wish, type, pod, waiting[_key(pod)]):
            _say(waiting, _key(pod))
        if waiting is not None and not waiting:
            break
    return list(waiting or ())


def _is_so(wish: Wish, type: object, pod: Document, uid: str) -> bool:
    if type == "DELETED":
        return wish.gone and text_at(pod, "metadata", "uid") == uid
    return not wish.gone and wish.met(pod)


def _say(waiting: dict[Key, str], key: Key) -> None:
    del waiting[key]
    click.echo(f"pod/{key[1]} condition met")


# --- for what


def parse_wish(text: str) -> Wish:
    """``condition=Ready=false``, ``delete``, ``create``, ``jsonpath={.status.phase}=Running``. Raises SettingsError."""
    kind, equals, rest = text.partition("=")
    if kind == "condition" and rest:
        return _condition(*rest.partition("="))
    if kind == "jsonpath" and rest:
        return _jsonpath(text, rest)
    if kind.lower() == "delete" and not equals:
        return Wish(met=lambda pod: False, gone=True)
    if kind.lower() == "create" and not equals:
        return Wish(met=lambda pod: True, made=True)
    raise SettingsError(
        f'cannot wait for "{text}"', hint="such as condition=Ready, delete, create, jsonpath={.status.phase}=Running"
    )


def _condition(type: str, equals: str, value: str) -> Wish:
    """Case makes no difference, as with kubectl."""
    wanted = (type.lower(), value.lower() if equals else "true")

    def met(pod: Document) -> bool:
        conditions = rows_at(pod, "status", "conditions")
        return wanted in [(text_at(c, "type").lower(), text_at(c, "status").lower()) for c in conditions]

    return Wish(met=met)


def _jsonpath(whole: str, text: str) -> Wish:
    """A path in braces, or bare; without a value anything that is there will do."""
    from nsrun.cli.jsonpath import parse_path
    from nsrun.cli.jsonpath_results import find, text_of

    match = re.fullmatch(r"['\"]?(\{.*?\}|[^{}=]+)['\"]?(?:=(.*))?", text)
    if match is None:
        raise SettingsError(f'cannot wait for "{whole}"', hint="such as jsonpath={.status.phase}=Running")
    path, value = parse_path(match[1]), match[2]
    wanted = value.strip("'\"") if value is not None else None

    def met(pod: Document) -> bool:
        found = find(path, pod)
        if len(found) > 1:
            raise NsrunError(f'cannot wait for "{whole}": it is {len(found)} values', hint="choose one with [0]")
        return bool(found) and wanted in (None, text_of(found[0]))

    return Wish(met=met)
