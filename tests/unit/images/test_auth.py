"""The authorisation flow, without any I/O: requests out, answers in."""

from __future__ import annotations

from urllib.parse import parse_qs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsrun.errors import ImageError
from nsrun.images.auth import AuthFlow, Proofs, authorized, parse_challenges, pull_scope
from nsrun.images.credentials import Credential
from nsrun.images.exchange import Answer, Home, Origin, Request

HOME = Home(origin=Origin(scheme="https", host="registry.example", port=443))
ASK = Request(method="GET", url="https://registry.example/v2/a/b/manifests/1")
USER = Credential(username="u", password="p")
BASIC = "Basic dTpw"
SCOPE = pull_scope("a/b")


class Time:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def proofs(time: Time) -> Proofs:
    return Proofs(time)


def flow(proofs: Proofs, credential: Credential | None = None, home: Home = HOME) -> AuthFlow:
    return authorized(ASK, scope=SCOPE, home=home, credential=credential, proofs=proofs)


def unauthorized(*challenges: str) -> Answer:
    return Answer(status=401, headers={"www-authenticate": challenges})


def proof(request: Request) -> str | None:
    return request.headers.get("Authorization")


def ends(flow: AuthFlow, answer: Answer) -> bool:
    try:
        flow.send(answer)
    except StopIteration:
        return True
    return False


BEARER = 'Bearer realm="https://auth.example/token",service="srv",scope="repository:other:push"'
OK = Answer(status=200)


def test_anonymous(proofs: Proofs) -> None:
    steps = flow(proofs, USER)
    assert proof(next(steps)) is None
    assert ends(steps, OK)


def test_basic(proofs: Proofs) -> None:
    steps = flow(proofs, USER)
    next(steps)
    again = steps.send(unauthorized('Basic realm="x"'))
    assert again.url == ASK.url
    assert proof(again) == BASIC
    assert ends(steps, OK)
    assert proof(next(flow(proofs, USER))) == BASIC


@pytest.mark.parametrize("challenges", [(), ('Basic realm="x"',), ("Negotiate",), ("",)])
def test_without_a_proof_401_is_final(proofs: Proofs, challenges: tuple[str, ...]) -> None:
    steps = flow(proofs, None)
    next(steps)
    assert ends(steps, unauthorized(*challenges))


def test_basic_that_is_refused_is_final_and_forgotten(proofs: Proofs) -> None:
    steps = flow(proofs, USER)
    next(steps)
    steps.send(unauthorized("Basic"))
    assert ends(steps, unauthorized("Basic"))
    assert proof(next(flow(proofs, USER))) is None


@pytest.mark.parametrize("credential", [None, USER])
def test_bearer(proofs: Proofs, time: Time, credential: Credential | None) -> None:
    steps = flow(proofs, credential)
    next(steps)
    ask = steps.send(unauthorized('Basic realm="x"', BEARER))
    assert ask.method == "GET"
    assert ask.url == "https://auth.example/token?service=srv&scope=repository%3Aa%2Fb%3Apull"
    assert proof(ask) == (BASIC if credential else None)
    again = steps.send(Answer(status=200, body=b'{"access_token": "tok.en", "expires_in": 100}'))
    assert (again.url, proof(again)) == (ASK.url, "Bearer tok.en")
    assert ends(steps, OK)

    time.now = 94
    assert proof(next(flow(proofs, credential))) == "Bearer tok.en"
    time.now = 96
    assert proof(next(flow(proofs, credential))) is None


def test_a_token_that_is_refused_is_replaced(proofs: Proofs) -> None:
    proofs.put(SCOPE, "Bearer old", 1000)
    steps = flow(proofs)
    assert proof(next(steps)) == "Bearer old"
    steps.send(unauthorized(BEARER))
    again = steps.send(Answer(status=200, body=b'{"token": "new", "expires_in": "x"}'))
    assert proof(again) == "Bearer new"
    assert ends(steps, OK)


def test_tokens_are_for_one_scope(proofs: Proofs) -> None:
    proofs.put(SCOPE, "Bearer a", 1000)
    steps = authorized(ASK, scope=pull_scope("c"), home=HOME, credential=None, proofs=proofs)
    assert proof(next(steps)) is None


