"""``nsrun pull`` as a person has it: on a terminal, with flags, interrupted; and short names of several registries."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import subprocess
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.e2e.nsrunner import PROGRAM, Nsrun
from tests.layouts import ImageParts, LayoutBuilder, layer_tar
from tests.registry import Registry
from tests.waiting import PATIENCE
from tests.webserver import Asked, WebServer, answer, web_server_beside

pytestmark = [pytest.mark.root, pytest.mark.timeout(120)]

NAME = "docker.io/library/nginx:latest"
CURSOR_OFF, CURSOR_ON = b"\x1b[?25l", b"\x1b[?25h"


@pytest.fixture
def parts() -> ImageParts:
    return ImageParts.make([layer_tar({"one": os.urandom(3 << 20)}), layer_tar({"two": os.urandom(2 << 20)})])


@pytest.fixture
def served(registry: Registry, parts: ImageParts, tmp_path: Path) -> Registry:
    """A registry with nginx in it."""
    source = LayoutBuilder(tmp_path / "source")
    source.image(NAME, parts)
    registry.start()
    registry.push(source.path, NAME)
    return registry


class Terminal:
    """nsrun with a terminal of 100 columns: all three standard streams are it."""

    def __init__(self, nsrun: Nsrun, *arguments: str, rows: int = 24) -> None:
        self._fd, end = pty.openpty()
        termios.tcsetwinsize(self._fd, (rows, 100))
        self.before = termios.tcgetattr(end)
        self.shown = b""
        self._end = end
        self._process = subprocess.Popen(
            [*PROGRAM, *arguments],
            env={**nsrun.environ(), "TERM": "xterm"},
            stdin=end, stdout=end, stderr=end, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )  # fmt: skip

    def see(self, text: bytes, seconds: float = 30.0) -> None:
        """Returns once this was shown."""
        deadline = time.monotonic() + seconds * PATIENCE
        while text not in self.shown:
            assert time.monotonic() < deadline, f"{text!r} is not in {self.shown[-2000:]!r}"
            self._read(0.2)

    def type(self, keys: bytes) -> None:
        os.write(self._fd, keys)

    def interrupted(self, seconds: float = 10.0) -> int:
        """The exit code after Ctrl-C, which is pressed again while nothing comes of it: one between a question and
        Python's wait for the answer is not noticed before the next key."""
        deadline = time.monotonic() + seconds * PATIENCE
        while self._process.poll() is None:
            assert time.monotonic() < deadline, f"it goes on; shown is {self.shown[-2000:]!r}"
            self.type(b"\x03")
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(1)
        return self.ended()

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def ended(self, seconds: float = 30.0) -> int:
        """The exit code, once all was read. The terminal must be as it was."""
        deadline = time.monotonic() + seconds * PATIENCE
        while self._process.poll() is None:
            assert time.monotonic() < deadline, f"it goes on; shown is {self.shown[-2000:]!r}"
            self._read(0.1)
        while self._read(0.0):
            pass
        assert termios.tcgetattr(self._end) == self.before
        assert self.shown.rfind(CURSOR_OFF) <= self.shown.rfind(CURSOR_ON)
        return self._process.returncode

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        os.close(self._fd)
        os.close(self._end)

    def _read(self, seconds: float) -> bool:
        if not select.select([self._fd], [], [], seconds)[0]:
            return False
        self.shown += os.read(self._fd, 65536)
        return True


@pytest.fixture
def terminal(nsrun: Nsrun) -> Iterator[Callable[..., Terminal]]:
    made: list[Terminal] = []

    def make(*arguments: str, rows: int = 24) -> Terminal:
        made.append(Terminal(nsrun, *arguments, rows=rows))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_a_terminal_shows_bars_and_then_one_line(
    terminal: Callable[..., Terminal], served: Registry, parts: ImageParts
) -> None:
    shown = terminal("pull", "--registries-conf", str(served.registries_conf()), "nginx")
    assert shown.ended() == 0
    for blob in parts.blobs[1:]:
        assert blob.digest.partition(":")[2][:12].encode() in shown.shown
    assert b"\xe2\x94\x81" in shown.shown or b"---" in shown.shown
    assert re.search(rb"[0-9.]+/[0-9.]+ MB", shown.shown)
    last = plain(shown.shown).rstrip().splitlines()[-1]
    assert last == f"{NAME}@{parts.manifest.digest}"


def plain(shown: bytes) -> str:
    """What a terminal would have in its last lines, without the sequences."""
    return re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", shown).decode()


def test_without_a_terminal_there_are_plain_lines(nsrun: Nsrun, served: Registry, parts: ImageParts) -> None:
    nsrun.environment = {"NSRUN_REGISTRIES_CONF": str(served.registries_conf())}
    done = nsrun.cli("pull", "nginx")
    assert done.stdout == f"{NAME}@{parts.manifest.digest}\n"
    assert "\x1b" not in done.stderr
    assert f"{NAME}: resolving" in done.stderr.splitlines()
    for blob in parts.blobs[1:]:
        short = blob.digest.partition(":")[2][:12]
        assert re.search(rf"^{short}: downloading [0-9.]+[kM]B$", done.stderr, re.MULTILINE)
        assert re.search(rf"^{short}: ready", done.stderr, re.MULTILINE)
    quiet = nsrun.cli("pull", "-q", "nginx")
    assert (quiet.stdout, quiet.stderr) == (done.stdout, "")


