"""``./dev vm``: nsrun in a machine of its own, with pure cgroup v2 and systemd.

    ./dev vm                          make the machine, or nothing when it is there
    ./dev vm run [options] -- CMD     run a command in a machine that is thrown away afterwards
    ./dev vm shell                    the same with a shell for a person
    ./dev vm test [pytest arguments]  the whole suite, in the machine
    ./dev vm torture                  pull the machine's plug ten times under load

The first use makes the disk from packages, boots, provisions and freezes the machine. From then on every use thaws that
one and goes on with it, in a second; what it writes goes to a file that is removed at the end.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from vagrant import suite
from vagrant.channel import ChannelError, Job
from vagrant.image import REPO, BaseImage, ImageError, build_base, make_tree_disk
from vagrant.kernels import Kernel, KernelError, choose
from vagrant.machine import KERNEL_WORDS, Hardware, Machine, MachineError, find_accelerator, make_overlay, version
from vagrant.terminal import attached, size

__all__ = ["DIRECTORY", "Prepared", "boot_kept", "main", "prepare", "thawed"]

DIRECTORY = REPO / "build/vm"

# An emulated processor is ten times slower; tests stretch their deadlines by this.
_PATIENCE = "10"

_NOTHING_LEFT = 5  # pytest.ExitCode.NO_TESTS_COLLECTED


def say(text: str) -> None:
    print(f"vm: {text}", file=sys.stderr, flush=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A frozen machine: ``disk`` and ``state`` belong together."""

    kernel: Kernel
    hardware: Hardware
    disk: Path
    state: Path


def prepare(which: str) -> Prepared:
    """The frozen machine with a kernel: ``oldest``, ``newest`` or a version; made when it is not there.
    Raises ImageError, KernelError, MachineError, ChannelError."""
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    packages = subprocess.run([str(REPO / "dev"), "packages"], capture_output=True, text=True, check=True)
    base = build_base(DIRECTORY, packages.stdout.split(), say)
    kernel = choose(list(base.kernels), which)
    accelerator = find_accelerator(base.vmlinuz(kernel), base.initramfs(kernel), DIRECTORY / "accelerator")
    hardware = Hardware(
        vmlinuz=base.vmlinuz(kernel), initramfs=base.initramfs(kernel), disk=base.disk, accelerator=accelerator
    )
    directory = DIRECTORY / f"frozen-{_stamp(base, hardware)}-{kernel.release}"
    prepared = Prepared(kernel=kernel, hardware=hardware, disk=directory / "disk.qcow2", state=directory / "state")
    if not directory.is_dir():
        _make_frozen(directory, prepared)
    return prepared


def _stamp(base: BaseImage, hardware: Hardware) -> str:
    made_of = (base.stamp, REPO, version(), hardware.accelerator, hardware.memory_mib, hardware.cpus, KERNEL_WORDS)
    digest = hashlib.sha256(" ".join(map(str, made_of)).encode())
    for path in (REPO / "vagrant/provision.sh", REPO / "build/images.stamp"):
        digest.update(path.read_bytes() if path.is_file() else b"")
    return digest.hexdigest()[:12]


