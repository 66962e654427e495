"""Credential helpers for tests: programs that say and note what they are told."""

from __future__ import annotations

from pathlib import Path

__all__ = ["KEEPER", "make_helper", "path_with"]

KEEPER = """#!/bin/sh
# Keeps one credential per registry in a directory beside it, as docker-credential-helpers do.
kept=$(dirname "$0")/kept; mkdir -p "$kept"
printf '%s\\n' "$0 $*" >> "$kept/.argv"; env >> "$kept/.environment"
data=$(cat)
case $1 in
get) name=$(printf %s "$data" | tr / _)
     [ -f "$kept/$name" ] || { printf 'credentials not found in native keychain\\n'; exit 1; }
     cat "$kept/$name" ;;
store) name=$(printf %s "$data" | sed 's/.*"ServerURL": "\\([^"]*\\)".*/\\1/' | tr / _)
     printf %s "$data" > "$kept/$name" ;;
list) printf '{'; comma=
     for file in "$kept"/*; do [ -f "$file" ] && printf '%s"%s": "u"' "$comma" "${file##*/}" && comma=,; done
     printf '}' ;;
erase) rm -f "$kept/$(printf %s "$data" | tr / _)" ;;
esac
"""


def make_helper(directory: Path, name: str, script: str = KEEPER) -> Path:
    """``docker-credential-NAME`` in a directory for $PATH."""
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o755)
    program = directory / f"docker-credential-{name}"
    program.write_text(script)
    program.chmod(0o755)
    return program


def path_with(directory: Path) -> dict[str, str]:
    return {"PATH": f"{directory}:/usr/bin:/bin"}
