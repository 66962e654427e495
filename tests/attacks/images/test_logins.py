"""Registries and files that a login meets and that mean us harm."""

from __future__ import annotations

import asyncio
import json
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from aiohttp import web

from nsrun.errors import ImageError, SettingsError
from nsrun.images.authfile import AuthFile
from nsrun.images.login import Logins, parse_account
from nsrun.images.registries import Registries
from nsrun.images.tls import Certificates
from nsrun.model.credentials import Credential
from tests.attacks.images.lying import Handler, LyingRegistry

SECRET = "s3cret-of-mine"
ME = Credential(username="me", password=SECRET)


def logins(path: Path) -> Logins:
    return Logins(
        files=(path,), registries=Registries(verify=False), certificates=Certificates(), environment={"PATH": "/none"}
    )


async def verify(lying: LyingRegistry, credential: Credential = ME) -> None:
    known = logins(Path("/nowhere/auth.json"))
    await asyncio.to_thread(known.verify, parse_account(lying.host), credential)


async def refused(lying: LyingRegistry) -> ImageError:
    with pytest.raises(ImageError, match=rf'^cannot log in to "{lying.host}": ') as caught:
        await verify(lying)
    assert SECRET not in f"{caught.value!r} {caught.value.hint}"
    assert caught.value.message.isprintable()
    return caught.value


def challenged(realm: str, *, token: str = "good") -> Handler:
    async def guard(request: web.Request) -> web.StreamResponse:
        if request.path != "/v2/":
            return web.Response()
        if request.headers.get("Authorization") == f"Bearer {token}":
            return web.Response(body=b"{}")
        return web.Response(status=401, headers={"WWW-Authenticate": f'Bearer realm="{realm}",service="srv"'})

    return guard


def token_service(status: int = 200, body: bytes = b'{"token": "good"}') -> Handler:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, body=body)

    return answer


async def test_a_token_service_vouches_for_the_password(lying: LyingRegistry, elsewhere: LyingRegistry) -> None:
    lying.guard = lying.lies["/v2/"] = challenged(f"http://{elsewhere.host}/token")
    elsewhere.lies["/token"] = token_service()
    await verify(lying)
    (asked,) = elsewhere.asked
    assert asked.path == "/token?service=srv"
    assert asked.headers["Authorization"].startswith("Basic ")
    assert all("Basic" not in request.headers.get("Authorization", "") for request in lying.asked)


@pytest.mark.parametrize("status", [400, 401, 403])
async def test_a_token_service_that_does_not_know_us(
    lying: LyingRegistry, elsewhere: LyingRegistry, status: int
) -> None:
    lying.guard = lying.lies["/v2/"] = challenged(f"http://{elsewhere.host}/token")
    elsewhere.lies["/token"] = token_service(status)
    assert "the user or the password is wrong" in (await refused(lying)).message


async def test_a_registry_that_never_has_enough(lying: LyingRegistry, elsewhere: LyingRegistry) -> None:
    lying.guard = lying.lies["/v2/"] = challenged(f"http://{elsewhere.host}/token", token="another")
    elsewhere.lies["/token"] = token_service()
    assert "the user or the password is wrong" in (await refused(lying)).message
    assert len(elsewhere.asked) == 1


@pytest.mark.parametrize("realm", ["http://169.254.169.254/latest", "file:///etc/passwd", ""])
async def test_token_services_that_are_none(lying: LyingRegistry, realm: str) -> None:
    lying.guard = lying.lies["/v2/"] = challenged(realm)
    assert "sends us for a token to" in (await refused(lying)).message


async def test_a_registry_that_sends_us_elsewhere_passes_nothing_on(
    lying: LyingRegistry, elsewhere: LyingRegistry
) -> None:
    async def guard(request: web.Request) -> web.StreamResponse:
        if "Authorization" not in request.headers:
            return web.Response(status=401, headers={"WWW-Authenticate": "Basic"})
        return web.Response(status=307, headers={"Location": f"http://{elsewhere.host}/v2/"})

    lying.guard = lying.lies["/v2/"] = guard
    elsewhere.lies["/v2/"] = token_service(403)
    await refused(lying)
    assert [asked.headers.get("Authorization") for asked in elsewhere.asked] == [None]


@pytest.mark.parametrize(
    "text",
    ["", "https://", "a b", "h/UPPER", "h:99999999", "-h", "h/../x", "user:pw@h", "h\n", "h/a:tag", "\x1b[2J"],
)
def test_what_is_no_registry(text: str) -> None:
    with pytest.raises(SettingsError, match="cannot log in to") as caught:
        parse_account(text)
    assert caught.value.message.isprintable()


@pytest.mark.parametrize("content", ["{", "[]", '{"auths": []}', f'{{"auths": {{"h": {{"auth": "{SECRET}"}}}}}}'])
def test_a_file_that_cannot_be_read_is_not_written(tmp_path: Path, content: str) -> None:
    path = tmp_path / "auth.json"
    path.write_text(content)
    with pytest.raises(SettingsError, match="cannot read") as caught:
        AuthFile(path).keep("h", ME)
    assert SECRET not in str(caught.value)
    assert path.read_text() == content


def test_what_is_no_file_is_not_written(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "auth.json")
    with pytest.raises(SettingsError, match="not a regular file"):
        AuthFile(tmp_path / "auth.json").keep("h", ME)
    with pytest.raises(SettingsError, match="that older form is only read"):
        AuthFile(tmp_path / ".dockercfg").keep("h", ME)
    with pytest.raises(SettingsError, match="cannot write"):
        AuthFile(Path("/proc/nowhere/auth.json")).keep("h", ME)


def test_a_file_that_everybody_read_is_closed_to_them(tmp_path: Path) -> None:
    path = tmp_path / "auth.json"
    path.write_text("{}")
    path.chmod(0o666)
    AuthFile(path).keep("h", ME)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "dotfiles").mkdir()
    (tmp_path / "auth.json").symlink_to("dotfiles/auth.json")
    AuthFile(tmp_path / "auth.json").keep("h", ME)
    assert (tmp_path / "auth.json").is_symlink()
    assert "h" in json.loads((tmp_path / "dotfiles/auth.json").read_text())["auths"]


def test_who_log_in_at_once_both_do(tmp_path: Path) -> None:
    file = AuthFile(tmp_path / "auth.json")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: file.keep(f"h{number}", ME), range(32)))
    assert len(json.loads(file.path.read_text())["auths"]) == 32
    assert os.listdir(tmp_path) == ["auth.json"]
