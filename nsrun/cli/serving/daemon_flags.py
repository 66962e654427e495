"""The flags of the daemon: the kubelet's names where the kubelet has them. ``docs/configuration.md`` says more."""

from __future__ import annotations

from functools import partial

import click

from nsrun.cli.options import PATH, flag

__all__ = ["FLAGS", "daemon_options"]

_manifests, _node, _network, _containers, _images, _api, _output = (
    partial(flag, group=group) for group in ("Manifests", "Node", "Network", "Containers", "Images", "API", "Output")
)


class Lines(click.types.StringParamType):
    """A text; several of them in a variable stand in lines of their own, since there are spaces in them."""

    envvar_list_splitter = "\n"


FLAGS = (
    _manifests(
        "--manifests",
        "--pod-manifest-path",
        type=PATH,
        help="Directory or file of pod manifests to run.",
    ),
    _manifests(
        "--file-check-frequency", default="20s", show_default=True, help="How often the whole directory is read again."
    ),
    _manifests("--manifest-url", default="", metavar="URL", help="More pod manifests, fetched from there."),
    _manifests(
        "--manifest-url-header",
        multiple=True,
        type=Lines(),
        metavar="NAME:VALUE,…",
        help="What is sent along with every request for them; can be given again.",
    ),
    _manifests("--http-check-frequency", default="20s", show_default=True, help="How often they are fetched again."),
    _node("--hostname-override", help="This node's name.  [default: the host name]"),
    _node("--max-pods", type=click.IntRange(1), default=110, show_default=True, help="How many pods may run."),
    _node(
        "--pod-max-pids",
        type=click.IntRange(0),
        default=0,
        show_default=True,
        help="Processes a pod may have; 0 for no limit.",
    ),
    _node("--system-reserved", default="", metavar="NAME=AMOUNT,…", help="What pods must leave to the machine."),
    _node("--kube-reserved", default="", metavar="NAME=AMOUNT,…", help="What pods must leave to nsrun."),
    _node("--allowed-unsafe-sysctls", default="", metavar="NAME,…", help="Sysctls pods may set besides the safe ones."),
    _node(
        "--max-open-files",
        type=click.IntRange(1024),
        default=1000000,
        show_default=True,
        help="Files nsrun may have open.",
    ),
    _node("--cgroup-root", default="nsrun", show_default=True, help="Cgroup below which pods live."),
    _network("--pod-cidr", default="10.99.0.0/16", show_default=True, help="Addresses of pods."),
    _network("--bridge", default="nsrun0", show_default=True, help="Name of the pods' bridge."),
    _network(
        "--cluster-dns", default="", metavar="ADDRESS,…", help="Name servers of pods with dnsPolicy ClusterFirst."
    ),
    _network("--cluster-domain", default="cluster.local", show_default=True, help="What pods' full names end in."),
    _network(
        "--resolv-conf",
        default="/etc/resolv.conf",
        show_default=True,
        metavar="FILE",
        help='Where pods\' name servers come from; "" for none.',
    ),
    _containers(
        "--crash-loop-initial",
        default="10s",
        show_default=True,
        help="How long a container that crashed again waits; doubled each time.",
    ),
    _containers("--crash-loop-max", default="5m", show_default=True, help="The longest such wait."),
    _containers(
        "--container-log-max-size",
        default="10Mi",
        show_default=True,
        help="How large a file of a container's log gets before the next is begun.",
    ),
    _containers(
        "--container-log-max-files",
        type=click.IntRange(2),
        default=5,
        show_default=True,
        help="How many files of a container's log are kept.",
    ),
    _images(
        "--registries-conf",
        type=PATH,
        help="containers-registries.conf(5) to use instead of the system's.",
    ),
    _images(
        "--policy",
        type=PATH,
        metavar="FILE",
        help="containers-policy.json(5) to use instead of the system's.",
    ),
    _images(
        "--image-gc-high-threshold",
        type=click.IntRange(0, 100),
        default=85,
        show_default=True,
        metavar="PERCENT",
        help="Unused images go once so much of the disk is used; 100: never for that reason.",
    ),
    _images(
        "--image-gc-low-threshold",
        type=click.IntRange(0, 100),
        default=80,
        show_default=True,
        metavar="PERCENT",
        help="… until so much is.",
    ),
    _images(
        "--minimum-image-ttl-duration", default="2m", show_default=True, help="How long an unused image stays at least."
    ),
    _images(
        "--image-maximum-gc-age",
        default="0s",
        show_default=True,
        help="How long an unused image stays at most; 0s for as long as there is room.",
    ),
    _api("--address", default="127.0.0.1", show_default=True, help="Address of both ports."),
    _api(
        "--read-only-port",
        type=click.IntRange(0, 65535),
        default=10255,
        show_default=True,
        help="Port where everybody may read; 0 for none.",
    ),
    _api(
        "--port",
        type=click.IntRange(0, 65535),
        default=10250,
        show_default=True,
        help="Port with TLS, for those who show who they are; 0 for none.",
    ),
    _api(
        "--tls-cert-file",
        type=PATH,
        metavar="FILE",
        help="Its certificate, and those that lead to its CA.  [default: one of nsrun's own]",
    ),
    _api("--tls-private-key-file", type=PATH, metavar="FILE", help="The certificate's key."),
    _api(
        "--cert-dir",
        type=PATH,
        metavar="DIR",
        help="Where a certificate of nsrun's own is kept.  [default: pki in --root]",
    ),
    _api(
        "--client-ca-file",
        type=PATH,
        metavar="FILE",
        help="Whose certificates clients may show: the name is the user, the organisations are groups.",
    ),
    _api(
        "--token-auth-file",
        type=PATH,
        metavar="FILE",
        help='Bearer tokens, a line each: token,user,uid,"group,…".',
    ),
    _api("--anonymous-auth", is_flag=True, help="Let everybody read there, too."),
    _output("--tips", is_flag=True, help="Print what to try next when the first pod is ready."),
    _output("--verbose", "-v", is_flag=True, help="Log every step."),
)


def daemon_options() -> list[click.Parameter]:
    """All of them, in this order."""
    daemon = click.Command("daemon")
    for decorate in FLAGS:
        decorate(daemon)
    return daemon.params
