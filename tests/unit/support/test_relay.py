"""Bytes between a tool's ends and a container's, by pipes and terminals of the test's own."""

from __future__ import annotations

import os
import pty
import signal
import socket
import termios
import threading
import tty
from collections.abc import Iterator

import pytest

from nsrun.support import relay as relays
from nsrun.support.fds import Fd
from nsrun.support.relay import Flow, Relay


class Ends:
    """What every relay has: a shim that says nothing, and no signals. ``pipe``: both ends, which are closed in time."""

    def __init__(self) -> None:
        self.shim, self.of_shim = socket.socketpair()
        self.signals = relays.ToldSignals(())
        self.told = self.signals.__enter__()
        self.held: list[Fd] = []

    def pipe(self) -> tuple[Fd, Fd]:
        reader, writer = map(Fd, os.pipe())
        self.held += [reader, writer]
        return reader, writer

    def relay(self, *flows: Flow, keys: bytes = b"", **more: int) -> Relay:
        return Relay(flows, shim=self.shim.fileno(), signals=self.told.fileno(), keys=keys, **more)

    def close(self) -> None:
        self.shim.close()
        self.of_shim.close()
        self.told.close()
        for fd in self.held:
            fd.close()


@pytest.fixture
def ends() -> Iterator[Ends]:
    made = Ends()
    yield made
    made.close()


def read(fd: Fd) -> bytes:
    os.set_blocking(fd.fileno(), False)
    try:
        return os.read(fd.fileno(), 1 << 20)
    except BlockingIOError:
        return b""


def test_both_ways_until_the_shim_speaks(ends: Ends) -> None:
    typed, typing = ends.pipe()
    into, input_there = ends.pipe()
    output_there, out_of = ends.pipe()
    shown, showing = ends.pipe()
    relay = ends.relay(Flow(typed.fileno(), input_there, input=True), Flow(showing.fileno(), output_there))
    os.write(typing.fileno(), b"in")
    os.write(out_of.fileno(), b"out")
    typing.close()
    out_of.close()
    ends.of_shim.send(b"x")
    while b"out" not in (seen := read(shown)):
        assert relay.run() == relays.SHIM, seen
    for _ in range(3):
        relay.run()
    assert relay.run(draining=True) == relays.IDLE
    assert os.read(into.fileno(), 10) == b"in"
    assert os.read(into.fileno(), 10) == b"", "the end is passed on"
    assert relay.errors == []


def test_a_shim_that_is_gone(ends: Ends) -> None:
    ends.of_shim.close()
    assert ends.relay().run() == relays.SHIM


def test_draining_copies_what_is_there_and_waits_for_nothing(ends: Ends) -> None:
    there, writer = ends.pipe()
    shown, showing = ends.pipe()
    unheard, _typing = ends.pipe()
    _into, input_there = ends.pipe()
    relay = ends.relay(Flow(showing.fileno(), there), Flow(unheard.fileno(), input_there, input=True))
    os.write(writer.fileno(), b"x" * 60000)
    reader = threading.Thread(target=lambda: os.read(shown.fileno(), 4096))
    reader.start()
    assert relay.run(draining=True) == relays.IDLE
    reader.join()


def test_who_does_not_want_more_gets_no_more(ends: Ends) -> None:
    """The writer hears of it as it would without anything between."""
    there, writer = ends.pipe()
    shown, showing = ends.pipe()
    relay = ends.relay(Flow(showing.fileno(), there))
    shown.close()
    os.write(writer.fileno(), b"x")
    assert relay.run(draining=True) == relays.IDLE
    assert relay.errors == [32]
    with pytest.raises(BrokenPipeError):
        os.write(writer.fileno(), b"x")


def test_errors_are_kept(ends: Ends) -> None:
    there, writer = ends.pipe()
    with open("/dev/full", "wb") as full:
        relay = ends.relay(Flow(full.fileno(), there))
        os.write(writer.fileno(), b"x")
        assert relay.run(draining=True) == relays.IDLE
    assert relay.errors == [28]


