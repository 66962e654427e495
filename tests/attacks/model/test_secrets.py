"""A Secret's data gets into no line that is said about its manifest, however broken that is."""

from __future__ import annotations

import base64
import copy
import json

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nsrun.model.decode import parse_manifest
from tests.unit.model.documents import NASTY, PIECES, slots, spliced
from tests.waiting import fewer

MARK = "hunter2"
CODED = base64.b64encode(MARK.encode()).decode()
BASE: dict[str, object] = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": {"name": "login", "namespace": "default"},
    "type": "Opaque",
    "data": {"password": CODED, "user": CODED},
    "stringData": {"token": MARK},
}
SECRETS: list[object] = [MARK, f"{MARK}: x", [MARK], {"a": MARK}, f"{MARK}\n", f"!{MARK}", CODED[:-1], f"*{MARK}"]
SPLICES = [*PIECES, MARK.encode(), f"*{MARK}".encode(), f"!{MARK} ".encode(), f"!!int {MARK}".encode()]

changes = st.lists(st.tuples(st.integers(0, 50), st.sampled_from(NASTY) | st.sampled_from(SECRETS)), max_size=4)
pieces = st.lists(st.tuples(st.integers(0, 400), st.sampled_from(SPLICES)), max_size=3)


def secret_places(document: dict[str, object]) -> list[tuple[object, object]]:
    """Where a Secret may hold data; its kind stays what it is, or nobody could know that it is one."""
    return [place for key in ("data", "stringData") for place in [(document, key), *slots(document[key])]]


@settings(max_examples=fewer(1500), deadline=None, suppress_health_check=list(HealthCheck))
@given(changes, pieces, st.sampled_from(["json", "yaml"]))
def test_nothing_of_a_secret_is_told(
    edits: list[tuple[int, object]], splices: list[tuple[int, bytes]], style: str
) -> None:
    document = json.loads(json.dumps(BASE))
    for index, value in edits:
        places = secret_places(document) if isinstance(document.get("data"), dict) else [(document, "data")]
        container, key = places[index % len(places)]
        container[key] = copy.deepcopy(value)  # type: ignore[index]
        if "stringData" not in document or "data" not in document:
            break
    try:
        text = json.dumps(document) if style == "json" else yaml.safe_dump(document, sort_keys=False)
        data = text.encode("utf-8", "surrogatepass")
    except yaml.YAMLError:
        data = json.dumps(document).encode()
    head = data.index(b"Opaque")
    broken = data[:head] + spliced(data[head:], splices)
    manifest = parse_manifest(broken, file="f.yaml", node_name="node", origin="/f.yaml")
    said = repr((manifest.problems, manifest.warnings, manifest.objects))
    # A key is no data; what was made one by the splices is told where it stands and nothing more.
    assert f'"{MARK}' not in said.replace("\\", "")
    assert f"not {MARK}" not in said
    assert CODED not in said


def test_the_document_they_are_made_from_is_good() -> None:
    manifest = parse_manifest(json.dumps(BASE).encode(), file="f", node_name="node", origin="/f")
    assert manifest.problems == ()
    assert MARK not in repr(manifest)
