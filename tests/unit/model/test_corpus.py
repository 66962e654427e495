"""tests/manifests: what is good is accepted without a word, what is bad is told in exactly the words beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from nsrun.model.decode import Manifest, decode_pod, parse_manifest
from nsrun.model.encode import encode_pod

CORPUS = Path(__file__).parents[2] / "manifests"
BAD = sorted(path for path in (CORPUS / "bad").iterdir() if path.suffix != ".expected")
GOOD = sorted((CORPUS / "good").iterdir())
WILD = sorted((CORPUS / "wild").iterdir())


def read(path: Path) -> Manifest:
    return parse_manifest(
        path.read_bytes(),
        file=path.name,
        node_name="node",
        origin=f"/manifests/{path.name}",
        json_only=path.suffix == ".json",
    )


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.name)
def test_bad_manifests_are_told_in_the_expected_words(path: Path) -> None:
    manifest = read(path)
    said = [*manifest.problems, *(f"warning: {line}" for line in manifest.warnings)]
    assert said == path.with_name(f"{path.name}.expected").read_text().splitlines()


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.name)
def test_good_manifests_are_accepted_without_a_word(path: Path) -> None:
    manifest = read(path)
    assert (manifest.problems, manifest.warnings) == ((), ())
    assert manifest.pods


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.name)
def test_good_pods_are_read_back_equal(path: Path) -> None:
    for placed in read(path).pods:
        assert decode_pod(encode_pod(placed.pod)) == placed.pod


@pytest.mark.parametrize("path", WILD, ids=lambda path: path.name)
def test_manifests_found_elsewhere_are_understood(path: Path) -> None:
    """What has no effect is told, and nothing else: each runs in ``tests/e2e/test_wild.py``."""
    manifest = read(path)
    assert manifest.problems == ()
    assert manifest.pods
    assert [line for line in manifest.warnings if "ignored" not in line and "skipped" not in line] == []
    for placed in manifest.pods:
        assert decode_pod(encode_pod(placed.pod)) == placed.pod


def test_podman_writes_capabilities_in_full() -> None:
    (placed,) = read(CORPUS / "wild" / "podman-generated.yaml").pods
    dropped = placed.pod.spec.containers[0].security_context.capabilities_drop
    assert dropped == ("MKNOD", "NET_RAW", "AUDIT_WRITE")


def test_the_corpus_is_large_enough() -> None:
    assert len(BAD) >= 40


def test_the_demo_is_in_the_corpus() -> None:
    demo = CORPUS.parents[1] / "manifests" / "nginx.yaml"
    assert (CORPUS / "good" / "nginx.yaml").read_bytes() == demo.read_bytes()
