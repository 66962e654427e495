"""The doorway to ``nsrun._native``: the only module that imports the extension.

Numbers (``abi.NS_OP_FS``, ``RESOLVE_IN_ROOT``, …) come out of C headers by way of the compiler; structs are packed by
cffi, so there is one definition of each, in ``native/nsrun_abi.h``. Every function raises OSError with the errno, its
text, and the name of what it was about. The GIL is released while C works.
"""

from __future__ import annotations

import os

import nsrun._native as _native
from nsrun.support.fds import Fd
from nsrun.support.record import Record

TYPE_CHECKING = False  # `typing` is dear, and `nsrun exec` in a hurry
if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence
    from typing import Any, Final

__all__ = [
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
    "MESSAGE_SIZE",
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
    "OP_SIZE",
    "PLAN_HEAD_SIZE",
    "REQUEST_SIZE",
    "RESOLVE_BENEATH",
    "RESOLVE_IN_ROOT",
    "RESOLVE_NO_MAGICLINKS",
    "RESOLVE_NO_SYMLINKS",
    "RESOLVE_NO_XDEV",
    "UMOUNT_NOFOLLOW",
    "Failure",
    "Message",
    "abi",
    "attach_device_program",
    "complete_plan",
    "fuse_mount",
    "malloc_frugally",
    "mount",
    "mount_idmap",
    "mount_setattr",
    "mounted_overlay",
    "move_mount",
    "netns_create",
    "open_in_rootfs",
    "open_tree",
    "openat2",
    "pack_head",
    "pack_op",
    "pack_request",
    "plan_check",
    "plan_environment",
    "rootfs_tree",
    "set_fs_ids",
    "setns",
    "socket_in",
    "spawn_shim",
    "step_name",
    "syncfs",
    "umount",
    "unpack_message",
    "unshare",
]

_ffi = _native.ffi
_lib = _native.lib

abi: Final = _lib
"""Every enumerator of nsrun_abi.h as a plain int: ``abi.NS_OP_FS``, ``abi.NS_REQ_LAUNCH``, ``abi.NS_PLAN_MAX_FDS`` …"""

AT_EMPTY_PATH: Final[int] = _lib.AT_EMPTY_PATH
AT_RECURSIVE: Final[int] = _lib.AT_RECURSIVE
AT_SYMLINK_NOFOLLOW: Final[int] = _lib.AT_SYMLINK_NOFOLLOW
CLONE_NEWCGROUP: Final[int] = _lib.CLONE_NEWCGROUP
CLONE_NEWIPC: Final[int] = _lib.CLONE_NEWIPC
CLONE_NEWNET: Final[int] = _lib.CLONE_NEWNET
CLONE_NEWNS: Final[int] = _lib.CLONE_NEWNS
CLONE_NEWPID: Final[int] = _lib.CLONE_NEWPID
CLONE_NEWUSER: Final[int] = _lib.CLONE_NEWUSER
CLONE_NEWUTS: Final[int] = _lib.CLONE_NEWUTS
MNT_DETACH: Final[int] = _lib.MNT_DETACH
MOUNT_ATTR_NOATIME: Final[int] = _lib.MOUNT_ATTR_NOATIME
MOUNT_ATTR_NODEV: Final[int] = _lib.MOUNT_ATTR_NODEV
MOUNT_ATTR_NODIRATIME: Final[int] = _lib.MOUNT_ATTR_NODIRATIME
MOUNT_ATTR_NOEXEC: Final[int] = _lib.MOUNT_ATTR_NOEXEC
MOUNT_ATTR_NOSUID: Final[int] = _lib.MOUNT_ATTR_NOSUID
MOUNT_ATTR_RDONLY: Final[int] = _lib.MOUNT_ATTR_RDONLY
MOUNT_ATTR_RELATIME: Final[int] = _lib.MOUNT_ATTR_RELATIME
MOUNT_ATTR_STRICTATIME: Final[int] = _lib.MOUNT_ATTR_STRICTATIME
MOUNT_ATTR__ATIME: Final[int] = _lib.MOUNT_ATTR__ATIME
MOVE_MOUNT_F_EMPTY_PATH: Final[int] = _lib.MOVE_MOUNT_F_EMPTY_PATH
MOVE_MOUNT_T_EMPTY_PATH: Final[int] = _lib.MOVE_MOUNT_T_EMPTY_PATH
MS_BIND: Final[int] = _lib.MS_BIND
MS_NOATIME: Final[int] = _lib.MS_NOATIME
MS_NODEV: Final[int] = _lib.MS_NODEV
MS_NOEXEC: Final[int] = _lib.MS_NOEXEC
MS_NOSUID: Final[int] = _lib.MS_NOSUID
MS_PRIVATE: Final[int] = _lib.MS_PRIVATE
MS_RDONLY: Final[int] = _lib.MS_RDONLY
MS_REC: Final[int] = _lib.MS_REC
MS_RELATIME: Final[int] = _lib.MS_RELATIME
MS_REMOUNT: Final[int] = _lib.MS_REMOUNT
MS_SHARED: Final[int] = _lib.MS_SHARED
MS_SLAVE: Final[int] = _lib.MS_SLAVE
MS_STRICTATIME: Final[int] = _lib.MS_STRICTATIME
OPEN_TREE_CLONE: Final[int] = _lib.OPEN_TREE_CLONE
RESOLVE_BENEATH: Final[int] = _lib.RESOLVE_BENEATH
RESOLVE_IN_ROOT: Final[int] = _lib.RESOLVE_IN_ROOT
RESOLVE_NO_MAGICLINKS: Final[int] = _lib.RESOLVE_NO_MAGICLINKS
RESOLVE_NO_SYMLINKS: Final[int] = _lib.RESOLVE_NO_SYMLINKS
RESOLVE_NO_XDEV: Final[int] = _lib.RESOLVE_NO_XDEV
UMOUNT_NOFOLLOW: Final[int] = _lib.UMOUNT_NOFOLLOW

