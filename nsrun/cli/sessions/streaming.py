"""A session on the command line: the tool's own standard streams, a terminal in raw mode, signals, and the end.

Bytes are the relay's business, which is C; here is what happens between two of its events."""

from __future__ import annotations

import errno
import os
import stat

from nsrun.cli.outcome import Ended
from nsrun.errors import NsrunError, RuntimeFailure, describe_errno
from nsrun.support import relay as relays
from nsrun.support.fds import Fd
from nsrun.support.native import Message, abi
from nsrun.support.relay import Flow, Relay, ToldSignals

TYPE_CHECKING = False  # `typing` is dear, and `nsrun exec` in a hurry
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from nsrun.runtime.shimsocket import PlainShim, Said

__all__ = [
    "Ends",
    "RawTerminal",
    "command_ends",
    "first_word",
    "is_terminal",
    "stream",
    "terminal_size",
    "told_signals",
]

# What a user, or an init, says to a tool. With a terminal in raw mode none of them comes from its keys.
_SIGNALS = (relays.SIGINT, relays.SIGTERM, relays.SIGHUP, relays.SIGQUIT, relays.SIGUSR1, relays.SIGUSR2)

_HUNG_UP = 128 + relays.SIGHUP


def is_terminal(fd: int) -> bool:
    """False also for one that is closed."""
    return os.isatty(fd)


def terminal_size(fds: Sequence[int] = (0, 1, 2)) -> os.terminal_size | None:
    """The size of the first that is a terminal."""
    for fd in fds:
        try:
            return os.get_terminal_size(fd)
        except OSError:
            continue
    return None


# --- the ends of a command without a terminal


class Ends:
    """``theirs``: what becomes a command's 0, 1 and 2; ``flows``: what has to be copied for that."""

    __slots__ = ("flows", "theirs")

    def __init__(self, theirs: tuple[Fd, Fd, Fd], flows: list[Flow]) -> None:
        self.theirs = theirs
        self.flows = flows

    def close_theirs(self) -> None:
        for fd in self.theirs:
            fd.close()


def command_ends(*, stdin: bool) -> Ends:
    """A pipe that the tool was started with is the command's own. For all else there is one between, and what is at
    this end stays here: a terminal's descriptor could be typed into, a file's taken from its owner. Raises OSError."""
    flows: list[Flow] = []
    standard_input = _input(flows) if stdin else _ended()
    output = _output(1, flows)
    # What goes to the same place goes there in order.
    errors = Fd(os.dup(output.fileno())) if _same(1, 2) else _output(2, flows)
    return Ends((standard_input, output, errors), flows)


def _input(flows: list[Flow]) -> Fd:
    if not _is_open(0):
        return _ended()
    if _is_pipe(0):
        return _passed_on(0)
    theirs, ours = map(Fd, os.pipe2(os.O_CLOEXEC))
    os.set_blocking(ours.fileno(), False)
    os.fchmod(theirs.fileno(), 0o666)
    flows.append(Flow(0, ours, input=True, typed=False))
    return theirs


def _output(fd: int, flows: list[Flow]) -> Fd:
    if _is_pipe(fd):
        return _passed_on(fd)
    ours, theirs = map(Fd, os.pipe2(os.O_CLOEXEC))
    os.set_blocking(ours.fileno(), False)
    os.fchmod(theirs.fileno(), 0o666)
    here = fd if _is_open(fd) else os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    flows.append(Flow(here, ours))
    return theirs


def _ended() -> Fd:
    """An input that is at its end."""
    theirs, ours = os.pipe2(os.O_CLOEXEC)
    os.close(ours)
    return Fd(theirs)


def _passed_on(fd: int) -> Fd:
    """A program that is not root may open it again (/dev/stdout)."""
    try:
        os.fchmod(fd, 0o666)
    except OSError:
        pass  # somebody else's: then it may not
    return Fd(os.dup(fd))


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def _is_pipe(fd: int) -> bool:
    """A pipe without a name: one with a name is a file of the host's."""
    try:
        return stat.S_ISFIFO(os.fstat(fd).st_mode) and os.readlink(f"/proc/self/fd/{fd}").startswith("pipe:")
    except OSError:
        return False


