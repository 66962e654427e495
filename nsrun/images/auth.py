"""How a request proves itself to a registry: anonymous, Basic, Bearer. Pure: no I/O, no clock of its own.

``authorized`` is a generator: it yields requests to send and receives their answers; it yields ``Lookup`` and receives
the credentials that this machine has, which costs something and is therefore asked only when they are needed. When it
ends, the last answer is the one to use. Whoever drives it follows redirects by ``exchange.redirected``.

    GET blob ──▶ 401 Bearer realm=T ──▶ GET T?service&scope ──▶ token ──▶ GET blob, Authorization: Bearer token

Rules: a credential is sent to the registry it is for and to the token service that this registry names, nowhere else;
the token service must be a place ``Home`` does not object to; the scope is always our own, whatever the challenge asks
for. Credentials are tried one after the other, those of this request first, until one is taken; each once, so that
a registry that always says 401 is done with. Only where there are none at all a token is asked for without.

Sources: RFC 7235, RFC 7617, RFC 6750; distribution/distribution docs/spec/auth/token.md and oauth.md.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlencode

from nsrun.errors import ImageError
from nsrun.images.exchange import Answer, Home, Request, origin_of
from nsrun.images.retry import RETRIED_STATUSES, Transient
from nsrun.images.wording import printable
from nsrun.model.credentials import Credential

__all__ = [
    "AuthFlow",
    "Challenge",
    "Lookup",
    "Proofs",
    "TokenRefused",
    "authorized",
    "parse_challenges",
    "repository_scope",
]


@dataclass(frozen=True, slots=True)
class Lookup:
    """A question for the credentials of this machine."""


AuthFlow = Generator[Request | Lookup, Answer | Sequence[Credential], None]

_TOKEN = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"
_PARAMETER = re.compile(rf'[\s,]*({_TOKEN})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))', re.ASCII)
_SCHEME = re.compile(rf"[\s,]*({_TOKEN})(?=[\s,]|$)", re.ASCII)
_TOKEN68 = re.compile(r"[A-Za-z0-9._~+/=-]{1,65536}", re.ASCII)

_DEFAULT_LIFETIME = 60  # seconds, when a token service does not say: docs/spec/auth/token.md
_LIFETIME_LIMIT = 3600.0
_MARGIN = 5  # seconds before its end from which on a token is not used any more

_FILES = "in auth.json, or log in anew: nsrun login"
_SECRETS = "in the Secret of the pod's imagePullSecrets"


T = TypeVar("T")
_Steps = Generator[Request | Lookup, Answer | Sequence[Credential], T]


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """One challenge of a WWW-Authenticate header. ``scheme`` and the parameters' names in lower case."""

    scheme: str
    parameters: Mapping[str, str]


