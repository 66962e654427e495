"""How a command ended, as the last channel of exec and attach says it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Ended", "Failed", "Outcome", "status_text"]

_JSON_SINCE = frozenset({"v4.channel.k8s.io", "v4.base64.channel.k8s.io", "v5.channel.k8s.io"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """``command``: None for the container's own process, whose exit code is no matter of whoever was attached."""

    code: int
    command: Sequence[str] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """It was never there, or nobody knows how it ended. ``attaching``: to the container's own process."""

    message: str
    attaching: bool


Outcome = Ended | Failed


def status_text(protocol: str, outcome: Outcome) -> str:
    """A v1.Status as JSON. In the protocols before v4 plain text, and nothing for a success."""
    status = _status(outcome)
    if protocol in _JSON_SINCE:
        return json.dumps({"metadata": {}, **status}, separators=(",", ":"), ensure_ascii=False)
    return str(status.get("message", ""))


def _status(outcome: Outcome) -> dict[str, object]:
    if isinstance(outcome, Failed):
        doing = "attaching to container" if outcome.attaching else "executing command in container"
        message = f"error {doing}: {outcome.message}"
        return {
            "status": "Failure",
            "message": f"Internal error occurred: {message}",
            "reason": "InternalError",
            "details": {"causes": [{"message": message}]},
            "code": 500,
        }
    if outcome.code == 0 or outcome.command is None:
        return {"status": "Success"}
    line = " ".join(outcome.command)
    return {
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: error executing command [{line}], "
        f"exit code {outcome.code}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(outcome.code)}]},
    }
