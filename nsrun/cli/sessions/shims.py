"""The shim of a run's pod, for as long as a command needs it."""

from __future__ import annotations

from nsrun.errors import NsrunError, describe_errno
from nsrun.runtime.shimsocket import PlainShim, connect

TYPE_CHECKING = False  # `typing` is dear, and `nsrun exec` in a hurry
if TYPE_CHECKING:
    from nsrun.cli.sessions.runs import Run
    from nsrun.support.runpaths import RunPaths

__all__ = ["shim_of"]


def shim_of(paths: RunPaths, run: Run) -> PlainShim:
    """To be entered and left. Raises NsrunError when it cannot be reached."""
    try:
        connection = connect(paths.pod(run.uid))
    except PermissionError as error:
        raise NsrunError("cannot reach the pod's shim: permission denied", hint="use sudo") from error
    except OSError as error:
        raise NsrunError(f"cannot reach the pod's shim: {describe_errno(error.errno or 0)}") from error
    if connection is None:
        raise NsrunError(f'cannot reach container "{run.container}": its pod does not run')
    return PlainShim(connection)
