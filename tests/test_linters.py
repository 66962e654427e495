"""Linters and type checkers are tests: ``pytest`` is the whole gate."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parent.parent


def run(*argv: str) -> None:
    """Fails with the program's own words, without a traceback of ours."""
    done = subprocess.run(argv, cwd=REPO, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.fail(f"{argv[0]}:\n{done.stdout}{done.stderr}", pytrace=False)


def needs(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        pytest.skip(f"{program} is not installed")
    return path


def python_sources() -> list[str]:
    return ["nsrun", "native", "rootfs", "tests", "bench", "vagrant", "docs", "setup.py"]


def test_ruff_finds_nothing() -> None:
    run(sys.executable, "-m", "ruff", "check", *python_sources())


def test_ruff_would_format_nothing() -> None:
    run(sys.executable, "-m", "ruff", "format", "--check", *python_sources())


def test_mypy_is_content() -> None:
    run(sys.executable, "-m", "mypy")


def test_clang_format_would_change_nothing() -> None:
    sources = sorted(str(p) for p in (REPO / "native").rglob("*.[ch]"))
    run(needs("clang-format"), "--dry-run", "--Werror", *sources)


def test_shell_scripts_are_clean() -> None:
    scripts = sorted(str(path) for top in ("vagrant", "tests") for path in (REPO / top).rglob("*.sh"))
    run(needs("shellcheck"), "dev", ".ci/run", *scripts)
