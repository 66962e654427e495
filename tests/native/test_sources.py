"""The C code under every warning, the formatter, and for a while under the fuzzer."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SECONDS = 20


def make(repo: Path, *arguments: str) -> None:
    found = subprocess.run(["make", "--silent", "-C", str(repo / "native"), *arguments], capture_output=True, text=True)
    assert found.returncode == 0, found.stdout + found.stderr


def test_no_warning_and_formatted(repo: Path) -> None:
    make(repo, "lint")


def test_files_are_short(repo: Path) -> None:
    for path in (repo / "native").rglob("*.[ch]"):
        assert len(path.read_text().splitlines()) <= 400, path


def test_no_mutable_globals(repo: Path, tmp_path: Path) -> None:
    """Nothing in .data or .bss: what a process knows is in what its functions are given."""
    for source in sorted((repo / "native").glob("*.c")):
        built = tmp_path / f"{source.stem}.o"
        command = ["cc", "-std=gnu17", "-D_GNU_SOURCE", "-O1", "-fno-pic", "-c", str(source), "-o", str(built)]
        subprocess.run(command, check=True)
        symbols = subprocess.run(["nm", str(built)], check=True, capture_output=True, text=True).stdout
        mutable = [line for line in symbols.splitlines() if line.split()[-2] in "bBdDC"]
        assert mutable == [], source.name


@pytest.mark.slow
def test_readers_survive_the_fuzzer(repo: Path, tmp_path: Path) -> None:
    if shutil.which("clang") is None:
        pytest.skip("clang is not installed")
    make(repo, "fuzz", f"SECONDS={SECONDS}", f"BUILD={tmp_path}")
    make(repo, "fuzz-tar", f"SECONDS={SECONDS}", f"BUILD={tmp_path}")


def test_seeds_are_real(repo: Path) -> None:
    """The fuzzer starts from plans that are approved."""
    from nsrun.support import native

    seeds = sorted((repo / "native/fuzz/corpus_plan").iterdir())
    assert seeds
    for seed in seeds:
        data = seed.read_bytes()
        native.plan_check(data[1:], data[0])
    assert all(os.path.getsize(path) == 513 for path in (repo / "native/fuzz/corpus_request").iterdir())
