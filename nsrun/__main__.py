"""``python -m nsrun``."""

from nsrun.cli.main import main

main()
