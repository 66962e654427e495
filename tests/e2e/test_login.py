"""``nsrun login`` and ``logout`` with Debian's docker-registry and with skopeo, which share what they write."""

from __future__ import annotations

import json
import os
import pty
import stat
import subprocess
import sys
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

from tests.registry import Registry
from tests.system.images.helpers_of_credentials import make_helper, path_with
from tests.waiting import PATIENCE

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]

_OTHERS = ("REGISTRY_", "DOCKER_", "NSRUN_")
USER, PASSWORD = "somebody", "s3cret: with a colon"


class Desk:
    """Somebody's machine with one registry that wants a password."""

    def __init__(self, base: Path, registry: Registry) -> None:
        self.base = base
        self.host = registry.start(tls=True, htpasswd=(USER, PASSWORD))
        registry.credential = None
        self.environment = {
            **{
                key: value
                for key, value in os.environ.items()
                if not key.startswith(("REGISTRY_", "DOCKER_", "NSRUN_"))
            },
            "HOME": str(base / "home"),
            "XDG_RUNTIME_DIR": str(base / "run"),
            "SSL_CERT_FILE": str(registry.authority),
            "NSRUN_ROOT": str(base / "root"),
            "NSRUN_RUN_DIR": str(base / "nsrun"),
        }
        (base / "home").mkdir()
        (base / "run").mkdir()

    @property
    def file(self) -> Path:
        return self.base / "run" / "containers" / "auth.json"

    def nsrun(self, *arguments: str, typed: str = "", code: int = 0) -> tuple[str, str]:
        done = subprocess.run(
            [sys.executable, "-m", "nsrun", *arguments],
            env=self.environment, input=typed, capture_output=True, text=True, check=False, timeout=120 * PATIENCE,
        )  # fmt: skip
        assert done.returncode == code, (done.stdout, done.stderr)
        for secret in (PASSWORD, b64encode(f"{USER}:{PASSWORD}".encode()).decode(), "Traceback"):
            assert secret not in done.stdout + done.stderr
        return done.stdout, done.stderr

    def login(self, *arguments: str, password: str = PASSWORD, code: int = 0) -> tuple[str, str]:
        flags = ("--username", USER, "--password-stdin")
        return self.nsrun("login", *flags, *arguments, self.host, typed=f"{password}\n", code=code)

    def skopeo(self, *arguments: str) -> str:
        done = subprocess.run(
            ["skopeo", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60 * PATIENCE,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def written(self) -> Any:
        return json.loads(self.file.read_text())


@pytest.fixture
def desk(tmp_path: Path, registry: Registry) -> Desk:
    return Desk(tmp_path, registry)


def test_what_is_written_serves_skopeo_and_is_nobody_elses(desk: Desk) -> None:
    assert desk.login()[0] == "Login Succeeded!\n"
    assert stat.S_IMODE(desk.file.stat().st_mode) == 0o600
    assert stat.S_IMODE(desk.file.parent.stat().st_mode) == 0o700
    assert desk.skopeo("login", "--get-login", desk.host) == f"{USER}\n"
    assert desk.nsrun("login", "--get-login", desk.host)[0] == f"{USER}\n"
    desk.skopeo("logout", desk.host)
    assert desk.host in desk.nsrun("login", "--get-login", desk.host, code=1)[1]


def test_what_skopeo_wrote_serves_nsrun(desk: Desk) -> None:
    desk.skopeo("login", "-u", USER, "-p", PASSWORD, desk.host)
    said, _ = desk.nsrun("login", desk.host)
    assert said.endswith(f"Existing credentials are valid. Already logged in to {desk.host}\n")
    assert desk.nsrun("logout", desk.host)[0] == f"Removed login credentials for {desk.host}\n"
    assert desk.written()["auths"] == {}


def test_a_wrong_password_is_one_sentence_and_nothing_is_written(desk: Desk) -> None:
    said, told = desk.login(password="wrong", code=1)
    assert told.splitlines()[0].endswith(f'cannot log in to "{desk.host}": the user or the password is wrong')
    assert "Succeeded" not in said
    assert not desk.file.exists()


def test_everything_else_in_the_file_stays(desk: Desk) -> None:
    desk.file.parent.mkdir()
    before = {"auths": {"other": {"auth": "dTpw"}, f"https://{desk.host}/v1/": {"auth": "b2xkOm9sZA=="}}, "x": [1]}
    desk.file.write_text(json.dumps(before))
    desk.login("--verbose")
    after = desk.written()
    assert after["x"] == [1]
    assert after["auths"]["other"] == {"auth": "dTpw"}
    assert set(after["auths"]) == {"other", desk.host}
    desk.nsrun("logout", desk.host)
    assert set(desk.written()["auths"]) == {"other"}
    assert "nobody is logged in" in desk.nsrun("logout", desk.host, code=1)[1]
    desk.nsrun("logout", "--all")
    assert desk.written() == {"auths": {}, "x": [1]}


def test_a_file_of_ones_own_and_a_path_of_the_registry(desk: Desk) -> None:
    own = desk.base / "own" / "auth.json"
    flags = ("--username", USER, "--password-stdin", "--authfile", str(own), "--verbose")
    said, _ = desk.nsrun("login", *flags, f"{desk.host}/team/app", typed=PASSWORD)
    assert str(own) in said
    assert list(json.loads(own.read_text())["auths"]) == [f"{desk.host}/team/app"]
    assert not desk.file.exists()


def test_a_helper_keeps_what_it_is_configured_for(desk: Desk) -> None:
    program = make_helper(desk.base / "bin", "keeper")
    desk.environment |= path_with(program.parent)
    desk.file.parent.mkdir()
    desk.file.write_text(json.dumps({"credHelpers": {desk.host: "keeper"}}))
    assert desk.login("--verbose")[0] == "Login Succeeded!\nUsed: docker-credential-keeper\n"
    assert PASSWORD not in desk.file.read_text()
    noted = (program.parent / "kept/.argv").read_text() + (program.parent / "kept/.environment").read_text()
    assert PASSWORD not in noted
    assert desk.skopeo("login", "--get-login", desk.host) == f"{USER}\n"
    assert desk.nsrun("login", "--get-login", desk.host)[0] == f"{USER}\n"
    desk.nsrun("logout", desk.host)
    assert "nobody is" in desk.nsrun("login", "--get-login", desk.host, code=1)[1]


def test_registries_conf_says_who_keeps_it(desk: Desk) -> None:
    program = make_helper(desk.base / "bin", "keeper")
    conf = desk.base / "registries.conf"
    helpers = 'credential-helpers = ["keeper", "containers-auth.json"]'
    conf.write_text(f'unqualified-search-registries = ["x.example"]\n{helpers}\n')
    desk.environment |= {**path_with(program.parent), "CONTAINERS_REGISTRIES_CONF": str(conf)}
    assert desk.login("--verbose")[0].endswith("Used: docker-credential-keeper\n")
    assert not desk.file.exists()
    assert desk.nsrun("login", "--get-login", desk.host)[0] == f"{USER}\n"
    assert 'logged in to "x.example"' in desk.nsrun("login", "--get-login", code=1)[1]
    desk.nsrun("logout", desk.host)
    assert desk.nsrun("login", "--get-login", desk.host, code=1)


def test_a_store_keeps_everything_and_forgets_it(desk: Desk) -> None:
    program = make_helper(desk.base / "bin", "keeper")
    docker = desk.base / "home" / ".docker" / "config.json"
    docker.parent.mkdir()
    docker.write_text(json.dumps({"credsStore": "keeper", "auths": {"other": {}}}))
    desk.environment |= {**path_with(program.parent), "REGISTRY_AUTH_FILE": str(docker)}
    desk.login()
    assert desk.nsrun("login", "--get-login", desk.host)[0] == f"{USER}\n"
    assert PASSWORD not in docker.read_text()
    desk.nsrun("logout", "--all")
    assert desk.nsrun("login", "--get-login", desk.host, code=1)
    assert json.loads(docker.read_text()) == {"credsStore": "keeper", "auths": {}}


def test_a_file_that_makes_no_sense_is_one_sentence(desk: Desk) -> None:
    desk.file.parent.mkdir()
    desk.file.write_text(f'{{"auths": "{PASSWORD}"')
    for arguments in (("login", "--get-login", desk.host), ("logout", desk.host), ("pull", f"{desk.host}/team/app:1")):
        told = desk.nsrun(*arguments, code=1)[1]
        assert f'cannot read "{desk.file}": it is not JSON' in told
        assert len(told.strip().splitlines()) <= 2


def test_a_person_is_asked_and_the_password_is_not_shown(desk: Desk) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "nsrun", "login", desk.host],
        env=desk.environment, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        preexec_fn=_take_terminal,
    )  # fmt: skip
    os.close(theirs)
    shown = _until(ours, b"Username: ")
    os.write(ours, f"{USER}\n".encode())
    shown += _until(ours, b"Password: ")
    os.write(ours, f"{PASSWORD}\n".encode())
    shown += _until(ours, b"Login Succeeded!")
    assert process.wait(60 * PATIENCE) == 0
    os.close(ours)
    assert PASSWORD.encode() not in shown
    assert USER.encode() in shown


def test_without_a_terminal_nobody_is_asked(desk: Desk) -> None:
    told = desk.nsrun("login", "--username", USER, desk.host, code=1)[1]
    assert "there is no terminal to ask on" in told
    assert "--password-stdin goes with --username" in desk.nsrun("login", "--password-stdin", desk.host, code=1)[1]


def test_a_password_on_the_command_line_is_warned_about(desk: Desk) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "nsrun", "login", "-u", USER, "-p", PASSWORD, desk.host],
        env=desk.environment, capture_output=True, text=True, check=True, timeout=120 * PATIENCE,
    )  # fmt: skip
    assert "--password-stdin" in done.stderr
    assert done.stdout == "Login Succeeded!\n"


def test_certificates_and_none(desk: Desk, registry: Registry) -> None:
    del desk.environment["SSL_CERT_FILE"]
    assert "certificate" in desk.login(code=1)[1]
    desk.login("--tls-verify", "false")
    desk.login("--cert-dir", str(registry.certificates / desk.host))


def _take_terminal() -> None:
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def _until(fd: int, what: bytes) -> bytes:
    shown = b""
    while what not in shown:
        piece = os.read(fd, 4096)
        assert piece, shown
        shown += piece
    return shown