class Proofs:
    """What was accepted before: Authorization values by scope and by the credentials that a request came with, so that
    nobody goes in by what another one proved. ``now`` is monotonic, in seconds."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._values: dict[tuple[str, tuple[Credential, ...]], tuple[str, float]] = {}

    def get(self, scope: str, candidates: tuple[Credential, ...] = ()) -> str | None:
        value, end = self._values.get((scope, candidates), ("", 0.0))
        return value if value and self._now() < end else None

    def put(self, scope: str, candidates: tuple[Credential, ...], value: str, lifetime: float) -> None:
        now = self._now()
        # Several threads may be here: what one of them loses is asked for again.
        kept = {key: proof for key, proof in self._values.copy().items() if proof[1] > now}
        self._values = {**kept, (scope, candidates): (value, now + lifetime - _MARGIN)}

    def forget(self, scope: str, candidates: tuple[Credential, ...] = ()) -> None:
        self._values.pop((scope, candidates), None)


def repository_scope(repository: str, actions: str = "pull") -> str:
    """What we ask a token for: ``actions`` such as ``pull`` or ``pull,push``. Several scopes are joined by a space."""
    return f"repository:{repository}:{actions}"


def authorized(
    request: Request, *, scope: str, home: Home, candidates: tuple[Credential, ...] = (), proofs: Proofs
) -> AuthFlow:
    """Sends ``request`` with the proof the registry asks for. ``candidates``: tried before those of this machine.

    ``scope`` "": for the registry as a whole. Raises ImageError, Transient when no proof can be had.
    """
    known = proofs.get(scope, candidates)
    answer = yield from _ask(request.with_authorization(known) if known else request)
    if answer.status != 401:
        return
    proofs.forget(scope, candidates)
    tries = _Tries(request, scope, home, parse_challenges(answer.headers.get("www-authenticate", ())))
    proof = yield from tries.first(candidates)
    if proof is None:
        found = yield from _look_up()
        nobody: Sequence[Credential | None] = () if candidates else (None,)
        proof = yield from tries.first(found or nobody)
    if proof is not None:
        proofs.put(scope, candidates, *proof)
    elif tries.refusal is not None:
        raise tries.refusal


_Proof = tuple[str, float]
"""An Authorization value and its lifetime in seconds."""


class _Tries:
    """One request, tried with one credential after the other. ``refusal``: what the token service said to the last."""

    def __init__(self, request: Request, scope: str, home: Home, challenges: Sequence[Challenge]) -> None:
        self._request = request
        self._scope = scope
        self._home = home
        self._bearer = next((c for c in challenges if c.scheme == "bearer"), None)
        self._basic = any(c.scheme == "basic" for c in challenges)
        self.refusal: TokenRefused | None = None

    def first(self, credentials: Sequence[Credential | None]) -> _Steps[_Proof | None]:
        """The proof of the first credential that is taken; None stands for nobody."""
        for credential in credentials:
            try:
                proof = yield from self._proof(credential)
            except TokenRefused as refusal:
                self.refusal = refusal
                continue
            if proof is None:
                continue
            self.refusal = None
            answer = yield from _ask(self._request.with_authorization(proof[0]))
            if answer.status not in (401, 403):
                return proof
        return None

    def _proof(self, credential: Credential | None) -> _Steps[_Proof | None]:
        """None when the registry takes nothing that we have here."""
        if credential is not None and credential.registry_token:
            if not _TOKEN68.fullmatch(credential.registry_token):
                raise TokenRefused(f'the registry token for "{self._home.origin.authority}" is not a token')
            return f"Bearer {credential.registry_token}", _LIFETIME_LIMIT
        if self._bearer is not None:
            return (yield from _bearer(self._bearer, self._scope, self._home, credential))
        if self._basic and credential is not None and (credential.password or not credential.identity_token):
            return _basic(credential), _LIFETIME_LIMIT
        return None


class TokenRefused(ImageError):
    """A credential that brings no token; another one may."""


def _ask(request: Request) -> _Steps[Answer]:
    answer = yield request
    assert isinstance(answer, Answer)
    return answer


def _look_up() -> _Steps[Sequence[Credential]]:
    found = yield Lookup()
    assert not isinstance(found, Answer)
    return found


def parse_challenges(headers: Sequence[str]) -> tuple[Challenge, ...]:
    """Reads WWW-Authenticate headers; what cannot be read ends the reading of its header."""
    challenges: list[Challenge] = []
    for header in headers:
        position = 0
        parameters: dict[str, str] | None = None
        while position < len(header):
            found = _PARAMETER.match(header, position) if parameters is not None else None
            if found is not None and parameters is not None:
                quoted, plain = found.group(2), found.group(3)
                value = plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
                parameters.setdefault(found.group(1).lower(), value)
            else:
                found = _SCHEME.match(header, position)
                if found is None:
                    break
                parameters = {}
                challenges.append(Challenge(scheme=found.group(1).lower(), parameters=parameters))
            position = found.end()
    return tuple(challenges)


def _bearer(challenge: Challenge, scope: str, home: Home, credential: Credential | None) -> _Steps[_Proof]:
    """Fetches a token."""
    realm = challenge.parameters.get("realm", "")
    objection = home.objection(realm)
    if objection is not None:
        raise ImageError(
            f'registry "{home.origin.authority}" sends us for a token to "{printable(realm)}": {objection}'
        )
    service = challenge.parameters.get("service", "")
    refresh = credential is not None and credential.identity_token
    make = _token_by_refresh if refresh else _token_by_get
    answer = yield from _ask(make(realm, service, scope, credential))
    place = origin_of(realm)
    where = place.authority if place is not None else realm
    if answer.status != 200:
        raise _no_token(answer.status, where, home, credential)
    return _read_token(answer.body, where)


def _no_token(status: int, where: str, home: Home, credential: Credential | None) -> Exception:
    cause = f'the token service "{where}" of registry "{home.origin.authority}" answered {status}'
    if status in RETRIED_STATUSES:
        return Transient(cause)
    if credential is None:
        return TokenRefused(cause)
    return TokenRefused(cause, hint="check the credentials " + (_SECRETS if credential.secret else _FILES))


def _token_by_get(realm: str, service: str, scope: str, credential: Credential | None) -> Request:
    scopes = [("scope", one) for one in scope.split()]
    query = urlencode([*([("service", service)] if service else []), *scopes])
    url = f"{realm}{'&' if '?' in realm else '?'}{query}" if query else realm
    request = Request(method="GET", url=url, wants_body=True)
    return request.with_authorization(_basic(credential)) if credential is not None else request


def _token_by_refresh(realm: str, service: str, scope: str, credential: Credential | None) -> Request:
    assert credential is not None
    form = {
        "grant_type": "refresh_token",
        "refresh_token": credential.identity_token,
        "client_id": "nsrun",
        "service": service,
        "scope": scope,
    }
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    return Request(method="POST", url=realm, headers=headers, body=urlencode(form).encode(), wants_body=True)


def _read_token(body: bytes, where: str) -> tuple[str, float]:
    try:
        document: object = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    fields = document if isinstance(document, dict) else {}
    token = fields.get("token") or fields.get("access_token")
    # A token becomes a header: nothing but the characters RFC 6750 gives it.
    if not isinstance(token, str) or not _TOKEN68.fullmatch(token):
        raise ImageError(f'the token service "{where}" answered without a token')
    lifetime = fields.get("expires_in")
    if not isinstance(lifetime, int | float) or not lifetime > 0:
        lifetime = _DEFAULT_LIFETIME
    return f"Bearer {token}", float(min(lifetime, _LIFETIME_LIMIT))


def _basic(credential: Credential) -> str:
    pair = f"{credential.username}:{credential.password}".encode()
    return f"Basic {base64.b64encode(pair).decode()}"
