"""What a container's first process is given: its arguments and its environment. The kubelet's rules (``$(VAR)``,
command and args over ENTRYPOINT and CMD) over Docker's image configuration."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from nsrun.errors import RuntimeFailure
from nsrun.model.container import Container
from nsrun.model.image import ImageConfig

__all__ = ["DEFAULT_PATH", "arguments", "environment", "executable_candidates", "expand", "manifest_environment"]

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_REFERENCE = re.compile(r"\$(?:\$|\(([^)]*)\))")


def expand(text: str, values: Mapping[str, str]) -> str:
    """``$(NAME)`` becomes its value and stays as it is when there is none; ``$$`` becomes ``$`` and is not looked at
    again."""

    def replacement(match: re.Match[str]) -> str:
        name = match.group(1)
        return "$" if name is None else values.get(name, match.group(0))

    return _REFERENCE.sub(replacement, text)


def manifest_environment(container: Container) -> dict[str, str]:
    """The manifest's own variables; a value may refer to those before it."""
    values: dict[str, str] = {}
    for variable in container.env:
        values[variable.name] = expand(variable.value, values)
    return values


def environment(image: ImageConfig, manifest: Mapping[str, str], *, hostname: str, home: str) -> list[str]:
    """The whole environment as ``NAME=value``: default PATH and HOSTNAME, then the image's, then the manifest's; HOME
    from /etc/passwd only when nobody set it. Nothing is inherited: an image's entry without ``=`` is dropped."""
    values = {"PATH": DEFAULT_PATH, "HOSTNAME": hostname}
    for entry in image.env:
        name, equals, value = entry.partition("=")
        if name and equals and "\0" not in entry:
            values[name] = value
    values.update(manifest)
    values.setdefault("HOME", home)
    return [f"{name}={value}" for name, value in values.items()]


def arguments(container: Container, image: ImageConfig, values: Mapping[str, str]) -> list[str]:
    """``command`` alone drops the image's CMD; ``args`` alone keeps its ENTRYPOINT. Only the manifest's words are
    expanded.

    Raises RuntimeFailure when nothing is left to run.
    """
    command = [expand(word, values) for word in container.command or ()]
    args = [expand(word, values) for word in container.args or ()]
    words = [*command, *args] if command else [*image.entrypoint, *(args or image.cmd)]
    if not words or not words[0]:
        raise RuntimeFailure(
            "neither the manifest nor the image says what to run",
            reason="CreateContainerError",
            hint="give the container a command",
        )
    if any("\0" in word for word in words):
        raise RuntimeFailure("the command holds a NUL character", reason="CreateContainerError")
    return words


def executable_candidates(program: str, environment: Sequence[str]) -> list[str]:
    """Where execvp(3) would look: the program itself when it names a path, else each absolute directory of PATH.

    An empty or relative directory of PATH is left out: it would mean the working directory. Raises RuntimeFailure when
    no place is left.
    """
    if "/" in program:
        return [program]
    path = next((entry[5:] for entry in environment if entry.startswith("PATH=")), DEFAULT_PATH)
    places = [f"{directory.rstrip('/')}/{program}" for directory in path.split(":") if directory.startswith("/")]
    if not places:
        raise RuntimeFailure(
            f'cannot find "{program}": PATH names no directory',
            reason="CreateContainerError",
            hint="set PATH, or give the whole path",
        )
    return places
