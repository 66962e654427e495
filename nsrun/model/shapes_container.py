"""Containers as tables (core/v1 Container, ContainerPort)."""

from __future__ import annotations

from typing import Any

from nsrun.model import defaults
from nsrun.model.container import (
    Container,
    ContainerPort,
    MessagePolicy,
    Protocol,
    PullPolicy,
    RestartAction,
    RestartPolicy,
    RestartRule,
)
from nsrun.model.environment import EnvFrom, EnvVar, ObjectKind
from nsrun.model.fields import (
    MISSING,
    TEXTS,
    Missing,
    Place,
    Refused,
    Shape,
    boolean,
    choice,
    describe,
    integer,
    list_of,
    text,
    without,
)
from nsrun.model.shapes_environment import ENV, ENV_FROM
from nsrun.model.shapes_probe import LIFECYCLE, PROBE
from nsrun.model.shapes_resources import RESOURCES
from nsrun.model.shapes_security import SECURITY_CONTEXT
from nsrun.model.shapes_volume import MOUNT
from nsrun.model.volume import VolumeMount

__all__ = ["CONTAINERS"]

PORT = Shape(
    build=ContainerPort,
    blank={"container_port": 0},
    required=frozenset({"containerPort"}),
    fields={
        "name": ("name", text),
        "containerPort": ("container_port", integer),
        "hostPort": ("host_port", integer),
        "hostIP": ("host_ip", text),
        "protocol": ("protocol", choice(Protocol)),
    },
)


def _within(place: Place) -> bool | Missing:
    value = text(place)
    if value in ("In", "NotIn", MISSING):
        return MISSING if value is MISSING else value == "In"
    return place.problem(f'must be "In" or "NotIn", not {describe(place.node)}')


EXIT_CODES: Shape[dict[str, Any]] = Shape(
    build=dict,
    required=frozenset({"operator", "values"}),
    fields={"operator": ("within", _within), "values": ("exit_codes", list_of(integer, 0))},
)


def _rule(action: RestartAction, exit_codes: dict[str, Any]) -> RestartRule:
    return RestartRule(action=action, **{"exit_codes": (), **exit_codes})


RULE = Shape(
    build=_rule,
    blank={"action": RestartAction.RESTART, "exit_codes": {}},
    required=frozenset({"action", "exitCodes"}),
    fields={"action": ("action", choice(RestartAction)), "exitCodes": ("exit_codes", EXIT_CODES)},
)


def _container(
    *,
    image: str,
    image_pull_policy: PullPolicy | None = None,
    termination_message_path: str = "",
    **values: Any,
) -> Container:
    return Container(
        image=image,
        image_pull_policy=image_pull_policy or defaults.pull_policy(image),
        termination_message_path=termination_message_path or defaults.TERMINATION_MESSAGE_PATH,
        **values,
    )


NO_ENV_FROM = EnvFrom(kind=ObjectKind.CONFIG_MAP, name="")

CONTAINER = Shape(
    build=_container,
    blank={"name": "", "image": ""},
    required=frozenset({"name", "image"}),
    fields={
        "name": ("name", text),
        "image": ("image", text),
        "imagePullPolicy": ("image_pull_policy", choice(PullPolicy)),
        "command": ("command", TEXTS),
        "args": ("args", TEXTS),
        "workingDir": ("working_dir", text),
        "env": ("env", list_of(ENV, EnvVar(name=""))),
        "envFrom": ("env_from", list_of(ENV_FROM, NO_ENV_FROM)),
        "ports": ("ports", list_of(PORT, ContainerPort(container_port=0))),
        "volumeMounts": ("volume_mounts", list_of(MOUNT, VolumeMount(name="", mount_path=""))),
        "resources": ("resources", RESOURCES),
        "securityContext": ("security_context", SECURITY_CONTEXT),
        "lifecycle": ("lifecycle", LIFECYCLE),
        "startupProbe": ("startup_probe", PROBE),
        "livenessProbe": ("liveness_probe", PROBE),
        "readinessProbe": ("readiness_probe", PROBE),
        "restartPolicy": ("restart_policy", choice(RestartPolicy)),
        "restartPolicyRules": (
            "restart_policy_rules",
            list_of(RULE, RestartRule(action=RestartAction.RESTART, exit_codes=())),
        ),
        "terminationMessagePath": ("termination_message_path", text),
        "terminationMessagePolicy": ("termination_message_policy", choice(MessagePolicy)),
        "stdin": ("stdin", boolean),
        "stdinOnce": ("stdin_once", boolean),
        "tty": ("tty", boolean),
    },
    ignored=without("resizePolicy"),
    refused={"volumeDevices": Refused(text="is not supported: a block device can be bound with a hostPath volume")},
)

CONTAINERS = list_of(CONTAINER, _container(name="", image=""))
