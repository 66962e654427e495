"""The UID of a pod that has none: made from what the pod is and where it comes from, as for the kubelet's static pods.

The same content in the same file has the same UID after every restart; an edit that changes the pod, or another name of
the file, gives another UID, and so another pod. An edit of comments or of the order of keys gives the same.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

from nsrun.model.encode import encode_pod
from nsrun.model.pod import Pod
from nsrun.model.update import MANIFEST_ANNOTATION

__all__ = ["CONFIG_HASH", "CONFIG_SEEN", "CONFIG_SOURCE", "identify"]

CONFIG_HASH = "kubernetes.io/config.hash"
CONFIG_SOURCE = "kubernetes.io/config.source"
CONFIG_SEEN = "kubernetes.io/config.seen"


def identify(pod: Pod, *, node_name: str, origin: str, config_source: str = "file") -> Pod:
    """The pod with its UID, its node and the kubelet's annotations. ``origin``: the absolute path of its file, or its
    URL. ``config_source``: the kubelet's word for such a source, ``file``, ``http`` or ``api``."""
    uid = pod.uid or _hash(pod, node_name, f"{'url' if config_source == 'http' else 'file'}:{origin}")
    annotations = {
        **pod.metadata.annotations,
        CONFIG_HASH: uid,
        CONFIG_SOURCE: config_source,
        MANIFEST_ANNOTATION: origin,
    }
    metadata = replace(pod.metadata, uid=uid, annotations=annotations)
    return replace(pod, metadata=metadata, spec=replace(pod.spec, node_name=node_name))


def _hash(pod: Pod, node_name: str, place: str) -> str:
    """32 hexadecimal digits. A field that a later version adds must stay out of the encoded form while it holds its
    default, or an upgrade would replace every pod."""
    anywhere = replace(pod, spec=replace(pod.spec, node_name=""))
    content = json.dumps(encode_pod(anywhere), sort_keys=True, separators=(",", ":"))
    parts = (content, f"host:{node_name}", place)
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=16).hexdigest()