@pytest.mark.parametrize(
    ("typed", "passed", "detached"),
    [
        (b"abc", b"abc", False),
        (b"a\x10\x11", b"a", True),
        (b"\x10a\x10\x11", b"\x10a", True),
        (b"\x10\x10\x11", b"\x10", True),
        (b"\x11\x10", b"\x11", False),
        (b"\x10", b"", False),
    ],
)
def test_keys_that_detach(ends: Ends, typed: bytes, passed: bytes, detached: bool) -> None:
    master, slave = map(Fd, pty.openpty())
    with master, slave:
        tty.setraw(slave.fileno())
        into, there = ends.pipe()
        relay = ends.relay(Flow(slave.fileno(), there, input=True, typed=True), keys=b"\x10\x11")
        for byte in typed:
            os.write(master.fileno(), bytes([byte]))
        if detached:
            assert relay.run() == relays.DETACHED
        else:
            threading.Timer(0.2, ends.of_shim.send, (b"x",)).start()
            assert relay.run() == relays.SHIM
        assert passed.startswith(read(into))
        if not detached:
            assert read(into) == b""


def test_one_key_and_none(ends: Ends) -> None:
    for keys, event in ((b"q", relays.DETACHED), (b"", relays.SHIM)):
        master, slave = map(Fd, pty.openpty())
        with master, slave:
            tty.setraw(slave.fileno())
            _into, there = ends.pipe()
            relay = ends.relay(Flow(slave.fileno(), there, input=True, typed=True), keys=keys)
            os.write(master.fileno(), b"q")
            if event == relays.SHIM:
                ends.of_shim.send(b"x")
            assert relay.run() == event


def test_a_terminal_that_is_gone(ends: Ends) -> None:
    master, slave = map(Fd, pty.openpty())
    _into, there = ends.pipe()
    with slave:
        relay = ends.relay(Flow(slave.fileno(), there, input=True, typed=True))
        master.close()
        assert relay.run() == relays.HANGUP


def test_signals_and_sizes(ends: Ends) -> None:
    here, _ = map(Fd, pty.openpty())
    there, _other = map(Fd, pty.openpty())
    heard = {signal.SIGWINCH, signal.SIGUSR1}
    with relays.ToldSignals(heard) as told, here, there:
        relay = Relay((), shim=ends.shim.fileno(), signals=told.fileno(), terminal=here.fileno(), master=there.fileno())
        termios.tcsetwinsize(here.fileno(), (20, 70))
        signal.raise_signal(signal.SIGWINCH)
        ends.of_shim.send(b"x")
        assert relay.run() == relays.SHIM
        signal.raise_signal(signal.SIGUSR1)
        assert relay.run() == relays.SIGNAL
        assert relay.signal == signal.SIGUSR1
        assert termios.tcgetwinsize(there.fileno()) == (20, 70)
        termios.tcsetwinsize(here.fileno(), (21, 71))
        relays.copy_size(here.fileno(), there.fileno())
        assert termios.tcgetwinsize(there.fileno()) == (21, 71)
        with pytest.raises(OSError, match="ioctl"):
            relays.copy_size(ends.shim.fileno(), there.fileno())


def test_signals_are_told_for_a_while() -> None:
    """What is ignored stays ignored, one that nobody read strikes nobody afterwards, and the mask is what it was."""
    struck: list[int] = []
    numbers = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP)
    before = [signal.signal(number, lambda number, _: struck.append(number)) for number in numbers]
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        with relays.ToldSignals((relays.SIGUSR1, relays.SIGUSR2)) as told:
            assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == {*mask, signal.SIGHUP, signal.SIGUSR1}
            signal.raise_signal(signal.SIGUSR2)
            with pytest.raises(BlockingIOError):
                os.read(told.fileno(), 128)
            signal.raise_signal(signal.SIGUSR1)
            assert os.read(told.fileno(), 128)[0] == signal.SIGUSR1
            signal.raise_signal(signal.SIGUSR1)
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == {*mask, signal.SIGHUP}
        assert struck == []
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
