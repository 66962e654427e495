"""The authorisation flow, without any I/O: requests out, answers in."""

from __future__ import annotations

from urllib.parse import parse_qs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsrun.errors import ImageError
from nsrun.images.auth import AuthFlow, Lookup, Proofs, authorized, parse_challenges, repository_scope
from nsrun.images.exchange import Answer, Home, Origin, Request
from nsrun.images.retry import Transient
from nsrun.model.credentials import Credential

HOME = Home(origin=Origin(scheme="https", host="registry.example", port=443))
ASK = Request(method="GET", url="https://registry.example/v2/a/b/manifests/1")
USER = Credential(username="u", password="p")
BASIC = "Basic dTpw"
SCOPE = repository_scope("a/b")
OTHER = Credential(username="o", password="p")
OTHERS = "Basic bzpw"


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


class Flow:
    """Drives a flow as the registry client does: ``node`` is what this machine has. ``lookups``: how often it was
    asked."""

    def __init__(
        self,
        proofs: Proofs,
        node: Credential | tuple[Credential, ...] | None = None,
        *,
        candidates: tuple[Credential, ...] = (),
        home: Home = HOME,
        scope: str = SCOPE,
    ) -> None:
        self._flow: AuthFlow = authorized(ASK, scope=scope, home=home, candidates=candidates, proofs=proofs)
        self._node = node if isinstance(node, tuple) else () if node is None else (node,)
        self.lookups = 0

    def begin(self) -> Request:
        return self._request(next(self._flow))

    def send(self, answer: Answer) -> Request:
        return self._request(self._flow.send(answer))

    def _request(self, step: Request | Lookup) -> Request:
        while isinstance(step, Lookup):
            self.lookups += 1
            step = self._flow.send(self._node)
        return step


def flow(proofs: Proofs, node: Credential | None = None, home: Home = HOME) -> Flow:
    return Flow(proofs, node, home=home)


def unauthorized(*challenges: str) -> Answer:
    return Answer(status=401, headers={"www-authenticate": challenges})


def proof(request: Request) -> str | None:
    return request.headers.get("Authorization")


def ends(flow: Flow, answer: Answer) -> bool:
    try:
        flow.send(answer)
    except StopIteration:
        return True
    return False


BEARER = 'Bearer realm="https://auth.example/token",service="srv",scope="repository:other:push"'
OK = Answer(status=200)


def test_anonymous(proofs: Proofs) -> None:
    steps = flow(proofs, USER)
    assert proof(steps.begin()) is None
    assert ends(steps, OK)


def test_basic(proofs: Proofs) -> None:
    steps = flow(proofs, USER)
    steps.begin()
    again = steps.send(unauthorized('Basic realm="x"'))
    assert again.url == ASK.url
    assert proof(again) == BASIC
    assert ends(steps, OK)
    assert proof(flow(proofs, USER).begin()) == BASIC


@pytest.mark.parametrize("challenges", [(), ('Basic realm="x"',), ("Negotiate",), ("",)])
def test_without_a_proof_401_is_final(proofs: Proofs, challenges: tuple[str, ...]) -> None:
    steps = flow(proofs, None)
    steps.begin()
    assert ends(steps, unauthorized(*challenges))


def test_basic_that_is_refused_is_final_and_forgotten(proofs: Proofs) -> None:
    steps = flow(proofs, USER)
    steps.begin()
    steps.send(unauthorized("Basic"))
    assert ends(steps, unauthorized("Basic"))
    assert proof(flow(proofs, USER).begin()) is None


@pytest.mark.parametrize("credential", [None, USER])
def test_bearer(proofs: Proofs, time: Time, credential: Credential | None) -> None:
    steps = flow(proofs, credential)
    steps.begin()
    ask = steps.send(unauthorized('Basic realm="x"', BEARER))
    assert ask.method == "GET"
    assert ask.url == "https://auth.example/token?service=srv&scope=repository%3Aa%2Fb%3Apull"
    assert proof(ask) == (BASIC if credential else None)
    again = steps.send(Answer(status=200, body=b'{"access_token": "tok.en", "expires_in": 100}'))
    assert (again.url, proof(again)) == (ASK.url, "Bearer tok.en")
    assert ends(steps, OK)

    time.now = 94
    assert proof(flow(proofs, credential).begin()) == "Bearer tok.en"
    time.now = 96
    assert proof(flow(proofs, credential).begin()) is None


def test_a_token_that_is_refused_is_replaced(proofs: Proofs) -> None:
    proofs.put(SCOPE, (), "Bearer old", 1000)
    steps = flow(proofs)
    assert proof(steps.begin()) == "Bearer old"
    steps.send(unauthorized(BEARER))
    again = steps.send(Answer(status=200, body=b'{"token": "new", "expires_in": "x"}'))
    assert proof(again) == "Bearer new"
    assert ends(steps, OK)


def test_tokens_are_for_one_scope(proofs: Proofs) -> None:
    proofs.put(SCOPE, (), "Bearer a", 1000)
    steps = Flow(proofs, scope=repository_scope("c"))
    assert proof(steps.begin()) is None


def test_identity_tokens_go_by_post(proofs: Proofs) -> None:
    steps = flow(proofs, Credential(username="<token>", password="", identity_token="refresh me"))
    steps.begin()
    ask = steps.send(unauthorized(BEARER))
    assert (ask.method, ask.url, proof(ask)) == ("POST", "https://auth.example/token", None)
    assert isinstance(ask.body, bytes)
    form = parse_qs(ask.body.decode())
    assert form["refresh_token"] == ["refresh me"]
    assert form["scope"] == [SCOPE]
    assert "refresh me" not in repr(ask)


