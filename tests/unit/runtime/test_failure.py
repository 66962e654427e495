"""Failures in words."""

from __future__ import annotations

import errno

import pytest

from nsrun.errors import RuntimeFailure
from nsrun.runtime import operations as do
from nsrun.runtime.failure import explain_failure, in_context, warnings
from nsrun.runtime.launchplan import LaunchPlan
from nsrun.support.native import Failure, abi

PLAN = LaunchPlan(
    operations=(
        do.MountFs(type="proc", target="/proc", real=True),
        do.OomScore(score=-997),
        do.Ids(uid=7, gid=7),
        do.WorkingDirectory(path="/w"),
        do.Execute(candidates=("/a/x", "/b/x"), arguments=("x", "y"), environment=()),
    ),
    new_namespaces=0,
)
NAME = 'container "web" from image "nginx"'


@pytest.mark.parametrize(
    ("step", "number", "index", "message", "hint"),
    [
        (
            abi.NS_OP_EXEC,
            errno.ENOENT,
            4,
            'cannot execute "x": no such file or directory (ENOENT) in any directory of PATH',
            '"x" is not in the image, or the interpreter that it names is not',
        ),
        (
            abi.NS_OP_EXEC,
            errno.EACCES,
            4,
            'cannot execute "x": permission denied (EACCES)',
            '"x" is not executable for user 7, or lies on a mount without exec',
        ),
        (
            abi.NS_OP_FS,
            errno.ELOOP,
            0,
            'cannot mount proc at "/proc": too many levels of symbolic links (ELOOP)',
            "the image has something other than a directory there",
        ),
        (
            abi.NS_OP_CWD,
            errno.ELOOP,
            3,
            'cannot enter working directory "/w": too many levels of symbolic links (ELOOP)',
            "a working directory must lie inside the container's root file system",
        ),
        (
            abi.NS_STEP_CLONE,
            errno.ENOSPC,
            None,
            "cannot create a process in namespaces of its own: no space left on device (ENOSPC)",
            "no more namespaces: raise the sysctls user.max_*_namespaces",
        ),
        (
            abi.NS_STEP_LOG,
            errno.EDQUOT,
            None,
            "cannot open its log file: disk quota exceeded (EDQUOT)",
            "the disk quota is used up",
        ),
        (
            abi.NS_OP_IDS,
            errno.EINVAL,
            2,
            "cannot become user 7, group 7: invalid argument (EINVAL)",
            "a pod with a user namespace of its own has ids up to 65535",
        ),
        (9999, errno.EIO, None, "cannot step 9999: input/output error (EIO)", None),
        (abi.NS_OP_IDS, errno.EIO, 99, "cannot ids: input/output error (EIO)", None),
    ],
)
def test_failures(step: int, number: int, index: int | None, message: str, hint: str | None) -> None:
    error = explain_failure(NAME, PLAN, Failure(step=step, errno=number, index=index))
    assert error.message == f'cannot start container "web" from image "nginx": {message}'
    assert error.hint == hint
    assert (error.errno, error.reason) == (number, "StartError")


def test_every_step_has_its_words() -> None:
    for name in dir(abi):
        if name.startswith("NS_STEP_"):
            error = explain_failure(NAME, PLAN, Failure(step=getattr(abi, name), errno=errno.EIO, index=None))
            assert "step" not in error.message, name


def test_warnings() -> None:
    tolerated = (
        Failure(step=abi.NS_OP_OOM_SCORE, errno=errno.EACCES, index=1),
        Failure(step=abi.NS_OP_KEYRING, errno=errno.ENOSYS, index=None),
    )
    assert list(warnings(PLAN, tolerated)) == [
        "cannot set oom_score_adj to -997: permission denied (EACCES), CAP_SYS_RESOURCE is missing",
        "cannot keyring: function not implemented (ENOSYS)",
    ]


def test_context() -> None:
    error = in_context(NAME, RuntimeFailure("no user", reason="CreateContainerConfigError", hint="x"))
    assert (error.message, error.reason, error.hint) == (
        f"cannot start {NAME}: no user",
        "CreateContainerConfigError",
        "x",
    )
