"""containers-registries.conf(5)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from nsrun.errors import ImageError, SettingsError
from nsrun.images.reference import parse_reference
from nsrun.images.registries import Registries, load_registries, record_alias

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

[[registry]]
location = "UPPER.example/x"
insecure = true
"""


@pytest.mark.parametrize(
    ("name", "places"),
    [
        ("docker.io/nginx", ["docker.io/library/nginx"]),
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
        ("REGISTRY.COM/x", ["registry.com/x insecure"]),
        ("upper.EXAMPLE/x/y", ["upper.example/x/y insecure"]),
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
    with pytest.raises(ImageError, match="blocks"):
        endpoints(load(tmp_path, EXAMPLE), "EXAMPLE.com/foo/blocked/x")


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
        ("x = y\n", ':1:5": invalid value'),
        ("x = [", 'conf": invalid value at its end'),
        ("x = 1\nx = 2\n", ':2:6": cannot overwrite a value'),
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
        (
            '[[registry]]\nlocation = "h"\nmirror = 1\n',
            r"line 1: registry\[0\].mirror: must be tables, written \[\[registry.mirror\]\]",
        ),
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


def named(registries: Registries, name: str) -> list[str]:
    return [str(reference) for reference in registries.names.meanings(name)]


def world(tmp_path: Path, files: Mapping[str, str]) -> tuple[Path, dict[str, str]]:
    """A machine's /etc/containers (``etc/``) and the environment of a user (``user/``: what is in ~/.config)."""
    home = tmp_path / "home"
    for name, text in files.items():
        path = tmp_path / name if name.startswith("etc/") else home / ".config" / "containers" / name[5:]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "etc", {"HOME": str(home)}


SEARCH = 'unqualified-search-registries = ["{}"]\n'
TABLE = '[[registry]]\nlocation = "h.x"\n{}\n'


def test_short_names_are_looked_for_where_the_file_says(tmp_path: Path) -> None:
    found = load(tmp_path, EXAMPLE)
    assert named(found, "busybox") == ["example.com/busybox:latest"]
    assert named(found, "nginx:1") == ["evil.example/nginx:1"]
    assert named(Registries(), "nginx") == ["docker.io/library/nginx:latest"]


@pytest.mark.parametrize(
    ("text", "helpers"),
    [("", None), ("credential-helpers = []\n", ()), ('credential-helpers = ["pass", "a"]\n', ("pass", "a"))],
)
def test_credential_helpers(tmp_path: Path, text: str, helpers: tuple[str, ...] | None) -> None:
    assert load(tmp_path, text).credential_helpers == helpers


def test_without_a_user_s_file_the_machine_s_counts_then_both_directories(tmp_path: Path) -> None:
    etc, environment = world(
        tmp_path,
        {
            "etc/registries.conf": SEARCH.format("one.x") + TABLE.format("blocked = true"),
            "etc/registries.conf.d/10.conf": SEARCH.format("two.x") + '[aliases]\n"a" = "two.x/a"\n"b" = "two.x/b"\n',
            "user/registries.conf.d/10.conf": '[aliases]\n"a" = "three.x/a"\n"b" = ""\n',
        },
    )
    found = load_registries(None, environment, etc=etc, uid=1000)
    assert named(found, "x") == ["two.x/x:latest"]
    assert named(found, "a") == ["three.x/a:latest"]
    assert named(found, "b") == ["two.x/b:latest"]
    assert found.names.aliases == {"a": "three.x/a"}
    with pytest.raises(ImageError, match="blocks"):
        endpoints(found, "h.x/a")


def test_a_user_s_file_counts_alone(tmp_path: Path) -> None:
    etc, environment = world(
        tmp_path,
        {
            "etc/registries.conf": "broken [",
            "etc/registries.conf.d/10.conf": "broken [",
            "user/registries.conf": SEARCH.format("one.x"),
            "user/registries.conf.d/10.conf": 'short-name-mode = "disabled"\n',
        },
    )
    found = load_registries(None, environment, etc=etc, uid=1000)
    assert named(found, "x") == ["one.x/x:latest"]
    assert str(found.names.mode) == "disabled"
    elsewhere = {"HOME": "/nowhere", "XDG_CONFIG_HOME": str(tmp_path / "home" / ".config")}
    assert named(load_registries(None, elsewhere, etc=etc, uid=1000), "x") == ["one.x/x:latest"]


def test_drop_ins_without_the_file_they_are_for(tmp_path: Path) -> None:
    etc, environment = world(tmp_path, {"etc/registries.conf.d/10.conf": SEARCH.format("one.x")})
    (etc / "registries.conf.d" / "directory.conf").mkdir()
    assert named(load_registries(None, environment, etc=etc, uid=1000), "x") == ["one.x/x:latest"]
    assert named(load_registries(None, {}, etc=etc, uid=1000), "x") == ["one.x/x:latest"]


def test_an_empty_list_takes_back_what_was_said_before(tmp_path: Path) -> None:
    etc, environment = world(
        tmp_path,
        {
            "etc/registries.conf": SEARCH.format("one.x"),
            "etc/registries.conf.d/10.conf": "unqualified-search-registries = []\n",
        },
    )
    assert named(load_registries(None, environment, etc=etc, uid=1000), "x") == ["docker.io/library/x:latest"]


def test_what_was_answered_counts_from_then_on(tmp_path: Path) -> None:
    etc, environment = world(tmp_path, {"etc/registries.conf": f'{SEARCH.format("one.x")}[aliases]\n"a" = "one.x/a"\n'})
    before = load_registries(None, environment, etc=etc, uid=1000)
    assert before.recorded == tmp_path / "home" / ".cache" / "containers" / "short-name-aliases.conf"
    record_alias(before.recorded, "a", parse_reference("two.x/a:1"))
    record_alias(before.recorded, "c/d", parse_reference("docker.io/c/d"))
    after = load_registries(None, environment, etc=etc, uid=1000)
    assert named(after, "a:2") == ["two.x/a:2"]
    assert named(after, "c/d") == ["docker.io/c/d:latest"]
    assert load_registries(None, {}, etc=etc, uid=0).recorded == Path("/var/cache/containers/short-name-aliases.conf")
    assert load_registries(None, {}, etc=etc, uid=1000).recorded is None


def test_an_answer_that_cannot_be_kept(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="cannot write"):
        record_alias(tmp_path / "file" / "x.conf", "a", parse_reference("two.x/a"))


def test_every_problem_of_every_file_is_told(tmp_path: Path) -> None:
    etc, environment = world(
        tmp_path,
        {
            "etc/registries.conf": 'short-name-mode = "maybe"\n\n[[registry]]\nlocation = "h.x"\n\n'
            '[[registry]]\nlocation = "A/B"\ninsecure = 1\n[[registry.mirror]]\ninsecure = "no"\n',
            "etc/registries.conf.d/10.conf": "x = y\n",
            "etc/registries.conf.d/20.conf": '[aliases]\n"h.x/a" = "h.x/a"\n"b:1" = "h.x/b"\n'
            '"c" = "c"\n"d" = "h.x/d:1"\n',
            "etc/registries.conf.d/30.conf": 'unqualified-search-registries = ["h.x/path"]\naliases = 1\n'
            'credential-helpers = "x"\n',
            "etc/registries.conf.d/40.conf": "[registries.search]\nregistries = []\n",
        },
    )
    with pytest.raises(SettingsError) as caught:
        load_registries(None, environment, etc=etc, uid=1000)
    directory = etc / "registries.conf.d"
    assert caught.value.message.replace(f'"{directory}/', '"').replace(f'"{etc}/', '"').splitlines() == [
        'cannot read "registries.conf": line 6: registry[1].location: must be host[:port][/path], not "A/B"',
        'cannot read "registries.conf": line 6: registry[1].mirror[0].location: must be host[:port][/path]',
        'cannot read "registries.conf": line 6: registry[1].mirror[0].insecure: must be true or false',
        'cannot read "registries.conf": line 6: registry[1].insecure: must be true or false',
        'cannot read "registries.conf": short-name-mode: must be enforcing, permissive or disabled, not "maybe"',
        'cannot read "10.conf:1:5": invalid value',
        'cannot read "20.conf": aliases."h.x/a": must be a name without registry, tag and digest',
        'cannot read "20.conf": aliases."b:1": must be a name without registry, tag and digest',
        'cannot read "20.conf": aliases."c": must lead to a full name without tag and digest, not "c"',
        'cannot read "20.conf": aliases."d": must lead to a full name without tag and digest, not "h.x/d:1"',
        'cannot read "30.conf": unqualified-search-registries: must be host[:port], not "h.x/path"',
        'cannot read "30.conf": aliases: must be a table, written [aliases]',
        'cannot read "30.conf": credential-helpers: must be a list of texts',
        'cannot read "40.conf": it is written in version 1 of the format ([registries.search] and the like)',
    ]
    assert caught.value.hint is not None


@pytest.mark.parametrize(("verify", "insecure"), [(None, [True, False]), (True, [False] * 2), (False, [True] * 2)])
def test_a_wish_for_tls_overrides_the_file(tmp_path: Path, verify: bool | None, insecure: list[bool]) -> None:
    text = '[[registry]]\nlocation = "h.x"\n[[registry.mirror]]\nlocation = "m"\ninsecure = true\n'
    found = replace(load(tmp_path, text), verify=verify)
    assert [endpoint.insecure for endpoint in found.endpoints(parse_reference("h.x/a"))] == insecure
    assert [e.insecure for e in found.endpoints(parse_reference("other.x/a"))] == [verify is False]
