"""Containers → the JSON objects of core/v1."""

from __future__ import annotations

from nsrun.model.container import Container, ContainerPort, MessagePolicy, RestartRule
from nsrun.model.defaults import TERMINATION_MESSAGE_PATH
from nsrun.model.encode_environment import env, env_from
from nsrun.model.encode_security import security
from nsrun.model.encode_volume import mount
from nsrun.model.encoding import Json, known, resources, said
from nsrun.model.probe import Exec, Grpc, Hook, HttpGet, Lifecycle, Probe, ProbeAction, Scheme, Sleep, TcpSocket

__all__ = ["container"]


def container(container: Container) -> Json:
    """A v1.Container."""
    document: Json = {"name": container.name, "image": container.image}
    # An empty list is not the same as none: ``command: []`` is written as it was read.
    if container.command is not None:
        document["command"] = list(container.command)
    if container.args is not None:
        document["args"] = list(container.args)
    return {
        **document,
        **said(
            workingDir=container.working_dir,
            ports=[_port(port) for port in container.ports],
            envFrom=[env_from(source) for source in container.env_from],
            env=[env(variable) for variable in container.env],
        ),
        "resources": resources(container.resources),
        **said(
            volumeMounts=[mount(one) for one in container.volume_mounts],
            restartPolicy=str(container.restart_policy or ""),
            restartPolicyRules=[_rule(rule) for rule in container.restart_policy_rules],
            livenessProbe=_probe(container.liveness_probe),
            readinessProbe=_probe(container.readiness_probe),
            startupProbe=_probe(container.startup_probe),
            lifecycle=_lifecycle(container.lifecycle),
        ),
        **_termination(container),
        "imagePullPolicy": str(container.image_pull_policy),
        **said(
            securityContext=security(container.security_context),
            stdin=container.stdin,
            stdinOnce=container.stdin_once,
            tty=container.tty,
        ),
    }


def _port(port: ContainerPort) -> Json:
    return {
        **said(name=port.name, hostPort=port.host_port),
        "containerPort": port.container_port,
        "protocol": str(port.protocol),
        **said(hostIP=port.host_ip),
    }


def _rule(rule: RestartRule) -> Json:
    operator = "In" if rule.within else "NotIn"
    return {"action": str(rule.action), "exitCodes": {"operator": operator, "values": list(rule.exit_codes)}}


def _termination(container: Container) -> Json:
    path, policy = container.termination_message_path, container.termination_message_policy
    return known(
        terminationMessagePath=None if path == TERMINATION_MESSAGE_PATH else path,
        terminationMessagePolicy=None if policy is MessagePolicy.FILE else str(policy),
    )


def _probe(probe: Probe | None) -> Json | None:
    if probe is None:
        return None
    return {
        **_action(probe.action),
        **said(initialDelaySeconds=probe.initial_delay_seconds),
        "timeoutSeconds": probe.timeout_seconds,
        "periodSeconds": probe.period_seconds,
        "successThreshold": probe.success_threshold,
        "failureThreshold": probe.failure_threshold,
        **known(terminationGracePeriodSeconds=probe.termination_grace_period_seconds),
    }


def _lifecycle(lifecycle: Lifecycle) -> Json:
    return said(
        postStart=None if lifecycle.post_start is None else _action(lifecycle.post_start),
        preStop=None if lifecycle.pre_stop is None else _action(lifecycle.pre_stop),
        stopSignal=lifecycle.stop_signal,
    )


def _action(action: ProbeAction | Hook) -> Json:
    match action:
        case Exec():
            return {"exec": {"command": list(action.command)}}
        case HttpGet():
            headers = [{"name": name, "value": value} for name, value in action.headers]
            scheme = "" if action.scheme is Scheme.HTTP else str(action.scheme)
            rest = said(host=action.host, scheme=scheme, httpHeaders=headers)
            return {"httpGet": {"path": action.path, "port": action.port, **rest}}
        case TcpSocket():
            return {"tcpSocket": {"port": action.port, **said(host=action.host)}}
        case Grpc():
            return {"grpc": {"port": action.port, **said(service=action.service)}}
        case Sleep():
            return {"sleep": {"seconds": action.seconds}}
