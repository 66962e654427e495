"""What a container's first process is given: its arguments and its environment. The kubelet's rules (command and args
over ENTRYPOINT and CMD) over Docker's image configuration. Nothing is expanded here: whoever asks has done that."""

from __future__ import annotations

from nsrun.errors import RuntimeFailure

TYPE_CHECKING = False  # `nsrun exec` looks for a program, and has no time for more
if TYPE_CHECKING:
    from collections.abc import Sequence

    from nsrun.model.container import Container
    from nsrun.model.image import ImageConfig

__all__ = ["DEFAULT_PATH", "arguments", "environment", "executable_candidates"]

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def environment(image: ImageConfig, container: Container, *, hostname: str, home: str) -> list[str]:
    """The whole environment as ``NAME=value``: default PATH and HOSTNAME, then the image's, then the manifest's; HOME
    from /etc/passwd only when nobody set it. Nothing is inherited: an image's entry without ``=`` is dropped. Raises
    RuntimeFailure for a value that no environment can hold."""
    values = {"PATH": DEFAULT_PATH, "HOSTNAME": hostname, **({"TERM": "xterm"} if container.tty else {})}
    for entry in image.env:
        name, equals, value = entry.partition("=")
        if name and equals and "\0" not in entry:
            values[name] = value
    for variable in container.env:
        if "\0" in variable.value:
            raise RuntimeFailure(
                f'the value of variable "{variable.name}" holds a NUL character', reason="CreateContainerConfigError"
            )
        values[variable.name] = variable.value
    values.setdefault("HOME", home)
    return [f"{name}={value}" for name, value in values.items()]


def arguments(container: Container, image: ImageConfig) -> list[str]:
    """``command`` alone drops the image's CMD; ``args`` alone keeps its ENTRYPOINT. Raises RuntimeFailure when nothing
    is left to run."""
    command, args = container.command or (), container.args or ()
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
