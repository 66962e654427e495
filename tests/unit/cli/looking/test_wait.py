"""Waiting for pods to be as they should."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from nsrun.cli.looking import wait
from nsrun.cli.looking.wait import command, parse_wish
from nsrun.errors import ApiError, NotFoundError, NsrunError, SettingsError
from tests.unit.cli.imagined import Api, document, invoke

Document = dict[str, Any]
BOOKMARK = {"type": "BOOKMARK", "object": {}}
READY = "condition=Ready"


def pod(name: str, ready: str = "True", *, uid: str = "", **more: Any) -> Document:
    conditions = [{"type": "Ready", "status": ready}]
    return document(name, uid=uid, phase="Running", podIPs=[{"ip": "a"}, {"ip": "b"}], conditions=conditions, **more)


def said(*words: str, there: Sequence[Document] = (), then: Sequence[tuple[str, Document]] = ()) -> str:
    """What the command writes when it ends well."""
    done = waited(*words, there=there, then=then)
    assert done.exception is None, done.exception
    return str(done.stdout)


def waited(*words: str, there: Sequence[Document] = (), then: Sequence[tuple[str, Document]] = ()) -> Any:
    lines = [{"type": "ADDED", "object": one} for one in there]
    lines += [BOOKMARK, *({"type": type, "object": one} for type, one in then)]
    return invoke(command, Api(lines=lines), *words)


def test_what_is_so_already_is_said_at_once() -> None:
    assert said("web", "--for", READY, there=[pod("web")]) == "pod/web condition met\n"


def test_each_is_said_when_it_is_so() -> None:
    changes = [("MODIFIED", pod("b")), ("MODIFIED", pod("c")), ("DELETED", pod("a")), ("ADDED", pod("a"))]
    told = said("a", "b", "--for=condition=ready=TRUE", there=[pod("a", "False"), pod("b", "False")], then=changes)
    assert told == "pod/b condition met\npod/a condition met\n"


def test_a_condition_that_is_to_be_false() -> None:
    changes = [("MODIFIED", pod("a")), ("MODIFIED", pod("a", "False"))]
    assert said("a", "--for", "condition=Ready=false", there=[pod("a")], then=changes) == "pod/a condition met\n"


def test_until_it_is_gone() -> None:
    changes = [("DELETED", pod("a", uid="another")), ("MODIFIED", pod("a")), ("DELETED", pod("a"))]
    assert said("a", "--for=delete", there=[pod("a")], then=changes) == "pod/a condition met\n"
    assert said("a", "--for=delete") == "", "it was gone before"
    assert said("--all", "--for=delete") == ""


def test_until_it_is_there() -> None:
    later = [("ADDED", pod("b")), ("ADDED", pod("a"))]
    assert said("a", "--for=create", then=later) == "pod/a condition met\n"
    assert said("a", "--for=create", there=[pod("a")]) == "pod/a condition met\n"


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("jsonpath={.status.phase}=Running", True),
        ("jsonpath='{.status.phase}'=Running", True),
        ("jsonpath={.status.phase}='Running'", True),
        ("jsonpath=.status.phase=Running", True),
        ("jsonpath={.status.phase}=Failed", False),
        ("jsonpath={.status.phase}", True),
        ("jsonpath={.status.reason}", False),
        ('jsonpath={.status.conditions[?(@.type=="Ready")].status}=True', True),
        ("jsonpath={.status.podIPs[0]}", True),
    ],
)
def test_what_a_path_finds(text: str, holds: bool) -> None:
    assert parse_wish(text).met(pod("a")) is holds


def test_several_values_are_no_answer() -> None:
    with pytest.raises(NsrunError, match="it is 2 values"):
        parse_wish("jsonpath={.status.podIPs[*].ip}=a").met(pod("a"))


@pytest.mark.parametrize(
    "text",
    ["condition=", "jsonpath=", "jsonpath={.a", "jsonpath={.a}{.b}", "jsonpath={.[}=x", "deletion", "delete=now"],
)
def test_what_cannot_be_waited_for(text: str) -> None:
    with pytest.raises(SettingsError):
        parse_wish(text)


def test_those_with_labels_or_all() -> None:
    labelled = pod("a")
    labelled["metadata"]["labels"] = {"app": "x"}
    assert said("-l", "app=x", "--for", READY, there=[labelled, pod("b", "False")]) == "pod/a condition met\n"
    assert said("--all", "--for", READY, there=[labelled, pod("b")]).count("condition met") == 2


@pytest.mark.parametrize("words", [("web",), ("--all",), ("-l", "app=x")])
def test_nobody_is_meant(words: tuple[str, ...]) -> None:
    assert isinstance(waited(*words, "--for", READY).exception, NotFoundError)


@pytest.mark.parametrize("words", [(), ("web", "--all"), ("web", "-l", "a=b")])
def test_names_or_a_choice(words: tuple[str, ...]) -> None:
    assert waited(*words, "--for", READY).exit_code == 2


def test_it_takes_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, 5.0, 0.0, 5.0])
    monkeypatch.setattr(wait, "time", SimpleNamespace(monotonic=lambda: next(times)))
    there = [pod("a", "False"), pod("b", "False")]
    one = waited("a", "--for", READY, "--timeout", "5s", there=there)
    assert str(one.exception) == "timed out waiting for the condition on pods/a"
    both = waited("--all", "--for", READY, "--timeout", "5s", there=there)
    assert isinstance(both.exception, ExceptionGroup)
    assert [str(error) for error in both.exception.exceptions] == [
        "timed out waiting for the condition on pods/a",
        "timed out waiting for the condition on pods/b",
    ]


def test_nsrun_ends_before() -> None:
    ended = waited("a", "--for", READY, there=[pod("a", "False")])
    assert isinstance(ended.exception, ApiError)
    assert "nsrun has ended" in str(ended.exception)


@pytest.mark.parametrize(
    ("text", "seconds"), [("1m30s", 90.0), ("0", 0.0), ("-1s", wait.WEEK), ("-1", wait.WEEK), ("99999h", wait.WEEK)]
)
def test_for_how_long(text: str, seconds: float) -> None:
    api = Api(lines=[{"type": "ADDED", "object": pod("a")}, BOOKMARK])
    assert invoke(command, api, "a", "--for", READY, f"--timeout={text}").exit_code == 0
    assert api.asked == [("pods", seconds)]


def test_what_is_no_time() -> None:
    assert isinstance(waited("a", "--for", READY, "--timeout=soon").exception, SettingsError)
