"""Distributions, languages and programs: what is run, and ends."""

from __future__ import annotations

from rootfs.recipes import PATH, SKELETON, ImageRecipe, LayerRecipe, Link
from rootfs.testing.base import BASE

__all__ = ["DEBIAN", "GIT", "PYTHON"]

PYTHON = ImageRecipe(
    reference="docker.io/library/python:3.11-slim",
    aliases=("docker.io/library/python:3.11", "docker.io/library/python:3"),
    layers=(
        BASE,
        LayerRecipe(
            name="python",
            packages=("python3.11",),
            follow=("python3.11-minimal", "libpython3.11-stdlib", "libpython3.11-minimal", "media-types"),
            files={"usr/bin/python3": Link(target="python3.11"), "usr/bin/python": Link(target="python3.11")},
        ),
    ),
    config={"Env": [PATH, "LANG=C.UTF-8"], "Cmd": ["python3"]},
)

GIT = ImageRecipe(
    reference="docker.io/alpine/git:latest",
    aliases=("docker.io/alpine/git:2.43.0",),
    layers=(BASE, LayerRecipe(name="git", packages=("git",))),
    config={"Env": [PATH], "Entrypoint": ["git"], "Cmd": ["--help"], "WorkingDir": "/git"},
)

DEBIAN = ImageRecipe(
    reference="docker.io/library/debian:12-slim",
    aliases=("docker.io/library/debian:latest", "docker.io/library/debian:bookworm"),
    layers=(
        LayerRecipe(
            name="debian",
            packages=(
                *("base-files", "bash", "coreutils", "dash", "debianutils", "diffutils", "findutils", "grep", "gzip"),
                *("hostname", "libc-bin", "mawk", "procps", "sed", "tar", "util-linux"),
            ),
            files={
                **SKELETON,
                "usr/bin/awk": Link(target="mawk"),
                "usr/bin/sh": Link(target="dash"),
            },
        ),
    ),
    config={"Env": [PATH], "Cmd": ["bash"]},
)
