"""Who this machine is to registries: real files, real helpers."""

from __future__ import annotations

import json
import os
from base64 import b64encode
from pathlib import Path

import pytest

from nsrun.errors import ImageError, NotFoundError
from nsrun.images.credential_helper import CredentialHelper
from nsrun.images.keychain import AUTH_FILES, FileKeychain, auth_files
from nsrun.images.login import Logins, parse_account
from nsrun.images.registries import Registries
from nsrun.images.tls import Certificates
from nsrun.model.credentials import Credential
from tests.system.images.helpers_of_credentials import make_helper, path_with

FOUND = Credential(username="u", password="s3cret")


def entry(user: str) -> dict[str, object]:
    return {"auth": b64encode(f"{user}:p".encode()).decode()}


def write(path: Path, **document: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
    return path


def users(found: tuple[Credential, ...]) -> list[str]:
    return [credential.username for credential in found]


def test_where_files_are() -> None:
    assert auth_files({"REGISTRY_AUTH_FILE": "/x", "HOME": "/h"}) == (Path("/x"),)
    assert auth_files({"XDG_RUNTIME_DIR": "/r", "HOME": "/h"}) == (
        Path("/r/containers/auth.json"),
        Path("/h/.config/containers/auth.json"),
        Path("/h/.docker/config.json"),
        Path("/h/.dockercfg"),
    )
    assert auth_files({"XDG_CONFIG_HOME": "/c", "DOCKER_CONFIG": "/d", "HOME": "/h"}) == (
        Path(f"/run/containers/{os.geteuid()}/auth.json"),
        Path("/c/containers/auth.json"),
        Path("/d/config.json"),
        Path("/h/.dockercfg"),
    )
    assert auth_files({})[1].is_absolute()  # a daemon may have no HOME


def test_the_first_file_that_knows_the_registry_counts(tmp_path: Path) -> None:
    first = write(tmp_path / "1", auths={"h": entry("first")})
    second = write(tmp_path / "2", auths={"h": entry("second"), "i": entry("i")})
    old = tmp_path / ".dockercfg"
    old.write_text(json.dumps({"https://old/v1/": entry("old")}))
    keys = FileKeychain((tmp_path / "none", first / "none", first, second, old), {})
    assert users(keys.find("h", "x")) == ["first"]
    assert users(keys.find("i", "x")) == ["i"]
    assert users(keys.find("old", "x")) == ["old"]
    assert keys.find("j", "x") == ()


def test_who_logs_in_is_known_at_once(tmp_path: Path) -> None:
    path = tmp_path / "auth.json"
    keys = FileKeychain((path,), {})
    assert keys.find("h", "x") == ()
    write(path, auths={"h": entry("u")})
    assert users(keys.find("h", "x")) == ["u"]


def test_a_helper_is_asked_by_name_and_only_when_it_is_configured(tmp_path: Path) -> None:
    helper = make_helper(tmp_path / "bin", "keeper")
    environment = {**path_with(helper.parent), "HOME": "/h", "NSRUN_TOKEN": "not yours"}
    CredentialHelper("keeper", environment).store("h:5000", FOUND)
    helped = write(tmp_path / "auth.json", credHelpers={"h:5000": "keeper"}, auths={"h:5000": {}, "i": entry("i")})
    keys = FileKeychain((helped,), environment)
    assert keys.find("h:5000", "a/b") == (FOUND,)
    asked = (helper.parent / "kept/.argv").read_text()
    assert users(keys.find("i", "x")) == ["i"]
    assert (helper.parent / "kept/.argv").read_text() == asked
    assert "NSRUN_TOKEN" not in (helper.parent / "kept/.environment").read_text()
    assert "s3cret" not in asked


def test_a_store_keeps_every_registry_and_files_keep_the_rest(tmp_path: Path) -> None:
    environment = path_with(make_helper(tmp_path / "bin", "keeper").parent)
    keeper = CredentialHelper("keeper", environment)
    keeper.store("https://index.docker.io/v1/", FOUND)
    keeper.store("quay.io", Credential(identity_token="idt"))
    keys = FileKeychain((write(tmp_path / "c", credsStore="keeper", auths={"i": entry("i")}),), environment)
    assert keys.find("docker.io", "library/x") == (FOUND,)
    assert keys.find("quay.io", "x") == (Credential(identity_token="idt"),)
    assert users(keys.find("i", "x")) == ["i"]
    keeper.erase("quay.io")
    keeper.erase("quay.io")
    assert keys.find("quay.io", "x") == ()


def test_registries_conf_names_helpers(tmp_path: Path) -> None:
    environment = path_with(make_helper(tmp_path / "bin", "keeper").parent)
    CredentialHelper("keeper", environment).store("h", FOUND)
    file = write(tmp_path / "auth.json", auths={"h": entry("file"), "i": entry("i")})
    assert FileKeychain((file,), environment, sources=("keeper", AUTH_FILES)).find("h", "x") == (FOUND,)
    assert users(FileKeychain((file,), environment, sources=("keeper", AUTH_FILES)).find("i", "x")) == ["i"]
    assert users(FileKeychain((file,), environment, sources=(AUTH_FILES, "keeper")).find("h", "x")) == ["file"]
    assert FileKeychain((file,), environment, sources=("keeper",)).find("i", "x") == ()


def test_a_helper_that_is_not_there_is_named(tmp_path: Path) -> None:
    keys = FileKeychain((write(tmp_path / "c", credsStore="desktop"),), {"PATH": f"relative:{tmp_path}"})
    with pytest.raises(ImageError, match=r'"docker-credential-desktop" is of no use: there is no such program'):
        keys.find("h", "x")


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ({"credsStore": "keeper"}, "https:__index.docker.io_v1_"),
        ({"credHelpers": {"docker.io": "keeper"}}, "docker.io"),
    ],
)
def test_the_hub_is_kept_by_the_name_that_others_ask_for(tmp_path: Path, said: dict[str, object], name: str) -> None:
    program = make_helper(tmp_path / "bin", "keeper")
    known = who_logs_in(tmp_path, write(tmp_path / "auth.json", **said))
    account = known.account(None)
    assert known.keep(account, FOUND) == "docker-credential-keeper"
    assert (program.parent / "kept" / name).exists()
    assert known.current(account) == FOUND
    known.forget(account)
    assert known.current(account) is None


def test_what_others_wrote_is_not_forgotten(tmp_path: Path) -> None:
    other = write(tmp_path / "config.json", auths={"https://h/v1/": entry("u")})
    known = who_logs_in(tmp_path, tmp_path / "auth.json", other)
    with pytest.raises(NotFoundError, match="nobody is logged in") as caught:
        known.forget(parse_account("h"))
    assert str(other) in str(caught.value.hint)


def who_logs_in(tmp_path: Path, *files: Path) -> Logins:
    return Logins(
        files=files,
        registries=Registries(),
        certificates=Certificates(),
        environment=path_with(tmp_path / "bin"),
    )
