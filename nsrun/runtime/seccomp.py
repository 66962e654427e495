"""The default system call filter: compiled once for each set of capabilities, kept as BPF.

Compiling costs milliseconds and a library; a container start pays neither, for the result is cached under a name made
of all it depends on. Nothing here is loaded into this process.
"""

from __future__ import annotations

import hashlib
import os
import stat
import sysconfig
from pathlib import Path

from nsrun.errors import RuntimeFailure, describe_errno
from nsrun.runtime.seccomp_profile import NUMBERS, Rule, rules
from nsrun.support.atomic import write_atomic
from nsrun.support.fds import Fd

__all__ = ["Seccomp"]

_ENOSYS = 38
_INSTRUCTION = 8  # sizeof(struct sock_filter)
_MAX_INSTRUCTIONS = 4096  # BPF_MAXINSNS
_DIGEST = hashlib.sha256().digest_size
_FORMAT = b"1"

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

    def default(self, capabilities: frozenset[str]) -> bytes:
        """The filter for a process bounded by ``capabilities`` (``CAP_…``): an array of ``struct sock_filter``.

        Blocks for milliseconds the first time. Raises RuntimeFailure.
        """
        profile = rules(capabilities, self._machine)
        name = hashlib.sha256(f"{profile!r}\n{self._surroundings}".encode() + _FORMAT).hexdigest()
        if name not in self._known:
            path = self._cache_dir / f"seccomp-{name}.bpf"
            self._known[name] = _load(path) or _store(path, _compile(profile))
        return self._known[name]

    def oci_profile(self, capabilities: frozenset[str]) -> dict[str, object]:
        """The same filter as ``linux.seccomp`` of an OCI runtime config."""
        return {
            "defaultAction": "SCMP_ACT_ERRNO",
            "defaultErrnoRet": _ENOSYS,
            "architectures": [_OCI_ARCHITECTURES[self._machine]] if self._machine in _OCI_ARCHITECTURES else [],
            "syscalls": [_oci_rule(rule) for rule in rules(capabilities, self._machine)],
        }


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


def _compile(profile: tuple[Rule, ...]) -> bytes:
    try:
        import pyseccomp
    except (ImportError, RuntimeError) as error:
        raise RuntimeFailure(
            f"cannot compile the seccomp profile: {error}", hint="install libseccomp (Debian, Ubuntu: libseccomp2)"
        ) from error
    try:
        compiled = pyseccomp.SyscallFilter(pyseccomp.ERRNO(_ENOSYS))
        compiled.set_attr(pyseccomp.Attr.ACT_BADARCH, pyseccomp.KILL_PROCESS)
        try:
            compiled.set_attr(pyseccomp.Attr.CTL_OPTIMIZE, 2)  # a binary tree over the numbers
        except OSError:
            pass  # libseccomp before 2.5: a longer way through the filter
        for rule in profile:
            action = pyseccomp.ERRNO(rule.errno) if rule.errno else pyseccomp.ALLOW
            tests = []
            if rule.test is not None:
                test = rule.test
                tests = [pyseccomp.Arg(test.index, pyseccomp.MASKED_EQ, test.mask, test.value)]
            for name in rule.names:
                number = pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, name)
                number = NUMBERS.get(name, number) if number < 0 else number
                if number >= 0:  # another architecture's calls are left out
                    compiled.add_rule(action, number, *tests)
        with Fd(os.memfd_create("seccomp", os.MFD_CLOEXEC)) as memory:
            compiled.export_bpf(memory)
            return os.pread(memory.fileno(), (_MAX_INSTRUCTIONS + 1) * _INSTRUCTION, 0)
    except OSError as error:
        raise RuntimeFailure(f"cannot compile the seccomp profile: {describe_errno(error.errno or 0)}") from error


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
