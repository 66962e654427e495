"""From docker's flags to a pod."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from typing import Any

import click.testing
import pytest

from nsrun.cli.changing.run_pod import RunRequest, pod_document, random_name
from nsrun.cli.main import cli
from nsrun.errors import SettingsError
from nsrun.model.decode import parse_manifest


def document(**more: Any) -> dict[str, Any]:
    return pod_document(RunRequest(**{"image": "busybox", "name": "x", "environment": {}, **more}))


def container(**more: Any) -> dict[str, Any]:
    found: dict[str, Any] = document(**more)["spec"]["containers"][0]
    return found


def test_little_is_said_of_little() -> None:
    assert document() == {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "x", "namespace": "default", "labels": {"run": "x"}},
        "spec": {
            "containers": [{"name": "x", "image": "busybox", "imagePullPolicy": "IfNotPresent"}],
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 10,
        },
    }


def test_everything_that_can_be_said_is_a_valid_pod() -> None:
    everything = document(
        command=("a", "b c"),
        entrypoint="/bin/x",
        stdin=True,
        terminal=True,
        remove=True,
        variables=("A=1", "B=", "HOME", "NOBODY", "A=2=3"),
        environment={"HOME": "/root"},
        volumes=("/a/../b:/c:ro", "./d:/e", "/f:/g:rw,z"),
        ports=("8080:80", "127.0.0.1:53:53/udp", "[::1]:1:2"),
        workdir="/w",
        user="1000:0",
        restart="on-failure",
        cpus=1.5,
        memory="512m",
        host_network=False,
        pull="always",
        stop_timeout=0,
        labels=("app=web",),
        directory="/here",
    )
    made = everything["spec"]["containers"][0]
    assert (made["command"], made["args"]) == (["/bin/x"], ["a", "b c"])
    assert made["env"] == [
        {"name": "A", "value": "2=3"},
        {"name": "B", "value": ""},
        {"name": "HOME", "value": "/root"},
    ]
    assert [volume["hostPath"]["path"] for volume in everything["spec"]["volumes"]] == ["/b", "/here/d", "/f"]
    assert made["volumeMounts"] == [
        {"name": "volume-1", "mountPath": "/c", "readOnly": True},
        {"name": "volume-2", "mountPath": "/e"},
        {"name": "volume-3", "mountPath": "/g"},
    ]
    assert made["ports"] == [
        {"containerPort": 80, "hostPort": 8080, "protocol": "TCP"},
        {"containerPort": 53, "hostPort": 53, "protocol": "UDP", "hostIP": "127.0.0.1"},
        {"containerPort": 2, "hostPort": 1, "protocol": "TCP", "hostIP": "::1"},
    ]
    assert made["resources"] == {"limits": {"cpu": "1500m", "memory": str(512 << 20)}}
    assert made["securityContext"] == {"runAsUser": 1000, "runAsGroup": 0}
    assert (made["stdin"], made["stdinOnce"], made["tty"]) == (True, True, True)
    assert everything["metadata"]["annotations"] == {"nsrun/auto-remove": "true"}
    assert everything["metadata"]["labels"] == {"run": "x", "app": "web"}
    assert everything["spec"]["terminationGracePeriodSeconds"] == 0
    everything["spec"]["containers"][0]["ports"].pop()  # IPv6 is not for pods here
    manifest = parse_manifest(json.dumps(everything).encode(), file="f", node_name="n", origin="/f")
    assert manifest.problems == ()


@pytest.mark.parametrize(
    ("text", "literal"),
    [("$HOME", "$HOME"), ("$(HOME)", "$$(HOME)"), ("a$$b", "a$$$$b"), ("$$(x) $y", "$$$$(x) $$y"), ("100%", "100%")],
)
def test_words_reach_the_container_as_they_are(text: str, literal: str) -> None:
    """A pod's words are expanded, and that must undo what is done here."""
    made = container(command=(text,), variables=(f"A={text}",))
    assert (made["args"], made["env"][0]["value"]) == ([literal], literal)


@pytest.mark.parametrize(
    ("text", "octets"),
    [("4096", 4096), ("1k", 1024), ("1.5G", 3 << 29), ("2gb", 2 << 30), ("512Mi", 512 << 20), ("7b", 7)],
)
def test_sizes_are_dockers(text: str, octets: int) -> None:
    assert container(memory=text)["resources"]["limits"]["memory"] == str(octets)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"volumes": ("data:/data",)}, '--volume: "data" is no path'),
        ({"volumes": ("/data",)}, '--volume: "/data" is not HOST:CONTAINER'),
        ({"volumes": ("/a:/b:exec",)}, "--volume"),
        ({"volumes": ("/a::ro",)}, "--volume"),
        ({"ports": ("80",)}, '--publish: "80" is not'),
        ({"ports": ("80:80/icmp",)}, "--publish"),
        ({"user": "root"}, '--user: "root" is not UID[:GID]'),
        ({"user": "1:wheel"}, "--user"),
        ({"user": "1:"}, "--user"),
        ({"memory": "much"}, "--memory: must be a size"),
        ({"variables": ("=x",)}, '--env: "=x" has no name'),
    ],
)
def test_flags_that_cannot_be_read(more: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError) as told:
        document(**more)
    assert f"cannot use {said}" in told.value.message


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("busybox", "busybox-bcdfg"),
        ("docker.io/library/redis:7@sha256:abc", "redis-bcdfg"),
        ("host:5000/A_b.C", "a-b-c-bcdfg"),
        ("___", "pod-bcdfg"),
        ("x" * 80, f"{'x' * 50}-bcdfg"),
    ],
)
def test_a_name_is_found_for_a_pod_without_one(image: str, name: str) -> None:
    def in_order() -> Callable[[str], str]:
        numbers = itertools.count()
        return lambda letters: letters[next(numbers)]

    assert random_name(image, in_order()) == name


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--rm", "--restart", "always"), "--rm and --restart"),
        (("-d", "-i"), "--detach and --interactive"),
        (("-o", "yaml"), "--output without --dry-run=client"),
    ],
)
def test_flags_that_contradict_each_other(arguments: tuple[str, ...], said: str) -> None:
    result = click.testing.CliRunner().invoke(cli, ["run", *arguments, "busybox"])
    assert isinstance(result.exception, SettingsError)
    assert said in result.exception.message


def test_what_would_be_made_can_be_seen() -> None:
    def said(*arguments: str) -> str:
        return click.testing.CliRunner().invoke(cli, ["run", "--dry-run=client", "--name", "x", *arguments]).output

    assert said("busybox") == "pod/x created (dry run)\n"
    assert said("-o", "name", "busybox") == "pod/x\n"
    assert json.loads(said("-o", "json", "busybox", "--", "ls", "-l"))["spec"]["containers"][0]["args"] == ["ls", "-l"]
    # What comes after the image is the command's.
    assert "- --rm\n" in said("-o", "yaml", "busybox", "echo", "--rm", "-o")