PLAN_HEAD_SIZE: Final[int] = _ffi.sizeof("struct ns_plan")
OP_SIZE: Final[int] = _ffi.sizeof("struct ns_op")
REQUEST_SIZE: Final[int] = _ffi.sizeof("struct ns_request")
MESSAGE_SIZE: Final[int] = _ffi.sizeof("struct ns_message")


def _checked(result: int, object_name: str) -> int:
    """The result, or the OSError that a negative errno stands for."""
    if result < 0:
        raise OSError(-result, os.strerror(-result), object_name)
    return result


# --- processes and namespaces


def spawn_shim(program: str, run_dir_fd: int, title: str) -> int:
    """Starts ``program`` as the shim of the run directory ``run_dir_fd``; returns its pid once ``shim.sock`` listens.

    The shim is nobody's child here: init, or the nearest subreaper, is its parent.
    """
    return _checked(_lib.ns_spawn(os.fsencode(program), b"nsrun-shim", run_dir_fd, title.encode()), program)


def netns_create(path: str, *, ids: tuple[int, int] | None = None) -> tuple[Fd, Fd]:
    """Makes a network namespace with its loopback up, pinned on the existing file ``path``. ``ids``: it belongs to a
    user namespace of its own then, whose ids are those of this one from the first number on, as many as the second.

    Returns the namespace and an AF_NETLINK route socket that lives inside it.
    """
    numbers = _ffi.new("int[2]", [-1, -1])
    if ids is None:
        result = _lib.ns_netns_create(os.fsencode(path), numbers, numbers + 1)
    else:
        result = _lib.ns_netns_create_owned(os.fsencode(path), ids[0], ids[1], numbers, numbers + 1)
    _checked(result, path)
    return Fd(numbers[0]), Fd(numbers[1])


def socket_in(netns_fd: int, domain: int, kind: int, protocol: int = 0) -> socket.socket:
    """``socket.socket(domain, kind, protocol)``, made inside the network namespace ``netns_fd``."""
    import socket

    number = _checked(_lib.ns_socket_in(netns_fd, domain, kind, protocol), "network namespace")
    return socket.socket(domain, kind, protocol, fileno=number)


def open_in_rootfs(stage: str, layers: Sequence[int], path: str, *, user_xattrs: bool = False) -> Fd:
    """Opens ``path`` for reading as a container whose rootfs is these layers would see it.

    ``layers``: directories, topmost first. ``stage``: an empty host directory, used in a mount namespace that is gone
    when this returns. Links never lead out of the rootfs. FIFOs and devices do not block: check what was opened.
    ``user_xattrs``: overlayfs' marks are in ``user.*``.
    """
    options = _overlay_options(layers, user_xattrs) if len(layers) > 1 else _ffi.NULL
    numbers = _ffi.new("int[]", list(layers))
    result = _lib.ns_open_in_rootfs(os.fsencode(stage), options, numbers, len(layers), os.fsencode(path))
    return Fd(_checked(result, path))


