"""When the directories of persistent volume claims may go: data is deleted only for what was seen to be taken away.

A claim's directory goes when its manifest went while nsrun watched, and did not come back for a while: whoever puts new
manifests in the place of old ones, file by file, loses pods, which come back, and never data, which would not. What has
no manifest when nsrun starts stays, so starting it with the wrong directory costs nothing either.
"""

from __future__ import annotations

from collections.abc import Collection

from nsrun.model.update import SourceUpdate

__all__ = ["PATIENCE", "ClaimKeeper"]

Claim = tuple[str, str]

PATIENCE = 10.0
"""Seconds for a manifest to come back."""


class ClaimKeeper:
    """Remembers which claims were there, by namespace and name."""

    def __init__(self) -> None:
        self._seen: frozenset[Claim] | None = None
        self._gone: dict[Claim, float] = {}  # since when

    def heard(self, update: SourceUpdate, now: float) -> None:
        """What the manifests say ``now``."""
        claims = frozenset(update.objects.claims)
        if update.broken or update.missing:
            # A claim that is not in there may be in the file that cannot be read, or on a disk that is not mounted.
            claims |= self._seen or frozenset()
        went = dict.fromkeys((self._seen or frozenset()) - claims, now)
        self._gone = {claim: since for claim, since in {**went, **self._gone}.items() if claim not in claims}
        self._seen = claims

    def gone(self, now: float) -> Collection[Claim]:
        """The claims that went for good, and no others: a pod may still have one of them, and gives it up later."""
        return frozenset(claim for claim, since in self._gone.items() if now - since >= PATIENCE)

    def next_due(self, now: float) -> float | None:
        """When another of them is gone for good; None when there is nothing to wait for."""
        return min((since + PATIENCE for since in self._gone.values() if now - since < PATIENCE), default=None)
