"""How somebody who is not root gets namespaces of his own, with everything real, in every world there is."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nsrun.host.rootless.holding import Holder, parse_record, start_ticks
from tests.rootless.conftest import Account
from tests.waiting import PATIENCE, eventually

pytestmark = [pytest.mark.root, pytest.mark.timeout(120)]

FREE_ROOM = ("nsrun", "image", "mount")  # a command that makes namespaces, and else only lists


def make(account: Account, **given: object) -> tuple[Holder, str]:
    """Namespaces, and what is said when they are made."""
    done = account.run(*FREE_ROOM, **given)  # type: ignore[arg-type]
    assert done.returncode == 0, done.stderr
    holder = recorded(account)
    assert holder is not None
    return holder, done.stderr


def recorded(account: Account) -> Holder | None:
    path = account.seen(account.run_dir / "holder")
    return parse_record(path.read_text()) if path.exists() else None


def map_of(pid: int, kind: str) -> list[list[int]]:
    return [[int(word) for word in row.split()] for row in Path(f"/proc/{pid}/{kind}_map").read_text().splitlines()]


def namespaces(pid: int, *names: str) -> list[int]:
    return [os.stat(f"/proc/{pid}/ns/{name}").st_ino for name in names]


def test_namespaces_are_made_with_all_ids(account: Account) -> None:
    holder, said = make(account)

    assert "cannot" not in said
    for kind in ("uid", "gid"):
        assert map_of(holder.pid, kind) == [[0, account.uid, 1], [1, account.first_subid, 65536]]
    own = namespaces(os.getpid(), "user", "mnt", "net", "pid", "ipc", "uts", "cgroup")
    theirs = namespaces(holder.pid, "user", "mnt", "net", "pid", "ipc", "uts", "cgroup")
    assert [mine == other for mine, other in zip(own, theirs, strict=True)] == [False] * 3 + [True] * 4


def test_the_holder_holds_nothing_else(account: Account) -> None:
    holder, _ = make(account)

    proc = Path(f"/proc/{holder.pid}")
    assert os.listdir(proc / "fd") == []
    assert os.readlink(proc / "cwd") == "/"
    assert (proc / "environ").read_bytes() == b""
    status = dict(line.split(":\t", 1) for line in (proc / "status").read_text().splitlines() if ":\t" in line)
    assert status["PPid"] == "1"
    assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0
    assert status["NoNewPrivs"] == "1"
    assert os.getsid(holder.pid) == holder.pid
    ignored, default = int(status["SigIgn"], 16), {signal.SIGTERM, signal.SIGKILL, signal.SIGSTOP}
    assert all(ignored >> number - 1 & 1 for number in range(1, 32) if number not in default)
    assert not ignored >> signal.SIGTERM - 1 & 1


def test_commands_share_them(account: Account) -> None:
    first, _ = make(account)
    second, said = make(account)

    assert first == second
    assert said == "No images are mounted.\n"


def test_many_at_once_make_one(account: Account) -> None:
    """Whoever comes second waits for the first, and enters what that made."""
    running = [account.start(*FREE_ROOM) for _ in range(6)]
    for process in running:
        output, _ = process.communicate(timeout=60 * PATIENCE)
        assert process.returncode == 0, output

    held = [pid for pid in account.processes() if Path(f"/proc/{pid}/comm").read_text() == "nsrun-holder\n"]
    assert len(held) == 1


def test_who_only_looks_makes_none(account: Account) -> None:
    done = account.run("nsrun", "pods")

    assert done.returncode == 1
    assert "no nsrun is running here" in done.stderr
    assert recorded(account) is None
    assert account.processes() == []


def test_a_pid_that_is_somebody_elses_is_no_holder(account: Account) -> None:
    """The record names a process that lives, but started at another time."""
    holder, _ = make(account)
    os.kill(holder.pid, signal.SIGKILL)
    eventually(lambda: start_ticks(holder.pid) is None, what="the end of the holder")
    stranger = account.start("sleep", "1000")
    record = account.seen(account.run_dir / "holder")
    record.write_text(f"{stranger.pid} {holder.ticks} {holder.boot}\n")

    other, _ = make(account)

    assert other.pid not in (stranger.pid, holder.pid)
    stranger.kill()
    stranger.communicate()


def test_a_record_of_another_boot_is_none(account: Account) -> None:
    holder, _ = make(account)
    record = account.seen(account.run_dir / "holder")
    record.write_text(record.read_text().replace(holder.boot, "0" * 36))

    other, _ = make(account)

    assert other.pid != holder.pid


LISTEN = """
import os, socket, sys
from nsrun.host.rootless.entering import enter, prepare
enter(prepare(os.environ), start=True)
os.makedirs(sys.argv[1])
line = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
line.bind(sys.argv[1] + "/shim.sock")
line.listen(8)
print("listens", flush=True)
line.accept()
line.accept()
"""


@pytest.fixture
def shim(account: Account) -> Iterator[None]:
    """A process inside that answers where a pod's shim does."""
    pod = account.run_dir / "pods" / "some-uid"
    process = account.start("python3", "-c", LISTEN, str(pod))
    assert process.stdout is not None
    assert process.stdout.readline() == "listens\n"
    yield
    process.kill()
    process.communicate()


