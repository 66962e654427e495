"""Profiles of the operator's: what is taken, what is refused, and what Docker's own words come to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nsrun.errors import RuntimeFailure
from nsrun.runtime.seccomp import Seccomp, load_flags
from nsrun.runtime.seccomp_localhost import oci_form, read_profile

NONE: frozenset[str] = frozenset()
ADMIN = frozenset({"CAP_SYS_ADMIN"})


def form(document: object, capabilities: frozenset[str] = NONE) -> dict[str, object]:
    return oci_form(document, capabilities, machine="x86_64", release="6.1.0-18-amd64")


def rule(*names: str, **more: object) -> dict[str, object]:
    return {"names": list(names), "action": "SCMP_ACT_ALLOW", **more}


def test_a_profile_of_the_documentation() -> None:
    plain = {"defaultAction": "SCMP_ACT_LOG"}
    assert form(plain) == plain
    fine = {"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86_64"], "syscalls": [rule("read")]}
    assert form(fine) == fine


def test_dockers_words() -> None:
    document = {
        "comment": "for people",
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 1,
        "archMap": [
            {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]},
            {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]},
        ],
        "syscalls": [
            rule("read", comment="x", includes={}, excludes={}, args=None),
            rule("mount", includes={"caps": ["CAP_SYS_ADMIN"]}),
            rule("clone", excludes={"caps": ["CAP_SYS_ADMIN"]}),
            rule("arch_prctl", includes={"arches": ["amd64", "x32"]}),
            rule("sync_file_range2", includes={"arches": ["ppc64le"]}),
            rule("clone_s390", excludes={"arches": ["amd64"]}),
            rule("ptrace", includes={"minKernel": "4.8"}),
            rule("newer", includes={"minKernel": "7.0"}),
            {"name": "write", "action": "SCMP_ACT_ALLOW"},
        ],
    }
    found = form(document)
    assert found["architectures"] == ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]
    assert found["syscalls"] == [rule("read"), rule("clone"), rule("arch_prctl"), rule("ptrace"), rule("write")]
    names = [entry["names"] for entry in form(document, ADMIN)["syscalls"]]  # type: ignore[attr-defined]
    assert ["mount"] in names
    assert ["clone"] not in names


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ([], "no JSON object"),
        ({}, "'defaultAction' is a required property"),
        ({"defaultAction": "SCMP_ACT_SURPRISE"}, "defaultAction: 'SCMP_ACT_SURPRISE' is not one of"),
        ({"defaultAction": "SCMP_ACT_ERRNO", "extra": 1}, "'extra' was unexpected"),
        ({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["read"]}]}, "'action' is a required property"),
        ({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": ["read"]}, "is not of type 'object'"),
        ({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [rule("read", includes={"moon": "full"})]}, '"moon"'),
        ({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [rule("read", includes=[1])]}, "are objects"),
        ({"defaultAction": "SCMP_ACT_NOTIFY"}, "needs an agent"),
        ({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_NOTIFY"}]}, "agent"),
        (
            {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [rule("read", args=[{"index": 9, "value": 1, "op": "="}])]},
            "syscalls[0].args[0]",
        ),
    ],
)
def test_what_is_no_profile(document: object, problem: str) -> None:
    with pytest.raises(ValueError) as caught:
        form(document)
    assert problem in str(caught.value)


# --- files


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = tmp_path / "seccomp"
    path.mkdir()
    (tmp_path / "outside.json").write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW"}))
    (path / "deep").mkdir()
    (path / "deep" / "log.json").write_text(json.dumps({"defaultAction": "SCMP_ACT_LOG"}))
    (path / "link.json").symlink_to("deep/log.json")
    (path / "out.json").symlink_to("../outside.json")
    (path / "empty.json").touch()
    (path / "broken.json").write_text("{")
    (path / "flag.json").write_text('{"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_X"]}')
    return path


@pytest.mark.parametrize("name", ["deep/log.json", "link.json", "deep/../deep/log.json"])
def test_profiles_below_the_directory(directory: Path, name: str) -> None:
    assert read_profile(directory, name, NONE) == {"defaultAction": "SCMP_ACT_LOG"}


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("../outside.json", "EXDEV"),
        ("deep/../../outside.json", "EXDEV"),
        ("/etc/passwd", "EXDEV"),
        ("out.json", "EXDEV"),
        ("", "ENOENT"),
        (".", "EINVAL"),
        ("deep", "EINVAL"),
        ("none.json", "ENOENT"),
        ("empty.json", "EINVAL"),
        ("broken.json", "cannot use seccomp profile"),
        ("flag.json", 'its flag "SECCOMP_FILTER_FLAG_X" is not supported'),
    ],
)
def test_what_is_no_profile_below_the_directory(directory: Path, name: str, cause: str) -> None:
    """CVE-2023-2431: no name, or an empty file, must not come to mean no filter."""
    with pytest.raises(RuntimeFailure) as caught:
        read_profile(directory, name, NONE)
    assert cause in caught.value.message
    assert f'"{name}"' in caught.value.message
    assert caught.value.reason == "CreateContainerError"


def test_no_directory(tmp_path: Path) -> None:
    with pytest.raises(RuntimeFailure, match="no such file or directory"):
        read_profile(tmp_path / "none", "x", NONE)


# --- compiling


@pytest.fixture
def seccomp(tmp_path: Path) -> Seccomp:
    return Seccomp(tmp_path / "cache")


def test_every_profile_has_its_own_program(seccomp: Seccomp) -> None:
    programs = {
        seccomp.program(profile)
        for profile in (
            {"defaultAction": "SCMP_ACT_ALLOW"},
            {"defaultAction": "SCMP_ACT_LOG"},
            {"defaultAction": "SCMP_ACT_ERRNO"},
            {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 2},
            {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [rule("read")]},
        )
    }
    assert len(programs) == 5


def test_what_the_library_would_take_amiss(seccomp: Seccomp) -> None:
    """A rule that says what the default says, calls that nobody knows, and two tests of one argument."""
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": [
            rule("read", "no_such_call"),
            {"names": ["socketcall", "no_such_call"], "action": "SCMP_ACT_ERRNO"},
            {
                "names": ["personality"],
                "action": "SCMP_ACT_ERRNO",
                "errnoRet": 2,
                "args": [
                    {"index": 0, "value": 1, "op": "SCMP_CMP_EQ"},
                    {"index": 0, "value": 2, "op": "SCMP_CMP_EQ"},
                ],
            },
        ],
    }
    assert len(seccomp.program(profile)) > 8


@pytest.mark.parametrize(
    "profile",
    [
        {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_Z80"]},
        {"defaultAction": "SCMP_ACT_NOTIFY"},
    ],
)
def test_what_cannot_be_compiled(seccomp: Seccomp, profile: dict[str, object]) -> None:
    with pytest.raises(RuntimeFailure, match="cannot compile the seccomp profile"):
        seccomp.program(profile)


def test_flags() -> None:
    assert load_flags({}) == 0
    assert load_flags({"flags": ["SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_LOG"]}) == 2
    assert load_flags({"flags": ["SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_LOG"]}) == 6
