"""Names of images, by whoever writes a manifest: they lead nowhere but where the machine's owner allows."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsrun.errors import ImageError
from nsrun.images.exchange import origin_of
from nsrun.images.keychain import Keychain
from nsrun.images.policy import Demand, Policy
from nsrun.images.reference import Reference, is_short_name, parse_reference
from nsrun.images.registries import Registries, load_registries, record_alias
from nsrun.images.registriesfile import Registry
from nsrun.images.shortnames import ShortNames, bare_name
from nsrun.model.container import PullPolicy
from nsrun.model.credentials import Credential, Credentials
from tests.attacks.images.lying import LyingRegistry
from tests.layouts import ImageParts
from tests.system.images.conftest import MakeService

HEX = "0123456789abcdef"
# Pieces of names, and what names are forged from.
PIECES = st.sampled_from(
    [
        *(
            "nginx",
            "library",
            "a",
            "b-c",
            "d__e",
            "f.g",
            "docker.io",
            "index.docker.io",
            "Quay.IO",
            "localhost",
            "h:5000",
        ),
        *("/", "/", "/", ":", ":", "@", "..", ".", "//", "\\", "%2f", "%2e%2e", "\n", "\r\n", "\0", " ", "?", "#", "&"),
        *("http://", "user:pass@", "[::1]", "[::1]:5000", "[", "127.0.0.1", "169.254.169.254", "v2", "_catalog"),
        *("latest", "1.25", "sha256", f"sha256:{HEX * 4}", f"sha512:{HEX * 8}", "sha256:" + "../" * 16, HEX * 4),
        *("é", "\u2024", "\uff0f", "\u2215", "\u212a", "\u0131", "\u202e", "\x1b[31m", "A", "Z" * 200, "x" * 130),
    ]
)
NAMES = st.one_of(st.lists(PIECES, max_size=8).map("".join), st.text(max_size=80))

_HOST = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?", re.ASCII)
_PATH = re.compile(r"[a-z0-9]+(?:[._/-]+[a-z0-9]+)*", re.ASCII)
_IDENTIFIER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}|sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}", re.ASCII)


def parsed(text: str) -> Reference | None:
    """The reference; None when it is refused, which must be in one printable sentence."""
    try:
        return parse_reference(text)
    except ImageError as error:
        message, reason = error.message, error.reason
    assert reason == "InvalidImageName"
    assert message.isprintable()
    assert message.isascii()
    assert len(message) < 1000
    return None


@given(NAMES)
def test_what_is_asked_for_stays_below_the_repository(text: str) -> None:
    reference = parsed(text)
    if reference is None:
        return
    assert _HOST.fullmatch(reference.host)
    assert _PATH.fullmatch(reference.path)
    assert _IDENTIFIER.fullmatch(reference.identifier)
    assert not {"", ".", ".."} & set(reference.path.split("/"))
    url = f"https://{reference.host}/v2/{reference.path}/manifests/{reference.identifier}"
    origin = origin_of(url)
    # A port that is none makes no URL; every other name means the host that it shows.
    assert origin is None or origin.authority.lower() == reference.host.lower().removesuffix(":443")
    assert parse_reference(str(reference)) == reference


@given(NAMES)
def test_a_name_in_other_letters_is_no_other_registry(text: str) -> None:
    reference = parsed(text)
    if reference is None or is_short_name(f"{reference.host.lower()}/x"):
        return
    assert reference.host == reference.host.lower()


POLICY = Policy(scopes={"docker": {"docker.io/library/evil": (Demand.REJECT,), "quay.io": (Demand.REJECT,)}})


@pytest.mark.parametrize(
    "text",
    [
        *("evil", "evil:1", "library/evil", "docker.io/evil", "index.docker.io/evil", "DOCKER.io/library/evil"),
        *("Index.Docker.IO/evil", f"evil@sha256:{HEX * 4}", f"evil:1@sha256:{HEX * 4}"),
        *("quay.io/x", "QUAY.IO/x", "Quay.Io/x/y:1"),
    ],
)
def test_no_spelling_gets_round_a_policy_or_a_block(tmp_path: Path, text: str) -> None:
    with pytest.raises(ImageError, match=r"policy\.json rejects it"):
        POLICY.check_pull(parse_reference(text))
    path = tmp_path / "registries.conf"
    path.write_text('[[registry]]\nlocation = "quay.io"\nblocked = true\n'
                    '[[registry]]\nlocation = "docker.io/library/evil"\nblocked = true\n')  # fmt: skip
    with pytest.raises(ImageError, match=r"registries\.conf blocks"):
        load_registries(path, {}).endpoints(parse_reference(text))


SEARCHED = ("one.example", "two.example:5000")
NAMED = ShortNames(registries=SEARCHED, aliases={"nginx": "three.example/web", "library/a": "three.example/a"})


@given(NAMES)
def test_a_short_name_leads_to_registries_of_the_list_only(text: str) -> None:
    if parsed(text) is None:
        return
    meanings = []
    try:
        meanings = [*NAMED.meanings(text)]
    except ImageError as error:
        reason = error.reason
        assert reason == "InvalidImageName"  # with a registry before it, it is longer than a name may be
    for meant in meanings if is_short_name(text) else ():
        assert meant.host in (*SEARCHED, "three.example")
        assert (meant.host == "three.example") == (bare_name(text) in NAMED.aliases)


MIRRORED = Registries(tables=(Registry(prefix="docker.io", location="mirror.example/hub"),))


@given(NAMES)
def test_a_location_takes_a_name_nowhere_else(text: str) -> None:
    reference = parsed(text)
    if reference is None:
        return
    for endpoint in MIRRORED.endpoints(reference):
        assert _PATH.fullmatch(endpoint.repository)
        if reference.host == "docker.io":
            assert (endpoint.host, endpoint.repository) == ("mirror.example", f"hub/{reference.path}")
        else:
            assert (endpoint.host, endpoint.repository) == (reference.host, reference.path)


@given(st.lists(NAMES, min_size=1, max_size=5))
def test_what_is_remembered_is_what_was_answered(texts: list[str]) -> None:
    short = [text for text in texts if is_short_name(text) and parsed(text) is not None]
    meant = parse_reference("one.example/x:1")
    with TemporaryDirectory() as directory:
        path = Path(directory, "containers", "short-name-aliases.conf")
        for text in short:
            record_alias(path, bare_name(text), meant)
        written = tomllib.loads(path.read_text()) if short else {}
    assert written == ({"aliases": {bare_name(text): "one.example/x" for text in short}} if short else {})


@pytest.mark.root
@pytest.mark.parametrize("challenge", ['Basic realm="x"', 'Bearer realm="https://{0}/token",service="{1}"'])
async def test_a_registry_of_the_list_learns_no_credential_of_the_next(
    lying: LyingRegistry, elsewhere: LyingRegistry, service: MakeService, challenge: str
) -> None:
    """The first one has not got the image; it may ask for whatever it likes."""
    from aiohttp import web

    async def ask_for_more(request: web.Request) -> web.StreamResponse:
        words = challenge.format(lying.host, elsewhere.host)
        return web.json_response({}, status=401, headers={"WWW-Authenticate": words})

    lying.guard = ask_for_more
    parts = ImageParts.make()
    elsewhere.serve("web", "latest", parts)
    keychain: Keychain = Credentials(entries=((elsewhere.host, Credential(username="me", password="hunter2")),))
    names = ShortNames(registries=(lying.host, elsewhere.host))
    images = await service(registries=Registries(names=names, verify=False), credentials=keychain)
    image = await images.ensure("web", PullPolicy.IF_NOT_PRESENT)
    assert image.reference == f"{elsewhere.host}/web:latest"
    assert lying.asked
    assert not any(name.lower() == "authorization" for asked in lying.asked for name in asked.headers)
