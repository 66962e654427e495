"""Ten thousand documents: each is read to an end, and the good pod beside it stays."""

from __future__ import annotations

import re

from hypothesis import HealthCheck, given, settings

from nsrun.model.decode import Manifest, decode_pod, parse_manifest
from nsrun.model.encode import encode_pod
from nsrun.model.names import pod_uid
from nsrun.model.validate import validate
from nsrun.model.validate_objects import validate_object
from tests.unit.model.documents import GOOD, documents
from tests.waiting import fewer

LINE = re.compile(r"bad\.yaml(:[1-9][0-9]*:[1-9][0-9]*)?: .+")


def read(data: bytes, *, json_only: bool = False) -> Manifest:
    return parse_manifest(data, file="bad.yaml", node_name="node", origin="/m/bad.yaml", json_only=json_only)


@settings(max_examples=fewer(10_000), deadline=None, suppress_health_check=list(HealthCheck))
@given(documents)
def test_every_document_is_pods_or_problems(data: bytes) -> None:
    for manifest in (read(data), read(data, json_only=True)):
        for line in (*manifest.problems, *manifest.warnings):
            assert LINE.fullmatch(line)
            assert line.isprintable()
        for placed in manifest.pods:
            assert pod_uid(placed.pod.uid) is None
            assert list(validate(placed.pod)) == []
            assert decode_pod(encode_pod(placed.pod)) == placed.pod
        for one in manifest.objects:
            assert list(validate_object(one.object)) == []


def test_the_document_they_are_made_from_is_good() -> None:
    assert len(read(GOOD).pods) == 1