def test_a_dead_holder_is_replaced_where_a_shim_lives(account: Account, shim: None) -> None:
    """The namespaces of what runs are found again through it, with the network that was pinned in them."""
    holder, _ = make(account)
    before = namespaces(holder.pid, "user", "mnt", "net")
    os.kill(holder.pid, signal.SIGKILL)
    eventually(lambda: start_ticks(holder.pid) is None, what="the end of the holder")

    done = account.run("nsrun", "images")
    other = recorded(account)

    assert done.returncode == 0, done.stderr
    assert other is not None
    assert other.pid != holder.pid
    assert namespaces(other.pid, "user", "mnt", "net") == before


def test_a_lost_record_is_written_again(account: Account, shim: None) -> None:
    """The holder lives, its record is gone, and a shim leads to it: no second one is made."""
    holder, _ = make(account)
    account.seen(account.run_dir / "holder").unlink()

    done = account.run("nsrun", "images")

    assert done.returncode == 0, done.stderr
    assert recorded(account) == holder


def test_the_user_may_not_be_looked_at_by_who_has_no_power_inside(account: Account) -> None:
    """Root of the namespace without CAP_SYS_PTRACE: as in a container that shares the host's processes."""
    holder, _ = make(account)

    look = f"readlink /proc/{holder.pid}/ns/net && readlink /proc/{holder.pid}/root"
    with_power = account.run("nsrun", "unshare", "--", "sh", "-c", look)
    without = account.run("nsrun", "unshare", "--", "setpriv", "--bounding-set=-all", "sh", "-c", look)

    assert with_power.returncode == 0, with_power.stderr
    assert without.returncode != 0


# --- worlds that have less


def test_without_subordinate_ids_there_is_one(account: Account) -> None:
    account.as_root(f"sed -i /^{account.name}:/d /etc/subuid /etc/subgid")

    holder, said = make(account)

    assert map_of(holder.pid, "uid") == [[0, account.uid, 1]]
    assert map_of(holder.pid, "gid") == [[0, account.uid, 1]]
    assert f"cannot map more than one id: /etc/subuid and /etc/subgid names none for {account.name}" in said
    assert "usermod --add-subuids" in said


def test_ids_by_number_in_several_lines(account: Account) -> None:
    lines = f"# a comment\\n{account.uid}:805306368:1000\\nsomebody:1:5\\n{account.name}:nonsense:7\\n"
    account.as_root(f"printf '{lines}{account.name}:900000000:70000\\n' | tee /etc/subuid >/etc/subgid")

    holder, said = make(account)

    wanted = [[0, account.uid, 1], [1, 805306368, 1000], [1001, 900000000, 70000]]
    assert map_of(holder.pid, "uid") == map_of(holder.pid, "gid") == wanted
    assert "cannot" not in said


def test_few_ids_are_told(account: Account) -> None:
    account.as_root(f"printf '{account.name}:900000000:1000\\n' | tee /etc/subuid >/etc/subgid")

    holder, said = make(account)

    assert map_of(holder.pid, "uid")[1] == [1, 900000000, 1000]
    assert f"cannot map 65536 ids: /etc/subuid has 1000 for {account.name}" in said


