"""`nsrun logs` without a daemon: the files alone tell whose logs there are, and when they are over."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from nsrun.cli.documents import ContainerRow, Document
from nsrun.cli.logs import follow as logs_follow
from nsrun.cli.logs.command import first_time
from nsrun.cli.logs.find import attempt_before, attempt_of
from nsrun.cli.main import cli
from nsrun.errors import NotFoundError, NsrunError, SettingsError
from tests.waiting import PATIENCE, eventually

Json = dict[str, object]


class World:
    """Directories as a daemon leaves them."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.flags = ("--run-dir", str(base / "run"), "--log-dir", str(base / "log"))

    def pod(self, name: str, *containers: str, namespace: str = "default", **rest: Json) -> None:
        metadata = {"name": name, "namespace": namespace, "uid": f"uid-{name}", **rest}
        spec = {"containers": [{"name": container} for container in containers]}
        directory = self.base / "run/pods" / f"uid-{name}"
        (directory / "exits").mkdir(parents=True)
        (directory / "pod.json").write_text(json.dumps({"metadata": metadata, "spec": spec}))
        for container in containers:
            self.state(name, container).parent.mkdir(parents=True)
            self.state(name, container).write_text("{}")

    def state(self, pod: str, container: str, attempt: int = 0) -> Path:
        return self.base / "run/pods" / f"uid-{pod}" / "containers" / container / str(attempt) / "state.json"

    def log(self, pod: str, container: str, attempt: int = 0) -> Path:
        path = self.base / "log/pods" / f"default_{pod}_uid-{pod}" / container / f"{attempt}.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def write(
        self, pod: str, container: str, *lines: tuple[int, str], attempt: int = 0, stream: str = "stdout"
    ) -> None:
        """Lines at seconds of the first minute of 2026."""
        with self.log(pod, container, attempt).open("a") as file:
            for second, text in lines:
                file.write(f"2026-01-01T00:00:{second:02}.000000000Z {stream} F {text}\n")

    def end(self, pod: str, container: str, attempt: int = 0) -> None:
        """As the shim records it."""
        record = self.base / "run/pods" / f"uid-{pod}" / "exits" / f"{container}.{attempt}"
        temporary = record.with_name(f".{record.name}")
        temporary.write_text("wait_status 0\n")
        temporary.rename(record)

    def run(self, *arguments: str) -> Result:
        return CliRunner().invoke(cli, [*self.flags, "logs", *arguments])

    def text(self, *arguments: str) -> str:
        done = self.run(*arguments)
        if done.exception is not None:
            raise done.exception
        return done.stdout

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "nsrun", *self.flags, "logs", *arguments],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def two(world: World) -> World:
    """Two pods of two containers, whose lines alternate."""
    for number, pod in enumerate(("web", "db")):
        world.pod(pod, "a", "b", labels={"app": pod, "tier": "x"})
        for place, container in enumerate("ab"):
            world.write(
                pod, container, *((10 * line + 2 * number + place, f"{pod}-{container}-{line}") for line in range(3))
            )
    return world


def test_the_first_container_is_meant(two: World) -> None:
    done = two.run("web")
    assert done.stdout == "web-a-0\nweb-a-1\nweb-a-2\n"
    assert done.stderr == 'Defaulted container "a" out of: a, b\n'
    assert two.text("pod/web", "-c", "b") == two.text("default/web", "-c", "b") == "web-b-0\nweb-b-1\nweb-b-2\n"


def test_the_container_that_the_pod_names_is_meant(world: World) -> None:
    world.pod("web", "a", "b", annotations={"kubectl.kubernetes.io/default-container": "b"})
    world.write("web", "b", (1, "hello"))
    assert world.text("web") == "hello\n"


@pytest.mark.parametrize("flags", [("web", "db"), ("-l", "app in (web,db)"), ("--field-selector", "metadata.name!=x")])
def test_the_lines_of_several_come_by_time(two: World, flags: tuple[str, ...]) -> None:
    lines = two.text(*flags, "--all-containers").splitlines()
    assert lines == [f"{pod}-{c}-{line}" for line in range(3) for pod in ("web", "db") for c in "ab"]


def test_prefix_and_time(two: World) -> None:
    assert two.text("web", "db", "--prefix", "--timestamps", "--tail", "1") == (
        "[pod/web/a] 2026-01-01T00:00:20.000000000Z web-a-2\n[pod/db/a] 2026-01-01T00:00:22.000000000Z db-a-2\n"
    )


