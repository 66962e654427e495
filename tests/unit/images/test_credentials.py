"""containers-auth.json(5)."""

from __future__ import annotations

import json
from base64 import b64encode
from pathlib import Path

import pytest

from nsrun.errors import SettingsError
from nsrun.images.credentials import Credential, Credentials, auth_files, load_credentials


def encoded(text: str) -> dict[str, object]:
    return {"auth": b64encode(text.encode()).decode()}


def load(tmp_path: Path, document: object) -> Credentials:
    path = tmp_path / "auth.json"
    path.write_text(json.dumps(document))
    return load_credentials((path,))


def user(found: Credential | None) -> str | None:
    return None if found is None else found.username


def test_the_longest_path_counts(tmp_path: Path) -> None:
    keys = {"h.x/foo/bar/image": "image", "h.x/foo": "foo", "h.x": "host"}
    found = load(tmp_path, {"auths": {key: encoded(f"{name}:p") for key, name in keys.items()}})
    assert user(found.find("h.x", "foo/bar/image")) == "image"
    assert user(found.find("h.x", "foo/bar")) == "foo"
    assert user(found.find("h.x", "foobar")) == "host"
    assert user(found.find("h.x:5000", "foo")) is None
    assert user(found.find("x", "h.x/foo")) is None


@pytest.mark.parametrize("key", ["docker.io", "https://index.docker.io/v1/", "index.docker.io", "registry-1.docker.io"])
def test_docker_hub_has_many_names(tmp_path: Path, key: str) -> None:
    found = load(tmp_path, {"auths": {key: encoded("u:p")}})
    assert user(found.find("docker.io", "library/nginx")) == "u"
    assert found.find("quay.io", "x") is None


def test_passwords_may_have_colons_and_tokens_count(tmp_path: Path) -> None:
    entry = {**encoded("u:a:b"), "identitytoken": "t"}
    found = load(tmp_path, {"auths": {"h": entry, "helped": {}}}).find("h", "x")
    assert found == Credential(username="u", password="a:b", identity_token="t")
    assert "a:b" not in repr(found)


@pytest.mark.parametrize(
    "document",
    [
        [],
        {"auths": []},
        {"auths": {"h": 1}},
        {"auths": {"h": {"auth": "!"}}},
        {"auths": {"h": {"auth": "bm9jb2xvbg=="}}},
    ],
)
def test_mistakes_are_named_without_secrets(tmp_path: Path, document: object) -> None:
    with pytest.raises(SettingsError, match="cannot read") as caught:
        load(tmp_path, document)
    assert "bm9jb2xvbg" not in str(caught.value)


def test_files(tmp_path: Path) -> None:
    assert auth_files({"REGISTRY_AUTH_FILE": "/x", "HOME": "/h"}) == (Path("/x"),)
    assert auth_files({"XDG_RUNTIME_DIR": "/r", "HOME": "/h"}) == (
        Path("/r/containers/auth.json"),
        Path("/h/.config/containers/auth.json"),
        Path("/h/.docker/config.json"),
    )
    assert auth_files({"XDG_CONFIG_HOME": "/c"}) == (Path("/run/containers/auth.json"), Path("/c/containers/auth.json"))
    first, second = tmp_path / "1", tmp_path / "2"
    first.write_text(json.dumps({"auths": {"h": encoded("first:p")}}))
    second.write_text(json.dumps({"auths": {"h": encoded("second:p"), "i": encoded("i:p")}}))
    found = load_credentials((tmp_path / "none", first / "none", first, second))
    assert user(found.find("h", "x")) == "first"
    assert user(found.find("i", "x")) == "i"
    first.write_text("{")
    with pytest.raises(SettingsError, match="not JSON"):
        load_credentials((first,))
    with pytest.raises(SettingsError, match="is a directory"):
        load_credentials((tmp_path,))
