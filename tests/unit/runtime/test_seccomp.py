"""The profile as data, its OCI form, and the cache of compiled filters."""

from __future__ import annotations

import errno
import itertools
import os
import struct
import sys
from pathlib import Path

import pytest

from nsrun.errors import RuntimeFailure
from nsrun.runtime.seccomp import Seccomp
from nsrun.runtime.seccomp_profile import ArgumentTest, Rule, rules

ADMIN = frozenset({"CAP_SYS_ADMIN"})


def answer(profile: tuple[Rule, ...], name: str, *arguments: int) -> int:
    """What the rules say about a call: 0 when it is allowed. Rules must not contradict each other."""
    answers = {
        rule.errno
        for rule in profile
        if name in rule.names and (rule.test is None or arguments[rule.test.index] & rule.test.mask == rule.test.value)
    }
    assert len(answers) <= 1, (name, arguments, answers)
    return answers.pop() if answers else errno.ENOSYS


@pytest.mark.parametrize("capabilities", [frozenset(), ADMIN, frozenset({"CAP_BPF", "CAP_SYS_TIME"})])
def test_no_call_has_two_answers(capabilities: frozenset[str]) -> None:
    profile = rules(capabilities, "x86_64")
    plain = [set(rule.names) for rule in profile if rule.test is None]
    tested = {name for rule in profile if rule.test is not None for name in rule.names}
    for one, other in itertools.combinations(plain, 2):
        assert one & other == set()
    assert tested & {name for names in plain for name in names} == set()


@pytest.mark.parametrize("family", range(48))
def test_every_family_but_two_is_allowed(family: int) -> None:
    profile = rules(frozenset(), "x86_64")
    expected = errno.EAFNOSUPPORT if family in (38, 40) else errno.ENOSYS if family >= 46 else 0
    assert answer(profile, "socket", family) == expected
    # The kernel looks at the lower half of the register only.
    assert answer(profile, "socket", family | 0xDEAD << 32) == expected


def test_clone_makes_no_namespace() -> None:
    profile = rules(frozenset(), "x86_64")
    assert answer(profile, "clone", 0x01200011) == 0  # what fork(3) does
    assert answer(profile, "clone", 0x003D0F00) == 0  # what pthread_create(3) does
    for flag in (0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000):
        assert answer(profile, "clone", flag | 17) == errno.EPERM
    assert answer(profile, "clone3") == errno.ENOSYS
    assert answer(rules(ADMIN, "x86_64"), "clone", 0x10000000) == answer(rules(ADMIN, "x86_64"), "clone3") == 0


def test_clone_s_flags_are_elsewhere_on_s390x() -> None:
    assert {rule.test.index for rule in rules(frozenset(), "s390x") if "clone" in rule.names and rule.test} == {1}


@pytest.mark.parametrize(
    ("capability", "call"),
    [
        ("CAP_SYS_ADMIN", "mount"),
        ("CAP_SYS_ADMIN", "bpf"),
        ("CAP_BPF", "bpf"),
        ("CAP_PERFMON", "perf_event_open"),
        ("CAP_SYS_ADMIN", "perf_event_open"),
        ("CAP_SYS_MODULE", "init_module"),
        ("CAP_SYS_CHROOT", "chroot"),
        ("CAP_SYS_TIME", "clock_settime"),
        ("CAP_SYS_NICE", "mbind"),
        ("CAP_DAC_READ_SEARCH", "open_by_handle_at"),
        ("CAP_SYS_PTRACE", "pidfd_getfd"),
        ("CAP_SYS_BOOT", "reboot"),
    ],
)
def test_gates(capability: str, call: str) -> None:
    assert answer(rules(frozenset(), "x86_64"), call) == errno.EPERM
    assert answer(rules(frozenset({capability}), "x86_64"), call) == 0