@pytest.mark.parametrize(("colour", "begin"), [("", "\x1b[36m[pod/web/a]\x1b[0m "), ("1", "[pod/web/a] ")])
def test_a_terminal_is_told_whose_lines_they_are(two: World, colour: str, begin: str) -> None:
    terminal, side = pty.openpty()
    command = [sys.executable, "-m", "nsrun", *two.flags, "logs", "web", "--all-containers"]
    environment = {**os.environ, "NO_COLOR": colour}
    done = subprocess.run(command, stdout=side, stderr=subprocess.PIPE, text=True, env=environment, check=True)
    os.close(side)
    shown = os.read(terminal, 1 << 16).decode().splitlines()
    os.close(terminal)
    assert done.stderr == ""
    assert (len(shown), shown[0]) == (6, f"{begin}web-a-0")


def test_only_some(two: World) -> None:
    assert two.text("web", "--since-time", "2026-01-01T00:00:10Z") == "web-a-1\nweb-a-2\n"
    assert two.text("web", "--since-time", "2026-01-01T02:00:20+02:00") == "web-a-2\n"
    assert two.text("web", "--since", "1s") == ""
    assert two.text("web", "--tail", "2") == "web-a-1\nweb-a-2\n"
    assert two.text("web", "--limit-bytes", "9") == "web-a-0\nw"
    assert two.text("web", "db", "--limit-bytes", "8") == "web-a-0\ndb-a-0\nd"


def test_a_selector_shows_ten_lines_of_each(world: World) -> None:
    world.pod("web", "a", labels={"app": "web"})
    world.write("web", "a", *((second, str(second)) for second in range(30)))
    assert world.text("-l", "app=web").split() == [str(second) for second in range(20, 30)]
    assert len(world.text("-l", "app=web", "--tail", "-1").split()) == 30


def test_one_stream(world: World) -> None:
    world.pod("web", "a")
    world.write("web", "a", (1, "out"))
    world.write("web", "a", (2, "err"), stream="stderr")
    assert world.text("web") == "out\nerr\n"
    assert world.text("web", "--stream", "stderr") == "err\n"
    assert world.text("web", "--stream", "stdout") == "out\n"


def test_the_run_before(world: World) -> None:
    world.pod("web", "a")
    world.write("web", "a", (1, "first"))
    world.write("web", "a", (2, "second"), attempt=1)
    assert (world.text("web"), world.text("web", "-p")) == ("second\n", "first\n")
    world.end("web", "a", 1)
    assert world.text("web", "-p") == "second\n", "it waits to run again: this is the run before"


def test_a_container_that_has_not_started_does_not_hide_the_others(world: World) -> None:
    world.pod("web", "a", "b")
    world.write("web", "a", (1, "here"))
    done = world.run("web", "--all-containers")
    assert (done.exit_code, done.stdout) == (0, "here\n")
    assert done.stderr == 'nsrun: cannot read the log of container "b" in pod "web": it has not started yet\n'
    with pytest.raises(NotFoundError, match="it has not started yet"):
        world.text("web", "-c", "b")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("wep",), 'cannot find pod "wep"'),
        (("webb",), 'cannot find pod "webb": did you mean "web"?'),
        (("web", "-c", "aa"), 'cannot find container "aa" in pod "web"'),
        ((), "no pod is named"),
        (("web", "-l", "a=b"), "a selector and the name of a pod together"),
        (("web", "-c", "a", "--all-containers"), "--container and --all-containers together"),
        (("web", "--since", "x"), 'cannot use --since: must be a duration such as "20s"'),
        (("web", "--since", "1s", "--since-time", "x"), "--since and --since-time together"),
        (("web", "--since-time", "yesterday"), 'must be a time such as "2026-01-31T12:00:00Z", not "yesterday"'),
        (("web", "--tail", "1", "--stream", "stderr"), "--tail with --stream"),
        (("-l", "tier=x", "-f", "--max-log-requests", "1"), "cannot follow 2 logs: at most 1 are allowed"),
        (("web", "-p"), 'cannot read the previous log of container "a": it ran only once in pod "web"'),
    ],
)
def test_what_cannot_be(two: World, arguments: tuple[str, ...], told: str) -> None:
    error = two.run(*arguments).exception
    assert isinstance(error, NsrunError)
    assert told in error.message


def test_nothing_selected(two: World) -> None:
    done = two.run("-l", "app=nobody")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "No pods found.\n")


def test_neither_daemon_nor_pods(world: World) -> None:
    with pytest.raises(NsrunError, match="no nsrun is running here"):
        world.text("web")