def rootfs_tree(
    stage: str, layers: Sequence[int], path: str = ".", *, users: int | None = None, user_xattrs: bool = False
) -> Fd:
    """What is at ``path`` in the rootfs of at least two layers, topmost first, as a detached mount: read-only, nosuid,
    nodev, noexec. ``stage``, and where links lead, as above. ``users``: a user namespace whose owners it shows."""
    numbers = _ffi.new("int[]", list(layers))
    options = _overlay_options(layers, user_xattrs)
    users_fd = -1 if users is None else users
    result = _lib.ns_rootfs_tree(os.fsencode(stage), options, numbers, len(layers), os.fsencode(path), users_fd)
    return Fd(_checked(result, path))


def _overlay_options(layers: Sequence[int], user_xattrs: bool) -> Any:
    options = b"lowerdir=" + b":".join(b"%%%d" % index for index in range(len(layers)))
    return _ffi.new("char[]", options + (b",userxattr" if user_xattrs else b""))


def setns(fd: int, flags: int) -> None:
    """setns(2) for the calling thread."""
    _checked(_lib.ns_setns(fd, flags), "namespace")


def unshare(flags: int) -> None:
    """unshare(2) for the calling thread."""
    _checked(_lib.ns_unshare(flags), "namespace")


def set_fs_ids(uid: int, gid: int) -> None:
    """setfsuid(2) and setfsgid(2) for the calling thread, which keeps its capabilities: what it makes in a file system
    belongs to these. An idmapped mount takes nothing from users that it does not show."""
    _checked(_lib.ns_set_fs_ids(uid, gid), f"user {uid}")


# --- files and mounts


def openat2(dir_fd: int, path: str, flags: int, *, mode: int = 0, resolve: int) -> Fd:
    """openat2(2), close-on-exec."""
    return Fd(_checked(_lib.ns_openat2(dir_fd, os.fsencode(path), flags, mode, resolve), path))


def malloc_frugally() -> None:
    """mallopt(3): one malloc arena for all threads of this process, and memory given back early."""
    _checked(_lib.ns_malloc_frugally(), "malloc")


def attach_device_program(cgroup_fd: int, program: bytes) -> None:
    """bpf(2): the eBPF instructions decide about devices in the cgroup v2 directory and all below it, in place of those
    attached before."""
    instructions = _ffi.from_buffer("uint64_t[]", program)
    _checked(_lib.ns_attach_device_program(cgroup_fd, instructions, len(instructions)), "devices")


def syncfs(fd: int) -> None:
    """syncfs(2): everything written to the file system of ``fd`` is on its disk."""
    _checked(_lib.ns_syncfs(fd), "file system")


def open_tree(dir_fd: int, path: str, flags: int) -> Fd:
    """open_tree(2), close-on-exec. With OPEN_TREE_CLONE the mount is a detached copy."""
    return Fd(_checked(_lib.ns_open_tree(dir_fd, os.fsencode(path), flags), path))


def mount_setattr(dir_fd: int, path: str, flags: int, *, set: int = 0, clear: int = 0, propagation: int = 0) -> None:
    """mount_setattr(2): MOUNT_ATTR_* to set and clear, and MS_PRIVATE, MS_SLAVE or MS_SHARED."""
    _checked(_lib.ns_mount_setattr(dir_fd, os.fsencode(path), flags, set, clear, propagation), path)


def mount_idmap(mount_fd: int, userns_fd: int) -> None:
    """mount_setattr(2), MOUNT_ATTR_IDMAP: a detached mount shows the owners of the user namespace."""
    _checked(_lib.ns_mount_idmap(mount_fd, userns_fd), "idmapped mount")


def fuse_mount(fuse_fd: int, source: str, attributes: int) -> Fd:
    """A detached mount of what a program serves by ``fuse_fd``, for whoever is in this user namespace."""
    return Fd(_checked(_lib.ns_fuse_mount(fuse_fd, source.encode(), attributes), source))


def mounted_overlay(stage: str, options: bytes, fds: Sequence[int]) -> Fd:
    """An overlay with these options (``%0`` stands for the first of ``fds``), read-only, as a detached mount."""
    numbers = _ffi.new("int[]", list(fds))
    given = _ffi.new("char[]", options)
    return Fd(_checked(_lib.ns_rootfs_tree(os.fsencode(stage), given, numbers, len(fds), b".", -1), stage))


