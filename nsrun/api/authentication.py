"""Who a request on the secure port is from: its certificate, or its bearer token, or nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from nsrun.api.users import ANONYMOUS, Tokens, User, certified

__all__ = ["Authentication"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Authentication:
    """``tokens`` None: none is good. ``anonymous``: who shows nothing is somebody too."""

    tokens: Tokens | None = None
    anonymous: bool = False

    async def user(self, authorization: str | None, peer: Mapping[str, object] | None) -> User | None:
        """``authorization``: the header. ``peer``: the verified client certificate. None for nobody: also for one who
        shows a token that is wrong, whatever else is allowed."""
        if authorization is not None:
            scheme, _, token = authorization.partition(" ")
            if scheme.lower() != "bearer" or not token.strip() or self.tokens is None:
                return None
            return await asyncio.to_thread(self.tokens.user, token.strip())
        return certified(peer) or (ANONYMOUS if self.anonymous else None)
