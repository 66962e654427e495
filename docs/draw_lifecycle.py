"""Writes ``docs/lifecycle.md`` from the tables in ``nsrun/supervisor/lifecycle.py``. Run it when they have changed."""

from __future__ import annotations

from pathlib import Path

from nsrun.supervisor.lifecycle import CONTAINER_TRANSITIONS, POD_TRANSITIONS, mermaid

PAGE = "docs/lifecycle.md"

HEAD = """\
# The lives of pods and containers

Drawn from the tables in `nsrun/supervisor/lifecycle.py` by `docs/draw_lifecycle.py`; a test checks that it is current.

One worker per pod (`worker.py`) asks what is to be done in the state the pod is in (`steps.py`), does all of it side by
side, and folds what came of it into what is known (`fold.py`). What the user sees is computed from that (`status.py`).
After a restart of nsrun a pod is born into the state that fits what is found on the machine (`recovery.py`).
"""


def page() -> str:
    """The whole page."""
    return "\n".join(
        [
            HEAD,
            "## Pods",
            "",
            "```mermaid",
            mermaid(POD_TRANSITIONS) + "```",
            "",
            "## Containers",
            "",
            "```mermaid",
            mermaid(CONTAINER_TRANSITIONS) + "```",
            "",
            "From every state, a container whose pod is stopping simply stays where it is, unless it runs.",
            "",
        ]
    )


if __name__ == "__main__":
    (Path(__file__).resolve().parent.parent / PAGE).write_text(page())