def test_a_realm_may_have_a_query_and_no_service(proofs: Proofs) -> None:
    steps = flow(proofs)
    steps.begin()
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
    steps.begin()
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
        (403, b""),
    ],
)
def test_answers_without_a_token(proofs: Proofs, status: int, body: bytes) -> None:
    steps = flow(proofs, USER)
    steps.begin()
    steps.send(unauthorized(BEARER))
    with pytest.raises(ImageError, match=r'the token service "auth\.example"'):
        steps.send(Answer(status=status, body=body))


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_token_service_that_is_busy_is_asked_again_later(proofs: Proofs, status: int) -> None:
    steps = flow(proofs, USER)
    steps.begin()
    steps.send(unauthorized(BEARER))
    with pytest.raises(Transient, match=r'the token service "auth\.example"'):
        steps.send(Answer(status=status))


@pytest.mark.parametrize("refusal", [401, 403])
def test_credentials_are_tried_in_turn_and_this_machines_last(proofs: Proofs, refusal: int) -> None:
    steps = Flow(proofs, USER, candidates=(OTHER, Credential(username="third")))
    assert proof(steps.begin()) is None
    assert proof(steps.send(unauthorized("Basic"))) == OTHERS
    assert proof(steps.send(Answer(status=refusal))) == "Basic dGhpcmQ6"
    assert steps.lookups == 0
    assert proof(steps.send(Answer(status=refusal))) == BASIC
    assert steps.lookups == 1
    assert ends(steps, OK)


def test_a_token_service_may_refuse_some_of_them(proofs: Proofs) -> None:
    steps = Flow(proofs, (USER,), candidates=(OTHER,))
    steps.begin()
    assert proof(steps.send(unauthorized(BEARER))) == OTHERS
    assert proof(steps.send(Answer(status=401))) == BASIC
    assert proof(steps.send(Answer(status=200, body=b'{"token": "t"}'))) == "Bearer t"
    assert ends(steps, OK)


def test_what_is_refused_everywhere_is_told_once(proofs: Proofs) -> None:
    steps = Flow(proofs, candidates=(Credential(username="o", password="hidden", secret="default/pull"),))
    steps.begin()
    steps.send(unauthorized(BEARER))
    with pytest.raises(ImageError, match=r'the token service "auth\.example" of registry .* answered 401') as caught:
        steps.send(Answer(status=401))
    assert "imagePullSecrets" in str(caught.value.hint)
    assert "hidden" not in f"{caught.value!r}{caught.value.hint}"


def test_whoever_has_credentials_is_not_taken_for_nobody(proofs: Proofs) -> None:
    """A token without them would hide that they are wrong."""
    steps = Flow(proofs, candidates=(OTHER,))
    steps.begin()
    steps.send(unauthorized(BEARER))
    with pytest.raises(ImageError):
        steps.send(Answer(status=401))
    assert steps.lookups == 1


def test_a_registry_that_always_says_401_is_done_with(proofs: Proofs) -> None:
    steps = Flow(proofs, (USER, OTHER), candidates=(Credential(username="x"),))
    steps.begin()
    for _ in range(3):
        steps.send(unauthorized("Basic"))
    assert ends(steps, unauthorized("Basic"))


def test_a_proof_serves_only_those_who_brought_the_same_credentials(proofs: Proofs) -> None:
    steps = Flow(proofs, candidates=(USER,))
    steps.begin()
    steps.send(unauthorized("Basic"))
    assert ends(steps, OK)
    assert proof(Flow(proofs, candidates=(USER,)).begin()) == BASIC
    assert proof(Flow(proofs).begin()) is None
    assert proof(Flow(proofs, candidates=(OTHER,)).begin()) is None


def test_a_proof_is_forgotten_in_time(proofs: Proofs, time: Time) -> None:
    steps = Flow(proofs, USER)
    steps.begin()
    steps.send(unauthorized("Basic"))
    assert ends(steps, OK)
    time.now = 4000
    assert proof(Flow(proofs).begin()) is None


def test_a_registry_token_goes_to_the_registry(proofs: Proofs) -> None:
    steps = Flow(proofs, Credential(registry_token="direct"))
    steps.begin()
    assert (again := steps.send(unauthorized(BEARER))).url == ASK.url
    assert proof(again) == "Bearer direct"


def test_a_registry_token_that_is_none_is_not_sent(proofs: Proofs) -> None:
    steps = Flow(proofs, Credential(registry_token="a\nb: c"))
    steps.begin()
    with pytest.raises(ImageError, match="is not a token"):
        steps.send(unauthorized(BEARER))


def test_what_is_asked_for_is_told_to_the_token_service(proofs: Proofs) -> None:
    scope = f"{repository_scope('a/b', 'pull,push')} {repository_scope('c')}"
    steps = Flow(proofs, scope=scope)
    steps.begin()
    ask = steps.send(unauthorized('Bearer realm="https://auth.example/t"'))
    assert parse_qs(ask.url.partition("?")[2])["scope"] == scope.split()
    whole = Flow(proofs, scope="")
    whole.begin()
    assert whole.send(unauthorized('Bearer realm="https://auth.example/t"')).url == "https://auth.example/t"


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
