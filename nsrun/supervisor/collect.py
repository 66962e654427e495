"""What lies about on the machine and belongs to no pod: found here, removed by workers as pods are."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from nsrun.supervisor.ports import Network, Runtime, Volumes
from nsrun.support.layout import PodName

__all__ = ["leftovers", "owners"]


async def owners(runtime: Runtime, network: Network, volumes: Volumes) -> Mapping[str, PodName | None]:
    """UIDs of all pods that own something, with the name where it is known. After a reboot only the logs tell the name
    of a pod whose manifest has gone, and only with its name they go too. Logs alone make nobody an owner: they may be
    another program's. Raises NsrunError."""
    logged = {uid: name for name, uid in sorted(await runtime.logged())}
    names: dict[str, PodName | None] = {uid: logged.get(uid) for uid in sorted(await volumes.owners())}
    names.update({uid: name for name, uid in sorted(await network.owners())})
    return names


def leftovers(owned: Mapping[str, PodName | None], *, known: Collection[str]) -> Mapping[str, PodName | None]:
    """Those of ``owned`` that are not among the UIDs of the pods that are here or are wanted."""
    return {uid: name for uid, name in owned.items() if uid not in known}
