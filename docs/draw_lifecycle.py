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

## Stopped, started and restarted by hand

`nsrun stop`, `nsrun start` and `nsrun restart` are about single containers, and without a container's name about all of
a pod's. A kubelet has no such thing; this is what users of docker know (`control.py`).

* A container that is stopped has its hook, its signal, its grace period (`--time` takes its place) and its kill. Its
  probes end with it, the others go on; sidecars that are stopped with others wait for those. From then on its status is
  `waiting`, for the reason `Stopped`, with its exit in `lastState`; the pod is not ready.
* It stays stopped, whatever its restart policy, until it is started: also when its sandbox dies, when all containers of
  the pod are restarted, and when nsrun ends or is killed. pod.json says so before its stop begins, so that a stop that
  was cut off is gone on with. What is waited for before a start (an image, a backoff) is waited for no longer.
* Another `spec` in the manifest makes it another pod, in which nothing is stopped. So does a boot of the machine.
* A pod of which something is stopped is not over, even if nothing runs any more.
* A restart is a stop and another run, whatever the restart policy. nsrun that is killed in between leaves it to that.
* A start and a restart do not wait for a backoff, and every backoff begins anew: what ends by itself after that runs
  again at once. The number of restarts goes on. A container that ended for good is run again, as long as its pod runs.
* An init container can be stopped while it runs or waits, and those after it wait for it then; not when it is over.

## When nothing runs any more

* All app containers ended for good: sidecars are stopped, the pod is `Succeeded` or `Failed`.
* An init container failed for good: the pod is `Failed`.
* `activeDeadlineSeconds` is over, or the pod is evicted: its containers are stopped, the pod is `Failed` with that
  reason. This is written to pod.json before anything is stopped, so it stays true after a restart of nsrun.

What others may need is given back then, as the kubelet does: the address, the ports on the host, the disk and the
memory of its volumes (what `emptyDir` held is gone; a claim's content stays). The sandbox is kept until the pod's
manifest goes, with the records of how its containers ended, and so are logs, and what containers wrote over their
images.

## What a restart of nsrun knows

* Init containers that are done are not run again: their records say so, and so does every record of a container after
  them.
* In a new sandbox (the old one died, or the machine was rebooted) they are run again.
* pod.json says since when the pod is active, why it failed, of which runs the `postStart` hook is done, of which the
  startup probe has succeeded, and which containers are to stay stopped.
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
