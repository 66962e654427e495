"""Text → documents: positions, limits, and what scalars mean."""

from __future__ import annotations

import time

import pytest

from nsrun.model.document import MAX_BYTES, parse_documents
from nsrun.model.tree import MAX_DOCUMENTS, MAX_VALUES, ListNode, MapNode, Node, ScalarNode
from tests.waiting import PATIENCE


def root(text: str | bytes, *, json_only: bool = False) -> Node:
    (document,) = parse_documents(text if isinstance(text, bytes) else text.encode(), json_only=json_only)
    assert document.problems == ()
    assert document.root is not None
    return document.root


def value(text: str) -> object:
    node = root(f"- {text}\n")
    assert isinstance(node, ListNode)
    (item,) = node.items
    assert isinstance(item, ScalarNode)
    return item.value


def plain(node: Node) -> object:
    if isinstance(node, MapNode):
        return {entry.key: plain(entry.value) for entry in node.entries}
    if isinstance(node, ListNode):
        return [plain(item) for item in node.items]
    return node.value


def said(text: str | bytes, *, json_only: bool = False) -> list[str]:
    data = text if isinstance(text, bytes) else text.encode()
    return [p.render("f") for d in parse_documents(data, json_only=json_only) for p in d.problems]


@pytest.mark.parametrize(
    "text", ["a: 1\nbc:\n  - x\n  - {d: 'y'}\n", '{"a": 1,\n"bc":\n  ["x",\n   {"d": "y"}]}'], ids=["yaml", "json"]
)
def test_every_key_and_value_knows_its_place(text: str) -> None:
    node = root(text)
    assert isinstance(node, MapNode)
    entry = node.get("bc")
    assert entry is not None
    assert isinstance(entry.value, ListNode)
    inner = entry.value.items[1]
    assert isinstance(inner, MapNode)
    lines = text.splitlines()
    for at, word in (
        (entry, "bc"),
        (entry.value.items[0], "x"),
        (inner.entries[0], "d"),
        (inner.entries[0].value, "y"),
    ):
        assert lines[at.line - 1][at.column - 1 :].lstrip("\"'").startswith(word)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *((word, True) for word in ("yes", "Yes", "YES", "y", "Y", "on", "On", "true", "TRUE")),
        *((word, False) for word in ("no", "n", "off", "OFF", "False")),
        *((word, None) for word in ("~", "null", "NULL")),
        *((word, word) for word in ("yEs", "oN", "nULL", "1:30", "2001-01-01", "0o8", "1.2.3", "+", ".", "1_x")),
        ("010", 8),
        ("0o10", 8),
        ("0x1F", 31),
        ("0b11", 3),
        ("-12", -12),
        ("1_000", 1000),
        ("08", 8.0),
        ("1.5", 1.5),
        ("-.5", -0.5),
        ("1e3", 1000.0),
        ("99999999999999999999", 1e20),
        ("'yes'", "yes"),
        ('"010"', "010"),
        ("!!str 010", "010"),
        ("! 010", "010"),
        ("!!int '7'", 7),
        ("!!float 7", 7.0),
        ("!!bool 'on'", True),
        ("!!null ''", None),
        ("1" * 81, "1" * 81),
    ],
)
def test_scalars_mean_what_they_mean_to_kubernetes(text: str, expected: object) -> None:
    assert value(text) == expected
    assert type(value(text)) is type(expected)


def test_keys_become_text() -> None:
    assert plain(root("1: a\non: b\n1.5: c\n0x10: d\n")) == {"1": "a", "true": "b", "1.5": "c", "16": "d"}


def test_merge_keys_add_what_is_not_there() -> None:
    text = "a: &a {x: 1, w: 2}\nb: &b {w: 3, z: 4}\nc: {<<: [*a, *b], x: 5}\nd: {x: 6, <<: *b}\n"
    assert plain(root(text)) == {
        "a": {"x": 1, "w": 2},
        "b": {"w": 3, "z": 4},
        "c": {"x": 5, "w": 2, "z": 4},
        "d": {"x": 6, "w": 3, "z": 4},
    }


