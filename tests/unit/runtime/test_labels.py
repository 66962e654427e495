"""AppArmor and SELinux: which profile, which labels, and how they get into a plan."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest

import nsrun.runtime
from nsrun.errors import RuntimeFailure
from nsrun.model.security import AppArmorProfile, ProfileType, SecurityContext, SeLinuxOptions
from nsrun.runtime import operations as do
from nsrun.runtime.apparmor import DEFAULT_PROFILE, AppArmor
from nsrun.runtime.labels import app_armor_profile, mount_label, process_label
from nsrun.runtime.mountplan import file_system
from nsrun.runtime.ocimounts import mount
from nsrun.runtime.ocispec import container_config
from nsrun.runtime.plan import labels
from nsrun.support.native import abi
from tests.unit.runtime.requests import MACHINE, SURROUNDINGS, request

VALIDATOR = jsonschema.Draft202012Validator(
    json.loads((Path(nsrun.runtime.__file__).parent / "schema" / "config.json").read_text())
)


def context(kind: ProfileType | None, name: str = "", **more: object) -> SecurityContext:
    profile = AppArmorProfile(type=kind, localhost_profile=name) if kind is not None else None
    return SecurityContext(app_armor_profile=profile, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("asked", "profile"),
    [
        (context(None), DEFAULT_PROFILE),
        (context(ProfileType.RUNTIME_DEFAULT), DEFAULT_PROFILE),
        (context(ProfileType.LOCALHOST, "mine"), "mine"),
        (context(ProfileType.UNCONFINED), ""),
        (context(ProfileType.LOCALHOST, "mine", privileged=True), ""),
        (context(None, privileged=True), ""),
    ],
)
def test_app_armor(asked: SecurityContext, profile: str) -> None:
    assert app_armor_profile(asked, here=True) == profile


@pytest.mark.parametrize("kind", [ProfileType.RUNTIME_DEFAULT, ProfileType.LOCALHOST])
def test_no_app_armor(kind: ProfileType) -> None:
    assert app_armor_profile(context(None), here=False) == ""
    assert app_armor_profile(context(ProfileType.UNCONFINED), here=False) == ""
    with pytest.raises(RuntimeFailure, match="AppArmor is not enabled on this host"):
        app_armor_profile(context(kind), here=False)


def test_se_linux() -> None:
    none = SecurityContext()
    some = SecurityContext(se_linux_options=SeLinuxOptions(level="s0:c1,c2"))
    every = SecurityContext(se_linux_options=SeLinuxOptions(user="u", role="r", type="t", level="l"))
    assert process_label(none, here=True) == mount_label(none) == ""
    assert process_label(some, here=True) == "system_u:system_r:container_t:s0:c1,c2"
    assert mount_label(some) == "system_u:object_r:container_file_t:s0:c1,c2"
    assert process_label(every, here=True) == "u:r:t:l"
    assert mount_label(every) == "u:object_r:container_file_t:l"
    with pytest.raises(RuntimeFailure, match="SELinux is not enabled on this host"):
        process_label(some, here=False)
    with pytest.raises(RuntimeFailure, match="control character"):
        process_label(SecurityContext(se_linux_options=SeLinuxOptions(type="x\ny")), here=True)


def test_they_are_asked_for_at_the_exec() -> None:
    options = SecurityContext(
        app_armor_profile=AppArmorProfile(type=ProfileType.LOCALHOST, localhost_profile="mine"),
        se_linux_options=SeLinuxOptions(type="t"),
    )
    machine = replace(MACHINE, app_armor=True, se_linux=True)
    config = container_config(request(security_context=options), machine, SURROUNDINGS)
    VALIDATOR.validate(json.loads(json.dumps(config)))
    ops = labels(config["process"])
    assert [op.describe() for op in ops] == [
        'ask for AppArmor profile "mine"',
        'ask for SELinux label "system_u:system_r:t:s0"',
    ]
    assert [op.encoded().texts for op in ops] == [
        (b"apparmor/exec", b"exec mine"),
        (b"exec", b"system_u:system_r:t:s0"),
    ]
    assert {op.encoded().kind for op in ops} == {abi.NS_OP_LABEL}
    assert not any(op.encoded().tolerate for op in ops)
    assert config["linux"].get("mountLabel") == "system_u:object_r:container_file_t:s0"


def test_what_is_the_containers_alone_has_its_label() -> None:
    tmpfs = file_system(mount("/dev", "tmpfs", "tmpfs", ("mode=755",)), label="a:b:c:s0:c1,c2")
    assert "context=a:b:c:s0:c1,c2" in tmpfs.options
    proc = file_system(mount("/proc", "proc", "proc", ()), label="a:b:c:s0")
    assert proc.options == ("source=proc",)
    assert isinstance(tmpfs, do.MountFs)


# --- loading the default profile


@pytest.fixture
def parser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An apparmor_parser that writes down what it is told."""
    program = tmp_path / "bin" / "apparmor_parser"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\ncat >> {tmp_path}/rules\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return program


def test_it_is_loaded_when_it_is_not_there(tmp_path: Path, parser: Path) -> None:
    loaded = tmp_path / "profiles"
    loaded.write_text("docker-default (enforce)\nnsrun-default-2 (enforce)\n")
    AppArmor(loaded).load_default()
    assert (tmp_path / "calls").read_text() == "--replace --skip-cache\n"
    assert (tmp_path / "rules").read_text().startswith("profile nsrun-default ")
    loaded.write_text("x (enforce)\nnsrun-default (enforce)\n")
    AppArmor(loaded).load_default()
    assert (tmp_path / "calls").read_text().count("\n") == 1


def test_what_the_parser_says_is_told(tmp_path: Path, parser: Path) -> None:
    parser.write_text("#!/bin/sh\necho 'no such\n feature' >&2; exit 3\n")
    with pytest.raises(RuntimeFailure, match='nsrun-default": no such feature'):
        AppArmor(tmp_path / "none").load_default()
    parser.write_text("#!/bin/sh\nexit 3\n")
    with pytest.raises(RuntimeFailure, match="ended with 3"):
        AppArmor(tmp_path / "none").load_default()
    parser.write_text("#!/nowhere\n")
    with pytest.raises(RuntimeFailure, match="no such file or directory"):
        AppArmor(tmp_path / "none").load_default()


def test_no_parser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeFailure, match="apparmor_parser is not installed") as caught:
        AppArmor(tmp_path / "none").load_default()
    assert "Unconfined" in (caught.value.hint or "")
