"""How a request proves itself to a registry: anonymous, Basic, Bearer. Pure: no I/O, no clock of its own.

``authorized`` is a generator: it yields requests to send and receives their answers; when it ends, the last answer is
the one to use. Whoever drives it follows redirects by ``exchange.redirected``.

    GET blob ──▶ 401 Bearer realm=T ──▶ GET T?service&scope ──▶ token ──▶ GET blob, Authorization: Bearer token

Rules: a credential is sent to the registry it is for and to the token service that this registry names, nowhere else;
the token service must be a place ``Home`` does not object to; the scope is always our own (pull, this repository),
whatever the challenge asks for; a 401 after a proof is final.

Sources: RFC 7235, RFC 7617, RFC 6750; distribution/distribution docs/spec/auth/token.md and oauth.md.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from nsrun.errors import ImageError
from nsrun.images.credentials import Credential
from nsrun.images.exchange import Answer, Home, Request, origin_of
from nsrun.images.wording import printable

__all__ = ["AuthFlow", "Challenge", "Proofs", "authorized", "parse_challenges", "pull_scope"]

AuthFlow = Generator[Request, Answer, None]

_TOKEN = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"
_PARAMETER = re.compile(rf'[\s,]*({_TOKEN})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))', re.ASCII)
_SCHEME = re.compile(rf"[\s,]*({_TOKEN})(?=[\s,]|$)", re.ASCII)
_TOKEN68 = re.compile(r"[A-Za-z0-9._~+/=-]{1,65536}", re.ASCII)

_DEFAULT_LIFETIME = 60  # seconds, when a token service does not say: docs/spec/auth/token.md
_LIFETIME_LIMIT = 3600
_MARGIN = 5  # seconds before its end from which on a token is not used any more


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """One challenge of a WWW-Authenticate header. ``scheme`` and the parameters' names in lower case."""

    scheme: str
    parameters: Mapping[str, str]


class Proofs:
    """What was accepted before: Authorization values by scope, until they expire. ``now`` is monotonic, in seconds."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._values: dict[str, tuple[str, float]] = {}

    def get(self, scope: str) -> str | None:
        value, end = self._values.get(scope, ("", 0.0))
        return value if value and self._now() < end else None

    def put(self, scope: str, value: str, lifetime: float) -> None:
        self._values[scope] = (value, self._now() + lifetime - _MARGIN)

    def forget(self, scope: str) -> None:
        self._values.pop(scope, None)


def pull_scope(repository: str) -> str:
    """What we ask a token for."""
    return f"repository:{repository}:pull"


def authorized(request: Request, *, scope: str, home: Home, credential: Credential | None, proofs: Proofs) -> AuthFlow:
    """Sends ``request`` with the proof the registry asks for. Raises ImageError when no proof can be had."""
    known = proofs.get(scope)
    answer = yield request.with_authorization(known) if known else request
    if answer.status != 401:
        return
    proofs.forget(scope)
    challenges = parse_challenges(answer.headers.get("www-authenticate", ()))
    bearer = next((c for c in challenges if c.scheme == "bearer"), None)
    if bearer is not None:
        value, lifetime = yield from _bearer(bearer, scope, home, credential)
    elif credential is not None and any(c.scheme == "basic" for c in challenges):
        value, lifetime = _basic(credential), float("inf")
    else:
        return
    answer = yield request.with_authorization(value)
    if answer.status != 401:
        proofs.put(scope, value, lifetime)


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


def _bearer(
    challenge: Challenge, scope: str, home: Home, credential: Credential | None
) -> Generator[Request, Answer, tuple[str, float]]:
    """Fetches a token: the Authorization value and its lifetime in seconds."""
    realm = challenge.parameters.get("realm", "")
    objection = home.objection(realm)
    if objection is not None:
        raise ImageError(
            f'registry "{home.origin.authority}" sends us for a token to "{printable(realm)}": {objection}'
        )
    service = challenge.parameters.get("service", "")
    if credential is not None and credential.identity_token:
        answer = yield _token_by_refresh(realm, service, scope, credential)
    else:
        answer = yield _token_by_get(realm, service, scope, credential)
    place = origin_of(realm)
    where = place.authority if place is not None else realm
    if answer.status != 200:
        raise ImageError(
            f'the token service "{where}" of registry "{home.origin.authority}" answered {answer.status}',
            hint="check the credentials in auth.json" if credential is not None else None,
        )
    return _read_token(answer.body, where)


def _token_by_get(realm: str, service: str, scope: str, credential: Credential | None) -> Request:
    query = urlencode([*([("service", service)] if service else []), ("scope", scope)])
    request = Request(method="GET", url=f"{realm}{'&' if '?' in realm else '?'}{query}", wants_body=True)
    return request.with_authorization(_basic(credential)) if credential is not None else request


def _token_by_refresh(realm: str, service: str, scope: str, credential: Credential) -> Request:
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
