"""The secure port, from its settings: its certificate, and who is let in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine
from dataclasses import dataclass
from functools import partial

from nsrun.api.authentication import Authentication
from nsrun.api.certificates import KeyPair, keep_current, own_key_pair, server_context
from nsrun.api.server import Secure
from nsrun.api.users import TokenFile, made_token
from nsrun.settings import Settings
from nsrun.support.clock import Clock

__all__ = ["SecureSide", "secure_side"]

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_EVERYWHERE = frozenset({"0.0.0.0", "::"})


@dataclass(frozen=True, slots=True, kw_only=True)
class SecureSide:
    """``secure``: for the server. ``keep``: what is to run as long as that does."""

    secure: Secure
    keep: Callable[[], Coroutine[None, None, None]]


async def secure_side(settings: Settings, addresses: Collection[str], clock: Clock) -> SecureSide | None:
    """None when there is to be none. ``addresses``: the node's own. Raises ApiError.

    When nothing says who may come in, nsrun makes a token that only its owner can read."""
    port = settings.secure
    if not port.port:
        return None
    if port.certificate is not None and port.key is not None:
        pair = KeyPair(certificate=port.certificate, key=port.key)
    else:
        names = {settings.node_name, *_LOOPBACK, *addresses, settings.address} - _EVERYWHERE
        pair = own_key_pair(port.directory or settings.layout.pki, names)
    context = await server_context(pair, port.client_ca, now=clock.now())
    tokens: TokenFile | None = None
    if port.tokens is not None:
        tokens = await asyncio.to_thread(TokenFile, port.tokens)
    elif port.client_ca is None:
        tokens = await asyncio.to_thread(made_token, settings.layout.token)
    authentication = Authentication(tokens=tokens, anonymous=port.anonymous)
    return SecureSide(
        secure=Secure(port=port.port, context=context, authentication=authentication),
        keep=partial(keep_current, context, pair, clock),
    )
