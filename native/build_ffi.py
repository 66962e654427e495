"""Builds ``nsrun._native``: the C header is the cdef, so Python and C cannot disagree about a struct or a number."""

import re
from pathlib import Path

from cffi import FFI

HERE = Path(__file__).resolve().parent if "__file__" in globals() else Path("native").resolve()
SOURCES = ["expand.c", "idmap.c", "join.c", "logtext.c", "plan.c", "relay.c", "spawn.c", "syscalls.c"]
SOURCES += ["unpack_spawn.c", "vfork.c"]

# Numbers of the kernel, read from its headers by the compiler.
KERNEL_CONSTANTS = [
    "AT_EMPTY_PATH",
    "AT_RECURSIVE",
    "AT_SYMLINK_NOFOLLOW",
    "CLONE_NEWCGROUP",
    "CLONE_NEWIPC",
    "CLONE_NEWNET",
    "CLONE_NEWNS",
    "CLONE_NEWPID",
    "CLONE_NEWUSER",
    "CLONE_NEWUTS",
    "MNT_DETACH",
    "MOUNT_ATTR_NOATIME",
    "MOUNT_ATTR_NODEV",
    "MOUNT_ATTR_NODIRATIME",
    "MOUNT_ATTR_NOEXEC",
    "MOUNT_ATTR_NOSUID",
    "MOUNT_ATTR_RDONLY",
    "MOUNT_ATTR_RELATIME",
    "MOUNT_ATTR_STRICTATIME",
    "MOUNT_ATTR__ATIME",
    "MOVE_MOUNT_F_EMPTY_PATH",
    "MOVE_MOUNT_T_EMPTY_PATH",
    "MS_BIND",
    "MS_NOATIME",
    "MS_NODEV",
    "MS_NOEXEC",
    "MS_NOSUID",
    "MS_PRIVATE",
    "MS_RDONLY",
    "MS_REC",
    "MS_RELATIME",
    "MS_REMOUNT",
    "MS_SHARED",
    "MS_SLAVE",
    "MS_STRICTATIME",
    "OPEN_TREE_CLONE",
    "RESOLVE_BENEATH",
    "RESOLVE_IN_ROOT",
    "RESOLVE_NO_MAGICLINKS",
    "RESOLVE_NO_SYMLINKS",
    "RESOLVE_NO_XDEV",
    "SIGHUP",
    "SIGINT",
    "SIGQUIT",
    "SIGTERM",
    "SIGUSR1",
    "SIGUSR2",
    "SIGWINCH",
    "UMOUNT_NOFOLLOW",
]


def declarations(header: str) -> str:
    """The header without the lines that only a preprocessor reads."""
    return re.sub(r"^\s*#.*$", "", header, flags=re.MULTILINE)


ffi = FFI()
ffi.cdef(declarations((HERE / "nsrun_abi.h").read_text()))
ffi.cdef(declarations((HERE / "forward_abi.h").read_text()))
ffi.cdef(declarations((HERE / "holder.h").read_text()))
ffi.cdef(declarations((HERE / "logtext.h").read_text()))
ffi.cdef(declarations((HERE / "relay.h").read_text()))
ffi.cdef(declarations((HERE / "unpack.h").read_text()))
ffi.cdef("".join(f"#define {name} ...\n" for name in KERNEL_CONSTANTS))
ffi.set_source(
    "nsrun._native",
    '#include "kernel.h"\n#include "nsrun_abi.h"\n#include "forward_abi.h"\n#include "holder.h"\n'
    '#include "logtext.h"\n#include "relay.h"\n#include "unpack.h"\n',
    sources=[f"native/{name}" for name in SOURCES],
    depends=[str(path) for path in sorted(HERE.glob("*.h"))],
    include_dirs=[str(HERE)],
    define_macros=[("_GNU_SOURCE", "1")],
    extra_compile_args=["-std=gnu17", "-O2", "-Wall", "-Wextra", "-Wno-missing-field-initializers"],
)
