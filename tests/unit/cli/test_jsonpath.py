"""kubectl's JSONPath: what it finds, how it is written, and what is said of a text that is none."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsrun.cli.jsonpath import JsonPathError, Path, parse_path, parse_template
from nsrun.cli.jsonpath_results import find, results, write
from nsrun.errors import NsrunError

T = TypeVar("T")

# The document of kubectl's own page about JSONPath, and more.
DOCUMENT = {
    "kind": "List",
    "items": [
        {
            "kind": "None",
            "metadata": {"name": "127.0.0.1", "labels": {"kubernetes.io/hostname": "one"}},
            "status": {"capacity": {"cpu": "4"}, "addresses": [{"type": "LegacyHostIP", "address": "127.0.0.1"}]},
        },
        {
            "kind": "None",
            "metadata": {"name": "127.0.0.2"},
            "status": {"capacity": {"cpu": "8"}, "addresses": [{"type": "another", "address": "127.0.0.3"}]},
        },
    ],
    "users": [
        {"name": "myself", "user": {}, "age": 7, "admin": True},
        {"name": "e2e", "user": {"username": "admin", "password": "secret"}, "age": 40, "admin": False},
    ],
    "numbers": [0, 1, 2, 3, 4, 5],
    "nothing": None,
}


@pytest.mark.parametrize(
    ("template", "written"),
    [
        ("kind is {.kind}", "kind is List"),
        ("the object is {.kind} {@.kind} {$.kind}", "the object is List List List"),
        ("{.users[0].name}", "myself"),
        ("{['kind']}", "List"),
        ("{.users[1]['user']['username']}", "admin"),
        ("{.users[0].user}", "{}"),
        ("{.users[1].user}", '{"username":"admin","password":"secret"}'),
        ("{..name}", "127.0.0.1 127.0.0.2 myself e2e"),
        ("{.users[*].name}", "myself e2e"),
        ("{.users.*.name}", "myself e2e"),
        ("{.users[1].user.*}", "admin secret"),
        ("{.users[1:].name}", "e2e"),
        ("{.users[-1].name}", "e2e"),
        ("{.users[-1:].name}", "e2e"),
        ("{.numbers[0:4:2]}", "0 2"),
        ("{.numbers[:2]}", "0 1"),
        ("{.numbers[1,3]}", "1 3"),
        ("{.numbers[ 1 : 3 ]}", "1 2"),
        ("{.items[*]['metadata.name', 'status.capacity']}", '127.0.0.1 127.0.0.2 {"cpu":"4"} {"cpu":"8"}'),
        ('{.users[?(@.name=="e2e")].user.password}', "secret"),
        ("{.users[?(@.name=='e2e')].user.password}", "secret"),
        ("{.users[?(@.name!='e2e')].name}", "myself"),
        ("{.users[?(@.age > 7)].name}", "e2e"),
        ("{.users[?(@.age >= 7)].name}", "myself e2e"),
        ("{.users[?(@.age < 7.5)].name}", "myself"),
        ("{.users[?(@.age <= 6)].name}", ""),
        ("{.users[?(@.admin==true)].name}", "myself"),
        ("{.users[?(@.admin==1)].name}", ""),
        ("{.users[?(@.name > 3)].name}", ""),
        ("{.users[?(@.name > 'f')].name}", "myself"),
        ("{.users[?(@.user.username)].name}", "e2e"),
        ("{.users[?(@.user.nobody!='x')].name}", ""),
        ("{.users[?(@.name==$.users[0].name)].age}", "7"),
        ("{.users[?('a'=='a')].age}", "7 40"),
        ("{.users[?(@.age>1)][?(@.x)]}", ""),
        ('{.items[*].status.addresses[?(@.type=="another")].address}', "127.0.0.3"),
        ("{range .items[*]}[{.metadata.name}, {.status.capacity.cpu}] {end}", "[127.0.0.1, 4] [127.0.0.2, 8] "),
        ('{range .items[*]}{.metadata.name}{"\\t"}{.status.capacity.cpu}{"\\n"}{end}', "127.0.0.1\t4\n127.0.0.2\t8\n"),
        ("{range .items[*]}{range .status.addresses[*]}{.type};{end}{end}", "LegacyHostIP;another;"),
        ("{range .users[*]}{$.kind}{.name} {end}", "Listmyself Liste2e "),
        ('{"\\u00e9\\"\\\\"}{\'\\\'x"\'}', 'é"\\\'x"'),
        ("{.items[0].metadata.labels.kubernetes\\.io/hostname}", "one"),
        ("{.items[0].metadata.labels['kubernetes\\.io/hostname']}", "one"),
        ("{.items[0].metadata.labels['kubernetes.io/hostname']}", "one"),
        ("{.nowhere.at.all}", ""),
        ("{.kind.name}", ""),
        ("{.nothing}", "null"),
        ("{.nothing[0]}", ""),
        ("{.kind.*}", ""),
        ("{.users[0].admin}", "true"),
        (".kind", "List"),
        ("kind", "List"),
        ("", ""),
        ("{ .kind }", "List"),
        ("{rangefinder}", ""),
        ("{.users..name}", "myself e2e"),
        ("{.numbers..[1]}", None),
        ("{.users[0].ends}", ""),
    ],
)
def test_what_kubectl_writes(template: str, written: str | None) -> None:
    if written is None:
        with pytest.raises(NsrunError, match="an index is for an array, not for 0"):
            write(parse_template(template), DOCUMENT)
    else:
        assert write(parse_template(template), DOCUMENT) == written


def test_the_value_itself() -> None:
    assert write(parse_template("{.}"), [1, "a"]) == '[1,"a"]'
    assert write(parse_template("{@}{$}"), 5) == "55"


def test_an_index_beyond_the_end_is_told() -> None:
    with pytest.raises(NsrunError, match="index 2 is outside an array of 2"):
        write(parse_template("{.users[2].name}"), DOCUMENT)


def test_all_that_is_found_as_values() -> None:
    assert results(parse_template("{.numbers[:2]}{range .users[*]}{.age}{'x'}{end}"), DOCUMENT) == [
        *(0, 1),
        *(7, "x", 40, "x"),
    ]


@pytest.mark.parametrize(
    "text", [".metadata.name", "metadata.name", "{.metadata.name}", "{metadata.name}", " { .metadata.name } "]
)
def test_paths_alone(text: str) -> None:
    assert find(parse_path(text), {"metadata": {"name": "web"}}) == ["web"]


@pytest.mark.parametrize(
    ("text", "position", "told"),
    [
        ("{.a", 3, 'must be "}", not the end'),
        ("{.a[}", 4, 'must be a number, a slice, "*", "?(" or a quoted name, not "}"'),
        ("{.a[1", 5, 'must be "]", not the end'),
        ("x{.a[1:2:0]}", 5, "the step of a slice must be at least 1"),
        ("{.a[1:2:3:4]}", 9, 'must be "]", not ":"'),
        ("{.a[?(@.b==)]}", 11, 'must be a path that begins with "@", a quoted text or a number, not ")"'),
        ("{.a[?(@.b=='x]}", 11, "this quote is not closed"),
        ("{.a[?(@.b==1 && @.c)]}", 13, "conditions cannot be joined"),
        ("{.a[?(@.b=1)]}", 9, 'must be ")", not "="'),
        ("{.a['b]}", 4, "this quote is not closed"),
        ("{range .a}{.b}", 1, '"range" without an "end"'),
        ("{.a}{end}", 5, '"end" without a "range"'),
        ("{}", 1, 'must be a path or a quoted text, not "}"'),
        ("{range}{end}", 6, 'must be a path or a quoted text, not "}"'),
        ("{.a..}", 5, 'must be a name, not "}"'),
        ("{.a.}", 4, 'must be a name, not "}"'),
        ("{.a b}", 4, 'must be "}", not "b"'),
        ('{"\\u12"}', 4, "must be four hexadecimal digits"),
        ('{"\\', 3, "must be a character, not the end"),
        ("{.a\\", 4, "must be a character, not the end"),
        ("{.a..b..{", 8, 'must be a name, not "{"'),
        ("{range .a}" * 60, 500, "it is nested too deep"),
    ],
)
def test_errors_point_at_the_place(text: str, position: int, told: str) -> None:
    with pytest.raises(JsonPathError) as raised:
        parse_template(text)
    assert told in raised.value.message
    assert raised.value.position == position
    assert raised.value.message.endswith(f" at column {position + 1}")


@pytest.mark.parametrize("text", [".a}", "{.a", "", ".a .b", "{.a} x"])
def test_what_is_no_path_alone(text: str) -> None:
    with pytest.raises(JsonPathError):
        parse_path(text)


# --- at random: what the grammar makes is read as what it means, and whatever else comes is answered

names = st.from_regex(r"\A[a-z][a-z0-9_/-]{0,5}\Z")
documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names | st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)
anything = st.text(alphabet="{}[]().*@$'\"?=<>!:,\\ ab0-1range endtrue", max_size=40)


def attempt(action: Callable[[], T]) -> tuple[T | None, str]:
    """What comes of it, or what is said."""
    try:
        return action(), ""
    except NsrunError as error:
        return None, error.message


@st.composite
def steps(draw: st.DrawFn) -> str:
    kind = draw(st.integers(0, 7))
    name, number = draw(names), draw(st.integers(-3, 3))
    return (
        f".{name}",
        f"['{name}']",
        f"[{number}]",
        f"[{number}:{draw(st.integers(-3, 3))}:{draw(st.integers(1, 3))}]",
        "[*]",
        f"..{name}",
        f'[?(@.{name}=="{name}")]',
        f"['{name}',{number}]",
    )[kind]


@given(st.lists(steps(), min_size=1, max_size=6).map("".join), documents)
def test_every_path_of_the_grammar_is_understood(path: str, document: object) -> None:
    parsed = parse_path(path)
    assert parse_template(f"{{{path}}}") == (parsed,)
    assert parse_template(f"{{range {path}}}{{end}}")[0].path == parsed  # type: ignore[union-attr]
    found, complaint = attempt(lambda: find(parsed, document))
    assert "index" in complaint if complaint else json.dumps(found)


@given(anything, documents)
def test_any_other_text_is_answered_with_a_place(text: str, document: object) -> None:
    template, complaint = attempt(lambda: parse_template(text))
    if template is None:
        assert "at column" in complaint
        return
    written, complaint = attempt(lambda: write(template, document))
    assert "index" in complaint if complaint else isinstance(written, str)


@given(st.dictionaries(st.text(min_size=1, max_size=8), st.integers(), min_size=1, max_size=5))
def test_every_key_can_be_named(document: dict[str, int]) -> None:
    for key, value in document.items():
        escaped = "".join(f"\\{letter}" for letter in key)
        assert find(parse_path(f"['{escaped}']"), document) == [value]
        assert find(parse_path(f".{escaped}"), document) == [value]


def test_no_steps_is_the_document() -> None:
    assert parse_path("@") == Path()