def _make_frozen(directory: Path, prepared: Prepared) -> None:
    release = prepared.kernel.release
    say(f"booting {release} on {prepared.hardware.accelerator.name}, and provisioning it; later starts skip this")
    started = time.monotonic()
    partial = directory.with_name(f"{directory.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    make_overlay(partial / "disk.qcow2", prepared.hardware.disk, "raw")
    make_tree_disk(partial / "tree.raw")
    hardware = replace(prepared.hardware, disk=partial / "disk.qcow2")
    with Machine(hardware, console=partial / "console.log") as machine:
        machine.answer()
        say(f"it answers after {time.monotonic() - started:.0f} s")
        machine.plug_tree(partial / "tree.raw")
        code = machine.run(Job(argv=("vagrant/provision.sh",)), out=_write(2), err=_write(2))
        if code != 0:
            raise MachineError(f"cannot provision the machine: vagrant/provision.sh: {code}")
        machine.unplug_tree()
        machine.freeze(partial / "state")
    (partial / "tree.raw").unlink()
    for old in DIRECTORY.glob(f"frozen-*-{release}"):
        shutil.rmtree(old)
    partial.rename(directory)
    say(f"ready after {time.monotonic() - started:.0f} s")


@contextmanager
def thawed(prepared: Prepared) -> Iterator[Machine]:
    """The machine, up, with the tree as it is now; everything of it is gone at the end."""
    with _scratch() as scratch:
        make_overlay(scratch / "disk.qcow2", prepared.disk, "qcow2")
        make_tree_disk(scratch / "tree.raw")
        hardware = replace(prepared.hardware, disk=scratch / "disk.qcow2", state=prepared.state)
        with Machine(hardware, console=scratch / "console.log") as machine:
            machine.answer()
            machine.plug_tree(scratch / "tree.raw")
            yield machine


def boot_kept(prepared: Prepared, directory: Path) -> Machine:
    """The machine, booting, with disks in ``directory`` that outlive it and a QEMU that is killed: what the machine
    was told is on its disk, is. The caller waits for its answer, and mounts the tree."""
    disk, tree = directory / "disk.qcow2", directory / "tree.raw"
    if not disk.exists():
        make_overlay(disk, prepared.disk, "qcow2")
        make_tree_disk(tree)
    hardware = replace(prepared.hardware, disk=disk, cache="writeback")
    return Machine(hardware, console=directory / "console.log")


@contextmanager
def _scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="run-", dir=DIRECTORY) as path:
        yield Path(path)


def _write(fd: int) -> _Writer:
    return _Writer(fd)


class _Writer:
    """Hands bytes on to a file descriptor, at once and whole."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def __call__(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._fd, rest) :]


def run(options: argparse.Namespace) -> int:
    """``./dev vm run`` and ``shell``."""
    started = time.monotonic()
    with thawed(prepare(options.kernel)) as machine:
        if options.timing:
            say(f"first command after {time.monotonic() - started:.1f} s")
        stdin = b"" if options.tty or sys.stdin.isatty() or not options.stdin else sys.stdin.buffer.read()
        job = Job(
            argv=options.command,
            user=options.user,
            env={**_terminal(options), **_pairs(options.env)},
            stdin=stdin,
            tty=options.tty,
            size=size() if options.tty else None,
            seconds=options.timeout or None,
        )
        with attached(machine.channel, job):
            code = machine.run(job, out=_write(1), err=_write(2))
        for path in options.get:
            machine.fetch(path, Path(options.into))
        if options.timing:
            say(f"done after {time.monotonic() - started:.1f} s")
        return code


def test(options: argparse.Namespace) -> int:
    """``./dev vm test``: the whole suite, as root, on the oldest kernel and the newest unless one was named. Tells
    what ran, what could not and why. Exit code: pytest's, of the first kernel that was not content."""
    suite.compile_tests()
    kernels = [options.kernel] if options.kernel else ["oldest", "newest"]
    codes = [_test_on(prepare(kernel), options) for kernel in kernels]
    return next((code for code in codes if code != 0), 0)


def _test_on(prepared: Prepared, options: argparse.Namespace) -> int:
    kept = DIRECTORY / f"results-{prepared.kernel.release}.jsonl"
    earlier = suite.known(kept) if options.failed or options.rest else []
    again = suite.failed(earlier) if options.failed else []
    if options.failed and not again:
        say(f"{prepared.kernel.release}: nothing failed last time")
        return 0
    patience = _PATIENCE if prepared.hardware.accelerator.name == "tcg" else "1"
    environment = {"NSRUN_TEST_PATIENCE": patience, **_pairs(options.env)}
    commands = suite.commands([*options.arguments, *again])
    started = time.time()
    with _left_out(suite.done(earlier) if options.rest else []), thawed(prepared) as machine:
        # Docker and kubeadm load it, so the traffic of pods is tried with and without it.
        machine.check("modprobe", "br_netfilter", cwd="/")
        try:
            codes = []
            for argv in commands:
                job = Job(argv=argv, user=options.user, env=environment, seconds=options.timeout or None)
                code = machine.run(job, out=_write(1), err=_write(2))
                codes.append(0 if options.rest and code == _NOTHING_LEFT else code)
            return next((code for code in codes if code != 0), 0)
        finally:  # also of a run that was interrupted, or took too long
            ended = time.time()
            machine.fetch(suite.RESULTS, DIRECTORY)
            later = suite.parse((DIRECTORY / Path(suite.RESULTS).name).read_text())
            kept.write_text(suite.unparse(suite.merged(earlier, later)))
            for line in suite.summary(later, started, ended):
                say(f"{prepared.kernel.release}: {line}")
            if earlier:
                say(f"{prepared.kernel.release}: with what earlier runs found:")
                for line in suite.counts(suite.merged(earlier, later)):
                    say(f"{prepared.kernel.release}: {line}")


