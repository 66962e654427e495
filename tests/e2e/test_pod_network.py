"""Names, name servers and the host's network, as the processes of pods see them."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

import pytest

from tests.e2e.nsrunner import Nsrun
from tests.waiting import eventually

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]

SHOW = (
    "echo +++ hosts; cat /etc/hosts; echo +++ resolv; cat /etc/resolv.conf; echo +++ name; hostname; cat /etc/hostname"
)

POD = """\
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: shop}}
spec:
  terminationGracePeriodSeconds: 1
{spec}
  containers:
  - name: main
    image: busybox
    imagePullPolicy: IfNotPresent
    command: [/bin/sh, -c]
    args: ['{script}']
{container}
"""


def manifest(name: str, spec: str = "", *, container: str = "", script: str = f"{SHOW}; exec sleep 1000") -> str:
    def indented(text: str, width: int) -> str:
        return "\n".join(" " * width + line for line in text.strip("\n").splitlines())

    return POD.format(name=name, spec=indented(spec, 2), container=indented(container, 4), script=script)


def shown(nsrun: Nsrun, name: str) -> dict[str, str]:
    """What the pod printed, by part."""
    nsrun.ready(name)
    text = eventually(lambda: _complete(nsrun.cli("logs", f"shop/{name}", check=False).stdout))
    parts = text.split("+++ ")[1:]
    return {part.partition("\n")[0]: part.partition("\n")[2] for part in parts}


def _complete(text: str) -> str:
    return text if text.count("+++") == 3 and text.rpartition("+++ name\n")[2].count("\n") == 2 else ""


def host_resolv_conf(base: Path, text: str) -> str:
    path = base / "resolv.conf"
    path.write_text(text)
    return str(path)


def test_names_and_aliases(loaded: Nsrun) -> None:
    loaded.start()
    spec = """
hostname: web-0
subdomain: web
setHostnameAsFQDN: true
hostAliases:
- ip: 192.0.2.10
  hostnames: [db, db.example]
"""
    loaded.apply("web.yaml", manifest("web", spec))
    seen = shown(loaded, "web")
    address = loaded.ready("web")["status"]["podIP"]  # type: ignore[index]
    assert seen["name"].splitlines()[0] == "web-0.web.shop.svc.cluster.local"
    assert seen["hosts"] == (
        "# Kubernetes-managed hosts file.\n"
        "127.0.0.1\tlocalhost\n"
        "::1\tlocalhost ip6-localhost ip6-loopback\n"
        "fe00::0\tip6-localnet\n"
        "fe00::0\tip6-mcastprefix\n"
        "fe00::1\tip6-allnodes\n"
        "fe00::2\tip6-allrouters\n"
        f"{address}\tweb-0.web.shop.svc.cluster.local\tweb-0\n"
        "\n# Entries added by HostAliases.\n192.0.2.10\tdb\tdb.example\n"
    )


def test_a_name_too_long_for_the_kernel_is_told(loaded: Nsrun) -> None:
    loaded.start()
    loaded.apply("web.yaml", manifest("web", f"hostname: {'h' * 60}\nsubdomain: web\nsetHostnameAsFQDN: true"))
    eventually(lambda: "is too long (64 characters is the max, 87 characters requested)" in loaded.said())
    loaded.apply("web.yaml", manifest("web", f"hostname: {'h' * 60}\nsubdomain: web"))
    assert shown(loaded, "web")["name"].splitlines()[0] == "h" * 60


def test_policies_and_configuration_of_name_servers(loaded: Nsrun) -> None:
    resolv_conf = host_resolv_conf(loaded.base, "nameserver 192.0.2.53\nsearch example.org\noptions edns0\n")
    loaded.flags += ("--cluster-dns", "10.96.0.10", "--cluster-domain", "c.test", "--resolv-conf", resolv_conf)
    loaded.start()
    config = """
dnsConfig:
  nameservers: [192.0.2.1, 192.0.2.2, 192.0.2.3]
  searches: [more.example, example.org]
  options: [{name: ndots, value: "2"}, {name: rotate}]
