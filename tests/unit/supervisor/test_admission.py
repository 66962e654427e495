"""Which pods are taken: room, ports, and what this machine does for nobody."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsrun.model.container import Container, ContainerPort
from nsrun.model.hostports import find_conflict, host_ports
from nsrun.model.pod import Pod
from nsrun.model.quantity import parse_quantity
from nsrun.model.resources import ResourceRequirements
from nsrun.model.security import (
    AppArmorProfile,
    PodSecurityContext,
    ProfileType,
    SecurityContext,
    SeLinuxOptions,
    Sysctl,
)
from nsrun.model.totals import pod_request
from nsrun.supervisor.admission import Admission, Refusal
from nsrun.supervisor.reconciler import Decision, Incumbent, reconcile
from tests.unit.supervisor.world import container, pod

NODE = {"cpu": 2000, "memory": (1 << 30) * 1000, "ephemeral-storage": (10 << 30) * 1000}


def asking(name: str, *ports: ContainerPort, host_network: bool = False, **requests: str) -> Pod:
    wanted = {key.replace("_", "-"): parse_quantity(text) for key, text in requests.items()}
    main = replace(container("main"), resources=ResourceRequirements(requests=wanted), ports=ports)
    plain = pod(name, main)
    return replace(plain, spec=replace(plain.spec, host_network=host_network))


def there(pod: Pod, *, leaving: bool = False, finished: bool = False, detached: bool = False) -> Incumbent:
    return Incumbent(uid=pod.uid, name=pod.name, pod=pod, leaving=leaving, finished=finished, detached=detached)


def decide(new: Sequence[Pod], here: Sequence[Incumbent] = (), **admission: Any) -> Decision:
    return reconcile(new, here, admission=Admission(allocatable=NODE, **admission))


def port(number: int, host_ip: str = "") -> ContainerPort:
    return ContainerPort(container_port=number, host_port=number, host_ip=host_ip)


# --- room


@pytest.mark.parametrize(
    ("wanted", "reason", "message"),
    [
        (asking("big", cpu="3"), "OutOfcpu", "cpu, requested: 3000, used: 0, capacity: 2000"),
        (asking("big", memory="2Gi"), "OutOfmemory", "memory, requested: 2147483648, used: 0, capacity: 1073741824"),
        (
            asking("big", ephemeral_storage="11Gi"),
            "OutOfephemeral-storage",
            "ephemeral-storage, requested: 11811160064, used: 0, capacity: 10737418240",
        ),
        (asking("big", cpu="3", memory="2Gi"), "OutOfcpu", "cpu, requested: 3000, used: 0, capacity: 2000"),
    ],
)
def test_who_asks_for_more_than_there_is_is_turned_away(wanted: Pod, reason: str, message: str) -> None:
    (rejection,) = decide([wanted]).reject
    assert (rejection.reason, rejection.message) == (reason, f"Node didn't have enough resource: {message}")


def test_huge_pages_are_there_or_not() -> None:
    wanted = {"hugepages-2Mi": parse_quantity("4Mi")}
    main = replace(container("main"), resources=ResourceRequirements(requests=wanted, limits=wanted))
    (rejection,) = decide([pod("huge", main)]).reject
    assert rejection.reason == "OutOfhugepages-2Mi"
    assert rejection.message.endswith("hugepages-2Mi, requested: 4194304, used: 0, capacity: 0")
    fitting = {**NODE, "hugepages-2Mi": (4 << 20) * 1000}
    assert reconcile([pod("huge", main)], [], admission=Admission(allocatable=fitting)).start


def test_what_a_cluster_would_count_is_not_counted() -> None:
    wanted = {"example.com/gpu": parse_quantity("1")}
    assert decide([pod("gpu", replace(container("m"), resources=ResourceRequirements(requests=wanted)))]).start


def test_what_is_used_is_told() -> None:
    first, second = asking("first", cpu="1500m"), asking("second", cpu="600m")
    decision = decide([first, second])
    assert decision.start == (first,)
    (rejection,) = decision.reject
    assert rejection.message.endswith("cpu, requested: 600, used: 1500, capacity: 2000")


def test_a_smaller_one_behind_it_still_gets_in() -> None:
    big, small = asking("big", cpu="3"), asking("small", cpu="1")
    assert decide([big, small]).start == (small,)


def test_who_asks_for_nothing_gets_in_however_full_it_is() -> None:
    full = there(asking("full", cpu="5"))
    assert full.pod is not None
    assert decide([full.pod, pod("modest")], [full]).start == (pod("modest"),)


def test_who_runs_is_never_asked_again() -> None:
    over = [asking("a", port(80), cpu="2"), asking("b", port(80), cpu="2")]
    decision = decide(over, [there(p) for p in over], max_pods=1)
    assert (decision.terminate, decision.reject, decision.queue) == ((), (), ())


def test_who_ended_uses_nothing_but_its_ports_and_those_until_it_is_out_of_the_network() -> None:
    done, web = asking("done", port(80), cpu="2"), asking("web", port(80))
    desired = [done, asking("next", cpu="2"), web]
    decision = decide(desired, [there(done, finished=True)])
    assert [p.metadata.name for p in decision.start] == ["next"]
    assert [r.reason for r in decision.reject] == ["NodePorts"]
    assert decide([done, web], [there(done, finished=True, detached=True)]).start == (web,)


def test_who_leaves_is_waited_for() -> None:
    old, new = asking("old", port(80), cpu="2"), asking("new", port(80), cpu="1")
    for leaving in (False, True):  # told to leave now, or before
        decision = decide([new], [there(old, leaving=leaving)])
        assert (decision.start, decision.reject) == ((), ())
        (waiting,) = decision.queue
        assert (waiting.pod, waiting.reason) == (new, "OutOfcpu")
    assert decide([new]).start == (new,)


def test_who_waits_keeps_its_room() -> None:
    old, edited = asking("a", cpu="2"), replace(asking("a", cpu="2"), metadata=replace(pod("a").metadata, uid="u2"))
    decision = decide([asking("thief", cpu="1"), edited], [there(old)])
    assert decision.wait == (edited,)
    assert [r.pod.metadata.name for r in decision.reject] == ["thief"]


def test_who_waits_in_vain_keeps_none() -> None:
    edited = replace(asking("a", cpu="9"), metadata=replace(pod("a").metadata, uid="u2"))
    decision = decide([edited, asking("b", cpu="1")], [there(asking("a"), leaving=True)])
    assert [p.metadata.name for p in decision.start] == ["b"]


# --- ports


def test_a_host_port_belongs_to_one_pod() -> None:
    first, second = asking("first", port(80)), asking("second", port(80, "192.0.2.1"))
    decision = decide([first, second, asking("third", port(81))])
    assert [p.metadata.name for p in decision.start] == ["first", "third"]
    (rejection,) = decision.reject
    assert rejection.reason == "NodePorts"
    assert rejection.message.startswith("Predicate NodePorts failed: node didn't have free ports for the requested")
    assert rejection.message.endswith('192.0.2.1:80/TCP belongs to pod "default/first"')


def test_pods_in_the_hosts_network_take_what_they_name() -> None:
    agent = asking("agent", ContainerPort(container_port=9100), host_network=True)
    decision = decide([agent, asking("web", port(9100))])
    assert decision.start == (agent,)
    assert [r.reason for r in decision.reject] == ["NodePorts"]


def test_an_address_that_is_none_is_the_networks_to_refuse() -> None:
    assert decide([asking("odd", port(80, "nowhere"))]).start


# --- what this machine does for nobody


def secured(**pod_context: Any) -> Pod:
    plain = pod("p")
    return replace(plain, spec=replace(plain.spec, security_context=PodSecurityContext(**pod_context)))


def with_sysctl(name: str, **spec: Any) -> Pod:
    found = secured(sysctls=(Sysctl(name=name, value="1"),))
    return replace(found, spec=replace(found.spec, **spec))


@pytest.mark.parametrize(
    ("wanted", "unsafe", "message"),
    [
        (with_sysctl("net.ipv4.ip_unprivileged_port_start"), (), None),
        (with_sysctl("net/ipv4/tcp_fin_timeout"), (), None),
        (with_sysctl("kernel.shm_rmid_forced"), (), None),
        (with_sysctl("kernel.msgmax"), (), '"kernel.msgmax" not allowlisted'),
        (with_sysctl("kernel.msgmax"), ("kernel.msg*",), None),
        (with_sysctl("net.core.somaxconn"), ("net.core.somaxconn",), None),
        (with_sysctl("net.core.somaxconn"), ("net/core/*",), None),
        (with_sysctl("net.core.somaxconn2"), ("net.core.somaxconn",), '"net.core.somaxconn2" not allowlisted'),
        (with_sysctl("vm.swappiness"), ("net.*",), '"vm.swappiness" not allowlisted'),
        (
            with_sysctl("net.ipv4.tcp_syncookies", host_network=True),
            (),
            '"net.ipv4.tcp_syncookies" not allowed with host net enabled',
        ),
        (with_sysctl("kernel.sem", host_ipc=True), ("kernel.sem",), '"kernel.sem" not allowed with host ipc enabled'),
        (with_sysctl("kernel.sem", host_network=True), ("kernel.sem",), None),
        (with_sysctl("net.ipv4.tcp_syncookies", host_ipc=True), (), None),
    ],
)
def test_sysctls(wanted: Pod, unsafe: tuple[str, ...], message: str | None) -> None:
    refusal = Admission(unsafe_sysctls=unsafe).forbids(wanted)
    expected = Refusal(reason="SysctlForbidden", message=f"forbidden sysctl: {message}") if message else None
    assert refusal == expected


def profiled(kind: ProfileType, *, of_pod: bool) -> Pod:
    context = SecurityContext(app_armor_profile=AppArmorProfile(type=kind))
    if of_pod:
        return secured(shared=context)
    return pod("p", replace(container("main"), security_context=context))


@pytest.mark.parametrize("of_pod", [True, False])
@pytest.mark.parametrize(
    ("kind", "refused"),
    [(ProfileType.RUNTIME_DEFAULT, True), (ProfileType.LOCALHOST, True), (ProfileType.UNCONFINED, False)],
)
def test_apparmor_where_there_is_none(kind: ProfileType, *, refused: bool, of_pod: bool) -> None:
    wanted = profiled(kind, of_pod=of_pod)
    refusal = Admission(app_armor=False).forbids(wanted)
    assert (refusal is not None) is refused
    if refusal is not None:
        assert refusal.reason == "AppArmor"
        assert refusal.message == "Cannot enforce AppArmor: AppArmor is not enabled on the host"
    assert Admission().forbids(wanted) is None


def test_selinux_where_there_is_none() -> None:
    wanted = secured(shared=SecurityContext(se_linux_options=SeLinuxOptions(level="s0:c1")))
    refusal = Admission(se_linux=False).forbids(wanted)
    assert refusal is not None
    assert refusal.reason == "SELinux"
    assert Admission().forbids(wanted) is None


def test_user_namespaces_where_there_are_none() -> None:
    wanted = pod("p")
    wanted = replace(wanted, spec=replace(wanted.spec, host_users=False))
    refusal = Admission(user_namespaces=False).forbids(wanted)
    assert refusal is not None
    assert refusal.reason == "UserNamespacesNotSupported"
    assert Admission().forbids(wanted) is None


def test_what_is_forbidden_is_said_before_what_is_missing() -> None:
    wanted = asking("p", cpu="99")
    context = PodSecurityContext(sysctls=(Sysctl(name="vm.swappiness", value="1"),))
    wanted = replace(wanted, spec=replace(wanted.spec, security_context=context))
    assert [r.reason for r in decide([wanted]).reject] == ["SysctlForbidden"]


# --- whatever pods there are


def some_pod(number: int, cpu: int, memory: int, port_number: int, *, on_host: bool) -> Pod:
    ports = (port(port_number),) if port_number else ()
    return asking(f"p{number}", *ports, host_network=on_host, cpu=f"{cpu}m", memory=f"{memory}Mi")


def pods_of(first: int) -> st.SearchStrategy[list[Pod]]:
    one = st.tuples(st.integers(0, 900), st.integers(0, 500), st.integers(0, 5), st.booleans())
    return st.lists(one, max_size=8).map(
        lambda found: [some_pod(first + n, c, m, p, on_host=h) for n, (c, m, p, h) in enumerate(found)]
    )


def used(pods: Sequence[Pod], resource: str) -> int:
    return sum(pod_request(pod, resource) for pod in pods)


@given(
    pods_of(100),
    pods_of(0),
    st.lists(st.sampled_from(["stays", "leaves", "ended", "released"]), min_size=8, max_size=8),
)
def test_what_starts_fits_beside_what_is_there(new: list[Pod], old: list[Pod], fates: list[str]) -> None:
    """Nothing is given twice, nobody is forgotten, nobody is turned away who would fit, and nobody who runs is hurt."""
    incumbents = [
        there(pod, leaving=fate == "leaves", finished=fate in ("ended", "released"), detached=fate == "released")
        for pod, fate in zip(old, fates, strict=False)
    ]
    stays = [i.pod for i in incumbents if not i.leaving and i.pod is not None]
    running = [i.pod for i in incumbents if not i.leaving and not i.finished and i.pod is not None]
    leaving = [i.pod for i in incumbents if i.leaving and i.pod is not None]
    decision = decide([*stays, *new], incumbents, max_pods=10)
    assert decision.terminate == ()
    start, queued = list(decision.start), [waiting.pod for waiting in decision.queue]
    told = [*start, *queued, *(r.pod for r in decision.reject)]
    assert sorted(p.uid for p in told) == sorted(p.uid for p in new)
    assert all(r.reason and r.message for r in (*decision.reject, *decision.queue))
    for resource in ("cpu", "memory"):
        before = used(running, resource)
        if any(pod_request(p, resource) for p in start):
            assert used([*running, *leaving, *start], resource) <= NODE[resource]
        if any(pod_request(p, resource) for p in (*start, *queued)):
            assert used([*running, *start, *queued], resource) <= max(NODE[resource], before)
    released = [i.pod for i in incumbents if i.detached]
    taken = [port for pod in (*stays, *leaving) if pod not in released for port in host_ports(pod)]
    for one in start:
        assert find_conflict(host_ports(one), taken) is None
        taken += host_ports(one)
    if start or queued:
        assert len(running) + len(start) + len(queued) <= 10
    for rejection in decision.reject:
        alone = decide([*stays, rejection.pod], [i for i in incumbents if not i.leaving], max_pods=10)
        if rejection.pod in alone.start:  # then somebody who is let in is in its way
            assert start or queued


@given(pods_of(0))
def test_when_all_that_runs_is_gone_whoever_fits_alone_is_let_in_at_last(waiting: list[Pod]) -> None:
    """Turned away is never for good: each fits by itself, so rounds of ending whatever was let in come to an end."""
    rounds = 0
    while waiting:
        started = decide(waiting).start
        assert started
        waiting = [pod for pod in waiting if pod not in started]
        rounds += 1
    assert rounds <= 8


def test_init_containers_count_too() -> None:
    plain: Container = container("main")
    big = replace(container("init"), resources=ResourceRequirements(requests={"cpu": parse_quantity("3")}))
    wanted = pod("p", plain)
    wanted = replace(wanted, spec=replace(wanted.spec, init_containers=(big,)))
    assert [r.reason for r in decide([wanted]).reject] == ["OutOfcpu"]