@contextmanager
def _left_out(tests: Sequence[str]) -> Iterator[None]:
    """The tree that goes into the machine says which tests are known to be well."""
    told = REPO / suite.DONE
    try:
        if tests:
            told.write_text("".join(f"{test}\n" for test in tests))
        yield
    finally:
        told.unlink(missing_ok=True)


def _terminal(options: argparse.Namespace) -> dict[str, str]:
    """What the person's terminal understands."""
    return {"TERM": os.environ.get("TERM") or "dumb"} if options.tty else {}


def _pairs(words: Sequence[str]) -> dict[str, str]:
    return dict(word.partition("=")[::2] for word in words)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./dev vm", description="nsrun in a machine of its own.")
    verbs = parser.add_subparsers(dest="verb")
    for name, what in (
        ("build", "make the machine (default)"),
        ("run", "run a command in it"),
        ("shell", "log in to it"),
        ("test", "run the suite in it"),
        ("torture", "pull its plug ten times under load"),
    ):
        verb = verbs.add_parser(name, help=what, description=what)
        default = "" if name == "test" else "oldest"
        words = "oldest, newest, or a version; default: " + (default or "both, one after the other")
        verb.add_argument("--kernel", default=default, metavar="WHICH", help=words)
        if name in ("run", "shell", "test"):
            _add_run_options(verb, name)
        if name == "torture":
            verb.add_argument("--times", type=int, default=10)
    options, rest = parser.parse_known_args(arguments)
    options.kernel = getattr(options, "kernel", "oldest")
    if options.verb == "test":
        options.arguments = [word for word in rest if word != "--"]
    elif rest:
        parser.error(f"unknown arguments: {' '.join(rest)}")
    return options


def _add_run_options(verb: argparse.ArgumentParser, name: str) -> None:
    verb.set_defaults(tty=name == "shell", stdin=False, command=["bash", "-l"])
    verb.add_argument("--user", default="root", help="who runs it: root (default) or dev")
    verb.add_argument("--env", action="append", default=[], metavar="NAME=VALUE")
    verb.add_argument("--get", action="append", default=[], metavar="PATH", help="copy this out of the machine after")
    verb.add_argument("--into", default=".", metavar="DIR", help="where to")
    verb.add_argument("--timeout", type=float, default=0, metavar="SECONDS", help="kill it after that")
    verb.add_argument("--timing", action="store_true", help="say how long it took")
    if name == "test":
        which = verb.add_mutually_exclusive_group()
        which.add_argument("--failed", action="store_true", help="only what failed the last time")
        which.add_argument(
            "--rest", action="store_true", help="what has not passed yet, after a run that was cut short"
        )
    if name == "run":
        verb.add_argument("--tty", action="store_true", help="give it a terminal")
        verb.add_argument("--stdin", action="store_true", help="hand on what is piped in")
        verb.add_argument("command", nargs="+", metavar="CMD")


def main(arguments: Sequence[str]) -> int:
    """The command. Exit codes: that of what was run; 1 cannot be done; 124 took too long; 130 interrupted."""
    # A `kill` of this process ends the machine as Ctrl-C does: in good order.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    options = parse(arguments)
    try:
        if options.verb in ("run", "shell"):
            return run(options)
        if options.verb == "test":
            return test(options)
        if options.verb == "torture":
            from vagrant.torture import torture

            prepared = prepare(options.kernel)
            return torture(lambda directory: boot_kept(prepared, directory), options.times, say)
        prepared = prepare(options.kernel)
        say(f"ready: {prepared.kernel.release} on {prepared.hardware.accelerator.name}; ./dev vm run -- CMD")
        return 0
    except TimeoutError as error:
        say(str(error))
        return 124
    except KeyboardInterrupt:
        return 130
    except (ImageError, KernelError, MachineError, ChannelError, AssertionError) as error:
        say(str(error))
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
