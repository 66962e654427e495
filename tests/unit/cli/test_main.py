"""What the program says about itself."""

from __future__ import annotations

from click.testing import CliRunner

from nsrun import __version__
from nsrun.cli.main import cli


def test_the_version_is_asked_for_as_a_flag_too() -> None:
    done = CliRunner().invoke(cli, ["--version"])
    assert (done.exit_code, done.output) == (0, f"nsrun {__version__}\n")
