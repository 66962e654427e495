"""What ``docker save`` wrote before Docker 1.10: a directory for each layer, each with its own configuration. Pure.

    repositories     {"busybox": {"latest": "<id>"}}
    <id>/json        what made the layer, and the id of the one below it ("parent")
    <id>/layer.tar

Source: moby image/spec/v1.md. Ids are names of directories of the archive, nothing more.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import cast

from nsrun.errors import ImageError
from nsrun.images.documents import json_text

__all__ = ["configuration", "is_layer_id", "names_of", "parent_of"]

_ID = re.compile(r"[a-f0-9]{64}", re.ASCII)
_KEPT = ("architecture", "os", "author", "config", "created")


def is_layer_id(text: object) -> bool:
    return isinstance(text, str) and _ID.fullmatch(text) is not None


def names_of(repositories: Mapping[str, object]) -> list[tuple[str, str]]:
    """Each name (``busybox:latest``) with the id of its topmost layer. Raises ImageError."""
    found = []
    for repository, tags in repositories.items():
        if not isinstance(tags, dict):
            raise ImageError("its file repositories is not one")
        for tag, layer in cast("dict[str, object]", tags).items():
            if not is_layer_id(layer):
                raise ImageError("its file repositories names what is not a layer's id")
            found.append((f"{repository}:{tag}", str(layer)))
    return found


def parent_of(layer: Mapping[str, object]) -> str | None:
    """The id of the layer below, None for the lowest. Raises ImageError."""
    parent = layer.get("parent") or None
    if parent is not None and not is_layer_id(parent):
        raise ImageError("a layer in it lies on what is not a layer's id")
    return None if parent is None else str(parent)


def configuration(layers: Sequence[Mapping[str, object]], diff_ids: Sequence[str]) -> bytes:
    """An image's configuration as it is written today. ``layers``: their own, bottom first."""
    top = layers[-1]
    return json_text(
        {
            **{key: top[key] for key in _KEPT if key in top},
            "rootfs": {"type": "layers", "diff_ids": list(diff_ids)},
            "history": [_step(layer) for layer in layers],
        }
    )


def _step(layer: Mapping[str, object]) -> dict[str, object]:
    made = layer.get("container_config")
    command = made.get("Cmd") if isinstance(made, dict) else None
    words = [str(word) for word in command] if isinstance(command, list) else []
    step = {"created": layer.get("created"), "author": layer.get("author"), "comment": layer.get("comment")}
    told: dict[str, object] = {key: value for key, value in step.items() if isinstance(value, str) and value}
    return {**told, **({"created_by": " ".join(words)} if words else {})}
