"""Files and helpers of credentials that mean us harm: each ends in one sentence, without a secret, in time."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from nsrun.errors import ImageError
from nsrun.images.credential_helper import CredentialHelper
from nsrun.images.keychain import FileKeychain
from tests.system.images.helpers_of_credentials import make_helper, path_with
from tests.waiting import eventually

SECRET = "s3cret-in-there"


def find(path: Path) -> ImageError:
    with pytest.raises(ImageError, match=r"^cannot read ") as caught:
        FileKeychain((path,), {}).find("h", "x")
    assert SECRET not in f"{caught.value} {caught.value.hint}"
    assert caught.value.message.isprintable()
    return caught.value


def test_a_fifo_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "auth.json")
    assert "not a regular file" in find(tmp_path / "auth.json").message


def test_a_device_and_a_directory_are_no_files(tmp_path: Path) -> None:
    (tmp_path / "auth.json").symlink_to("/dev/zero")
    assert "not a regular file" in find(tmp_path / "auth.json").message
    assert "not a regular file" in find(tmp_path).message


def test_a_link_to_itself_ends(tmp_path: Path) -> None:
    (tmp_path / "auth.json").symlink_to("auth.json")
    assert "symbolic links" in find(tmp_path / "auth.json").message


def test_what_a_link_leads_to_is_not_shown(tmp_path: Path) -> None:
    (tmp_path / "shadow").write_text(f"root:{SECRET}:1::::::\n")
    (tmp_path / "auth.json").symlink_to("shadow")
    assert "it is not JSON" in find(tmp_path / "auth.json").message


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "auth.json").open("wb") as file:
        file.truncate(1 << 40)
    assert "larger than 4 MiB" in find(tmp_path / "auth.json").message


@pytest.mark.parametrize(
    "content",
    [
        f"{{{SECRET}",
        f'["{SECRET}"]',
        json.dumps({"auths": {"h": {"auth": SECRET}}}),
        json.dumps({"auths": {"h": SECRET}}),
        json.dumps({"credHelpers": {"h": f"../{SECRET}"}}),
        json.dumps({"auths": {f"user:{SECRET}@h\x1b[2J": 1}}),
        '{"auths":' * 100_000,
    ],
)
def test_nonsense_is_told_without_what_it_says(tmp_path: Path, content: str) -> None:
    (tmp_path / "auth.json").write_text(content)
    find(tmp_path / "auth.json")


def refused(directory: Path, *, seconds: float = 60.0) -> str:
    with pytest.raises(ImageError, match=r'^the credential helper "docker-credential-evil" is of no use: ') as caught:
        CredentialHelper("evil", path_with(directory), seconds=seconds).get("h")
    assert SECRET not in f"{caught.value!r} {caught.value.hint}"
    assert caught.value.message.isprintable()
    return caught.value.message


@pytest.mark.parametrize(
    "script",
    [
        f"echo {SECRET}",
        f"echo {SECRET} >&2; exit 3",
        f'echo \'{{"Username": "{SECRET}"}}\'',
        f'echo \'{{"Username": 1, "Secret": "{SECRET}"}}\'',
        f"echo '[\"{SECRET}\"]'",
        "printf '\\033[2J\\377'",
        "kill -9 $$",
        "exit 0",
        "head -c 200000 /dev/zero | tr '\\0' '['",
    ],
)
def test_a_helper_that_answers_nonsense(tmp_path: Path, script: str) -> None:
    make_helper(tmp_path, "evil", f"#!/bin/sh\n{script}\n")
    refused(tmp_path)


def test_a_helper_that_talks_without_end_is_stopped(tmp_path: Path) -> None:
    make_helper(tmp_path, "evil", "#!/bin/sh\nexec cat /dev/zero\n")
    assert "printed more than 256 KiB" in refused(tmp_path)


def test_a_helper_that_never_answers_is_killed_with_its_children(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "never")
    script = f"#!/bin/sh\ncat {tmp_path}/never & echo $! > {tmp_path}/child; wait\n"
    make_helper(tmp_path, "evil", script)
    assert "did not answer within 0 s" in refused(tmp_path, seconds=0.4)
    child = Path("/proc", (tmp_path / "child").read_text().strip(), "stat")
    eventually(lambda: not child.exists() or b") Z " in child.read_bytes(), what="the child is dead")


def test_a_helper_that_leaves_a_child_with_its_pipe_has_answered(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "never")
    answer = '{"Username": "u", "Secret": "p"}'
    make_helper(tmp_path, "kind", f"#!/bin/sh\ncat {tmp_path}/never & echo $! > {tmp_path}/child; echo '{answer}'\n")
    found = CredentialHelper("kind", path_with(tmp_path)).get("h")
    os.kill(int((tmp_path / "child").read_text()), 9)
    assert found is not None
    assert found.username == "u"


def test_a_helper_that_does_not_read_is_no_trouble(tmp_path: Path) -> None:
    make_helper(tmp_path, "deaf", '#!/bin/sh\nexec <&-\necho \'{"Username": "u", "Secret": "p"}\'\n')
    assert CredentialHelper("deaf", path_with(tmp_path)).get("h" * 200_000) is not None


@pytest.mark.parametrize("mode", [0o757, 0o775])
def test_a_helper_that_others_may_write_is_not_run(tmp_path: Path, mode: int) -> None:
    program = make_helper(tmp_path / "bin", "evil", f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    program.chmod(mode)
    os.chown(program, 0, 65534)
    assert "another one may write it" in refused(tmp_path / "bin")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("what", ["program", "directory", "above"])
def test_a_helper_of_another_user_is_not_run(tmp_path: Path, what: str) -> None:
    program = make_helper(tmp_path / "above/bin", "evil", f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    os.chown({"program": program, "directory": program.parent, "above": tmp_path / "above"}[what], 65534, 65534)
    assert "belongs to another user" in refused(program.parent)
    assert not (tmp_path / "ran").exists()


def test_a_link_does_not_make_it_ours(tmp_path: Path) -> None:
    program = make_helper(tmp_path / "theirs", "evil", f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    os.chown(program.parent, 65534, 65534)
    (tmp_path / "bin").mkdir(mode=0o755)
    (tmp_path / "bin" / program.name).symlink_to(program)
    assert "belongs to another user" in refused(tmp_path / "bin")
    assert not (tmp_path / "ran").exists()


def test_a_name_leads_nowhere_else(tmp_path: Path) -> None:
    (tmp_path / "auth.json").write_text(json.dumps({"credsStore": "x/../../../../tmp/evil"}))
    assert "must be the name of a credential helper" in find(tmp_path / "auth.json").message
