"""Which credential is for which repository, and the documents that hold them."""

from __future__ import annotations

import json
from base64 import b64encode
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsrun.model.credentials import Credential, Credentials
from nsrun.model.dockerconfig import DockerConfig, file_key, read_docker_config, read_dockercfg, secret_key


def encoded(text: str) -> dict[str, object]:
    return {"auth": b64encode(text.encode()).decode()}


def read(document: object) -> DockerConfig:
    return read_docker_config(json.dumps(document).encode(), file_key)


def named(*keys: str) -> Credentials:
    return Credentials(entries=tuple((key, Credential(username=key)) for key in keys))


def users(found: tuple[Credential, ...]) -> list[str]:
    return [credential.username for credential in found]


def test_the_longest_path_comes_first() -> None:
    found = named("h.x", "h.x/foo", "h.x/foo/bar/image", "h.x:5000")
    assert users(found.find("h.x", "foo/bar/image")) == ["h.x/foo/bar/image", "h.x/foo", "h.x"]
    assert users(found.find("h.x", "foo/bar")) == ["h.x/foo", "h.x"]
    assert users(found.find("h.x", "foobar")) == ["h.x"]
    assert users(found.find("h.x:5000", "foo")) == ["h.x:5000"]
    assert users(found.find("x", "h.x/foo")) == []


def test_of_equals_the_first_comes_first_and_none_twice() -> None:
    one, two = Credential(username="one"), Credential(username="two")
    found = Credentials(entries=(("h", two), ("h", one), ("h", two))).find("h", "a")
    assert found == (two, one)


@pytest.mark.parametrize(
    ("key", "host", "fits"),
    [
        ("*.kubernetes.io", "abc.kubernetes.io", True),
        ("*.kubernetes.io", "kubernetes.io", False),
        ("*.kubernetes.io", "a.b.kubernetes.io", False),
        ("*.*.kubernetes.io", "a.b.kubernetes.io", True),
        ("prefix.*.io", "prefix.kubernetes.io", True),
        ("*-good.kubernetes.io", "prefix-good.kubernetes.io", True),
        ("registry?.x", "registry1.x", True),
        ("*.x:5000", "a.x:5000", True),
        ("*.x", "a.x:5000", False),
        ("*.x:*", "a.x:5000", False),
        ("*", "localhost", True),
        ("[a]", "a", False),
    ],
)
def test_hosts_may_have_wildcards(key: str, host: str, fits: bool) -> None:
    assert bool(named(key).find(host, "a")) is fits


def test_a_host_comes_before_a_pattern_of_it() -> None:
    assert users(named("*.x", "a.x").find("a.x", "i")) == ["a.x", "*.x"]
    assert users(named("*.x/team", "a.x").find("a.x", "team/i")) == ["*.x/team", "a.x"]


@pytest.mark.parametrize("key", ["docker.io", "https://index.docker.io/v1/", "index.docker.io", "registry-1.docker.io"])
def test_docker_hub_has_many_names(key: str) -> None:
    for find in (file_key, secret_key):
        said = read_docker_config(json.dumps({"auths": {key: encoded("u:p")}}).encode(), find)
        found = Credentials(entries=said.auths)
        assert users(found.find("docker.io", "library/nginx")) == ["u"]
        assert not found.find("quay.io", "x")


@pytest.mark.parametrize(
    ("key", "of_a_file", "of_a_secret"),
    [
        ("h.x", "h.x", "h.x"),
        ("h.x:5000/a/b", "h.x:5000/a/b", "h.x:5000/a/b"),
        ("https://h.x/v1/", "h.x", "h.x"),
        ("http://h.x/v2/team/", "h.x", "h.x/team"),
        ("https://h.x/team", "h.x", "h.x/team"),
        ("https://h.x/", "h.x", "h.x"),
    ],
)
def test_keys(key: str, of_a_file: str, of_a_secret: str) -> None:
    assert (file_key(key), secret_key(key)) == (of_a_file, of_a_secret)


def test_every_form_of_an_entry() -> None:
    said = read(
        {
            "auths": {
                "a": {**encoded("u:x:y\0"), "identitytoken": "t"},
                "b": {"username": "u", "password": "p", "email": "e"},
                "c": {"registrytoken": "r"},
                "d": {},
                "e": {"auth": ""},
                "f": {"auth": None},
            },
            "credHelpers": {"https://g/": "secretservice"},
            "credsStore": "pass",
            "HttpHeaders": {"x": "y"},
        }
    )
    assert said.auths == (
        ("a", Credential(username="u", password="x:y", identity_token="t")),
        ("b", Credential(username="u", password="p")),
        ("c", Credential(registry_token="r")),
    )
    assert (said.helpers, said.store) == ({"g": "secretservice"}, "pass")


def test_the_older_form() -> None:
    said = read_dockercfg(json.dumps({"https://h/v1/": encoded("u:p")}).encode(), secret_key, secret="n/s")
    assert said.auths == (("h", Credential(username="u", password="p", secret="n/s")),)


def test_nothing_is_no_mistake() -> None:
    assert read_docker_config(b"", file_key) == read_docker_config(b" {} ", file_key) == DockerConfig()


def test_secrets_are_not_shown() -> None:
    shown = repr(Credential(username="u", password="P1", identity_token="P2", registry_token="P3"))
    assert "P1" not in shown
    assert "P2" not in shown
    assert "P3" not in shown


@pytest.mark.parametrize(
    "document",
    [
        [],
        1,
        {"auths": []},
        {"auths": {"h": 1}},
        {"auths": {"user:SECRET@h": 1}},
        {"auths": {"h": {"auth": 5}}},
        {"auths": {"h": {"auth": "!SECRET"}}},
        {"auths": {"h": {"auth": b64encode(b"SECRET").decode()}}},
        {"auths": {"h": {"auth": b64encode(b"\xff:SECRET").decode()}}},
        {"auths": {"h": {"auth": "é"}}},
        {"auths": {"h": {"identitytoken": ["SECRET"]}}},
        {"credHelpers": ["SECRET"]},
        {"credHelpers": {"h": "../../SECRET"}},
        {"credHelpers": {"h": ""}},
        {"credsStore": "a/b"},
        {"credsStore": "-flag"},
        {"credsStore": 1},
    ],
)
def test_mistakes_are_named_without_secrets(document: object) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        read(document)
    assert "SECRET" not in str(caught.value)
    assert b64encode(b"SECRET").decode() not in str(caught.value)


@given(st.binary(max_size=60))
def test_any_content_is_read_or_refused(data: bytes) -> None:
    for reader in (read_docker_config, read_dockercfg):
        with suppress(ValueError):
            reader(data, file_key)


def test_nesting_without_end_is_not_json() -> None:
    with pytest.raises(ValueError, match="not JSON"):
        read_docker_config(b'{"auths":' + b"[" * 200_000, file_key)
