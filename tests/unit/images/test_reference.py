"""What people write, and the one name it stands for."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsrun.errors import ImageError
from nsrun.images.reference import Reference, parse_reference

DIGEST = "sha256:" + "0123456789abcdef" * 4
DIGEST_512 = "sha512:" + "0123456789abcdef" * 8


@pytest.mark.parametrize(
    ("written", "full"),
    [
        ("nginx", "docker.io/library/nginx:latest"),
        ("nginx:1.25", "docker.io/library/nginx:1.25"),
        ("library/nginx", "docker.io/library/nginx:latest"),
        ("user/app", "docker.io/user/app:latest"),
        ("docker.io/nginx", "docker.io/library/nginx:latest"),
        ("index.docker.io/nginx", "docker.io/library/nginx:latest"),
        ("docker.io/a/b/c:1", "docker.io/a/b/c:1"),
        ("localhost/x", "localhost/x:latest"),
        ("localhost:5000/x", "localhost:5000/x:latest"),
        ("localhost:5000", "docker.io/library/localhost:5000"),
        ("127.0.0.1:5000/a/b:v1", "127.0.0.1:5000/a/b:v1"),
        ("[::1]:5000/a:v1", "[::1]:5000/a:v1"),
        ("quay.io/a/b", "quay.io/a/b:latest"),
        ("GHCR.IO/a/b", "ghcr.io/a/b:latest"),
        ("Docker.io/nginx", "docker.io/library/nginx:latest"),
        ("INDEX.docker.io/nginx", "docker.io/library/nginx:latest"),
        ("LocalHost/a", "localhost/a:latest"),
        ("HOST:5/a", "host:5/a:latest"),
        ("Host/a", "Host/a:latest"),
        ("a--b/c__d/e.f-g_h:Tag_.-1", "docker.io/a--b/c__d/e.f-g_h:Tag_.-1"),
        (f"nginx@{DIGEST}", f"docker.io/library/nginx@{DIGEST}"),
        (f"nginx:1.25@{DIGEST}", f"docker.io/library/nginx@{DIGEST}"),
        (f"a:5/b@{DIGEST_512}", f"a:5/b@{DIGEST_512}"),
    ],
)
def test_names_in_full(written: str, full: str) -> None:
    reference = parse_reference(written)
    assert str(reference) == full
    assert parse_reference(full) == reference


@pytest.mark.parametrize(
    "text",
    [
        "",
        " nginx",
        "nginx ",
        "nginx\n",
        "nginx:latest\n",
        "ngi\nnx",
        "nginx:",
        ":tag",
        "@" + DIGEST,
        "nginx@",
        "nginx@sha256:abc",
        f"nginx@{DIGEST}\n",
        f"nginx@{DIGEST.upper()}",
        "nginx@md5:" + "0" * 32,
        "nginx@sha256:../../../../../etc/passwd",
        "Nginx",
        "docker.io/library/Nginx",
        "nginx:" + "x" * 129,
        "nginx:-x",
        "nginx:.x",
        "nginx:ü",
        "nginx:१",
        "ngınx",
        "nginｘ",
        "\u212aelvin",
        "../nginx",
        "localhost:5000/../../x",
        "localhost:5000/./x",
        "a//b",
        "/a",
        "a/",
        "a___b",
        "a..b",
        "-a",
        "a-",
        "http://docker.io/x",
        "user@docker.io/x",
        "host:99999999/x",
        "host:port/x",
        "a.b%2f/x",
        "a/b?x=y",
        "a/b#x",
        "a/b\\c",
        "a\0b",
        "x" * 256,
        "0" * 64,
    ],
)
def test_what_is_no_name(text: str) -> None:
    with pytest.raises(ImageError) as caught:
        parse_reference(text)
    assert caught.value.reason == "InvalidImageName"
    assert caught.value.message.startswith('cannot use image name "')
    assert caught.value.message.isprintable()


def test_upper_case_is_explained() -> None:
    with pytest.raises(ImageError, match="must be lower case"):
        parse_reference("quay.io/Team/App")


@given(st.text(max_size=300))
def test_any_text_is_a_name_or_an_error(text: str) -> None:
    try:
        reference = parse_reference(text)
    except ImageError as error:
        message = error.message
    else:
        full = str(reference)
        assert full.isascii()
        assert full.isprintable()
        assert ".." not in full.split("/")
        assert parse_reference(full) == reference
        return
    assert message.isprintable()
    assert len(message) < 3000


def test_long_names_are_cut() -> None:
    with pytest.raises(ImageError) as caught:
        parse_reference("A" * 100_000)
    assert len(caught.value.message) < 1000


words = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=12)


@given(host=words, port=st.integers(1, 65535), path=st.lists(words, min_size=1, max_size=4), tag=words)
def test_full_names_stay_as_they_are(host: str, port: int, path: list[str], tag: str) -> None:
    text = f"{host}:{port}/{'/'.join(path)}:{tag}"
    assert parse_reference(text) == Reference(host=f"{host}:{port}", path="/".join(path), tag=tag)


def test_the_parts() -> None:
    reference = parse_reference(f"quay.io/a/b:1@{DIGEST}")
    assert reference.name == "quay.io/a/b"
    assert reference.identifier == DIGEST
    assert parse_reference("a/b:1").identifier == "1"