def test_what_can_be_had_of_several_is_had(nsrun: Nsrun, served: Registry) -> None:
    nsrun.environment = {"NSRUN_REGISTRIES_CONF": str(served.registries_conf())}
    done = nsrun.cli("pull", "-q", "none", "nginx", "NO", check=False)
    assert done.returncode == 1
    assert done.stdout.startswith(f"{NAME}@sha256:")
    assert 'nsrun: cannot pull image "docker.io/library/none:latest": ' in done.stderr
    assert 'nsrun: cannot use image name "NO"' in done.stderr
    assert "nginx" in nsrun.cli("images").stdout


@pytest.fixture
def stuck(parts: ImageParts) -> Iterator[WebServer]:
    """A registry that sends nginx's manifest and configuration, and of its layers never more than the head."""
    truth = {f"/v2/library/nginx/blobs/{blob.digest}": blob.data for blob in parts.blobs[:1]}
    manifest = answer(parts.manifest.data, Content_Type=parts.manifest.media_type)

    def handle(asked: Asked) -> bytes | None:
        if "/manifests/" in asked.path:
            return manifest
        if "/blobs/" in asked.path:
            return answer(truth[asked.path]) if asked.path in truth else None
        return answer(b"{}")

    with web_server_beside() as server:
        server.handler = handle
        yield server


def conf(directory: Path, text: str) -> str:
    path = directory / "registries.conf"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("how", ["ctrl-c", "sigterm"])
def test_an_interrupted_pull_leaves_the_terminal_as_it_was(
    terminal: Callable[..., Terminal], stuck: WebServer, nsrun: Nsrun, tmp_path: Path, how: str
) -> None:
    nsrun.environment = {"NSRUN_REGISTRIES_CONF": insecure_mirror(tmp_path, f"127.0.0.1:{stuck.port}")}
    shown = terminal("pull", "nginx")
    shown.see(CURSOR_OFF)
    eventually_asked(stuck, "/blobs/")
    if how == "ctrl-c":
        shown.type(b"\x03")
    else:
        shown.signal(signal.SIGTERM)
    assert shown.ended(seconds=10) == 130
    assert b"Traceback" not in shown.shown
    assert nsrun.cli("images").stdout.count("nginx") == 0


def eventually_asked(server: WebServer, part: str) -> None:
    deadline = time.monotonic() + 30 * PATIENCE
    while not any(part in asked.path for asked in server.asked):
        assert time.monotonic() < deadline, f"nobody asked for {part}: {server.asked}"
        select.select([], [], [], 0.02)


def insecure_mirror(directory: Path, host: str) -> str:
    return conf(directory, f'[[registry]]\nprefix = "docker.io"\nlocation = "{host}"\ninsecure = true\n')


def test_tls_verify_overrides_the_file(nsrun: Nsrun, served: Registry) -> None:
    name = f"{served.host}/library/nginx"
    refused = nsrun.cli("pull", name, check=False)
    assert refused.returncode == 1
    assert "does not speak TLS" in refused.stderr
    nsrun.cli("pull", "--tls-verify=false", name)
    nsrun.environment = {"NSRUN_REGISTRIES_CONF": str(served.registries_conf())}
    refused = nsrun.cli("pull", "--tls-verify=true", "nginx", check=False)
    assert "does not speak TLS" in refused.stderr


def test_credentials_authorities_and_files_of_one_pull(
    nsrun: Nsrun, registry: Registry, parts: ImageParts, tmp_path: Path
) -> None:
    source = LayoutBuilder(tmp_path / "source")
    source.image(NAME, parts)
    registry.start(tls=True, htpasswd=("user", "pass:word"))
    registry.push(source.path, NAME)
    name, certificates = f"{registry.host}/library/nginx", str(registry.certificates / registry.host)
    trusting = ("pull", "--cert-dir", certificates, name)
    assert "certificate that cannot be verified" in nsrun.cli("pull", name, check=False).stderr
    assert "401" in nsrun.cli(*trusting, check=False).stderr
    assert "401" in nsrun.cli(*trusting, "--creds", "user:wrong", check=False).stderr
    assert nsrun.cli(*trusting, "--creds", "user:pass:word").returncode == 0
    assert nsrun.cli(*trusting, "--authfile", str(registry.auth_file())).returncode == 0
    nsrun.environment = {"REGISTRY_AUTH_FILE": str(registry.auth_file())}
    assert "401" in nsrun.cli(*trusting, "--creds", "user:wrong", check=False).stderr
    nsrun.environment = {"XDG_CONFIG_HOME": str(tmp_path / "config")}
    (tmp_path / "config" / "containers").mkdir(parents=True)
    (tmp_path / "config" / "containers" / "certs.d").symlink_to(registry.certificates)
    assert nsrun.cli("pull", name, "--creds", "user:pass:word").returncode == 0


