"""System call filters: compiled once for each profile, kept as BPF.

A profile is what OCI calls ``linux.seccomp``. Compiling costs milliseconds and a library; a container start pays
neither, for the result is cached under a name made of all it depends on. Nothing here is loaded into this process.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nsrun.errors import RuntimeFailure, describe_errno
from nsrun.runtime.seccomp_profile import NUMBERS, Rule, rules
from nsrun.support.atomic import write_atomic
from nsrun.support.fds import Fd

__all__ = ["LOAD_FLAGS", "Seccomp", "load_flags"]

_ENOSYS = 38
_EPERM = 1
_INSTRUCTION = 8  # sizeof(struct sock_filter)
_MAX_INSTRUCTIONS = 4096  # BPF_MAXINSNS
_DIGEST = hashlib.sha256().digest_size
_FORMAT = b"2"

LOAD_FLAGS = {
    "SECCOMP_FILTER_FLAG_TSYNC": 0,  # for threads, of which there is one
    "SECCOMP_FILTER_FLAG_LOG": 2,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": 4,
}
"""What a profile may ask of seccomp(2) itself."""

_OCI_ARCHITECTURES = {
    "aarch64": "SCMP_ARCH_AARCH64",
    "ppc64le": "SCMP_ARCH_PPC64LE",
    "riscv64": "SCMP_ARCH_RISCV64",
    "s390x": "SCMP_ARCH_S390X",
    "x86_64": "SCMP_ARCH_X86_64",
}


class Seccomp:
    """``cache_dir`` is made when needed (0700). Safe to use from several threads."""

    def __init__(self, cache_dir: Path) -> None:
        self._cache_dir = cache_dir
        self._machine = os.uname().machine
        self._surroundings = "\n".join((self._machine, os.uname().release, _library_version()))
        self._known: dict[str, bytes] = {}

    def program(self, profile: Mapping[str, object]) -> bytes:
        """A profile as an array of ``struct sock_filter``. It fits the schema, and asks for nothing that is answered
        elsewhere (``seccomp_localhost``). Blocks for milliseconds the first time. Raises RuntimeFailure."""
        text = json.dumps(profile, sort_keys=True)
        name = hashlib.sha256(f"{text}\n{self._surroundings}".encode() + _FORMAT).hexdigest()
        if name not in self._known:
            path = self._cache_dir / f"seccomp-{name}.bpf"
            self._known[name] = _load(path) or _store(path, _compile(profile))
        return self._known[name]

    def default(self, capabilities: frozenset[str]) -> bytes:
        """The default filter for a process bounded by ``capabilities`` (``CAP_…``). Raises RuntimeFailure."""
        return self.program(self.oci_profile(capabilities))

    def oci_profile(self, capabilities: frozenset[str]) -> dict[str, object]:
        """The default profile for a process bounded by ``capabilities``."""
        return {
            "defaultAction": "SCMP_ACT_ERRNO",
            "defaultErrnoRet": _ENOSYS,
            "architectures": [_OCI_ARCHITECTURES[self._machine]] if self._machine in _OCI_ARCHITECTURES else [],
            "syscalls": [_oci_rule(rule) for rule in rules(capabilities, self._machine)],
        }


def load_flags(profile: Mapping[str, Any]) -> int:
    """What a profile asks of seccomp(2), as bits. Raises RuntimeFailure for what is not known."""
    flags = 0
    for name in profile.get("flags", ()):
        if name not in LOAD_FLAGS:
            raise RuntimeFailure(f'cannot use the seccomp profile: its flag "{name}" is not supported')
        flags |= LOAD_FLAGS[name]
    return flags


def _oci_rule(rule: Rule) -> dict[str, object]:
    rendered: dict[str, object] = {"names": list(rule.names), "action": "SCMP_ACT_ALLOW"}
    if rule.errno:
        rendered |= {"action": "SCMP_ACT_ERRNO", "errnoRet": rule.errno}
    if rule.test is not None:
        test = rule.test
        rendered["args"] = [
            {"index": test.index, "value": test.mask, "valueTwo": test.value, "op": "SCMP_CMP_MASKED_EQ"}
        ]
    return rendered


def _compile(profile: Mapping[str, Any]) -> bytes:
    try:
        import pyseccomp
    except (ImportError, RuntimeError) as error:
        raise RuntimeFailure(
            f"cannot compile the seccomp profile: {error}", hint="install libseccomp (Debian, Ubuntu: libseccomp2)"
        ) from error
    default = _action(pyseccomp, profile["defaultAction"], profile.get("defaultErrnoRet"))
    try:
        compiled = pyseccomp.SyscallFilter(default)
        compiled.set_attr(pyseccomp.Attr.ACT_BADARCH, pyseccomp.KILL_PROCESS)
        try:
            compiled.set_attr(pyseccomp.Attr.CTL_OPTIMIZE, 2)  # a binary tree over the numbers
        except OSError:
            pass  # libseccomp before 2.5: a longer way through the filter
        foreign = _add_architectures(pyseccomp, compiled, profile.get("architectures", ()))
        for rule in profile.get("syscalls", ()):
            action = _action(pyseccomp, rule["action"], rule.get("errnoRet"))
            if action == default:
                continue  # said already; libseccomp takes it for a mistake
            for tests in _tests(pyseccomp, rule.get("args", ())):
                for name in rule["names"]:
                    number = _number(pyseccomp, name, foreign=foreign)
                    if number is not None:
                        compiled.add_rule(action, number, *tests)
        with Fd(os.memfd_create("seccomp", os.MFD_CLOEXEC)) as memory:
            compiled.export_bpf(memory)
            return os.pread(memory.fileno(), (_MAX_INSTRUCTIONS + 1) * _INSTRUCTION, 0)
    except OSError as error:
        raise RuntimeFailure(f"cannot compile the seccomp profile: {describe_errno(error.errno or 0)}") from error


def _action(library: Any, name: str, errno_ret: int | None) -> int:
    value = _EPERM if errno_ret is None else errno_ret
    actions: dict[str, int] = {
        "SCMP_ACT_ALLOW": library.ALLOW,
        "SCMP_ACT_ERRNO": library.ERRNO(value),
        "SCMP_ACT_KILL": library.KILL,
        "SCMP_ACT_KILL_PROCESS": library.KILL_PROCESS,
        "SCMP_ACT_KILL_THREAD": library.KILL_THREAD,
        "SCMP_ACT_LOG": library.LOG,
        "SCMP_ACT_TRACE": library.TRACE(value),
        "SCMP_ACT_TRAP": library.TRAP,
    }
    if name not in actions:
        raise RuntimeFailure(f'cannot compile the seccomp profile: its action "{name}" is not supported')
    return actions[name]


def _add_architectures(library: Any, compiled: Any, names: Sequence[str]) -> bool:
    """Whether there are others than this machine's own, which is always there."""
    foreign = False
    for name in names:
        architecture = getattr(library.Arch, name.removeprefix("SCMP_ARCH_"), None)
        if architecture is None:
            raise RuntimeFailure(f'cannot compile the seccomp profile: there is no architecture "{name}"')
        if not compiled.exist_arch(architecture):
            compiled.add_arch(architecture)
            foreign = True
    return foreign