def move_mount(from_fd: int, from_path: str, to_fd: int, to_path: str, flags: int) -> None:
    """move_mount(2)."""
    _checked(_lib.ns_move_mount(from_fd, os.fsencode(from_path), to_fd, os.fsencode(to_path), flags), to_path)


def mount(source: str, target: str, fstype: str, flags: int = 0, data: str | None = "") -> None:
    """mount(2)."""
    options = _ffi.NULL if data is None else os.fsencode(data)
    _checked(_lib.ns_mount(os.fsencode(source), os.fsencode(target), fstype.encode(), flags, options), target)


def umount(target: str, flags: int = 0) -> None:
    """umount2(2)."""
    _checked(_lib.ns_umount(os.fsencode(target), flags), target)


# --- plans, requests, messages


def plan_check(plan: bytes, fd_count: int) -> None:
    """Raises ValueError, naming the operation by its index, when the plan is not well formed."""
    failure = _ffi.new("struct ns_failure *")
    if _lib.ns_plan_check(_ffi.from_buffer(plan), len(plan), fd_count, failure) == 0:
        return
    if failure.index == abi.NS_NO_INDEX:
        raise ValueError("the head of the launch plan is malformed")
    raise ValueError(f"operation {failure.index} of the launch plan is malformed")


def pack_op(
    kind: int,
    *,
    flags: int = 0,
    fd: int = -1,
    fd2: int = -1,
    a: int = 0,
    b: int = 0,
    c: int = 0,
    texts: Sequence[tuple[int, int]] = (),
) -> bytes:
    """One struct ns_op. ``texts``: up to three pairs of offset and length; an absent text is ``(0, 0)``."""
    op = _ffi.new("struct ns_op *", {"kind": kind, "flags": flags, "fd": fd, "fd2": fd2, "a": a, "b": b, "c": c})
    for index, (offset, length) in enumerate(texts):
        op.text[index].offset, op.text[index].length = offset, length
    return bytes(_ffi.buffer(op))


def pack_head(
    *,
    size: int,
    op_count: int,
    fd_count: int,
    new_namespaces: int = 0,
    join_namespaces: int = 0,
    cgroup_fd: int = -1,
    procs_fds: Sequence[int] = (),
) -> bytes:
    """The struct ns_plan that heads a plan of ``size`` bytes in all."""
    head = _ffi.new("struct ns_plan *")
    head.magic, head.version = abi.NS_PLAN_MAGIC, abi.NS_PLAN_VERSION
    head.size, head.op_count, head.fd_count = size, op_count, fd_count
    head.new_namespaces, head.join_namespaces = new_namespaces, join_namespaces
    head.cgroup_fd, head.procs_count = cgroup_fd, len(procs_fds)
    for index, fd in enumerate(procs_fds):
        head.procs_fd[index] = fd
    return bytes(_ffi.buffer(head))


def plan_environment(plan: bytes) -> list[str]:
    """The environment of the program that an encoded plan executes. Raises ValueError when it is no plan."""
    operations = _operations(bytearray(plan))
    last = operations[len(operations) - 1]
    start, length = last.text[2].offset, last.text[2].length
    return [os.fsdecode(entry) for entry in plan[start : start + length].split(b"\0")[:-1]]


def complete_plan(
    plan: bytes, *, candidates: Sequence[str], arguments: Sequence[str], size: os.terminal_size | None
) -> bytes:
    """The same plan, which executes this, and whose terminals have this size. Raises ValueError when it is no plan."""
    data = bytearray(plan)
    places = []
    for items in (candidates, arguments):
        content = b"".join(os.fsencode(item) + b"\0" for item in items)
        places.append((len(data), len(content)))
        data += content + b"\0"
    operations = _operations(data)
    for index, (offset, length) in enumerate(places):
        text = operations[len(operations) - 1].text[index]
        text.offset, text.length = offset, length
    for operation in operations:
        if size is not None and operation.kind == abi.NS_OP_TERMINAL:
            operation.b = (size.lines & 0xFFFF) << 16 | (size.columns & 0xFFFF)
    _ffi.cast("struct ns_plan *", _ffi.from_buffer(data)).size = len(data)
    return bytes(data)


