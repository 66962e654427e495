"""Where things are: what the flags say, and the rest by default."""

from __future__ import annotations

import os
from pathlib import Path

from nsrun.support.layout import Layout

__all__ = ["layout_at"]


def layout_at(
    *,
    root: os.PathLike[str] | str | None = None,
    run_dir: os.PathLike[str] | str | None = None,
    log_dir: os.PathLike[str] | str | None = None,
    netns_dir: os.PathLike[str] | str | None = None,
) -> Layout:
    """The layout of the places given."""
    given = {"root": root, "run_dir": run_dir, "log_dir": log_dir, "netns_dir": netns_dir}
    return Layout(**{name: Path(os.path.abspath(place)) for name, place in given.items() if place})
