"""From ``{step, errno, index}`` to one sentence and a remedy.

An operation of the plan explains itself (``describe``); steps outside the plan have their words here. Remedies are
looked up by what failed and why."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator

from nsrun.errors import LaunchError, RuntimeFailure, describe_errno, remedy_for_errno
from nsrun.runtime import operations as do
from nsrun.runtime.launchplan import LaunchPlan
from nsrun.support.native import Failure, abi, step_name

__all__ = ["explain_failure", "in_context", "warnings"]

# Steps that are no operation of a plan, as they read behind "cannot".
_STEPS = {
    abi.NS_STEP_PLAN: "read the launch plan",
    abi.NS_STEP_REQUEST: "carry out the request",
    abi.NS_STEP_PIPES: "make the pipes of its output",
    abi.NS_STEP_LOG: "open its log file",
    abi.NS_STEP_CLONE: "create a process in namespaces of its own",
    abi.NS_STEP_JOIN: "join the sandbox's namespaces",
    abi.NS_STEP_PLACE: "place the process in its cgroup",
    abi.NS_STEP_CHILD: "prepare the process",
    abi.NS_STEP_RECORD: "write the exit record",
    abi.NS_STEP_SIGNAL: "signal the process",
}

_NOT_A_DIRECTORY = "the image has something other than a directory there"
_OUTSIDE = "a working directory must lie inside the container's root file system"

_NOT_YOURS = "on this kernel only root of the machine sets it, also in namespaces of others"
_NO_SCOPE = "hostPID without root needs Linux 6.12 with Landlock: else its root could signal all that you run"

# By step and errno. "{path}": what the operation is about; "{user}": who would execute it.
_HINTS = {
    (abi.NS_OP_EXEC, errno.ENOENT): '"{path}" is not in the image, or the interpreter that it names is not',
    (abi.NS_OP_EXEC, errno.EACCES): '"{path}" is not executable for user {user}, or lies on a mount without exec',
    (abi.NS_OP_EXEC, errno.ENOTDIR): '"{path}" leads through something that is no directory',
    (abi.NS_OP_EXEC, errno.ENOEXEC): '"{path}" is built for another machine, or is a script without "#!"',
    (abi.NS_OP_EXEC, errno.EISDIR): '"{path}" is a directory',
    (abi.NS_OP_EXEC, errno.ELOOP): '"{path}" is a link that leads back to itself',
    (abi.NS_OP_EXEC, errno.E2BIG): "arguments and environment together are longer than the kernel takes",
    (abi.NS_OP_CWD, errno.ENOTDIR): "workingDir is no directory in the image",
    (abi.NS_OP_CWD, errno.ELOOP): _OUTSIDE,
    (abi.NS_OP_CWD, errno.EXDEV): _OUTSIDE,
    (abi.NS_OP_CWD, errno.ENOENT): _OUTSIDE,
    (abi.NS_OP_CWD, errno.EPERM): _OUTSIDE,
    (abi.NS_OP_FS, errno.ELOOP): _NOT_A_DIRECTORY,
    (abi.NS_OP_FS, errno.ENOTDIR): _NOT_A_DIRECTORY,
    (abi.NS_OP_FS, errno.ENODEV): "this kernel lacks the file system",
    (abi.NS_OP_BIND, errno.ENOTDIR): "the volume is a file and the image has a directory there, or the other way round",
    (abi.NS_OP_OVERLAY, errno.ENODEV): "load the kernel's overlay module: modprobe overlay",
    (
        abi.NS_OP_OVERLAY,
        errno.EINVAL,
    ): "--root must lie on a file system that overlayfs can write to, such as ext4 or xfs",
    (abi.NS_OP_SYSCTL, errno.ENOENT): "this kernel has no such parameter, or not in a pod's own namespaces",
    (abi.NS_OP_SYSCTL, errno.EINVAL): "the kernel does not take this value",
    (abi.NS_OP_SYSCTL, errno.EACCES): _NOT_YOURS,
    (abi.NS_OP_SYSCTL, errno.EPERM): _NOT_YOURS,
    (abi.NS_OP_DEVICE, errno.ENODEV): "what is there on the host is another device, or none",
    (abi.NS_OP_DEVICE, errno.ENOENT): "the host has no such device any more",
    (abi.NS_OP_SCOPE, errno.E2BIG): _NO_SCOPE,
    (abi.NS_OP_SCOPE, errno.ENOSYS): _NO_SCOPE,
    (abi.NS_OP_SCOPE, errno.EOPNOTSUPP): _NO_SCOPE,
    (abi.NS_OP_SECCOMP, errno.EINVAL): "this kernel has no CONFIG_SECCOMP_FILTER",
    (abi.NS_OP_LABEL, errno.ENOENT): "no profile of this name is loaded: apparmor_parser -r FILE loads one",
    (abi.NS_OP_LABEL, errno.EINVAL): "the host's security module does not know it",
    (abi.NS_OP_IDS, errno.EINVAL): "a pod with a user namespace of its own has ids up to 65535",
    (abi.NS_OP_GROUPS, errno.EINVAL): "a pod with a user namespace of its own has ids up to 65535",
    (abi.NS_OP_OPEN, errno.EINVAL): "hostUsers: false needs Linux 5.19, and --root on ext4, xfs or btrfs",
    (abi.NS_OP_IDS, errno.EAGAIN): "this user has too many processes on this machine",
    (abi.NS_STEP_CLONE, errno.EPERM): "nsrun must run as root, with CAP_SYS_ADMIN",
    (abi.NS_STEP_CLONE, errno.EAGAIN): "no more processes: see kernel.pid_max, pids.max and ulimit -u",
    (abi.NS_STEP_CLONE, errno.ENOSPC): "no more namespaces: raise the sysctls user.max_*_namespaces",
    (abi.NS_STEP_CLONE, errno.EINVAL): "this kernel lacks a kind of namespace",
    (abi.NS_STEP_JOIN, errno.ESRCH): "the sandbox has ended",
}


def explain_failure(subject: str, plan: LaunchPlan, failure: Failure) -> LaunchError:
    """``subject``: ``container "web" from image "docker.io/library/nginx:latest"``. The sentence reads
    ``cannot start <subject>: cannot execute "/foo": no such file or directory (ENOENT)``."""
    operation = _operation(plan, failure)
    what = operation.describe() if operation is not None else _step(failure.step)
    cause = describe_errno(failure.errno)
    if isinstance(operation, do.Execute) and len(operation.candidates) > 1 and failure.errno == errno.ENOENT:
        cause += " in any directory of PATH"
    return LaunchError(
        f"cannot start {subject}: cannot {what}: {cause}",
        step=step_name(failure.step),
        errno=failure.errno,
        hint=_hint(failure, operation, plan),
    )


def warnings(plan: LaunchPlan, tolerated: Iterable[Failure]) -> Iterator[str]:
    """What the host withheld, one sentence for each failure that a launch went on after."""
    for failure in tolerated:
        operation = _operation(plan, failure)
        what = operation.describe() if operation is not None else _step(failure.step)
        if isinstance(operation, do.Keyring) and failure.errno == errno.EDQUOT:
            continue  # a user may have 200 of them, and pods need none
        lacking = isinstance(operation, do.OomScore | do.Rlimit) and failure.errno in (errno.EPERM, errno.EACCES)
        yield f"cannot {what}: {describe_errno(failure.errno)}" + (", CAP_SYS_RESOURCE is missing" if lacking else "")


def in_context(subject: str, error: RuntimeFailure) -> RuntimeFailure:
    """The same failure, with the subject in front: for what is found out before anything is launched."""
    return RuntimeFailure(f"cannot start {subject}: {error.message}", reason=error.reason, hint=error.hint)


def _operation(plan: LaunchPlan, failure: Failure) -> do.Operation | None:
    if failure.index is None or failure.step >= abi.NS_STEP_PLAN or failure.index >= len(plan.operations):
        return None
    return plan.operations[failure.index]


def _step(step: int) -> str:
    return _STEPS.get(step, step_name(step))


def _hint(failure: Failure, operation: do.Operation | None, plan: LaunchPlan) -> str | None:
    hint = _HINTS.get((failure.step, failure.errno)) or remedy_for_errno(failure.errno)
    if hint is None or not isinstance(operation, do.Execute):
        return hint
    user = next((step.uid for step in plan.operations if isinstance(step, do.Ids)), 0)
    return hint.format(path=operation.arguments[0], user=user)
