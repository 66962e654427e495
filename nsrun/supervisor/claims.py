"""When the directories of persistent volume claims may go: data is deleted only for what was seen to be taken away.

A claim's directory goes when its manifest went while nsrun watched. What has no manifest when nsrun starts stays until
then: whoever starts nsrun with the wrong directory loses pods, which come back, and never data, which would not.
"""

from __future__ import annotations

from collections.abc import Collection

from nsrun.model.update import SourceUpdate

__all__ = ["ClaimKeeper"]

Claim = tuple[str, str]


class ClaimKeeper:
    """Remembers which claims were there, by namespace and name."""

    def __init__(self) -> None:
        self._seen: frozenset[Claim] | None = None
        self._gone: set[Claim] = set()

    def heard(self, update: SourceUpdate) -> None:
        """What the manifests say now."""
        claims = frozenset(update.objects.claims)
        if update.broken:
            # A claim that is not in there may be in the file that cannot be read.
            claims |= self._seen or frozenset()
        self._gone |= (self._seen or frozenset()) - claims
        self._gone -= claims
        self._seen = claims

    @property
    def gone(self) -> Collection[Claim]:
        """The claims that went, and no others: a pod may still have one of them, and gives it up later."""
        return frozenset(self._gone)
