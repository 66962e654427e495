"""The v1.PodList of all pods, of which only what changed is encoded again: to encode 500 pods takes a tenth of a
second, in which no probe is asked and no end is noticed."""

from __future__ import annotations

import json

from nsrun.model.encode import encode_pod
from nsrun.model.pod import Pod
from nsrun.model.status import PodStatus
from nsrun.supervisor.board import StatusBoard

__all__ = ["PodList"]

_HEAD = b'{"kind":"PodList","apiVersion":"v1","metadata":{},"items":'


class PodList:
    """What /pods answers. Belongs to one event loop.

    ``_encoded``: by UID the pod and the status that were encoded last, and what became of them; of the pods that were
    on the board when it was last asked for."""

    def __init__(self, board: StatusBoard, *, node_name: str) -> None:
        self.node_name = node_name
        self._board = board
        self._encoded: dict[str, tuple[Pod, PodStatus, bytes]] = {}

    def document(self) -> bytes:
        """The list as JSON. ``items`` is null without pods, as the kubelet has it."""
        items = self.items()
        return _HEAD + (b"[" + b",".join(items) + b"]}" if items else b"null}")

    def items(self) -> list[bytes]:
        """Each pod as JSON."""
        self._encoded = {pod.uid: self._entry(pod, status) for pod, status in self._board.pods()}
        return [text for _, _, text in self._encoded.values()]

    def _entry(self, pod: Pod, status: PodStatus) -> tuple[Pod, PodStatus, bytes]:
        known = self._encoded.get(pod.uid)
        if known is not None and known[0] is pod and (known[1] is status or known[1] == status):
            return known
        document = encode_pod(pod, status, node_name=self.node_name)
        return pod, status, json.dumps(document, separators=(",", ":")).encode()
