"""``python -m nsrun``."""

from nsrun.cli.program import program

program()