"""
    loaded.apply("first.yaml", manifest("first", config))
    loaded.apply("host.yaml", manifest("host", "dnsPolicy: Default"))
    loaded.apply("none.yaml", manifest("none", f"dnsPolicy: None\n{config}"))
    assert shown(loaded, "first")["resolv"] == (
        "nameserver 10.96.0.10\nnameserver 192.0.2.1\nnameserver 192.0.2.2\n"
        "search shop.svc.c.test svc.c.test c.test example.org more.example\n"
        "options ndots:2 rotate\n"
    )
    assert shown(loaded, "host")["resolv"] == "nameserver 192.0.2.53\nsearch example.org\noptions edns0\n"
    assert shown(loaded, "none")["resolv"] == (
        "nameserver 192.0.2.1\nnameserver 192.0.2.2\nnameserver 192.0.2.3\n"
        "search more.example example.org\noptions ndots:2 rotate\n"
    )
    line = "some nameservers have been omitted, the applied nameserver line is: 10.96.0.10 192.0.2.1 192.0.2.2"
    assert f'Pod "shop/first": DNSConfigForming: Nameserver limits were exceeded, {line}' in loaded.said()


def test_no_name_servers_at_all(loaded: Nsrun) -> None:
    loaded.flags += ("--resolv-conf", "")
    loaded.start()
    loaded.apply("web.yaml", manifest("web"))
    assert shown(loaded, "web")["resolv"] == "nameserver 127.0.0.1\nsearch .\n"


AGENT = "hostNetwork: true\ndnsPolicy: ClusterFirstWithHostNet\nhostAliases: [{ip: 192.0.2.10, hostnames: [db]}]"
SERVE = f"{SHOW}; echo found > /tmp/index.html; exec httpd -f -p 9100 -h /tmp"


def test_the_hosts_network(loaded: Nsrun) -> None:
    """An agent sees the host's links, serves a port of the host, is found again, and leaves nothing."""
    resolv_conf = host_resolv_conf(loaded.base, "nameserver 127.0.0.53\n")
    loaded.flags += ("--resolv-conf", resolv_conf)
    loaded.start()
    loaded.apply("agent.yaml", manifest("agent", AGENT, container="ports: [{containerPort: 9100}]", script=SERVE))
    seen = shown(loaded, "agent")
    assert seen["name"].splitlines()[0] == socket.gethostname()
    assert seen["hosts"].startswith("# Kubernetes-managed hosts file (host network).\n")
    assert seen["hosts"].endswith("\n# Entries added by HostAliases.\n192.0.2.10\tdb\n")
    assert seen["resolv"] == "nameserver 127.0.0.53\n"
    status = loaded.ready("agent")["status"]
    assert isinstance(status, dict)
    assert status["podIP"] == status["hostIP"]
    assert subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout == ""
    assert served("127.0.0.1", 9100) == "found\n"
    loaded.kill()
    loaded.start()
    again = loaded.ready("agent")["status"]
    assert isinstance(again, dict)
    assert again["containerStatuses"] == status["containerStatuses"]
    assert served("127.0.0.1", 9100) == "found\n"
    (loaded.manifests / "agent.yaml").unlink()
    loaded.gone("agent")
    assert loaded.remains() == []


def served(address: str, port: int) -> str:
    return eventually(
        lambda: (
            subprocess.run(
                ["curl", "-s", "-m", "2", f"http://{address}:{port}/"], capture_output=True, text=True, check=False
            ).stdout
        )
    )


def test_a_pod_reaches_the_agent_on_its_host(loaded: Nsrun) -> None:
    loaded.start()
    loaded.apply("agent.yaml", manifest("agent", "hostNetwork: true", script=SERVE))
    loaded.ready("agent")
    assert served("127.0.0.1", 9100) == "found\n"
    script = "until wget -q -O - http://10.99.0.1:9100/; do :; done; exec sleep 1000"
    loaded.apply("web.yaml", manifest("web", script=script))
    loaded.ready("web")
    eventually(lambda: loaded.cli("logs", "shop/web", check=False).stdout == "found\n")


def test_every_container_of_a_pod_has_the_same_files(loaded: Nsrun) -> None:
    loaded.start()
    second = """
- name: side
  image: busybox
  imagePullPolicy: IfNotPresent
  command: [/bin/sh, -c, "until grep -q added /etc/hosts; do :; done; echo seen; exec sleep 1000"]
"""
    script = 'echo "192.0.2.9 added" >> /etc/hosts; exec sleep 1000'
    text = manifest("web", script=script) + "\n".join(f"  {line}" for line in second.strip().splitlines()) + "\n"
    loaded.apply("web.yaml", text)
    loaded.ready("web")
    eventually(lambda: "seen" in loaded.cli("logs", "shop/web", "-c", "side", check=False).stdout)


def test_what_could_be_more_than_one_word_never_gets_that_far(loaded: Nsrun) -> None:
    """Hosts and resolv.conf are lines: a manifest that would write lines of its own is refused with its place."""
    loaded.start()
    attempts = {
        "alias": 'hostAliases: [{ip: 192.0.2.1, hostnames: ["a\\n6.6.6.6 bank"]}]',
        "ip": 'hostAliases: [{ip: "192.0.2.1 bank", hostnames: [a]}]',
        "option": 'dnsConfig: {options: [{name: "ndots:1\\nnameserver 6.6.6.6"}]}',
        "value": 'dnsConfig: {options: [{name: ndots, value: "1\\nnameserver 6.6.6.6"}]}',
        "search": 'dnsConfig: {searches: ["a\\nnameserver 6.6.6.6"]}',
        "server": 'dnsConfig: {nameservers: ["192.0.2.1\\nnameserver 6.6.6.6"]}',
        "hostname": 'hostname: "web\\n6.6.6.6 bank"',
        "subdomain": 'subdomain: "web bank"',
        "override": 'hostnameOverride: "web\\tbank"',
    }
    for name, spec in attempts.items():
        loaded.apply(f"{name}.yaml", manifest(name, spec))
    for name in attempts:
        eventually(lambda name=name: f"{name}.yaml:" in loaded.said(), what=f"{name}: {loaded.said()}")  # type: ignore[misc]
    assert loaded.pods() == []