def _tests(library: Any, arguments: Sequence[Mapping[str, Any]]) -> Iterator[list[Any]]:
    """All tests of a rule have to hold; but several of one argument are alternatives (runc's reading)."""
    tests = [
        library.Arg(
            test["index"],
            getattr(library, test["op"].removeprefix("SCMP_CMP_")),
            test["value"],
            test.get("valueTwo", 0),
        )
        for test in arguments
    ]
    if len({test["index"] for test in arguments}) == len(tests):
        yield tests
    else:
        yield from ([test] for test in tests)


def _number(library: Any, name: str, *, foreign: bool) -> int | None:
    """None for a call that there is on no architecture of the filter: libraries older, or newer, than the profile."""
    number = int(library.resolve_syscall(library.Arch.NATIVE, name))
    if number >= 0 or (foreign and number != -1):
        return number
    return NUMBERS.get(name)


def _store(path: Path, program: bytes) -> bytes:
    if not _is_program(program):
        raise RuntimeFailure(f"cannot compile the seccomp profile: {len(program)} bytes are no filter")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_atomic(path, hashlib.sha256(program).digest() + program, durable=False)
    except OSError as error:
        raise RuntimeFailure(f'cannot write "{path}": {describe_errno(error.errno or 0)}') from error
    return program


def _load(path: Path) -> bytes | None:
    """A cached filter; None when there is none that we wrote ourselves and that is whole. An empty or a foreign one
    would mean no filter at all."""
    try:
        with Fd.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o022:
                return None
            content = os.read(file.fileno(), _DIGEST + (_MAX_INSTRUCTIONS + 1) * _INSTRUCTION)
    except OSError:
        return None
    digest, program = content[:_DIGEST], content[_DIGEST:]
    whole = hashlib.sha256(program).digest() == digest and _is_program(program)
    return program if whole else None


def _is_program(program: bytes) -> bool:
    return 0 < len(program) <= _MAX_INSTRUCTIONS * _INSTRUCTION and len(program) % _INSTRUCTION == 0


def _library_version() -> str:
    """What the loader would load, by the version in its file's name and its time stamp, without loading it."""
    multiarch = sysconfig.get_config_var("MULTIARCH") or ""
    for directory in (f"/usr/lib/{multiarch}", f"/lib/{multiarch}", "/usr/lib64", "/lib64", "/usr/lib", "/lib"):
        path = Path(directory) / "libseccomp.so.2"
        try:
            return f"{path.resolve().name} {path.stat().st_mtime_ns}"
        except OSError:
            continue
    return "unknown"
