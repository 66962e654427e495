"""One QEMU machine: started, talked to, frozen, reset and ended."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vagrant.channel import Channel, Greeting, Job
from vagrant.image import REPO

__all__ = [
    "BOOT_SECONDS",
    "KERNEL_WORDS",
    "Accelerator",
    "Hardware",
    "Machine",
    "MachineError",
    "find_accelerator",
    "make_overlay",
    "version",
]

# From power on to an answer, with an emulated processor on a busy machine.
BOOT_SECONDS = 300.0

_QMP_SECONDS = 120.0
_PROBE_SECONDS = 10.0

# Speed over hardening: nothing in the machine is anybody's secret. With programs at random addresses an emulated
# processor would translate each of them again whenever it is started: four times the time for a small one.
KERNEL_WORDS = (
    "console=ttyS0 rw quiet loglevel=5 mitigations=off nokaslr norandmaps random.trust_cpu=on net.ifnames=0 "
    "systemd.show_status=0 systemd.firstboot=0 fsck.mode=skip raid=noautodetect"
)


class MachineError(Exception):
    """QEMU cannot do what was asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accelerator:
    """What runs the machine's instructions. ``words``: QEMU's options for it."""

    name: str
    words: tuple[str, ...]


# 57-bit addresses would cost an emulated processor a fifth table on every walk.
TCG = Accelerator(name="tcg", words=("-accel", "tcg,thread=multi,tb-size=768", "-cpu", "max,la57=off"))
KVM = Accelerator(name="kvm", words=("-accel", "kvm", "-cpu", "host"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """What the machine is made of. ``cache``: as QEMU calls it; with ``unsafe`` a killed QEMU loses what was written.
    ``state``: a frozen machine to go on with, instead of booting."""

    vmlinuz: Path
    initramfs: Path
    disk: Path
    accelerator: Accelerator = TCG
    memory_mib: int = 4096
    cpus: int = 2
    cache: str = "unsafe"
    state: Path | None = None


def find_accelerator(vmlinuz: Path, initramfs: Path, remembered: Path) -> Accelerator:
    """KVM where a guest really comes up with it, which a /dev/kvm alone does not tell. Asked once a boot of this
    machine."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    known = remembered.read_text().split() if remembered.is_file() else []
    if known[:1] != [boot]:
        works = os.access("/dev/kvm", os.R_OK | os.W_OK) and _kvm_works(vmlinuz, initramfs)
        known = [boot, KVM.name if works else TCG.name]
        remembered.write_text(" ".join(known))
    return KVM if known[1] == KVM.name else TCG


def _kvm_works(vmlinuz: Path, initramfs: Path) -> bool:
    words = [*_command(KVM, 256, 1), "-kernel", str(vmlinuz), "-initrd", str(initramfs), "-append"]
    words += ["console=ttyS0 quiet probe", "-serial", "stdio", "-monitor", "none"]
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=_PROBE_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return False
    return b"the processor works" in done.stdout


def version() -> str:
    """Of QEMU: what one has frozen, another does not thaw. Raises MachineError."""
    return subprocess.run([_program(), "--version"], capture_output=True, text=True, check=True).stdout


def _program() -> str:
    program = shutil.which("qemu-system-x86_64")
    if program is None:
        raise MachineError("cannot start the machine: qemu-system-x86_64 is not installed")
    return program


def _command(accelerator: Accelerator, memory_mib: int, cpus: int) -> list[str]:
    words = [_program(), "-nodefaults", "-no-user-config", "-display", "none", "-M", "pc", *accelerator.words]
    return [*words, "-m", str(memory_mib), "-smp", str(cpus)]


def make_overlay(overlay: Path, base: Path, kind: str) -> None:
    """A disk that holds what differs from ``base`` (of format ``kind``)."""
    words = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", kind, "-b", str(base), str(overlay)]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)


class Machine:
    """Invariant: while the QEMU process lives, this process does, and the other way round (``close``)."""

    def __init__(self, hardware: Hardware, *, console: Path) -> None:
        self._console = console
        self._qmp_buffer = b""
        line, line_there = socket.socketpair()
        monitor, monitor_there = socket.socketpair()
        words = self._words(hardware, line_there.fileno(), monitor_there.fileno())
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 lives as long as the machine
        self._process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=self._errors,
            stderr=self._errors,
            pass_fds=(line_there.fileno(), monitor_there.fileno()),
            start_new_session=True,
        )
        line_there.close()
        monitor_there.close()
        self._line, self._monitor = line, monitor
        self.channel = Channel(line)
        self._command("qmp_capabilities")
        if hardware.state is not None:
            self._go_on()

    def _go_on(self) -> None:
        """A frozen machine comes back as it was frozen: standing still."""
        deadline = time.monotonic() + _QMP_SECONDS
        while self._command("query-status").get("status") == "inmigrate" and time.monotonic() < deadline:
            time.sleep(0.02)
        self._command("cont")

    def _words(self, hardware: Hardware, line: int, monitor: int) -> list[str]:
        words = ["setpriv", "--pdeathsig", "KILL", "--"]
        words += _command(hardware.accelerator, hardware.memory_mib, hardware.cpus)
        words += ["-kernel", str(hardware.vmlinuz), "-initrd", str(hardware.initramfs), "-append", KERNEL_WORDS]
        words += ["-chardev", f"socket,id=monitor,fd={monitor}", "-mon", "chardev=monitor,mode=control"]
        words += ["-chardev", f"socket,id=line,fd={line}", "-device", "virtio-serial-pci"]
        words += ["-device", "virtserialport,chardev=line,name=nsrun", "-serial", f"file:{self._console}"]
        words += ["-device", "virtio-rng-pci", "-nic", "user,model=virtio-net-pci"]
        # One disk; the tree's is plugged in later, when what it holds is known.
        words += ["-drive", f"file={hardware.disk},if=none,id=root,format=qcow2,cache={hardware.cache},discard=unmap"]
        words += ["-device", "virtio-blk-pci,drive=root,serial=root"]
        if hardware.state is not None:
            words += ["-incoming", f"exec:cat '{hardware.state}'"]
        return words

    @property
    def pid(self) -> int:
        return self._process.pid

    def answer(self, seconds: float = BOOT_SECONDS, *, not_boot: str = "") -> Greeting:
        """Waits until the machine is up. Raises ChannelError, or MachineError when it will never be."""
        return self.channel.greet(seconds, not_boot=not_boot, alive=self._assert_alive)

    def _assert_alive(self) -> None:
        said = self._console.read_text(errors="replace") if self._console.exists() else ""
        if "Kernel panic" in said:
            raise MachineError(f"the machine's kernel has died:\n{said[-3000:]}")
        if self._process.poll() is not None:
            raise MachineError(f"QEMU has ended: {self.said()}")

    def plug_tree(self, disk: Path) -> None:
        """Gives the machine the checkout, at the path it has here."""
        self._command("blockdev-add", **{"driver": "raw", "node-name": "tree", "file": _file(disk)})
        self._command("device_add", driver="virtio-blk-pci", drive="tree", id="tree", serial="tree")
        self.mount_tree()

    def mount_tree(self) -> None:
        """After each boot of the machine."""
        script = (
            "n=0; while [ ! -b /dev/disk/by-id/virtio-tree ] && [ $n -lt 600 ]; do sleep 0.05; n=$((n+1)); done; "
            f"mkdir -p {REPO} && mount -o noatime /dev/disk/by-id/virtio-tree {REPO}"
        )
        self.check("sh", "-c", script, cwd="/")

    def unplug_tree(self) -> None:
        self.check("umount", str(REPO), cwd="/")
        self._command("device_del", id="tree")
        deadline = time.monotonic() + _QMP_SECONDS
        while time.monotonic() < deadline:
            if self._read_qmp().get("event") == "DEVICE_DELETED":
                self._command("blockdev-del", **{"node-name": "tree"})
                return
        raise MachineError("cannot unplug the tree's disk: the machine does not let go of it")

    def run(self, job: Job, *, out: Callable[[bytes], object], err: Callable[[bytes], object]) -> int:
        """A command in the tree; its exit code. Raises ChannelError, TimeoutError."""
        return self.channel.run(job if job.cwd else replace(job, cwd=str(REPO)), out=out, err=err)

    def check(self, *argv: str, cwd: str = "", seconds: float = 300.0, user: str = "root") -> str:
        """What a command writes. Raises MachineError when it fails."""
        out, err = bytearray(), bytearray()
        code = self.run(Job(argv=argv, cwd=cwd, seconds=seconds, user=user), out=out.extend, err=err.extend)
        if code != 0:
            raise MachineError(f"{' '.join(argv)[:200]}: {code}: {(err or out).decode(errors='replace')[-4000:]}")
        return out.decode(errors="replace")

    def fetch(self, path: str, into: Path) -> None:
        """Copies a file or directory out of the machine. Raises MachineError."""
        tar = subprocess.Popen(["tar", "-C", str(into), "-xf", "-"], stdin=subprocess.PIPE)
        assert tar.stdin is not None
        errors = bytearray()
        where, name = os.path.split(os.path.join(REPO, path).rstrip("/"))
        code = self.run(Job(argv=("tar", "-C", where, "-cf", "-", name)), out=tar.stdin.write, err=errors.extend)
        tar.stdin.close()
        if tar.wait() or code:
            raise MachineError(f'cannot copy "{path}" out of the machine: {errors.decode(errors="replace").strip()}')

    def freeze(self, state: Path) -> None:
        """Writes memory and devices to a file and ends the machine; its disk must be kept with it."""
        self.check("sh", "-c", "sync; echo 3 > /proc/sys/vm/drop_caches", cwd="/")
        self._command("stop")
        self._command("migrate-set-parameters", **{"max-bandwidth": 1 << 40})
        self._command("migrate", uri=f"exec:cat > '{state}'")
        deadline = time.monotonic() + _QMP_SECONDS
        while time.monotonic() < deadline:
            status = self._command("query-migrate")
            if status.get("status") == "completed":
                self.quit()
                return
            if status.get("status") == "failed":
                break
            time.sleep(0.1)
        raise MachineError(f"cannot freeze the machine: {status}")

    def reset(self) -> None:
        """The reset button."""
        self._command("system_reset")

    def quit(self) -> None:
        """Ends QEMU; what it holds back of its disks is written."""
        self._command("quit")
        self._process.wait(30)

    def kill(self) -> None:
        """The power cord."""
        self._process.kill()
        self._process.wait()

    def power_off(self, seconds: float = 60.0) -> None:
        """In good order, by the machine's own service manager."""
        self.run(Job(argv=("systemctl", "poweroff", "--no-block"), cwd="/"), out=len, err=len)
        self._process.wait(seconds)

    def close(self) -> None:
        if self._process.poll() is None:
            self.kill()
        self._line.close()
        self._monitor.close()
        self._errors.close()

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _command(self, name: str, **arguments: Any) -> dict[str, Any]:
        request: dict[str, Any] = {"execute": name}
        if arguments:
            request["arguments"] = arguments
        try:
            self._monitor.sendall(json.dumps(request).encode())
            while True:
                answer = self._read_qmp()
                if "error" in answer:
                    raise MachineError(f"QEMU refuses {name}: {answer['error'].get('desc')}")
                if "return" in answer:
                    return dict(answer["return"]) if isinstance(answer["return"], dict) else {}
        except OSError as error:
            raise MachineError(f"QEMU has ended: {self.said()}") from error

    def _read_qmp(self) -> dict[str, Any]:
        self._monitor.settimeout(_QMP_SECONDS)
        while b"\n" not in self._qmp_buffer:
            data = self._monitor.recv(65536)
            if not data:
                self._process.wait(10)
                raise MachineError(f"QEMU has ended: {self.said()}")
            self._qmp_buffer += data
        line, _, self._qmp_buffer = self._qmp_buffer.partition(b"\n")
        return dict(json.loads(line))

    def said(self) -> str:
        """QEMU's own complaints."""
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace").strip()


def _file(path: Path) -> dict[str, Any]:
    return {"driver": "file", "filename": str(path), "cache": {"no-flush": True}, "discard": "unmap"}
