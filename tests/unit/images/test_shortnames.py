"""Names without a registry: containers-registries.conf(5), "Short-Name Aliasing"."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsrun.errors import ImageError
from nsrun.images.reference import Reference, is_short_name
from nsrun.images.shortnames import ShortNameMode, ShortNames, bare_name, first_of

DIGEST = "sha256:" + "0" * 64
ALIASES = {"centos": "quay.io/centos/centos", "a/b": "h.x/b", "hub": "docker.io/nginx"}
NONE = ShortNames()
TWO = ShortNames(registries=("quay.io", "docker.io"), aliases=ALIASES)


def meanings(names: ShortNames, text: str) -> list[str]:
    return [str(reference) for reference in names.meanings(text)]


@pytest.mark.parametrize(
    ("names", "text", "found"),
    [
        (NONE, "nginx", ["docker.io/library/nginx:latest"]),
        (NONE, "a/b:1", ["docker.io/a/b:1"]),
        (TWO, "nginx", ["quay.io/nginx:latest", "docker.io/library/nginx:latest"]),
        (TWO, "c/d:1", ["quay.io/c/d:1", "docker.io/c/d:1"]),
        (TWO, f"nginx@{DIGEST}", [f"quay.io/nginx@{DIGEST}", f"docker.io/library/nginx@{DIGEST}"]),
        (TWO, "centos", ["quay.io/centos/centos:latest"]),
        (TWO, "centos:7", ["quay.io/centos/centos:7"]),
        (TWO, f"centos:7@{DIGEST}", [f"quay.io/centos/centos@{DIGEST}"]),
        (TWO, "a/b", ["h.x/b:latest"]),
        (TWO, "hub", ["docker.io/library/nginx:latest"]),
        (TWO, "h.x/centos", ["h.x/centos:latest"]),
        (TWO, "localhost/centos", ["localhost/centos:latest"]),
        (TWO, "h:5000/centos", ["h:5000/centos:latest"]),
        (ShortNames(registries=("docker.io", "index.docker.io")), "nginx", ["docker.io/library/nginx:latest"]),
    ],
)
def test_what_a_name_may_mean(names: ShortNames, text: str, found: list[str]) -> None:
    assert meanings(names, text) == found


@pytest.mark.parametrize("text", ["", "NGINX", "a b", "nginx:", "../x", "a" * 300, "a" * 64])
@pytest.mark.parametrize("names", [NONE, TWO])
def test_what_is_no_name(names: ShortNames, text: str) -> None:
    if text == "a" * 64:
        text = "0" * 64
    with pytest.raises(ImageError) as caught:
        names.meanings(text)
    assert caught.value.reason == "InvalidImageName"


def test_enforcing_does_not_guess() -> None:
    names = ShortNames(registries=("quay.io", "docker.io"), mode=ShortNameMode.ENFORCING, aliases=ALIASES)
    with pytest.raises(
        ImageError, match=r"it may be on quay\.io or docker.io, and short-name-mode is enforcing"
    ) as caught:
        names.to_pull("nginx")
    assert caught.value.hint is not None
    assert "quay.io/nginx:latest" in caught.value.hint
    assert len(names.meanings("nginx")) == 2
    assert [str(r) for r in names.to_pull("centos")] == ["quay.io/centos/centos:latest"]
    assert [str(r) for r in names.to_pull("h.x/nginx")] == ["h.x/nginx:latest"]
    one = ShortNames(registries=("quay.io",), mode=ShortNameMode.ENFORCING)
    assert [str(r) for r in one.to_pull("nginx")] == ["quay.io/nginx:latest"]


@pytest.mark.parametrize(
    ("mode", "text", "choices"),
    [
        (ShortNameMode.ENFORCING, "nginx", 2),
        (ShortNameMode.PERMISSIVE, "nginx", 2),
        (ShortNameMode.DISABLED, "nginx", 0),
        (ShortNameMode.PERMISSIVE, "centos", 0),
        (ShortNameMode.PERMISSIVE, "h.x/nginx", 0),
    ],
)
def test_what_a_person_is_asked(mode: ShortNameMode, text: str, choices: int) -> None:
    names = ShortNames(registries=("quay.io", "docker.io"), mode=mode, aliases=ALIASES)
    assert len(names.to_choose(text)) == choices


@given(st.text(alphabet="abAB.:/@-_019é\n", max_size=40))
def test_any_text_is_a_name_or_refused(text: str) -> None:
    try:
        found = TWO.meanings(text)
    except ImageError as error:
        reason, found = error.reason, ()
    else:
        reason = "InvalidImageName" if not found else ""
    assert (reason == "InvalidImageName") == (not found)
    assert is_short_name(text) or len(found) <= 1
    assert all(not is_short_name(str(reference)) for reference in found)


def test_bare_name() -> None:
    assert [bare_name(text) for text in ("a", "a:1", "a/b:1", f"a/b@{DIGEST}", f"a:1@{DIGEST}")] == [
        "a", "a", "a/b", "a/b", "a",
    ]  # fmt: skip


async def test_the_first_that_answers_counts() -> None:
    asked: list[str] = []

    async def ask(reference: Reference) -> str:
        asked.append(reference.host)
        if reference.host == "quay.io":
            raise ImageError(f'cannot pull image "{reference}": it is not there', hint="push it")
        return reference.host

    assert await first_of("nginx", TWO.meanings("nginx"), ask) == "docker.io"
    assert asked == ["quay.io", "docker.io"]


async def test_when_none_answers_each_is_told() -> None:
    async def ask(reference: Reference) -> str:
        raise ImageError(f'cannot pull image "{reference}": no {reference.host}', hint=f"try {reference.host}")

    with pytest.raises(ImageError) as caught:
        await first_of("nginx", TWO.meanings("nginx"), ask)
    assert caught.value.message == (
        'cannot pull image "nginx" from any of its registries: "quay.io/nginx:latest": no quay.io; '
        '"docker.io/library/nginx:latest": no docker.io'
    )
    assert caught.value.hint == "try quay.io"
    with pytest.raises(ImageError, match=r'cannot pull image "h.x/a:latest": no h\.x'):
        await first_of("h.x/a", TWO.meanings("h.x/a"), ask)
