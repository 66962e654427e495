"""What a manifest leaves unsaid, UIDs, and the rules that need more than one field."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nsrun.model import defaults
from nsrun.model.container import ContainerPort, PullPolicy
from nsrun.model.decode import parse_manifest
from nsrun.model.pod import Pod, RestartPolicy
from nsrun.model.probe import Exec, HttpGet, Probe
from nsrun.model.security import AppArmorProfile, ProfileType, SeccompProfile, SeLinuxOptions
from nsrun.model.uid import identify
from nsrun.model.update import MANIFEST_ANNOTATION, SourceUpdate
from nsrun.model.validate import validate
from nsrun.model.volume import EmptyDir, HostPath, HostPathType

BODY = "spec: {containers: [{name: main, image: busybox}]}"


def one(text: str, *, origin: str = "/manifests/a.yaml", node: str = "node") -> Pod:
    manifest = parse_manifest(text.encode(), file="a.yaml", node_name=node, origin=origin)
    assert manifest.problems == ()
    (placed,) = manifest.pods
    return placed.pod


def pod(container: str = "", spec: str = "", meta: str = "") -> str:
    return (
        f"apiVersion: v1\nkind: Pod\nmetadata: {{name: a{meta}}}\n"
        f"spec:\n  containers: [{{name: main, image: busybox{container}}}]\n{spec}"
    )


def test_defaults() -> None:
    made = one(
        pod(container=", ports: [{containerPort: 80}], resources: {limits: {cpu: 2}}", spec="  volumes: [{name: v}]")
    )
    assert made.metadata.namespace == "default"
    assert made.spec.restart_policy is RestartPolicy.ALWAYS
    assert made.spec.termination_grace_period_seconds == 30
    assert made.spec.volumes[0].source == EmptyDir()
    container = made.container("main")
    assert container.ports == (ContainerPort(container_port=80),)
    assert container.resources.requests == container.resources.limits
    assert (container.command, container.args) == (None, None)


@pytest.mark.parametrize(
    "text", ["root:*:20228:0:99999:7::\nmail:$y$j9T$secret:20228::\n", "services: {web: {}}", "{}"]
)
def test_what_is_no_kubernetes_object_is_told_once_and_not_quoted(text: str) -> None:
    manifest = parse_manifest(text.encode(), file="a.yaml", node_name="n", origin="a.yaml")
    assert [*manifest.problems, *manifest.warnings] == [
        "a.yaml:1:1: is no Kubernetes object: it has no apiVersion, no kind, no metadata and no spec"
    ]


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("nginx", PullPolicy.ALWAYS),
        ("nginx:latest", PullPolicy.ALWAYS),
        ("example.com:5000/nginx", PullPolicy.ALWAYS),
        ("nginx:1.25", PullPolicy.IF_NOT_PRESENT),
        ("example.com:5000/nginx:1.25", PullPolicy.IF_NOT_PRESENT),
        ("nginx@sha256:00", PullPolicy.IF_NOT_PRESENT),
        ("nginx:1.25@sha256:00", PullPolicy.IF_NOT_PRESENT),
        ("nginx:latest@sha256:00", PullPolicy.ALWAYS),
    ],
)
def test_the_default_pull_policy_follows_the_tag(image: str, policy: PullPolicy) -> None:
    assert defaults.pull_policy(image) is policy


def test_what_is_asked_for_is_kept_beside_limits() -> None:
    made = one(pod(container=", resources: {limits: {cpu: 2, memory: 1Gi}, requests: {cpu: 1}}"))
    requests = made.container("main").resources.requests
    assert (requests["cpu"].milli, requests["memory"].value) == (1000, 1 << 30)


def test_the_pods_security_context_is_its_containers_default() -> None:
    text = pod(container=", securityContext: {runAsUser: 7}", spec="  securityContext: {runAsUser: 1, runAsGroup: 2}")
    context = one(text).container("main").security_context
    assert (context.run_as_user, context.run_as_group, context.run_as_non_root) == (7, 2, None)


def test_containers_take_over_what_their_pod_says() -> None:
    shared = """  securityContext:
    runAsUser: 1
    runAsGroup: 2
    runAsNonRoot: true
    seccompProfile: {type: RuntimeDefault}
    appArmorProfile: {type: Unconfined}
    seLinuxOptions: {level: s0}
  initContainers: [{name: first, image: busybox}]
