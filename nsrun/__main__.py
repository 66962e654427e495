"""``python -m nsrun``."""

from nsrun.cli.main import program

program()