def test_nothing_opens_keyrings_userfaultfd_and_io_uring() -> None:
    profile = rules(frozenset({"CAP_SYS_ADMIN", "CAP_SYS_PTRACE", "CAP_IPC_LOCK"}), "x86_64")
    for call in ("keyctl", "add_key", "userfaultfd", "io_uring_setup", "kexec_load", "swapon"):
        assert answer(profile, call) == errno.EPERM


def test_personality_has_five_values() -> None:
    profile = rules(frozenset(), "x86_64")
    assert [answer(profile, "personality", value) for value in (0, 8, 0x20000, 0x20008, 0xFFFFFFFF)] == [0] * 5
    assert answer(profile, "personality", 0x0400000) == errno.ENOSYS


def test_the_oci_form_says_the_same(tmp_path: Path) -> None:
    rendered = Seccomp(tmp_path).oci_profile(frozenset())
    assert (rendered["defaultAction"], rendered["defaultErrnoRet"]) == ("SCMP_ACT_ERRNO", 38)
    calls = rendered["syscalls"]
    assert isinstance(calls, list)
    assert calls[0]["action"] == "SCMP_ACT_ALLOW"
    assert "read" in calls[0]["names"]
    assert {"action": "SCMP_ACT_ERRNO", "errnoRet": 97}.items() <= calls[-6].items()
    assert calls[-6]["args"] == [{"index": 0, "value": 0xFFFFFFFF, "valueTwo": 40, "op": "SCMP_CMP_MASKED_EQ"}]


def test_a_filter_is_compiled_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "cache"
    program = Seccomp(cache).default(frozenset())
    code, _, _, _ = struct.unpack_from("=HBBI", program)
    assert code == 0x20  # BPF_LD | BPF_W | BPF_ABS: every filter starts by looking at the architecture
    assert Seccomp(cache).default(frozenset({"CAP_CHOWN"})) == program  # a capability that opens nothing
    assert [path.stat().st_mode & 0o777 for path in cache.iterdir()] == [0o600]
    monkeypatch.setitem(sys.modules, "pyseccomp", None)  # importing it fails from now on
    assert Seccomp(cache).default(frozenset()) == program
    with pytest.raises(RuntimeFailure, match="cannot compile the seccomp profile") as raised:
        Seccomp(cache).default(ADMIN)
    assert raised.value.hint is not None


@pytest.mark.parametrize("damage", ["empty", "short", "changed", "open to others", "a link", "another owner's"])
def test_a_damaged_cache_never_becomes_a_filter(tmp_path: Path, damage: str) -> None:
    program = Seccomp(tmp_path).default(frozenset())
    (path,) = tmp_path.iterdir()
    content = path.read_bytes()
    if damage == "empty":
        path.write_bytes(b"")
    elif damage == "short":
        path.write_bytes(content[:-8])
    elif damage == "changed":
        path.write_bytes(content[:40] + b"\0" * 8 + content[48:])
    elif damage == "open to others":
        path.write_bytes(content)
        path.chmod(0o666)
    elif damage == "a link":
        path.rename(tmp_path / "elsewhere")
        path.symlink_to(tmp_path / "elsewhere")
    else:
        if os.geteuid() != 0:
            pytest.skip("needs root")
        os.chown(path, 1000, 1000)
    assert Seccomp(tmp_path).default(frozenset()) == program
    assert path.read_bytes() == content
    assert (path.stat().st_mode & 0o777, path.is_symlink(), path.stat().st_uid) == (0o600, False, os.geteuid())


def test_a_cache_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RuntimeFailure, match="cannot write"):
        Seccomp(tmp_path / "file" / "cache").default(frozenset())


def test_blocks_cover_a_range_exactly() -> None:
    tests = [rule.test for rule in rules(frozenset(), "x86_64") if "socket" in rule.names and rule.errno == 0]
    masks = [test for test in tests if isinstance(test, ArgumentTest)]
    covered = [value for value in range(256) if any(value & m.mask & 0xFFFFFFFF == m.value for m in masks)]
    assert covered == [value for value in range(46) if value not in (38, 40)]