def test_without_newuidmap_there_is_one(account: Account) -> None:
    account.as_root("mkdir /run/none; for dir in /usr/bin /usr/sbin; do hide=$dir; done; "
                    "for name in newuidmap newgidmap; do mount --bind /dev/null $(command -v $name); done")  # fmt: skip

    holder, said = make(account)

    assert map_of(holder.pid, "uid") == [[0, account.uid, 1]]
    assert "there is no newuidmap" in said
    assert "apt install uidmap" in said


def test_newuidmap_without_its_bit(account: Account) -> None:
    account.as_root(
        "for name in newuidmap newgidmap; do path=$(command -v $name); cp $path /run/$name; chmod 755 /run/$name; "
        "mount --bind /run/$name $path; done"
    )

    holder, said = make(account)

    assert map_of(holder.pid, "uid") == [[0, account.uid, 1]]
    assert "newuidmap has neither its setuid bit nor file capabilities" in said
    assert "sudo chmod u+s" in said


def test_newgidmap_alone_without_its_bit(account: Account) -> None:
    """A namespace whose user ids are mapped already is of no use: another is made."""
    account.as_root("path=$(command -v newgidmap); cp $path /run/one; chmod 755 /run/one; mount --bind /run/one $path")

    holder, said = make(account)

    assert map_of(holder.pid, "uid") == map_of(holder.pid, "gid") == [[0, account.uid, 1]]
    assert "newgidmap has neither its setuid bit nor file capabilities" in said
    eventually(lambda: account.processes() == [holder.pid], what="the end of the first holder")


# In a user namespace with so many ids, as its root: there this sysctl is the namespace's own.
INSIDE = """
import os, sys
from nsrun.support import native
ids, most, *words = sys.argv[1:]
reader, writer = os.pipe()
pid = os.getpid()
helper = os.fork()
if helper == 0:
    os.read(reader, 1)
    for kind in ("uid_map", "gid_map"):
        with open(f"/proc/{pid}/{kind}", "w") as file:
            file.write(f"0 0 {ids}")
    os._exit(0)
native.unshare(native.CLONE_NEWUSER)
os.write(writer, b"go")
os.waitpid(helper, 0)
with open("/proc/sys/user/max_user_namespaces", "w") as file:
    file.write(most)
os.execvp(words[0], words)
"""


def inside(*, ids: int, most: int) -> tuple[str, ...]:
    return (sys.executable, "-c", INSIDE, str(ids), str(most))


def test_where_user_namespaces_are_forbidden(account: Account) -> None:
    done = account.run(*FREE_ROOM, through=inside(ids=2000000000, most=0))

    assert done.returncode == 1
    assert done.stderr.startswith("nsrun: cannot make a user namespace: no space left on device (ENOSPC): ")
    assert "user.max_user_namespaces is 0" in done.stderr
    assert "sudo sysctl -w user.max_user_namespaces=1000" in done.stderr
    assert "Traceback" not in done.stderr


# As AppArmor does to who has no profile where it restricts user namespaces: they can be made, and are good for nothing.
RESTRICTED = """
import errno, os, sys
import pyseccomp
calls = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
calls.set_attr(pyseccomp.Attr.CTL_NNP, 0)
calls.add_rule(pyseccomp.ERRNO(errno.EACCES), "mount")
calls.load()
os.execvp(sys.argv[1], sys.argv[1:])
"""
SYSCTLS = """
mount -t tmpfs tmpfs /mnt
cp -r /proc/sys/kernel/. /mnt 2>/dev/null || true
echo 1 >/mnt/apparmor_restrict_unprivileged_userns
mount --bind /mnt /proc/sys/kernel
umount /mnt
"""


@pytest.mark.parametrize("command", [FREE_ROOM, ("nsrun", "doctor")])
def test_where_apparmor_restricts_them(account: Account, command: tuple[str, ...]) -> None:
    account.as_root(SYSCTLS)

    done = account.run(*command, through=(sys.executable, "-c", RESTRICTED))

    assert done.returncode == 1
    said = done.stderr + done.stdout
    assert "cannot change mounts in the user's namespace: permission denied (EACCES): AppArmor restricts" in said
    assert "| sudo tee /etc/apparmor.d/nsrun && sudo apparmor_parser -r /etc/apparmor.d/nsrun)" in said
    eventually(lambda: account.processes() == [], what="the end of the holder")


