"""``nsrun run`` and ``nsrun rm``: pods that somebody asked for by name."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.e2e.lives import pod, shell
from tests.e2e.nsrunner import Nsrun
from tests.e2e.test_exec import typist
from tests.waiting import PATIENCE, eventually
from tests.webserver import web_server_beside

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]

RUN = ("run", "--pull", "never")


def names(nsrun: Nsrun) -> list[str]:
    return sorted(document["metadata"]["name"] for document in nsrun.pods())  # type: ignore[index]


def run(nsrun: Nsrun, *arguments: str) -> subprocess.CompletedProcess[str]:
    return nsrun.cli(*RUN, *arguments, check=False)


def started(nsrun: Nsrun, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        nsrun.command(*RUN, *arguments),
        env=nsrun.environ(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_output_exit_codes_and_what_cannot_be(loaded: Nsrun, tmp_path: Path) -> None:
    loaded.start()
    done = run(loaded, "--rm", "busybox", "--", "sh", "-c", "echo out; echo err >&2; printf last; exit 7")
    assert (done.stdout, done.stderr, done.returncode) == ("out\nlast\n", "err\n", 7)
    done = run(loaded, "--rm", "--name", "once", "busybox", "seq", "3000")
    assert (done.stdout.split(), done.returncode) == ([str(n) for n in range(1, 3001)], 0)
    # The name is free again at once.
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "file").write_text("there")
    done = run(
        loaded,
        *("--rm", "--name", "once", "-e", "A=$(B) $$ c", "-w", "/data", "-u", "1000:1001", "-v"),
        *(f"{tmp_path / 'data'}:/data:ro", "--cpus", "0.5", "-m", "64m", "--entrypoint", "sh", "busybox"),
        *("-c", 'cat file; echo " $A $(id -u):$(id -g)"; touch x; hostname'),
    )
    assert done.stdout == "there $(B) $$ c 1000:1001\nonce\n"
    assert "Read-only file system" in done.stderr
    assert done.returncode == 0
    for arguments, code, said in (
        (("nowhere.invalid/none",), 125, "nowhere.invalid/none"),
        (("busybox", "/no/such/program"), 127, "/no/such/program"),
        (("busybox", "/etc/passwd"), 126, "/etc/passwd"),
    ):
        done = run(loaded, "--rm", *arguments)
        assert (done.returncode, done.stdout) == (code, ""), done.stderr
        assert said in done.stderr
        assert "Traceback" not in done.stderr
    done = run(loaded, "--name", "A", "-p", "1:99999", "busybox")
    assert done.returncode == 1
    assert "metadata.name" in done.stderr
    assert "ports[0].containerPort" in done.stderr
    eventually(lambda: names(loaded) == [], what="all is taken back")


def test_pods_outlive_nsrun_and_are_removed_by_name(loaded: Nsrun) -> None:
    loaded.start()
    loaded.apply("kept.yaml", pod("kept", shell("main", "exec sleep 1000")))
    assert loaded.cli(*RUN, "-d", "--stop-timeout", "0", "--name", "web", "busybox", "sleep", "1000").stdout == "web\n"
    assert loaded.cli(*RUN, "--name", "done", "busybox", "echo", "hello").stdout == "hello\n"
    before = {name: loaded.ready(name)["metadata"] for name in ("web", "kept")}
    taken = loaded.cli(*RUN, "-d", "--name", "kept", "busybox", check=False)
    assert (taken.returncode, 'cannot add pod "default/kept": it is there already' in taken.stderr) == (1, True)
    loaded.kill()
    nobody = loaded.cli(*RUN, "busybox", check=False)
    assert nobody.returncode == 1
    assert "no nsrun is running here" in nobody.stderr
    assert "start it with" in nobody.stderr
    loaded.start()
    assert {name: loaded.ready(name)["metadata"] for name in ("web", "kept")} == before
    assert names(loaded) == ["done", "kept", "web"]
    assert loaded.cli("logs", "done").stdout == "hello\n"
    refused = loaded.cli("rm", "kept", check=False)
    assert refused.returncode == 1
    assert "a manifest asks for it" in refused.stderr
    assert f'delete it from "{loaded.manifests}/kept.yaml"' in refused.stderr
    assert loaded.cli("rm", "web", "default/done").stdout == "web\ndefault/done\n"
    assert names(loaded) == ["kept"]
    assert loaded.cli("rm", "web", check=False).returncode == 1


def test_signals_are_the_containers(loaded: Nsrun) -> None:
    loaded.start()
    script = 'trap "echo told; exit 3" INT; echo ready; while true; do sleep 0.05; done'
    process = started(loaded, "--rm", "--name", "ears", "busybox", "sh", "-c", script)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30 * PATIENCE)[0] == b"told\n"
    assert process.returncode == 3
    assert names(loaded) == []
    # Who does not listen is left, and, with --rm, removed.
    process = started(loaded, "--rm", "--stop-timeout", "0", "busybox", "sh", "-c", "echo ready; exec sleep 1000")
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"

    def interrupted() -> bool:
        process.send_signal(signal.SIGINT)
        return process.poll() is not None

    eventually(interrupted, every=0.2)
    assert process.returncode == 130
    eventually(lambda: names(loaded) == [])


def test_a_slow_image_is_told_and_can_be_given_up(loaded: Nsrun) -> None:
    loaded.start()
    with web_server_beside() as registry:
        registry.handler = lambda _: None
        image = f"127.0.0.1:{registry.port}/slow"
        process = subprocess.Popen(
            loaded.command("run", "--name", "slow", image), env=loaded.environ(), stderr=subprocess.PIPE
        )
        assert process.stderr is not None
        assert process.stderr.readline().decode() == f'nsrun: Pulling image "{image}"\n'
        process.send_signal(signal.SIGINT)
        process.wait(30 * PATIENCE)
        assert process.returncode == 130
        assert names(loaded) == []
        # Or somebody else gives it up.
        process = subprocess.Popen(
            loaded.command("run", "--name", "slow", image), env=loaded.environ(), stderr=subprocess.PIPE
        )
        assert process.stderr is not None
        process.stderr.readline()
        loaded.cli("rm", "slow")
        assert b"it was removed" in process.communicate(timeout=30 * PATIENCE)[1]
        assert process.returncode == 1


def test_who_is_killed_leaves_a_pod_that_removes_itself(loaded: Nsrun) -> None:
    loaded.start()
    process = started(loaded, "--rm", "--name", "orphan", "busybox", "sh", "-c", "echo ready; sleep 1")
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.kill()
    process.wait()
    loaded.gone("orphan")


def test_down_forgets_them(loaded: Nsrun) -> None:
    loaded.start()
    loaded.cli(*RUN, "-d", "--name", "web", "--restart", "always", "busybox", "sleep", "1000")
    loaded.ready("web")
    assert list((loaded.root / "requested").iterdir())
    loaded.cli("down", "--time", "1")
    assert not (loaded.root / "requested").exists()


def test_input_and_terminals(loaded: Nsrun, tmp_path: Path) -> None:
    loaded.start()
    data = os.urandom(3 << 20) + b"\n"
    done = subprocess.run(
        loaded.command(*RUN, "--rm", "-i", "busybox", "sh", "-c", "cat; echo end >&2; exit 4"),
        env=loaded.environ(),
        input=data,
        capture_output=True,
        check=False,
        timeout=60 * PATIENCE,
    )
    assert (done.stdout == data, done.stderr, done.returncode) == (True, b"end\n", 4)
    # From the first byte on, and the prompt that no newline ends.
    greeting = "echo first; printf 'name? '; read name; echo \"hello $name\"; stty size; exit 5"
    with typist(loaded, *RUN, "--rm", "-it", "busybox", "sh", "-c", greeting) as one:
        one.sees(r"^first\r\n")
        one.sees(r"name\? $")
        one.type(b"you\r")
        one.sees(r"hello you\r\n33 99\r\n")
        assert one.ends() == 5
    with typist(loaded, *RUN, "--rm", "-it", "--stop-timeout", "0", "--name", "left", "busybox", "sh") as one:
        one.sees("# ")
        one.type(b"\x10\x11")
        one.sees('pod "left" runs on')
        assert one.ends() == 0
    assert names(loaded) == ["left"]
    loaded.cli("rm", "left")
    # What has ended before anybody could look is seen all the same.
    with typist(loaded, *RUN, "--rm", "-t", "busybox", "echo", "quick") as one:
        one.sees("quick\r\n")
        assert one.ends() == 0