def _same(first: int, second: int) -> bool:
    try:
        return os.path.samestat(os.fstat(first), os.fstat(second))
    except OSError:
        return False


# --- while it lasts


class RawTerminal:
    """Keys come as they are typed, none means anything here; afterwards all is as before. None: nothing happens."""

    def __init__(self, fd: int | None) -> None:
        self._fd = fd

    def __enter__(self) -> None:
        if self._fd is not None:
            import termios
            import tty

            self._before = termios.tcgetattr(self._fd)
            tty.setraw(self._fd, termios.TCSADRAIN)

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._fd is not None:
            import termios

            try:
                termios.tcsetattr(self._fd, termios.TCSADRAIN, self._before)
            except termios.error:
                pass  # the terminal is gone


def told_signals(*, resize: bool = False) -> ToldSignals:
    """What is said to a tool is told by a descriptor. ``resize``: SIGWINCH, too."""
    return ToldSignals((*_SIGNALS, relays.SIGWINCH) if resize else _SIGNALS)


def first_word(shim: PlainShim, serial: int, told: Fd, *, pass_on: bool = False) -> Said:
    """The first word about a request: it has started, or cannot. A signal that comes before it ends the tool, and so
    what it asked for; with ``pass_on`` the first one waits for the start. Raises RuntimeFailure."""
    relay = Relay((), shim=shim.fileno(), signals=told.fileno())
    early = 0
    while True:
        if relay.run() != relays.SHIM:
            if early or not pass_on:
                raise Ended(128 + relay.signal)
            early = relay.signal
        elif (said := shim.receive()).message.serial == serial:
            break
    if early and said.message.kind == abi.NS_MSG_STARTED:
        shim.signal(serial, early)
    return said


def stream(
    shim: PlainShim,
    serial: int,
    flows: Sequence[Flow],
    *,
    told: Fd,
    pass_on: bool,
    raw: int | None = None,
    master: Fd | None = None,
    keys: bytes = b"",
) -> int | None:
    """Until the end of a session that has begun: the exit code, or None when it was detached from. ``told``: signals,
    which with ``pass_on`` go to the command, else they end the session. ``raw``: the terminal here whose keys go there;
    ``master``: of the one there. Raises RuntimeFailure, NsrunError."""
    size_from = next((fd for fd in (0, 1, 2) if is_terminal(fd)), -1) if master is not None else -1
    with RawTerminal(raw):
        relay = Relay(
            flows,
            shim=shim.fileno(),
            signals=told.fileno(),
            terminal=size_from,
            master=master.fileno() if master is not None else -1,
            keys=keys,
        )
        code = _events(shim, serial, relay, pass_on=pass_on)
    for number in relay.errors:
        if number not in (errno.EPIPE, errno.EIO):
            raise NsrunError(f"cannot write the output: {describe_errno(number)}")
    return code


def _events(shim: PlainShim, serial: int, relay: Relay, *, pass_on: bool) -> int | None:
    while True:
        event = relay.run()
        if event == relays.SHIM:
            message = shim.receive().message
            if message.serial == serial:
                break
        elif event == relays.DETACHED:
            return None
        elif event == relays.HANGUP:
            return _HUNG_UP
        elif pass_on:
            shim.signal(serial, relay.signal)
        else:
            return 128 + relay.signal
    if relay.run(draining=True) == relays.SIGNAL:
        return 128 + relay.signal
    return _code(message)


def _code(message: Message) -> int:
    if message.kind == abi.NS_MSG_RESULT:
        code = os.waitstatus_to_exitcode(message.wait_status)
        return 128 - code if code < 0 else code
    if message.failure is not None and message.failure.step == abi.NS_STEP_ATTACH:
        raise NsrunError(
            "cannot stay attached: the output came faster than it was read here", hint="nsrun logs has all of it"
        )
    raise RuntimeFailure("the pod's shim does not know this session any more")