def _operations(plan: bytearray) -> Any:
    """Those of a plan, to be read and changed in place."""
    if len(plan) >= PLAN_HEAD_SIZE:
        head = _ffi.cast("struct ns_plan *", _ffi.from_buffer(plan))
        end = PLAN_HEAD_SIZE + head.op_count * OP_SIZE
        if head.magic == abi.NS_PLAN_MAGIC and PLAN_HEAD_SIZE < end <= len(plan):
            return _ffi.from_buffer("struct ns_op[]", memoryview(plan)[PLAN_HEAD_SIZE:end])
    raise ValueError("this is no launch plan")


def pack_request(
    kind: int,
    serial: int,
    *,
    flags: int = 0,
    value: int = 0,
    id: str = "",
    log: str = "",
    timeout_ns: int = 0,
    of_serial: int = 0,
    output_limit: int = 0,
    log_bytes: int = 0,
    log_files: int = 0,
) -> bytes:
    """One struct ns_request. Raises ValueError for an id or log name that does not fit."""
    if len(id.encode()) >= abi.NS_ID_MAX or len(log.encode()) >= abi.NS_NAME_MAX:
        raise ValueError("the id or the log name is too long")
    request = _ffi.new("struct ns_request *")
    request.kind, request.serial, request.flags, request.value = kind, serial, flags, value
    request.id, request.log = id.encode(), log.encode()
    request.timeout_ns, request.of_serial, request.output_limit = timeout_ns, of_serial, output_limit
    request.log_bytes, request.log_files = log_bytes, log_files
    return bytes(_ffi.buffer(request))


class Failure(Record):
    """A step that went wrong. ``index``: which operation of the plan, or None. ``step`` 0: none."""

    __slots__ = ("errno", "index", "step")

    def __init__(self, *, step: int, errno: int, index: int | None) -> None:
        self.step = step
        self.errno = errno
        self.index = index


def _failure(raw: Any) -> Failure:
    return Failure(step=raw.step, errno=raw.error, index=None if raw.index == abi.NS_NO_INDEX else raw.index)


class Message(Record):
    """What the shim says: struct ns_message. Times in nanoseconds since the epoch; ``failure`` None: there is none;
    ``flags``: of a result, with the command's ``output``."""

    __slots__ = (
        *("dropped", "exited_ns", "failure", "flags", "id", "kind", "output", "pid", "serial", "start_ticks"),
        *("started_ns", "state", "tolerated", "wait_status"),
    )

    def __init__(self, raw: Any, output: bytes) -> None:
        self.kind: int = raw.kind
        self.state: int = raw.state
        self.serial: int = raw.serial
        self.failure = _failure(raw.failure) if raw.failure.step else None
        self.pid: int = raw.pid
        self.start_ticks: int = raw.start_ticks
        self.started_ns: int = raw.started_ns
        self.exited_ns: int = raw.exited_ns
        self.wait_status: int = raw.wait_status
        self.dropped: int = raw.dropped
        tolerated = min(raw.tolerated_count, len(raw.tolerated))
        self.tolerated = tuple(_failure(raw.tolerated[index]) for index in range(tolerated))
        self.id: str = _ffi.string(raw.id).decode("utf-8", "replace")
        self.flags: int = raw.flags
        self.output = output


def unpack_message(data: bytes) -> Message:
    """Raises ValueError when this is not a struct ns_message, with output behind it if it is a result."""
    if len(data) < MESSAGE_SIZE:
        raise ValueError(f"a message of the shim has {MESSAGE_SIZE} bytes, not {len(data)}")
    raw = _ffi.cast("struct ns_message *", _ffi.from_buffer(data))
    if len(data) > MESSAGE_SIZE and raw.kind != abi.NS_MSG_RESULT:
        raise ValueError(f"a message of the shim has {MESSAGE_SIZE} bytes, not {len(data)}")
    return Message(raw, data[MESSAGE_SIZE:])


def step_name(step: int) -> str:
    """``abi.NS_OP_FS`` → ``"fs"``, ``abi.NS_STEP_CLONE`` → ``"clone"``: a word for error messages and tests."""
    for enum, prefix in (("enum ns_op_kind", "NS_OP_"), ("enum ns_step", "NS_STEP_")):
        name: str | None = _ffi.typeof(enum).elements.get(step)
        if name is not None:
            return name.removeprefix(prefix).lower().replace("_", "-")
    return f"step {step}"
