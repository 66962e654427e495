"""Flags as data, of commands that are read in two ways: click makes its options of them, and who is in a hurry reads
plain words by them (``plainwords``)."""

from __future__ import annotations

__all__ = ["COMPLETION", "EXEC", "PLACES", "FlagRow", "variable"]

COMPLETION = "_NSRUN_COMPLETE"
"""The variable by which a shell asks for words (``completion``)."""


class FlagRow:
    """``names``: the long one first, that the environment variable and the parameter are called after. ``switch``: it
    has no value."""

    __slots__ = ("help", "names", "switch")

    def __init__(self, *names: str, help: str, switch: bool = False) -> None:
        self.names = names
        self.help = help
        self.switch = switch

    @property
    def parameter(self) -> str:
        """``--run-dir`` → ``run_dir``."""
        return self.names[0].removeprefix("--").replace("-", "_")

    @property
    def variable(self) -> str:
        return variable(self.names[0])


def variable(name: str) -> str:
    """``--run-dir`` → ``NSRUN_RUN_DIR``; ``--colour/--no-colour`` → ``NSRUN_COLOUR``."""
    return "NSRUN_" + name.partition("/")[0].removeprefix("--").replace("-", "_").upper()


PLACES = (
    FlagRow("--root", help="Images, layers and volumes.  [default: /var/lib/nsrun]"),
    FlagRow("--run-dir", help="Sockets and run-time state.  [default: /run/nsrun]"),
    FlagRow("--log-dir", help="Where pods/ and containers/ logs are kept.  [default: /var/log]"),
    FlagRow("--netns-dir", help="Where pods' network namespaces are pinned.  [default: /run/netns]"),
)

EXEC = (
    FlagRow("--stdin", "--interactive", "-i", switch=True, help="Pass standard input to the command."),
    FlagRow("--tty", "-t", switch=True, help="Give the command a terminal."),
    FlagRow("--container", "-c", help="Which container.  [default: the first]"),
    FlagRow("--namespace", "-n", help="The pod's namespace."),
)