def test_times() -> None:
    assert first_time(None, None, now=0) == b""
    assert first_time("1m30s", None, now=90.5) == b"1970-01-01T00:00:00.500000000Z"
    assert first_time(None, "2026-01-01T00:00:00.123456789Z", now=0) == b"2026-01-01T00:00:00.123456789Z"
    assert first_time(None, "2026-01-01T00:00:00.5-01:00", now=0) == b"2026-01-01T01:00:00.500000000Z"
    with pytest.raises(SettingsError):
        first_time("-1e30", None, now=0)


# --- following


@pytest.fixture
def followed(world: World) -> Iterator[tuple[World, subprocess.Popen[str]]]:
    world.pod("web", "a", "b")
    world.write("web", "a", (1, "early a"))
    world.write("web", "b", (2, "early b"))
    process = world.start("-f", "web", "--all-containers", "--prefix")
    yield world, process
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def lines(process: subprocess.Popen[str], count: int) -> list[str]:
    assert process.stdout is not None
    return [process.stdout.readline().rstrip("\n") for _ in range(count)]


def test_what_comes_is_shown_until_every_run_has_ended(followed: tuple[World, subprocess.Popen[str]]) -> None:
    world, process = followed
    assert lines(process, 2) == ["[pod/web/a] early a", "[pod/web/b] early b"]
    world.write("web", "b", (3, "more"))
    assert lines(process, 1) == ["[pod/web/b] more"]
    world.end("web", "b")
    world.write("web", "a", (4, "still here"))
    assert lines(process, 1) == ["[pod/web/a] still here"]
    world.log("web", "a").rename(f"{world.log('web', 'a')}.20260101-000000")
    world.write("web", "a", (5, "rotated"))
    assert lines(process, 1) == ["[pod/web/a] rotated"]
    world.end("web", "a")
    assert process.communicate(timeout=20 * PATIENCE)[0] == ""
    assert process.returncode == 0


def test_a_log_that_is_open_is_not_over(followed: tuple[World, subprocess.Popen[str]]) -> None:
    """The record comes first, the last lines after it; the file is closed when they are all there."""
    world, process = followed
    lines(process, 2)
    with world.log("web", "a").open("a") as file:
        for container in "ab":
            world.end("web", container)
        file.write("2026-01-01T00:00:09.000000000Z stdout F last words\n")
    assert process.communicate(timeout=20 * PATIENCE)[0] == "[pod/web/a] last words\n"


def test_a_run_that_is_forgotten_is_over(followed: tuple[World, subprocess.Popen[str]]) -> None:
    world, process = followed
    lines(process, 2)
    for container in "ab":
        world.state("web", container).unlink()
    assert process.communicate(timeout=20 * PATIENCE)[0] == ""


def test_nobody_reads_any_more(followed: tuple[World, subprocess.Popen[str]]) -> None:
    world, process = followed
    lines(process, 2)
    assert process.stdout is not None
    process.stdout.close()
    world.write("web", "a", (3, "for nobody"))
    eventually(lambda: process.poll() is not None, what="it has ended")
    assert process.returncode == 0


@pytest.mark.parametrize("forgotten", [False, True])
def test_a_kernel_that_tells_nothing(world: World, monkeypatch: pytest.MonkeyPatch, *, forgotten: bool) -> None:
    """Neither of changes nor of who has a file open: it is looked at again and again, for a while after the end."""

    def deaf(_fd: int, command: int, *_rest: object) -> int:
        raise OSError(errno.EINVAL, f"no {command}")

    monkeypatch.setattr(fcntl, "fcntl", deaf)
    monkeypatch.setattr(logs_follow, "_LATEST", 0.2)
    world.pod("web", "a")
    world.write("web", "a", (1, "all there is"))
    if forgotten:
        world.state("web", "a").unlink()
    else:
        world.end("web", "a")
    assert world.text("-f", "web") == "all there is\n"


# --- which run


ENDED: Document = {"terminated": {"exitCode": 1}}


@pytest.mark.parametrize(
    ("state", "before"),
    [({"running": {}}, 2), (ENDED, 2), ({"waiting": {"reason": "CrashLoopBackOff"}}, 3)],
)
def test_the_previous_run_is_the_one_that_the_status_calls_last(state: Document, before: int) -> None:
    row = ContainerRow(pod={}, spec={}, status={"restartCount": 3, "state": state, "lastState": ENDED})
    assert (attempt_of(row), attempt_before(row)) == (3, before)


def test_a_first_run_has_none_before_it() -> None:
    status = {"restartCount": 0, "state": {"running": {}}, "lastState": {}}
    row = ContainerRow(pod={"metadata": {"name": "web"}}, spec={"name": "c"}, status=status)
    with pytest.raises(
        NotFoundError, match='cannot read the previous log of container "c": it ran only once in pod "web"'
    ):
        attempt_before(row)