def test_a_policy_is_asked_before_a_registry(nsrun: Nsrun, stuck: WebServer, tmp_path: Path) -> None:
    policy = tmp_path / "policy.json"
    nsrun.environment = {"NSRUN_REGISTRIES_CONF": insecure_mirror(tmp_path, f"127.0.0.1:{stuck.port}")}
    policy.write_text(json.dumps({"default": [{"type": "sigstoreSigned", "keyPath": "/k"}]}))
    done = nsrun.cli("pull", "--policy", str(policy), "nginx", check=False)
    assert done.returncode == 1
    assert f'cannot pull image "{NAME}": policy.json demands a signature, and nsrun cannot verify one' in done.stderr
    policy.write_text("{")
    done = nsrun.cli("pull", "--policy", str(policy), "nginx", check=False)
    assert f'"{policy}" is not a policy: line 1, column 2' in done.stderr
    assert stuck.asked == []


def test_a_policy_is_asked_before_a_load(nsrun: Nsrun, parts: ImageParts, tmp_path: Path) -> None:
    source = LayoutBuilder(tmp_path / "source")
    source.image(NAME, parts)
    config = tmp_path / "config" / "containers"
    config.mkdir(parents=True)
    nsrun.environment = {"XDG_CONFIG_HOME": str(config.parent)}
    accept, reject = [{"type": "insecureAcceptAnything"}], [{"type": "reject"}]
    (config / "policy.json").write_text(
        json.dumps({"default": reject, "transports": {"oci": {str(source.path): accept}}})
    )
    tar = source.tar(tmp_path / "image.tar")
    done = nsrun.cli("load", str(tar), check=False)
    assert f'cannot load image "{NAME}" from "{tar}": policy.json rejects it' in done.stderr
    assert nsrun.cli("images", "-o", "json").stdout.count("nginx") == 0
    assert "nginx" in nsrun.cli("load", str(source.path)).stdout
    named = tmp_path / "policy.json"
    named.write_text(json.dumps({"default": reject}))
    assert "policy.json rejects it" in nsrun.cli("load", "--policy", str(named), str(source.path), check=False).stderr


@pytest.fixture
def two(tmp_path: Path, parts: ImageParts) -> Iterator[tuple[Registry, Registry]]:
    """An empty registry, and one with nginx."""
    source = LayoutBuilder(tmp_path / "source")
    source.image(NAME, parts)
    made = (Registry(tmp_path / "empty"), Registry(tmp_path / "full"))
    for one in made:
        one.start()
    made[1].push(source.path, NAME, "nginx:latest")
    yield made
    for one in made:
        one.stop()


def searching(directory: Path, registries: tuple[Registry, Registry], mode: str) -> str:
    tables = "".join(f'[[registry]]\nlocation = "{one.host}"\ninsecure = true\n' for one in registries)
    hosts = json.dumps([one.host for one in registries])
    return conf(directory, f'unqualified-search-registries = {hosts}\nshort-name-mode = "{mode}"\n{tables}')


def test_a_short_name_is_looked_for_in_every_registry(
    nsrun: Nsrun, two: tuple[Registry, Registry], tmp_path: Path, parts: ImageParts
) -> None:
    nsrun.environment = {"NSRUN_REGISTRIES_CONF": searching(tmp_path, two, "permissive")}
    assert nsrun.cli("pull", "-q", "nginx").stdout == f"{two[1].host}/nginx:latest@{parts.manifest.digest}\n"
    done = nsrun.cli("pull", "-q", "none", check=False)
    assert 'cannot pull image "none" from any of its registries: ' in done.stderr
    assert all(f'"{one.host}/none:latest": ' in done.stderr for one in two)


def test_enforcing_asks_a_person_and_remembers(
    terminal: Callable[..., Terminal], nsrun: Nsrun, two: tuple[Registry, Registry], tmp_path: Path, parts: ImageParts
) -> None:
    cache = Path("/var/cache/containers/short-name-aliases.conf")
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/var/cache"], check=True)
    try:
        nsrun.environment = {"NSRUN_REGISTRIES_CONF": searching(tmp_path, two, "enforcing")}
        refused = nsrun.cli("pull", "nginx", check=False)
        assert refused.returncode == 1
        assert "short-name-mode is enforcing" in refused.stderr
        shown = terminal("pull", "nginx:latest")
        shown.see(b"Which one is")
        assert shown.interrupted() == 130
        assert not cache.exists()
        shown = terminal("pull", "nginx:latest")
        shown.see(b"Which one is")
        shown.type(b"3\n")
        shown.see(b"not in the range")
        shown.type(b"2\n")
        assert shown.ended() == 0
        assert f'"nginx" = "{two[1].host}/nginx"' in cache.read_text()
        assert nsrun.cli("pull", "-q", "nginx").stdout == f"{two[1].host}/nginx:latest@{parts.manifest.digest}\n"
    finally:
        subprocess.run(["umount", "/var/cache"], check=True)