def test_in_a_user_namespace_with_few_ids(account: Account) -> None:
    """The subordinate ids do not exist in there."""
    done = account.run(*FREE_ROOM, through=inside(ids=100000, most=1000))

    assert done.returncode == 0, done.stderr
    assert "do not exist in the user namespace nsrun is started in" in done.stderr


def test_without_a_runtime_directory(account: Account) -> None:
    account.as_root(f"rmdir {account.runtime}")
    done = account.run(*FREE_ROOM, environment={"XDG_RUNTIME_DIR": None})

    own = Path(f"/tmp/nsrun-run-{account.uid}")
    try:
        assert done.returncode == 0, done.stderr
        assert own.stat().st_mode & 0o777 == 0o700
        assert own.stat().st_uid == account.uid
        assert (own / "nsrun" / "holder").exists()
    finally:
        account.run("nsrun", "down", environment={"XDG_RUNTIME_DIR": None})
        account.run("rm", "-rf", str(own))


def test_a_runtime_directory_of_somebody_else_is_not_used(account: Account) -> None:
    """As after su(1), which leaves XDG_RUNTIME_DIR as it was."""
    done = account.run(*FREE_ROOM, environment={"XDG_RUNTIME_DIR": "/run"})

    assert done.returncode == 0, done.stderr
    assert recorded(account) is not None


@pytest.mark.parametrize("trap", ["mkdir -m 777 {}", "mkdir -m 700 {}", "ln -s /run/user {}"])
def test_a_trap_in_tmp_is_refused(account: Account, trap: str) -> None:
    own = f"/tmp/nsrun-run-{account.uid}"
    account.as_root(f"rmdir {account.runtime}; " + trap.format(own))
    try:
        done = account.run(*FREE_ROOM, environment={"XDG_RUNTIME_DIR": None})

        assert done.returncode == 1
        assert f'cannot use "{own}": it is not a directory that only user {account.uid} may enter' in done.stderr
    finally:
        account.as_root(f"rm -rf {own}")


def test_a_home_that_cannot_be_written(account: Account) -> None:
    account.as_root(f"chown root {account.home}; chmod 755 {account.home}")

    (account.home.parent / "tmp/pods").mkdir()
    for words in (("pull", "docker.io/library/none"), ("--manifests", str(account.home.parent / "tmp/pods"))):
        done = account.run("nsrun", *words)

        assert done.returncode == 1
        assert f'"{account.home}/.local' in done.stderr
        assert "permission denied" in done.stderr
        assert "of yours with --root" in done.stderr
        assert "Traceback" not in done.stderr

    elsewhere = {"NSRUN_ROOT": f"{account.home.parent}/tmp/root"}
    assert account.run("nsrun", "images", environment=elsewhere).returncode == 0


# --- inside


def test_the_working_directory_stays(account: Account) -> None:
    done = account.run("nsrun", "unshare", "--", "pwd")

    assert done.stdout == f"{account.home}\n"


def test_who_is_inside_is_root_with_home(account: Account) -> None:
    done = account.run("nsrun", "unshare", "--", "sh", "-c", "id -u; id -g; echo $HOME; cat /proc/self/uid_map")

    assert done.stdout.splitlines()[:3] == ["0", "0", str(account.home)]
    assert done.stdout.splitlines()[3].split() == ["0", str(account.uid), "1"]


def test_another_primary_group_is_root_too(account: Account) -> None:
    """newgrp(1): a group that has no number inside."""
    through = ("setpriv", "--groups=12345")
    assert make(account, through=through)
    done = account.run("nsrun", "unshare", "--", "id", "-g", through=through)

    assert done.stdout == "0\n"


def test_mounts_of_the_host_come_in_and_none_go_out(account: Account) -> None:
    make(account)
    account.as_root("mkdir /run/later")
    done = account.run(
        "nsrun", "unshare", "--", "sh", "-c", "mount -t tmpfs none /mnt && grep ' /mnt ' /proc/self/mounts"
    )

    assert "tmpfs" in done.stdout
    assert " /mnt " not in account.seen("/proc/mounts").read_text()


