"""How manifests are spoken about: quoted values, paths of fields, suggestions.

What is quoted comes from a file that anybody may have written, and ends on terminals and in logs: it is clipped, and
nothing in it that a terminal would obey gets through.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable
from urllib.parse import urlsplit

__all__ = ["Path", "listed", "object_remedy", "printable", "quoted", "render_path", "shown_url", "suggestion", "words"]

Path = tuple[str | int, ...]
"""Where a field is: keys and indexes from the document's root."""

LONGEST = 80
PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]+")


def printable(text: str) -> str:
    """``text`` with every character that is not printable written as its escape."""
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)


def quoted(text: str) -> str:
    """``text`` in double quotes, clipped, on one line."""
    clipped = text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
    return printable(json.dumps(clipped, ensure_ascii=False))


def shown_url(url: str) -> str:
    """The URL as it may be shown: without a name, a password, a query or a fragment, any of which may be secret."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path or '/'}"


def render_path(path: Path) -> str:
    """``("spec", "containers", 0, "name")`` → ``spec.containers[0].name``; odd keys as ``labels["a b"]``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif PLAIN_KEY.fullmatch(part):
            text += f".{part}" if text else part
        else:
            text += f"[{quoted(part)}]"
    return text


def object_remedy(kind: str, namespace: str, name: str, *, optional: bool = True) -> str:
    """What to do when an object that a pod refers to is not there. ``optional``: whether the pod may do without."""
    remedy = f"put a {kind} {namespace}/{name} beside the Pod's manifest"
    return f"{remedy}, or make the reference to it optional" if optional else remedy


def words(text: str) -> frozenset[str]:
    """The words of a long list, for tables."""
    return frozenset(text.split())


def listed(choices: Iterable[str]) -> str:
    """``"a", "b" or "c"``."""
    texts = [json.dumps(choice) for choice in choices]
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} or {texts[-1]}"


def suggestion(word: str, known: Iterable[str]) -> str:
    """``: did you mean "containerPort"?`` when a known word is near, else nothing."""
    choices = sorted(known)
    near = [choice for choice in choices if _folded(choice) == _folded(word)]
    near = near or difflib.get_close_matches(word[:LONGEST], choices, n=1, cutoff=0.7)
    return f': did you mean "{near[0]}"?' if near else ""


def _folded(word: str) -> str:
    return word.replace("_", "").replace("-", "").casefold()
