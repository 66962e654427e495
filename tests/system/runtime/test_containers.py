"""Containers for real: shim, namespaces, overlay, busybox."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
from pathlib import Path

import jsonschema
import pytest

import nsrun.runtime
from nsrun.errors import LaunchError, RuntimeFailure
from nsrun.runtime.ocilinux import MASKED_PATHS
from tests.system.runtime.world import EnvVar, SecurityContext, VolumeMount, World, container, pod, shell
from tests.waiting import eventually, eventually_async

pytestmark = pytest.mark.root

SCHEMA = json.loads((Path(nsrun.runtime.__file__).parent / "schema" / "config.json").read_text())


def remains(world: World) -> list[str]:
    """Files of ours that are left, logs aside."""
    places = (world.layout.run_pods, world.layout.pods, world.layout.container_logs)
    return [str(path) for place in places for path in place.rglob("*") if not path.is_dir()]


async def test_a_container_runs_and_its_end_is_known(world: World) -> None:
    one = pod(shell("main", "echo hello; echo oops >&2; exit 3"))
    started = await world.start(one)
    end = await world.end(started.id)
    assert (end.code, end.reason, end.signal) == (3, "Error", 0)
    assert end.started_at <= end.finished_at
    assert sorted(world.output(one, started.id).splitlines()) == ["hello", "oops"]


async def test_signals_end_it(world: World) -> None:
    one = pod(
        shell("main", "trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done"), shell("deaf", "sleep 1000")
    )
    main, deaf = await world.start(one), await world.start(one, "deaf")
    eventually(lambda: "ready" in world.output(one, main.id))
    await world.engine.signal(main.id, signal.SIGTERM)
    await world.engine.signal(deaf.id, signal.SIGTERM)  # PID 1 without a handler: the kernel drops it
    assert (await world.end(main.id)).code == 7
    await world.engine.kill(deaf.id)
    end = await world.end(deaf.id)
    assert (end.code, end.signal, end.reason) == (137, 9, "Error")
    await world.engine.signal(main.id, signal.SIGTERM)  # ended: nothing happens
    await world.engine.kill(main.id)


async def test_what_the_container_sees(world: World) -> None:
    script = """
    echo hostname=$(hostname) HOSTNAME=$HOSTNAME HOME=$HOME A=$A B=$B
    echo id=$(id -u):$(id -g):$(id -G)
    echo umask=$(umask) cwd=$(pwd) $(grep PPid /proc/self/status)
    echo fds=$(ls /proc/self/fd | tr '\\n' ' ')
    grep -E '^(Cap|NoNewPrivs|Seccomp:|Groups)' /proc/self/status
    echo dev=$(ls /dev | tr '\\n' ' ')
    echo root=$(ls -ld / | cut -c1-10)
    echo oom=$(cat /proc/self/oom_score_adj)
    echo core=$(ulimit -Sc)
    cat /proc/self/mountinfo
    """
    one = pod(shell("main", script, env=(EnvVar(name="A", value="1"), EnvVar(name="B", value="$(A)$$"))))
    started = await world.start(one)
    assert (await world.end(started.id)).code == 0
    output = world.output(one, started.id)
    assert "hostname=web HOSTNAME=web HOME=/root A=1 B=$(A)$$\n" in output
    assert "id=0:0:0" in output
    assert "umask=0022 cwd=/ PPid: 1\n" in output
    assert "fds=0 1 2 3\n" in output  # 3 is ls reading the directory
    assert "CapInh:\t0000000000000000" in output
    assert "CapAmb:\t0000000000000000" in output
    assert "CapEff:\t00000000800405fb" in output
    assert "CapBnd:\t00000000800405fb" in output
    assert "NoNewPrivs:\t0" in output
    assert "Seccomp:\t2" in output
    assert "dev=core fd" not in output
    assert (
        "dev=fd full mqueue null ptmx pts random shm stderr stdin stdout termination-log tty urandom zero\n" in output
    )
    assert "root=drwxr-xr-x" in output
    assert "oom=1000" in output
    assert "core=0" in output
    mounts = {line.split()[4]: line for line in output.splitlines() if " - " in line}
    assert "overlay" in mounts["/"]
    assert "nodev" in mounts["/"].split()[5]
    for place in ("/proc/sys", "/proc/irq", "/sys", "/sys/fs/cgroup", "/sys/firmware"):
        assert mounts[place].split()[5].startswith("ro"), mounts[place]
    masked = [path for path in MASKED_PATHS if os.path.exists(path)]
    assert masked
    assert [path for path in masked if path not in mounts] == []


async def test_configuration_is_valid_and_private(world: World) -> None:
    one = pod(shell("main", "sleep 1000"))
    await world.start(one)
    paths = list(world.layout.run_pod(one.uid).rglob("config.json"))
    assert len(paths) == 2
    for path in paths:
        jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(path.read_text()))
        assert path.stat().st_mode & 0o777 == 0o600


async def test_containers_of_a_pod_share_what_they_should(world: World) -> None:
    script = (
        "for n in net ipc uts pid mnt cgroup; do readlink /proc/self/ns/$n; done; echo x > /dev/shm/$0; "
        "until [ -e /dev/shm/a ] && [ -e /dev/shm/b ]; do sleep 0.02; done; echo both"
    )
    one = pod(container("a", "/bin/sh", "-c", script, "a"), container("b", "/bin/sh", "-c", script, "b"))
    a, b = await world.start(one, "a"), await world.start(one, "b")
    assert (await world.end(a.id)).code == (await world.end(b.id)).code == 0
    of_a, of_b = world.output(one, a.id).splitlines(), world.output(one, b.id).splitlines()
    assert of_a[:3] == of_b[:3]
    assert all(x != y for x, y in zip(of_a[3:6], of_b[3:6], strict=True))
    hosts = [os.readlink(f"/proc/self/ns/{name}") for name in ("net", "ipc", "uts", "pid", "mnt", "cgroup")]
    assert not set(hosts) & set(of_a)
    pinned = os.stat(world.layout.netns(one.name)).st_ino
    assert of_a[0] == f"net:[{pinned}]"
    assert of_a[6] == of_b[6] == "both"


async def test_user_and_groups(world: World) -> None:
    passwd = b"root:x:0:0::/root:/bin/sh\napp:x:1000:100::/home/app:/bin/sh\n"
    group = b"root:x:0:\nusers:x:100:\nextra:x:200:app\n"
    image = world.image(passwd=passwd, group=group, user="app")
    code, output = await world.run(
        "id -u; id -G; echo $HOME; grep -E 'Cap(Eff|Prm|Bnd)' /proc/self/status", image=image
    )
    assert code == 0
    lines = output.splitlines()
    assert lines[:3] == ["1000", "100 200", "/home/app"]
    assert "CapPrm:\t0000000000000000" in lines
    assert "CapEff:\t0000000000000000" in lines
    assert "CapBnd:\t00000000800405fb" in lines
    context = SecurityContext(run_as_user=1234, run_as_group=77)
    code, output = await world.run("id -u; id -G", image=image, security_context=context)
    assert output.splitlines() == ["1234", "77"]


async def test_no_new_privileges_and_capabilities_when_asked(world: World) -> None:
    context = SecurityContext(
        allow_privilege_escalation=False, capabilities_add=("NET_RAW",), capabilities_drop=("ALL",)
    )
    code, output = await world.run("grep -E 'NoNewPrivs|CapEff|Seccomp:' /proc/self/status", security_context=context)
    assert code == 0
    assert output.splitlines() == ["CapEff:\t0000000000002000", "NoNewPrivs:\t1", "Seccomp:\t2"]


async def test_read_only_root(world: World) -> None:
    context = SecurityContext(read_only_root_filesystem=True)
    script = "pwd; touch /x || echo refused; touch /dev/shm/y && echo shm"
    code, output = await world.run(script, security_context=context, working_dir="/new/place")
    assert code == 0
    lines = output.splitlines()
    assert lines[0] == "/new/place"
    assert {"refused", "shm"} <= set(lines)


async def test_volumes(world: World) -> None:
    outer, inner, file = world.root / "outer", world.root / "inner", world.root / "file"
    outer.mkdir()
    inner.mkdir()
    (inner / "deep").write_text("deep\n")
    file.write_text("from the host\n")
    mounts = (
        VolumeMount(name="inner", mount_path="/data/a/b", read_only=True),
        VolumeMount(name="outer", mount_path="/data"),
        VolumeMount(name="file", mount_path="/etc/hosts"),
    )
    script = "cat /data/a/b/deep /etc/hosts; touch /data/x && echo written; touch /data/a/b/y || echo refused"
    volumes = {"outer": outer, "inner": inner, "file": file}
    code, output = await world.run(script, volume_mounts=mounts, volumes=volumes)
    assert code == 0
    assert output.splitlines()[:3] == ["deep", "from the host", "written"]
    assert "refused" in output.splitlines()
    assert (outer / "x").exists()


async def test_the_pods_own_files(world: World) -> None:
    one = pod(shell("main", "cat /etc/hosts /etc/resolv.conf /etc/hostname; echo more >> /etc/hosts"))
    world.layout.pod(one.uid).mkdir(parents=True)
    world.layout.etc_hosts(one.uid).write_text("10.0.0.2 web\n")
    world.layout.resolv_conf(one.uid).write_text("nameserver 10.0.0.1\n")
    started = await world.start(one)
    assert (await world.end(started.id)).code == 0
    assert world.output(one, started.id) == "10.0.0.2 web\nnameserver 10.0.0.1\nweb\n"
    assert world.layout.etc_hosts(one.uid).read_text() == "10.0.0.2 web\nmore\n"


@pytest.mark.parametrize(
    ("command", "message", "hint"),
    [
        (("/no/such",), 'cannot execute "/no/such": no such file or directory (ENOENT)', "not in the image"),
        (
            ("nothing",),
            'cannot execute "nothing": no such file or directory (ENOENT) in any directory of PATH',
            "image",
        ),
        (("/etc/passwd",), 'cannot execute "/etc/passwd": permission denied (EACCES)', "not executable for user 0"),
        (("/bin",), 'cannot execute "/bin": permission denied (EACCES)', "executable"),
    ],
)
async def test_a_start_that_fails_says_why(world: World, command: tuple[str, ...], message: str, hint: str) -> None:
    one = pod(container("main", *command))
    await world.start_sandbox(one)
    gc.collect()
    before = set(os.listdir("/proc/self/fd"))
    with pytest.raises(LaunchError) as caught:
        await world.start(one)
    prefix = 'cannot start container "main" from image "docker.io/library/busybox:latest": '
    assert caught.value.message == prefix + message
    assert hint in (caught.value.hint or "")
    assert caught.value.reason == "StartError"
    assert set(os.listdir("/proc/self/fd")) <= before
    assert not [path for path in remains(world) if "/main/" in path and "config" in path]
    assert not list(world.layout.pods.rglob("upper"))
    assert await world.engine.next_attempt(one, "main") == 1


async def test_what_is_wrong_before_the_launch_is_told_the_same_way(world: World) -> None:
    one = pod(container("main"), shell("nonroot", "true", security_context=SecurityContext(run_as_non_root=True)))
    with pytest.raises(RuntimeFailure) as caught:
        await world.start(one)
    assert caught.value.message.endswith("neither the manifest nor the image says what to run")
    with pytest.raises(RuntimeFailure) as caught:
        await world.start(one, "nonroot")
    assert caught.value.reason == "CreateContainerConfigError"
    assert caught.value.message.endswith(
        'container has runAsNonRoot and image will run as root (pod: "web_default(uid-web)", container: nonroot)'
    )


async def test_calls_can_be_repeated(world: World) -> None:
    one = pod(shell("main", "sleep 1000"))
    assert await world.start_sandbox(one) == await world.start_sandbox(one)
    assert await world.start(one) == await world.start(one)
    await world.engine.remove_sandbox(one.name, one.uid)
    await world.engine.remove_sandbox(one.name, one.uid)
    await world.engine.remove_container(world.request(one, "main").id)


async def test_restarts_of_a_container(world: World) -> None:
    one = pod(shell("main", "echo run; exit 1"))
    for attempt in range(3):
        assert await world.engine.next_attempt(one, "main") == attempt
        started = await world.start(one, attempt=attempt)
        assert (await world.end(started.id)).code == 1
        await world.engine.remove_container(started.id)
    assert await world.engine.next_attempt(one, "main") == 3
    logs = sorted(path.name for path in world.layout.pod_log(one.name, one.uid).rglob("*.log"))
    assert logs == ["0.log", "1.log", "2.log"]
    links = [os.readlink(path) for path in world.layout.container_logs.iterdir()]
    assert sorted(Path(link).name for link in links) == logs


async def test_the_image_names_the_stop_signal(world: World) -> None:
    one = pod(shell("main", "sleep 1000"))
    started = await world.start(one, image=world.image(stop_signal="SIGQUIT"))
    assert world.engine.stop_signal(started.id) == signal.SIGQUIT


async def test_nothing_is_left(world: World) -> None:
    mounts = Path("/proc/self/mounts").read_text()
    one = pod(shell("main", "setsid sleep 1000 & sleep 1000"), shell("other", "exit 0"))
    await world.start(one)
    await world.start(one, "other")
    await eventually_async(lambda: [_name(pid) for pid in world.cgroups.pids(one.uid)].count("sleep") == 2)
    pids = world.cgroups.pids(one.uid)
    await world.engine.remove_sandbox(one.name, one.uid)
    assert remains(world) == []
    assert not world.layout.run_pod(one.uid).exists()
    assert world.cgroups.owners() == frozenset()
    eventually(lambda: not any(Path(f"/proc/{pid}/exe").is_symlink() and _alive(pid) for pid in pids))
    own = str(world.layout.netns(one.name))
    after = [line for line in Path("/proc/self/mounts").read_text().splitlines() if own not in line]
    assert after == [line for line in mounts.splitlines() if own not in line]


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _alive(pid: int) -> bool:
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


async def test_out_of_memory_is_told(world: World) -> None:
    if not any("memory" in tree.controllers for tree in world.cgroups._trees):
        pytest.skip("no memory controller")
    from nsrun.model.resources import Quantity, ResourceRequirements

    limits = {"memory": Quantity(milli=32 * 1024 * 1024 * 1000, text="32Mi")}
    script = "a=x; while :; do a=$a$a; done"
    one = pod(shell("main", script, resources=ResourceRequirements(limits=limits)))
    started = await world.start(one)
    end = await world.end(started.id)
    assert (end.code, end.reason) == (137, "OOMKilled")


async def test_files_are_mounted_over_links_that_lead_nowhere(world: World) -> None:
    """Images of whole distributions have /etc/resolv.conf as a link to what a daemon would write."""
    layer = world.root / "layer"
    (layer / "etc").mkdir(parents=True)
    (layer / "etc" / "resolv.conf").symlink_to("../run/systemd/resolve/stub-resolv.conf")
    (layer / "etc" / "hosts").symlink_to("/nowhere/hosts")
    one = pod(shell("main", "cat /etc/resolv.conf /etc/hosts"))
    world.layout.pod(one.uid).mkdir(parents=True)
    world.layout.etc_hosts(one.uid).write_text("10.0.0.2 web\n")
    world.layout.resolv_conf(one.uid).write_text("nameserver 10.0.0.1\n")
    started = await world.start(one, image=world.image(layer))
    assert (await world.end(started.id)).code == 0
    assert world.output(one, started.id) == "nameserver 10.0.0.1\n10.0.0.2 web\n"


async def test_containers_start_side_by_side(world: World) -> None:
    """Many at once, over one sandbox and over many."""
    pods = [pod(*(shell(f"c{n}", f"exit {n}") for n in range(6)), name=f"p{number}") for number in range(4)]
    async with asyncio.TaskGroup() as tasks:
        for one in pods:
            tasks.create_task(world.start_sandbox(one))
    async with asyncio.TaskGroup() as tasks:
        for one in pods:
            for n in range(6):
                tasks.create_task(world.engine.start_container(world.request(one, f"c{n}")))
    for one in pods:
        for n in range(6):
            assert (await world.end(world.request(one, f"c{n}").id)).code == n


async def test_binary_names_and_values_survive(world: World) -> None:
    one = pod(
        shell(
            "main",
            'printf \'%s\\n\' "$1" "$V"; exit 0',
            args=("zero", "grün\u00a0✓"),
            env=(EnvVar(name="V", value='ä\n="$'),),
        )
    )
    started = await world.start(one)
    assert (await world.end(started.id)).code == 0
    assert world.output(one, started.id) == 'grün\u00a0✓\nä\n="$\n'


async def test_a_busy_pod_can_be_removed(world: World) -> None:
    """A fork bomb's little sister, and a process that ignores everything."""
    one = pod(shell("main", "trap '' TERM; while :; do sleep 100 & sleep 0.01; done"))
    started = await world.start(one)
    await world.engine.signal(started.id, signal.SIGTERM)
    await world.engine.remove_sandbox(one.name, one.uid)
    assert world.cgroups.pids(one.uid) == frozenset()