def test_a_scalar_alias_can_be_a_key() -> None:
    assert plain(root("&k key: 1\nother: {*k : 2}\n")) == {"key": 1, "other": {"key": 2}}
    assert said("a: &a [x]\nb: {*a : 1}\n") == ["f:2:5: b: a key must be a plain word, not null"]


def test_a_nul_in_a_key_is_a_problem() -> None:
    assert said('"a\\0b": 1\n') == ['f:1:1: ["a\\u0000b"]: a key must not hold a NUL character']


def test_a_fault_costs_its_own_document_only() -> None:
    text = b"# nothing\n---\na: 1\n---\nb: [\n--- {c: 3}\n...\n%YAML 1.1\n# d\n---\nd: 4\n"
    documents = parse_documents(text)
    assert [None if d.root is None else plain(d.root) for d in documents] == [{"a": 1}, None, {"c": 3}, {"d": 4}]
    assert [p.line for d in documents for p in d.problems] == [6]


def test_dashes_inside_a_text_do_not_split_it() -> None:
    assert plain(root("a: |\n  x\n  ---\n  y\nb: ----\n")) == {"a": "x\n---\ny\n", "b": "----"}


def test_json_values_may_follow_one_another() -> None:
    documents = parse_documents(b'{"a": 1}\n[true, null, -1.5e2, "\\u0041\\ud83d\\ude00"]\n', json_only=True)
    assert [plain(d.root) for d in documents if d.root is not None] == [{"a": 1}, [True, None, -150.0, "A\U0001f600"]]


def test_json_is_exact_where_it_can_be() -> None:
    assert plain(root('[123456789012345678, 1234567890123456789012, {}, [], "\\ud800"]')) == [
        123456789012345678,
        1234567890123456789012.0,
        {},
        [],
        "\ufffd",
    ]


def test_flow_style_yaml_is_not_taken_for_json() -> None:
    assert plain(root("{a: b, c: [d]}\n")) == {"a": "b", "c": ["d"]}


def test_a_byte_order_mark_is_nothing() -> None:
    assert plain(root(b"\xef\xbb\xbfa: 1\n")) == {"a": 1}


def test_a_file_has_a_largest_size() -> None:
    assert said(b"#" * (MAX_BYTES + 1)) == ["f: must be at most 10 MiB"]
    assert said(b"a: 1\n#" + b"#" * (MAX_BYTES - 6)) == []


@pytest.mark.parametrize(("text", "json_only"), [("--- a\n", False), ("{}\n", True)])
def test_a_file_has_a_largest_number_of_documents(text: str, json_only: bool) -> None:
    documents = parse_documents(text.encode() * (MAX_DOCUMENTS + 2), json_only=json_only)
    assert len(documents) == MAX_DOCUMENTS + 1
    (problem,) = documents[-1].problems
    assert problem.render("f") == f"f:{MAX_DOCUMENTS + 1}:1: the file holds more than {MAX_DOCUMENTS} documents"


@pytest.mark.parametrize("text", ["a:\n" + "- 1\n" * (MAX_VALUES + 1), "[" + "1," * MAX_VALUES + "1]"])
def test_a_document_has_a_largest_number_of_values(text: str) -> None:
    (line,) = said(text)
    assert line.endswith(f"the document holds more than {MAX_VALUES} values")


@pytest.mark.parametrize(
    "text",
    [
        "[" * 1_000_000,
        '{"a":' * 1_000_000,
        "- " * 1_000_000,
        "? " * 100_000,
        "&a " * 100_000,
        "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9) if i else 'x'}]\n" for i in range(60)),
        "a: &a {<<: [" + "*a, " * 50_000 + "]}",
        "'" * 1_000_001,
        "a: " + "9" * 1_000_000,
        "a: 1e" + "9" * 60,
        "%" * 1_000_000,
        "---\n" * 100_000,
        "!<" + "a" * 1_000_000,
    ],
    ids=lambda text: text[:12].strip(),
)
def test_no_text_takes_long(text: str) -> None:
    """None of these crashes the reader or expands: the limit is generous, what it guards against takes hours."""
    start = time.monotonic()
    parse_documents(text.encode())
    assert time.monotonic() - start < 20 * PATIENCE
