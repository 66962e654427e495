"""What ``nsrun prune --filter`` means."""

from __future__ import annotations

from pathlib import Path

import pytest

from nsrun.cli.prune import parse_filters
from nsrun.errors import SettingsError
from nsrun.images.details import Details, details
from nsrun.images.documents import ImageManifest, accept_manifest, decode_descriptor
from nsrun.images.reference import parse_reference
from nsrun.images.store import Store
from tests.layouts import ImageParts

NOW = 1_700_000_000.0  # 2023-11-14T22:13:20Z
NEW, OLD = "2023-11-14T22:13:19.123456789Z", "2023-11-12T00:00:00Z"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "images")
    made.open()
    return made


def image(store: Store, created: str | None, labels: dict[str, str] | None = None) -> Details:
    config: dict[str, object] = {} if labels is None else {"Labels": labels}
    platform = {"architecture": "amd64", "os": "linux", **({"created": created} if created else {})}
    parts = ImageParts.make(config=config, platform=platform)
    with store.intake() as intake:
        for blob in parts.blobs:
            intake.add(blob.data, blob.media_type)
        manifest = accept_manifest(parts.manifest.data, parts.manifest.media_type)
        assert isinstance(manifest, ImageManifest)
        found = decode_descriptor(parts.manifest.descriptor, "manifest")
        kept = intake.keep(parse_reference("app"), parts.manifest.data, manifest, found)
    return details(store, kept)


@pytest.mark.parametrize(
    ("text", "new", "old", "unknown"),
    [
        ("until=24h", False, True, True),
        ("until=1s", False, True, True),
        ("until=72h", False, False, True),
        ("until=2023-11-13T00:00:00Z", False, True, True),
        ("until=2023-11-13", False, True, True),
        ("until=1700000000", True, True, True),
    ],
)
def test_until(store: Store, text: str, new: bool, old: bool, unknown: bool) -> None:
    wanted = parse_filters([text], now=NOW)
    assert [wanted(image(store, created)) for created in (NEW, OLD, None)] == [new, old, unknown]


@pytest.mark.parametrize(
    ("texts", "labels", "meant"),
    [
        ([], {}, True),
        (["label=keep"], {"keep": "1"}, True),
        (["label=keep"], {}, False),
        (["label=keep=1"], {"keep": "1"}, True),
        (["label=keep=2"], {"keep": "1"}, False),
        (["label!=keep"], {"keep": "1"}, False),
        (["label!=keep"], {}, True),
        (["label!=keep=2"], {"keep": "1"}, True),
        (["label=a", "label=b"], {"a": "", "b": ""}, True),
        (["label=a", "label=b"], {"a": ""}, False),
        (["label=a", "until=24h"], {"a": ""}, False),
    ],
)
def test_labels(store: Store, texts: list[str], labels: dict[str, str], meant: bool) -> None:
    assert parse_filters(texts, now=NOW)(image(store, NEW, labels)) is meant


@pytest.mark.parametrize("text", ["", "until", "until=", "until=soon", "until!=24h", "label=", "dangling=true", "=x"])
def test_what_cannot_be_meant(text: str) -> None:
    with pytest.raises(SettingsError, match="cannot use --filter"):
        parse_filters([text], now=NOW)
