"""Writes ``docs/lifecycle.md`` from the tables in ``nsrun/supervisor/lifecycle.py``. Run it when they have changed."""

from __future__ import annotations

from pathlib import Path

from nsrun.supervisor.lifecycle import CONTAINER_TRANSITIONS, POD_TRANSITIONS, mermaid

PAGE = "docs/lifecycle.md"

HEAD = """\
# The lives of pods and containers

Drawn from the tables in `nsrun/supervisor/lifecycle.py` by `docs/draw_lifecycle.py`; a test checks that it is
current.

One worker per pod (`worker.py`) asks what is to be done in the state the pod is in (`agenda.py`), has all of it done
side by side (`performing.py`), and folds what came of it into what is known (`fold.py` for the pod, `runs.py` for
single runs). What the user sees is computed from that (`status.py`, `conditions.py`, `container_status.py`). After a
restart of nsrun a pod is born into the state that fits what is found on the machine (`recovery.py`).
"""

TAIL = """\
From every state, a container whose pod is ending simply stays where it is, unless it runs.

## In which order

Init containers run one after the other, each to its end; a sidecar (an init container with `restartPolicy: Always`)
lets the next one begin when it is up: started, its `postStart` hook done, its startup probe successful. Then the app
containers start in the order of the manifest, each when the one before it was started and its hook is done. One that
cannot be started holds nobody up. Images are fetched side by side from the beginning; a container whose image takes
long is passed over, unless it has a `postStart` hook, for that is how manifests say that the others are to wait
(`order.py`).

A container that is stopped has its `preStop` hook first, then its turn (sidecars wait for the app containers, and for
the sidecars after them), then its stop signal, and in the end its kill. Hook and turn share the grace period; two
seconds at least lie between signal and kill. With a grace period of 0 there is only the kill (`stopping.py`).

## When nothing runs any more

* All app containers ended for good: sidecars are stopped, the pod is `Succeeded` or `Failed`.
* An init container failed for good: the pod is `Failed`.
* `activeDeadlineSeconds` is over, or the pod is evicted: its containers are stopped, the pod is `Failed` with that
  reason. This is written to pod.json before anything is stopped, so it stays true after a restart of nsrun.

The sandbox is kept until the pod's manifest goes, with the records of how its containers ended.

## What a restart of nsrun knows

* Init containers that are done are not run again: their records say so, and so does every record of a container after
  them.
* In a new sandbox (the old one died, or the machine was rebooted) they are run again.
* pod.json says since when the pod is active, why it failed, of which runs the `postStart` hook is done, and of which
  the startup probe has succeeded.
* A `postStart` hook of which this is not known was cut off, and is run again: hooks run at least once. A stop that
  was cut off begins again when the manifest is still gone, with all its grace.
* `RestartAllContainers` stops all containers without hooks and within two seconds, then removes their records, that
  of the container whose end asked for it last. As long as it is there, the next supervisor goes on with it.
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
            TAIL,
        ]
    )


if __name__ == "__main__":
    (Path(__file__).resolve().parent.parent / PAGE).write_text(page())
