"""What the end-to-end tests about security and resources share: one pod, run to its end, and what it said."""

from __future__ import annotations

from typing import Any

from tests.e2e.lives import pod, shell, status_of, until
from tests.e2e.nsrunner import Nsrun

__all__ = ["exit_code", "output_of", "waiting_reason"]


def output_of(nsrun: Nsrun, name: str, script: str, *, container: dict[str, Any] | None = None, **spec: Any) -> str:
    """Runs a script in a pod that ends, and gives what it wrote. ``container``, ``spec``: more of the manifest."""
    nsrun.apply(f"{name}.json", pod(name, shell("main", script, **(container or {})), restartPolicy="Never", **spec))
    found = until(nsrun, name, lambda seen: seen["status"]["phase"] in ("Succeeded", "Failed"))
    written = nsrun.cli("logs", name).stdout
    assert exit_code(found) == 0, f"{found}\n{written}"
    return written


def exit_code(found: dict[str, Any]) -> int:
    """Of the container ``main``."""
    return int(status_of(found, "main")["state"]["terminated"]["exitCode"])


def waiting_reason(nsrun: Nsrun, name: str, manifest: str) -> tuple[str, str]:
    """Why a container of the pod does not start: reason and message."""
    nsrun.apply(f"{name}.json", manifest)

    def waits(seen: dict[str, Any]) -> bool:
        waiting = status_of(seen, "main")["state"].get("waiting")
        return waiting is not None and waiting.get("message")

    waiting = status_of(until(nsrun, name, waits), "main")["state"]["waiting"]
    return waiting["reason"], waiting["message"]
