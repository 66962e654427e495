"""containers-registries.conf(5)."""

from __future__ import annotations

from pathlib import Path

import pytest

from nsrun.errors import ImageError, SettingsError
from nsrun.images.reference import parse_reference
from nsrun.images.registries import Registries, load_registries

DIGEST = "sha256:" + "0" * 64


def load(tmp_path: Path, text: str) -> Registries:
    path = tmp_path / "registries.conf"
    path.write_text(text)
    return load_registries(path, {})


def endpoints(registries: Registries, name: str) -> list[str]:
    return [f"{e}{' insecure' if e.insecure else ''}" for e in registries.endpoints(parse_reference(name))]


def test_without_configuration_a_registry_is_asked_by_its_name() -> None:
    assert endpoints(Registries(), "nginx") == ["docker.io/library/nginx"]
    assert endpoints(Registries(), "h:1/a/b") == ["h:1/a/b"]


EXAMPLE = """
unqualified-search-registries = ["example.com"]
short-name-mode = "enforcing"

[aliases]
"nginx" = "evil.example/nginx"

[[registry]]
prefix = "example.com/foo"
insecure = false
blocked = false
location = "internal-registry-for-example.com/bar"

[[registry.mirror]]
location = "example-mirror-0.local/mirror-for-foo"

[[registry.mirror]]
location = "example-mirror-1.local/mirrors/foo"
insecure = true

[[registry]]
location = "registry.com"
insecure = true

[[registry]]
prefix = "*.wild.example"
insecure = true

[[registry]]
prefix = "*.moved.example"
location = "mirror.example/moved"

[[registry]]
prefix = "example.com/foo/blocked"
blocked = true

[[registry]]
prefix = "docker.io/library/pinned:1"
location = "h:1/pinned:1"

[[registry]]
location = "localhost:5000"
insecure = true
"""


@pytest.mark.parametrize(
    ("name", "places"),
    [
        ("nginx", ["docker.io/library/nginx"]),
        (
            "example.com/foo/image:latest",
            [
                "example-mirror-0.local/mirror-for-foo/image",
                "example-mirror-1.local/mirrors/foo/image insecure",
                "internal-registry-for-example.com/bar/image",
            ],
        ),
        ("example.com/foobar", ["example.com/foobar"]),
        ("example.com:5000/foo/image", ["example.com:5000/foo/image"]),
        ("registry.com/x", ["registry.com/x insecure"]),
        ("registry.com:1/x", ["registry.com:1/x"]),
        ("a.wild.example/x", ["a.wild.example/x insecure"]),
        ("a.b.wild.example/x", ["a.b.wild.example/x insecure"]),
        ("wild.example/x", ["wild.example/x"]),
        ("awild.example/x", ["awild.example/x"]),
        ("a.wild.example:1/x", ["a.wild.example:1/x"]),
        ("a.moved.example/x:1", ["mirror.example/moved/x"]),
        ("pinned:1", ["h:1/pinned"]),
        ("pinned:12", ["docker.io/library/pinned"]),
        ("localhost:5000/x", ["localhost:5000/x insecure"]),
        (f"localhost:5000/x@{DIGEST}", ["localhost:5000/x insecure"]),
    ],
)
def test_choice_of_a_table(tmp_path: Path, name: str, places: list[str]) -> None:
    assert endpoints(load(tmp_path, EXAMPLE), name) == places


def test_blocked(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r'registries\.conf blocks "example\.com/foo/blocked"'):
        endpoints(load(tmp_path, EXAMPLE), "example.com/foo/blocked/x")


@pytest.mark.parametrize(
    ("setting", "by_tag", "by_digest"),
    [
        ("", 2, 2),
        ('pull-from-mirror = "all"', 2, 2),
        ('pull-from-mirror = "digest-only"', 1, 2),
        ('pull-from-mirror = "tag-only"', 2, 1),
    ],
)
def test_mirrors_for_some_pulls(tmp_path: Path, setting: str, by_tag: int, by_digest: int) -> None:
    found = load(tmp_path, f'[[registry]]\nlocation = "h"\n[[registry.mirror]]\nlocation = "m"\n{setting}\n')
    assert len(found.endpoints(parse_reference("h.x/a"))) == 1
    found = load(tmp_path, f'[[registry]]\nlocation = "h.x"\n[[registry.mirror]]\nlocation = "m"\n{setting}\n')
    assert len(found.endpoints(parse_reference("h.x/a:1"))) == by_tag
    assert len(found.endpoints(parse_reference(f"h.x/a@{DIGEST}"))) == by_digest


