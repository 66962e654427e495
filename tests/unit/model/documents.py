"""Documents nobody wrote: mutations of a good manifest, half of YAML, half of JSON, and bytes."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import yaml
from hypothesis import strategies as st

__all__ = ["GOOD", "documents"]

GOOD = (Path(__file__).parents[2] / "manifests" / "good" / "every-field.yaml").read_bytes()
BASE = yaml.safe_load(GOOD)

NASTY: list[object] = [
    None, True, False, 0, -1, 70000, 2**63, 2**64, 1e308, 0.5, float("inf"), float("nan"), "", " ", "a", "A B", "../x",
    "/", "/x", "\0", "\x1b[2J", "\u202e", "\ud800", "yes", "010", "1Gi", "-1m", "1e999", "x" * 300, "ä", "<<", "kind",
    [], {}, [[]], [None], [{}], {"a": None}, {"": ""}, {"name": "main"}, {"<<": {"a": 1}},
    "ConfigMap", "Secret", "PersistentVolumeClaim", "PersistentVolume", "Deployment", "StatefulSet", "Job", "List",
]  # fmt: skip
KEYS = [
    "name",
    "image",
    "metadata",
    "spec",
    "kind",
    "items",
    "hostPath",
    "",
    "a b",
    "containerPort",
    "securityContext",
    "data",
    "template",
    "valueFrom",
    "exec",
    "projected",
]
PIECES = [
    *(b"{", b"}", b"[", b"]", b":", b": ", b"- ", b",", b"\n", b"\n---\n", b"\n...\n", b"\t", b"&a ", b"*a"),
    *(b"<<: *a\n", b"!!int ", b"!x ", b"|\n", b">-\n", b"'", b'"', b"\\", b"#", b"? ", b"%YAML 1.1\n"),
    *(b"\0", b"\xff", b"\xc3\xa4"),
    *(b"\xef\xbb\xbf", b"\xe2\x80\xa8", b"@", b"`", b"~", b"-", b"0x", b"1e9", b"kind: Pod\n", b"apiVersion: v1\n"),
]  # fmt: skip

values = st.sampled_from(NASTY) | st.text(max_size=8) | st.integers()
edits = st.lists(
    st.tuples(
        st.sampled_from(["replace", "delete", "rename", "add", "repeat"]),
        st.integers(0, 500),
        values,
        st.sampled_from(KEYS),
    ),
    max_size=5,
)
splices = st.lists(st.tuples(st.integers(0, 5000), st.sampled_from(PIECES)), max_size=3)


def slots(node: object) -> list[tuple[object, object]]:
    """Every place in a document that holds a value: its container, and the key or index in it."""
    found: list[tuple[object, object]] = []
    entries = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in entries:
        found.append((node, key))
        found.extend(slots(value))
    return found


def mutated(changes: list[tuple[str, int, object, str]]) -> object:
    """The good manifest with some of its values changed, removed, renamed, added or repeated."""
    top = {"": copy.deepcopy(BASE)}
    for operation, index, value, key in changes:
        places = slots(top)
        container, where = places[index % len(places)]
        if operation == "repeat" and isinstance(container, list) and isinstance(where, int):
            container.append(container[where])
        elif operation == "add" and isinstance(container, dict):
            container[key] = copy.deepcopy(value)
        elif operation == "rename" and isinstance(container, dict) and container is not top:
            container[key] = container.pop(where)
        elif operation == "delete" and container is not top:
            del container[where]  # type: ignore[attr-defined]
        else:
            container[where] = copy.deepcopy(value)  # type: ignore[index]
    return top[""]


def written(document: object, style: str) -> bytes:
    if style == "json":
        return json.dumps(document).encode()
    text = yaml.dump(document, Dumper=yaml.CSafeDumper, default_flow_style=style == "flow", allow_unicode=True)
    return text.encode("utf-8", "surrogatepass")


def spliced(data: bytes, changes: list[tuple[int, bytes]]) -> bytes:
    for at, piece in changes:
        data = data[: at % (len(data) + 1)] + piece + data[at % (len(data) + 1) :]
    return data


def _mutation(changes: list[tuple[str, int, object, str]], style: str, pieces: list[tuple[int, bytes]]) -> bytes:
    document = mutated(changes)
    try:
        data = written(document, style)
    except (yaml.YAMLError, UnicodeError):  # libyaml does not write lone surrogates
        data = written(document, "json")
    return spliced(data, pieces)


documents = st.one_of(
    st.builds(_mutation, edits, st.sampled_from(["json", "block", "flow"]), st.just([])),
    st.builds(_mutation, edits, st.sampled_from(["json", "block", "flow"]), splices),
    st.builds(lambda at, pieces: spliced(GOOD[:at], pieces), st.integers(0, len(GOOD)), splices),
    st.lists(st.sampled_from(PIECES), max_size=40).map(b"".join),
    st.binary(max_size=200),
)