def test_identity_tokens_go_by_post(proofs: Proofs) -> None:
    steps = flow(proofs, Credential(username="<token>", password="", identity_token="refresh me"))
    next(steps)
    ask = steps.send(unauthorized(BEARER))
    assert (ask.method, ask.url, proof(ask)) == ("POST", "https://auth.example/token", None)
    form = parse_qs(ask.body.decode())
    assert form["refresh_token"] == ["refresh me"]
    assert form["scope"] == [SCOPE]
    assert "refresh me" not in repr(ask)


def test_a_realm_may_have_a_query_and_no_service(proofs: Proofs) -> None:
    steps = flow(proofs)
    next(steps)
    ask = steps.send(unauthorized('Bearer realm="https://auth.example/t?x=1"'))
    assert ask.url == "https://auth.example/t?x=1&scope=repository%3Aa%2Fb%3Apull"


@pytest.mark.parametrize(
    "realm",
    [
        "",
        "/token",
        "http://auth.example/token",
        "http://registry.example/token",
        "https://127.0.0.1/",
        "https://localhost/",
        "https://x.localhost/",
        "https://[::1]/",
        "https://[::]/",
        "https://0.0.0.0/",
        "https://169.254.169.254/",
        "https://[fe80::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[::ffff:169.254.169.254]/",
        "https://224.0.0.1/",
        "https://user:pw@auth.example/",
        "https://auth.example\\@127.0.0.1/",
        "https://auth.example#@127.0.0.1/",
        "https://auth.example:0/",
        "https://auth.example:99999/",
        "https://[::1/",
        "https://äuth.example/",
        "https://auth.example/ x",
        "https://auth.example/\n",
        "https://../",
        "HTTPS://auth.example/",
        "javascript:1",
    ],
)
def test_realms_we_do_not_go_to(proofs: Proofs, realm: str) -> None:
    steps = flow(proofs, USER)
    next(steps)
    with pytest.raises(ImageError, match=r'registry "registry.example" sends us for a token to') as caught:
        steps.send(unauthorized(f'Bearer realm="{realm}"'.replace("\\", "\\\\")))
    assert caught.value.message.isprintable()


def test_insecure_registries_may_use_plain_http(proofs: Proofs) -> None:
    home = Home(origin=Origin(scheme="http", host="127.0.0.1", port=5000), insecure=True)
    for realm in ("http://auth.example/t", "http://127.0.0.1:5001/t", "http://localhost/t", "http://[::1]/t"):
        assert home.objection(realm) is None
    assert home.objection("http://169.254.169.254/") is not None


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"{}"),
        (200, b"x"),
        (200, b'{"token": ""}'),
        (200, b'{"token": "a b"}'),
        (401, b""),
        (302, b""),
        (500, b""),
    ],
)
def test_answers_without_a_token(proofs: Proofs, status: int, body: bytes) -> None:
    steps = flow(proofs, USER)
    next(steps)
    steps.send(unauthorized(BEARER))
    with pytest.raises(ImageError, match=r'the token service "auth\.example"'):
        steps.send(Answer(status=status, body=body))


@pytest.mark.parametrize(
    ("header", "challenges"),
    [
        ("", []),
        ("Basic", [("basic", {})]),
        ('Basic realm="a, b=c"', [("basic", {"realm": "a, b=c"})]),
        ('Basic realm="a", Bearer realm="b",x=c', [("basic", {"realm": "a"}), ("bearer", {"realm": "b", "x": "c"})]),
        ('BEARER REALM = "q\\"u\\\\o" , x=y', [("bearer", {"realm": 'q"u\\o', "x": "y"})]),
        ("Negotiate, Basic realm=x", [("negotiate", {}), ("basic", {"realm": "x"})]),
        ('Bearer realm="a",realm="b"', [("bearer", {"realm": "a"})]),
        ('Bearer realm="open', [("bearer", {})]),
        ("=", []),
    ],
)  # fmt: skip
def test_challenges(header: str, challenges: list[tuple[str, dict[str, str]]]) -> None:
    assert [(c.scheme, dict(c.parameters)) for c in parse_challenges([header])] == challenges


@given(st.text(max_size=200))
def test_any_header_can_be_read(header: str) -> None:
    parse_challenges([header])
