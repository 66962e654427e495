"""Arguments and environment."""

from __future__ import annotations

import pytest

from nsrun.errors import RuntimeFailure
from nsrun.model.container import Container, EnvVar, PullPolicy
from nsrun.model.image import ImageConfig
from nsrun.runtime.environment import (
    DEFAULT_PATH,
    arguments,
    environment,
    executable_candidates,
)


def container(command: tuple[str, ...] | None = None, args: tuple[str, ...] | None = None, **env: str) -> Container:
    variables = tuple(EnvVar(name=name, value=value) for name, value in env.items())
    return Container(name="c", image="i", image_pull_policy=PullPolicy.NEVER, command=command, args=args, env=variables)


def test_environment_in_order_of_precedence() -> None:
    image = ImageConfig(env=("PATH=/image", "B=image", "C=image", "HOME", "=x", "bad", "E=a=b"))
    found = environment(image, container(C="manifest", D=""), hostname="web", home="/root")
    assert found == ["PATH=/image", "HOSTNAME=web", "B=image", "C=manifest", "E=a=b", "D=", "HOME=/root"]
    assert environment(ImageConfig(), container(HOME="/mine"), hostname="h", home="/root") == [
        f"PATH={DEFAULT_PATH}",
        "HOSTNAME=h",
        "HOME=/mine",
    ]


@pytest.mark.parametrize(
    ("command", "args", "expected"),
    [
        (None, None, ["entry", "$(A)", "cmd"]),
        (("c", "$(A)"), None, ["c", "$(A)"]),
        (None, ("a", "$$"), ["entry", "$(A)", "a", "$$"]),
        (("c",), ("$$(A)",), ["c", "$$(A)"]),
        ((), (), ["entry", "$(A)", "cmd"]),
    ],
)
def test_arguments(command: tuple[str, ...] | None, args: tuple[str, ...] | None, expected: list[str]) -> None:
    image = ImageConfig(entrypoint=("entry", "$(A)"), cmd=("cmd",))
    assert arguments(container(command, args), image) == expected


@pytest.mark.parametrize("command", [None, ("",), ("x\0y",)])
def test_nothing_to_run(command: tuple[str, ...] | None) -> None:
    with pytest.raises(RuntimeFailure) as caught:
        arguments(container(command), ImageConfig())
    assert caught.value.reason == "CreateContainerError"


def test_a_value_cannot_become_two_variables() -> None:
    """Environments are held as lists that NULs divide."""
    with pytest.raises(RuntimeFailure, match='variable "A" holds a NUL'):
        environment(ImageConfig(), container(A="1\0LD_PRELOAD=/evil"), hostname="h", home="/")


def test_candidates() -> None:
    assert executable_candidates("/bin/x", []) == ["/bin/x"]
    assert executable_candidates("./x", []) == ["./x"]
    assert executable_candidates("x", ["A=1", "PATH=/a::/b/:rel:."]) == ["/a/x", "/b/x"]
    assert executable_candidates("x", [])[0] == "/usr/local/sbin/x"
    with pytest.raises(RuntimeFailure, match="PATH names no directory"):
        executable_candidates("x", ["PATH=rel"])
