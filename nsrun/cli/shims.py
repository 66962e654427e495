"""The shim of a run's pod, for as long as a command needs it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from nsrun.cli.runs import Run
from nsrun.errors import NsrunError, describe_errno
from nsrun.runtime.shimsocket import PlainShim, connect
from nsrun.support.layout import Layout

__all__ = ["shim_of"]


@contextmanager
def shim_of(layout: Layout, run: Run) -> Iterator[PlainShim]:
    """Raises NsrunError when it cannot be reached."""
    try:
        connection = connect(layout.run_pod(run.uid))
    except PermissionError as error:
        raise NsrunError("cannot reach the pod's shim: permission denied", hint="use sudo") from error
    except OSError as error:
        raise NsrunError(f"cannot reach the pod's shim: {describe_errno(error.errno or 0)}") from error
    if connection is None:
        raise NsrunError(f'cannot reach container "{run.container}": its pod does not run')
    shim = PlainShim(connection)
    try:
        yield shim
    finally:
        shim.close()