def test_mirror_by_digest_only(tmp_path: Path) -> None:
    text = '[[registry]]\nlocation = "h.x"\nmirror-by-digest-only = true\n[[registry.mirror]]\nlocation = "m"\n'
    found = load(tmp_path, text)
    assert len(found.endpoints(parse_reference("h.x/a:1"))) == 1
    assert len(found.endpoints(parse_reference(f"h.x/a@{DIGEST}"))) == 2
    with pytest.raises(SettingsError, match="beside mirror-by-digest-only"):
        load(tmp_path, text + 'pull-from-mirror = "all"\n')


def test_drop_ins_replace_tables_of_the_same_prefix(tmp_path: Path) -> None:
    directory = tmp_path / "registries.conf.d"
    directory.mkdir()
    (directory / "20-b.conf").write_text('[[registry]]\nlocation = "h.x"\ninsecure = true\n')
    (directory / "10-a.conf").write_text('[[registry]]\nlocation = "h.x"\nblocked = true\n')
    (directory / "README").write_text("not TOML [")
    assert endpoints(load(tmp_path, '[[registry]]\nlocation = "h.x"\n'), "h.x/a") == ["h.x/a insecure"]


def test_which_file_is_read(tmp_path: Path) -> None:
    named = tmp_path / "named.conf"
    named.write_text('[[registry]]\nlocation = "h.x"\ninsecure = true\n')
    other = tmp_path / "other.conf"
    other.write_text("")
    environment = {"CONTAINERS_REGISTRIES_CONF": str(named)}
    assert endpoints(load_registries(None, environment), "h.x/a") == ["h.x/a insecure"]
    assert endpoints(load_registries(other, environment), "h.x/a") == ["h.x/a"]
    for path, variables in ((tmp_path / "none", {}), (None, {"CONTAINERS_REGISTRIES_CONF": "/none"})):
        with pytest.raises(SettingsError, match="no such file"):
            load_registries(path, variables)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[registries.search]\nregistries = ["x"]\n', "version 1 of the format"),
        ("x = [", "Invalid value"),
        ("registry = 1\n", r"registry: must be tables, written \[\[registry\]\]"),
        ("registry = [1]\n", "must be tables"),
        ("[[registry]]\n", r"registry\[0\].location: must be given, or prefix"),
        ("[[registry]]\nlocation = 1\n", "location: must be text"),
        ('[[registry]]\nlocation = "http://h"\n', 'without a scheme, not "http://h"'),
        ('[[registry]]\nlocation = "h/A"\n', "must be host"),
        ('[[registry]]\nlocation = "h/../x"\n', "must be host"),
        ('[[registry]]\nlocation = "*.h"\n', "must be host"),
        ('[[registry]]\nprefix = "a.*.h"\n', "must be host"),
        ('[[registry]]\nprefix = "*.h/x"\n', "must be host"),
        ('[[registry]]\nlocation = "h"\ninsecure = "yes"\n', "insecure: must be true or false"),
        ('[[registry]]\nlocation = "h"\nblocked = 1\n', "blocked: must be true or false"),
        ('[[registry]]\nlocation = "h"\n[[registry.mirror]]\n', r"registry\[0\].mirror\[0\].location: must be host"),
        ('[[registry]]\nlocation = "h"\nmirror = 1\n', "registry.mirror: must be tables"),
        ('[[registry]]\nlocation = "h"\n[[registry.mirror]]\nlocation = "m"\npull-from-mirror = "x"\n', 'not "x"'),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said) as caught:
        load(tmp_path, text)
    assert str(tmp_path / "registries.conf") in str(caught.value)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="is a directory"):
        load_registries(tmp_path, {})


def test_a_rewrite_that_is_no_name(tmp_path: Path) -> None:
    found = load(tmp_path, '[[registry]]\nprefix = "h.x/a"\nlocation = "m"\n')
    with pytest.raises(ImageError, match="which is not an image name"):
        endpoints(found, "h.x/a:1")