"""
    own = ", securityContext: {runAsNonRoot: false, seccompProfile: {type: Unconfined}}"
    made = one(pod(container=own, spec=shared))
    assert made.container("first").security_context == made.spec.security_context.shared
    context = made.container("main").security_context
    assert (context.run_as_user, context.run_as_group, context.run_as_non_root) == (1, 2, False)
    assert context.seccomp_profile == SeccompProfile(type=ProfileType.UNCONFINED)
    assert context.app_armor_profile == AppArmorProfile(type=ProfileType.UNCONFINED)
    assert context.se_linux_options == SeLinuxOptions(level="s0")


def test_the_node_is_this_one() -> None:
    text = pod(spec="  nodeName: elsewhere\n")
    manifest = parse_manifest(text.encode(), file="f", node_name="node", origin="/manifests/a.yaml")
    assert manifest.pods[0].pod.spec.node_name == one(pod()).spec.node_name != ""
    assert manifest.warnings[0].endswith("spec.nodeName has no effect here, ignored")
    assert manifest.pods[0].pod.uid == one(pod()).uid


def test_ports_in_the_hosts_network_are_the_hosts() -> None:
    made = one(pod(container=", ports: [{containerPort: 80}]", spec="  hostNetwork: true\n"))
    assert made.container("main").ports[0].host_port == 80


def test_a_whole_pod_asks_for_what_its_containers_do() -> None:
    own = ", resources: {requests: {cpu: 1, memory: 1Ki}, limits: {hugepages-2Mi: 2Mi}}"
    whole = "  resources: {limits: {cpu: 2, hugepages-2Mi: 4Mi, memory: 1Mi}, requests: {memory: 2Ki}}\n"
    made = one(pod(container=own, spec=whole))
    assert made.spec.resources is not None
    asked = {name: quantity.text for name, quantity in made.spec.resources.requests.items()}
    assert asked == {"cpu": "1", "memory": "2Ki", "hugepages-2Mi": "4Mi"}
    assert one(pod(spec="  resources: {}\n")).spec.resources is None


def test_nothing_in_a_probe_is_its_default() -> None:
    text = pod(container=", readinessProbe: {exec: {command: [a]}, timeoutSeconds: 0, periodSeconds: 0}")
    assert one(text).container("main").readiness_probe == Probe(action=Exec(command=("a",)))
    path = pod(container=', livenessProbe: {httpGet: {path: "", port: "80"}}, terminationMessagePath: ""')
    made = one(path).container("main")
    assert made.liveness_probe == Probe(action=HttpGet(port=80))
    assert made.termination_message_path == "/dev/termination-log"


def test_an_empty_source_is_that_source() -> None:
    made = one(pod(spec="  volumes: [{name: a, emptyDir: }, {name: b, hostPath: {path: /x, type: }}]"))
    assert [v.source for v in made.spec.volumes] == [EmptyDir(), HostPath(path="/x", type=HostPathType.ANY)]


def test_a_whole_number_may_be_written_as_a_float() -> None:
    assert one(pod(container=", ports: [{containerPort: 8e1}]")).container("main").ports[0].container_port == 80


def test_the_uid_is_made_from_content_node_and_file() -> None:
    first = one(pod())
    assert len(first.uid) == 32
    assert set(first.uid) <= set("0123456789abcdef")
    assert one(pod()).uid == first.uid
    assert one("# a comment\n" + pod(spec="  restartPolicy: Always")).uid == first.uid
    others = [
        one(pod(), origin="/manifests/b.yaml"),
        one(pod(), node="other"),
        one(pod(container=", args: [x]")),
        one(pod(meta=", labels: {a: b}")),
        one(pod(meta=", namespace: other")),
    ]
    assert len({first.uid, *(other.uid for other in others)}) == 6


def test_the_uid_stays_the_same_from_version_to_version() -> None:
    """A change here would replace every pod at an upgrade of nsrun."""
    assert one(pod()).uid == "1eb70e6f42bec0e797e2b7b3c8f912b5"


def test_a_uid_of_ones_own_is_kept() -> None:
    made = one(pod(meta=", uid: My.uid_1"))
    assert made.uid == "My.uid_1"
    assert made.metadata.annotations["kubernetes.io/config.hash"] == "My.uid_1"


def test_the_annotations_of_the_kubelet() -> None:
    made = one(pod(meta=", annotations: {a: b, kubernetes.io/config.source: api}"))
    assert made.metadata.annotations == {
        "a": "b",
        "kubernetes.io/config.hash": made.uid,
        "kubernetes.io/config.source": "file",
        MANIFEST_ANNOTATION: "/manifests/a.yaml",
    }


def test_a_large_annotation_is_refused() -> None:
    text = f"apiVersion: v1\nkind: Pod\nmetadata: {{name: a, annotations: {{b: '{'x' * (256 << 10)}'}}}}\n{BODY}\n"
    manifest = parse_manifest(text.encode(), file="f", node_name="n", origin="/f")
    assert manifest.problems == ("f:3:34: metadata.annotations: must be at most 262144 bytes together, not 262145",)


def test_many_problems_are_cut_short() -> None:
    text = pod(container=f", args: [{', '.join(['1'] * 250)}]")
    problems = parse_manifest(text.encode(), file="f", node_name="n", origin="/f").problems
    assert len(problems) == 101
    assert problems[-1] == "f: 150 more problems are not shown"


def test_only_the_broken_document_is_left_out() -> None:
    text = pod() + "---\n" + pod().replace("name: a}", "name: B}") + "---\n" + pod().replace("name: a}", "name: c}")
    manifest = parse_manifest(text.encode(), file="f", node_name="n", origin="/f")
    assert [str(placed.pod.name) for placed in manifest.pods] == ["default/a", "default/c"]
    assert [(placed.line, placed.column) for placed in manifest.pods] == [(3, 18), (15, 18)]
    assert len(manifest.problems) == 1


def test_values_that_decode_are_validated_whoever_made_them() -> None:
    made = one(pod())
    broken = replace(made, metadata=replace(made.metadata, name="", uid="../x"))
    assert {violation.path for violation in validate(broken)} == {("metadata", "name"), ("metadata", "uid")}


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "0.0.0.0"])
def test_host_addresses(address: str) -> None:
    assert one(pod(container=f", ports: [{{containerPort: 1, hostPort: 1, hostIP: '{address}'}}]"))


def test_an_address_of_one_link_is_refused() -> None:
    text = pod(container=", ports: [{containerPort: 1, hostIP: 'fe80::1%eth0'}]")
    assert len(parse_manifest(text.encode(), file="f", node_name="n", origin="/f").problems) == 1


def test_a_pod_knows_its_containers() -> None:
    made = one(pod())
    assert made.container("main") is made.spec.containers[0]
    with pytest.raises(KeyError):
        made.container("other")


def test_which_pods_a_broken_file_keeps() -> None:
    made = identify(one(pod()), node_name="n", origin="/manifests/a.yaml")
    assert SourceUpdate(pods=(), broken=frozenset({"/manifests/a.yaml"})).keeps(made)
    assert SourceUpdate(pods=(), broken=frozenset({"/manifests"})).keeps(made)
    assert not SourceUpdate(pods=(), broken=frozenset({"/manifests/b.yaml"})).keeps(made)
    bare = replace(made, metadata=replace(made.metadata, annotations={}))
    assert not SourceUpdate(pods=(), broken=frozenset({"/manifests/a.yaml"})).keeps(bare)
