"""What a container is allowed whose root is an ordinary user: each thing works, or is refused with the reason."""

from __future__ import annotations

from typing import Any

import pytest

from tests.rootless.conftest import Account
from tests.rootless.scenes import SINGLE, play

pytestmark = [pytest.mark.root, pytest.mark.timeout(120)]


def run(account: Account, script: str, **words: Any) -> str:
    """The output of a script that ends well."""
    answer = play(account, "container", script=script, **words)
    assert answer.get("code") == 0, answer
    return str(answer["output"])


def refused(account: Account, **words: Any) -> tuple[str, str]:
    """What is told instead, and the remedy."""
    answer = play(account, "container", script="true", **words)
    assert "error" in answer, answer
    return answer["error"], answer["hint"] or ""


def test_a_container_is_whole(account: Account) -> None:
    output = run(
        account,
        "id -u; cat /proc/self/uid_map; "
        "for d in null zero full random urandom tty; do test -c /dev/$d || echo no $d; done; "
        "head -c 3 /dev/zero | wc -c; echo x >/dev/null && echo void; ls /dev/pts /dev/mqueue; "
        "grep -c ' /sys ' /proc/mounts; touch /sys/x 2>/dev/null || echo read-only; "
        "cat /proc/sys/net/ipv4/ip_unprivileged_port_start; "
        "cat /proc/sys/net/ipv4/ping_group_range; grep NoNewPrivs /proc/self/status; mknod /x c 1 3 || echo no device",
        security={"allow_privilege_escalation": False},
    )

    lines = [" ".join(line.split()) for line in output.splitlines()]
    assert lines[0] == "0"
    assert lines[1:3] == [f"0 {account.uid} 1", f"1 {account.first_subid} 65535"]  # unshare(1) leaves one out
    for expected in ("3", "void", "1", "read-only", "0", "0 65535", "NoNewPrivs: 1", "no device"):
        assert expected in lines
    assert not [line for line in lines if line.startswith("no ") and line != "no device"]


def test_users_and_groups_of_the_map(account: Account) -> None:
    output = run(
        account,
        "id; touch /tmp/mine; stat -c '%u %g' /tmp/mine",
        security={"run_as_user": 1000, "run_as_group": 65535},
        pod_security={"supplemental_groups": [7, 4000]},
    )

    assert output.startswith("uid=1000 gid=65535 groups=7,4000,65535\n")
    assert "1000 65535" in output


@pytest.mark.parametrize(
    ("security", "pod_security", "said"),
    [
        ({"run_as_user": 65536}, {}, "cannot run as user 65536: whoever runs nsrun has ids up to 65535 for containers"),
        ({}, {"supplemental_groups": [70000]}, "cannot run as group 70000"),
    ],
)
def test_ids_beyond_the_map_are_refused(
    account: Account, security: dict[str, int], pod_security: dict[str, list[int]], said: str
) -> None:
    message, hint = refused(account, security=security, pod_security=pod_security)

    assert said in message
    assert "/etc/sub" in hint


def test_with_a_single_id_everything_is_root(account: Account) -> None:
    output = run(
        account,
        "id -u; id -g; cat /proc/self/uid_map; ls -ln /bin/busybox; cat /proc/sys/net/ipv4/ping_group_range; "
        "touch /x && echo made; ls /dev/pts",
        ids=SINGLE,
    )

    lines = [" ".join(line.split()) for line in output.splitlines()]
    assert lines[:3] == ["0", "0", f"0 {account.uid} 1"]
    assert "0 0" in lines
    assert "made" in lines


def test_with_a_single_id_nobody_else_is_there(account: Account) -> None:
    message, hint = refused(account, ids=SINGLE, security={"run_as_user": 101})

    assert "cannot run as user 101: whoever runs nsrun has no id but 0 for containers" in message
    assert "/etc/subuid" in hint


def test_privileged_is_privileged_over_the_users_own(account: Account) -> None:
    output = run(
        account,
        "mount -t tmpfs x /mnt && echo mounted; hostname >/dev/null; grep CapEff /proc/self/status; "
        "dd if=/dev/vda of=/dev/null count=1 2>/dev/null || echo no disk; "
        "echo 1 >/proc/sys/kernel/core_uses_pid 2>/dev/null || echo not the host",
        security={"privileged": True},
        upper={"mnt/here": ""},
    )

    assert "mounted\n" in output
    assert "CapEff:\t000001ffffffffff" in output
    assert "no disk\n" in output
    assert "not the host\n" in output


def test_the_hosts_namespaces(account: Account) -> None:
    """Of the process namespace another test tells."""
    output = run(
        account,
        "touch /sys/x 2>/dev/null || echo read-only; "
        "awk '$2 ~ /^.sys/ && $4 !~ /^ro,nosuid,nodev,noexec/' /proc/mounts; "
        "ls /dev/mqueue 2>/dev/null; ls -d /dev/shm",
        spec={"host_network": True, "host_ipc": True},
    )

    lines = output.splitlines()
    assert lines[0] == "read-only"
    assert "/dev/shm" in lines
    masked = [line for line in lines[1:] if line.startswith(("tmpfs /sys/fs", "sysfs"))]
    assert masked == []


def test_pods_share_a_process_namespace(account: Account) -> None:
    output = run(account, "cat /proc/1/comm; ls /proc | grep -c '^[0-9]'", spec={"share_process_namespace": True})

    assert output.splitlines()[0] == "pause"


def test_a_host_path_of_the_users_own(account: Account) -> None:
    account.run("sh", "-c", "mkdir share; echo mine >share/a")
    output = run(
        account, "cat /data/a; echo more >/data/b; stat -c %u /data/a", mounts={"/data": str(account.home / "share")}
    )

    assert output == "mine\n0\n"
    assert account.seen(account.home / "share/b").stat().st_uid == account.uid


def test_a_host_path_of_others_is_refused(account: Account) -> None:
    account.as_root(f"mkdir -p {account.home}/../theirs/in; chmod 700 {account.home}/../theirs")
    message, hint = refused(account, mounts={"/data": str(account.home.parent / "theirs/in")})

    assert "permission denied (EACCES)" in message
    assert "whoever runs it may" in hint


def test_a_device_as_host_path(account: Account) -> None:
    assert run(account, "head -c 2 /dev/here | wc -c", mounts={"/dev/here": "/dev/zero"}) == "2\n"


def test_what_is_locked_stays(account: Account) -> None:
    """A mount that the host made read-only and nosuid, shown by a hostPath."""
    shown = account.home / "shown"
    account.as_root(f"mkdir -p {shown}; mount -t tmpfs -o ro,nosuid,noexec,noatime tmpfs {shown}")
    output = run(
        account, "touch /data/x 2>/dev/null || echo read-only; grep /data /proc/mounts", mounts={"/data": str(shown)}
    )

    assert output.startswith("read-only\n")
    assert "ro,nosuid,noexec,noatime" in output


def test_sysctls_of_the_pods_own(account: Account) -> None:
    from_manifest = {"sysctls": [["net.ipv4.tcp_fin_timeout", "17"]]}
    assert run(account, "cat /proc/sys/net/ipv4/tcp_fin_timeout", pod_security=from_manifest) == "17\n"