def test_sockets_know_the_user_as_root(account: Account) -> None:
    """The API's socket and the shim's let in who has their own uid: inside, the user is 0."""
    make(account)
    path = account.run_dir / "some.sock"
    script = (
        "import socket, struct; line = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET);"
        f"line.bind({str(path)!r}); line.listen(); print('listens', flush=True); peer, _ = line.accept();"
        "print(struct.unpack('3i', peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1], flush=True)"
    )
    server = account.start("nsrun", "unshare", "--", "python3", "-c", script)
    assert server.stdout is not None
    assert server.stdout.readline() == "listens\n"
    client = f"import socket; socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET).connect({str(path)!r})"

    assert account.run("python3", "-c", client).returncode == 0
    assert server.stdout.readline() == "0\n"
    server.communicate()


# --- what the doctor and the unit say of it


def test_the_doctor_of_a_user(account: Account) -> None:
    """It looks from inside, and leaves nothing there."""
    done = account.run("nsrun", "doctor")

    assert f"ok    rootless: {account.name} (user {account.uid}) has namespaces of his own\n" in done.stdout
    assert "ok    ids: 65537 user ids and 65537 group ids\n" in done.stdout
    assert f"ok    run directory: {account.run_dir}\n" in done.stdout
    assert "FAIL" not in done.stdout
    assert done.returncode == 0
    eventually(lambda: account.processes() == [], what="the end of the holder")
    assert recorded(account) is None


def test_the_doctor_of_a_user_with_less(account: Account) -> None:
    account.as_root(f"sed -i /^{account.name}:/d /etc/subuid; rmdir {account.runtime}")
    done = account.run("nsrun", "doctor", environment={"XDG_RUNTIME_DIR": None})

    assert f"warn  ids: cannot map more than one id: /etc/subuid names none for {account.name}" in done.stdout
    assert f"warn  run directory: /tmp/nsrun-run-{account.uid}/nsrun: there is no XDG_RUNTIME_DIR" in done.stdout
    assert done.returncode == 0
    account.run("rm", "-rf", f"/tmp/nsrun-run-{account.uid}")


def test_the_doctor_does_not_end_what_runs(account: Account) -> None:
    holder, _ = make(account)
    account.run("nsrun", "doctor")

    assert recorded(account) == holder
    assert start_ticks(holder.pid) == holder.ticks


def test_a_unit_of_ones_own(account: Account) -> None:
    unit = account.home / ".config/systemd/user/nsrun.service"
    (account.home / "my pods").mkdir()
    installed = account.run("nsrun", "systemd", "--user", "install", "my pods", "--", "--max-pods", "5")

    assert installed.returncode == 0, installed.stderr
    assert installed.stdout == f"{unit}\n"
    assert f"sudo loginctl enable-linger {account.name}" in installed.stderr
    assert f'nsrun --manifests "{account.home}/my pods" --max-pods 5\n' in unit.read_text()
    assert unit.stat().st_uid == account.uid
    assert account.processes() == []

    assert account.run("nsrun", "systemd", "--user", "uninstall").returncode == 0
    assert not unit.exists()


def test_a_unit_of_the_system_is_roots(account: Account) -> None:
    done = account.run("nsrun", "systemd", "install", ".")

    assert done.returncode == 1
    assert "cannot change a unit of the system: you are not root" in done.stderr


def test_down_leaves_nothing(account: Account) -> None:
    make(account)
    pins = account.seen(account.runtime / "netns")
    assert [path.name for path in pins.iterdir()] == ["nsrun"]
    done = account.run("nsrun", "down")

    assert done.returncode == 0, done.stderr
    eventually(lambda: account.processes() == [], what="the end of the holder")
    assert not account.seen(account.run_dir).exists()
    assert not pins.exists()


def test_two_run_directories_are_apart(account: Account) -> None:
    first, _ = make(account)
    words = ("nsrun", "--run-dir", str(account.runtime / "other"), *FREE_ROOM[1:])
    assert account.run(*words).returncode == 0
    second = parse_record(account.seen(account.runtime / "other" / "holder").read_text())

    assert second is not None
    assert second.pid != first.pid
    assert namespaces(first.pid, "user", "net") != namespaces(second.pid, "user", "net")
