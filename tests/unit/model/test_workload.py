"""Deployments and their like: one pod of each."""

from __future__ import annotations

import textwrap

import pytest

from nsrun.model.decode import Manifest, parse_manifest
from nsrun.model.objects import Claim
from nsrun.model.pod import RestartPolicy
from nsrun.model.volume import ClaimVolume, EmptyDir

TEMPLATE = "{metadata: {labels: {app: web}}, spec: {containers: [{name: main, image: busybox}]}}"


def read(text: str) -> Manifest:
    return parse_manifest(textwrap.dedent(text).encode(), file="f", node_name="node", origin="/f")


@pytest.mark.parametrize(
    ("kind", "version"),
    [
        ("DaemonSet", "apps/v1"),
        ("Deployment", "apps/v1"),
        ("ReplicaSet", "apps/v1"),
        ("ReplicationController", "v1"),
        ("StatefulSet", "apps/v1"),
    ],
)
def test_one_pod_of_each(kind: str, version: str) -> None:
    manifest = read(f"""
        apiVersion: {version}
        kind: {kind}
        metadata: {{name: web, namespace: team, labels: {{not: "the pod's"}}}}
        spec: {{selector: {{matchLabels: {{app: web}}}}, template: {TEMPLATE}}}
    """)
    assert (manifest.problems, manifest.warnings) == ((), ())
    (placed,) = manifest.pods
    assert (placed.pod.metadata.namespace, placed.pod.metadata.name) == ("team", "web-pod")
    assert placed.pod.metadata.labels == {"app": "web"}
    assert (placed.line, placed.column) == (4, 18)
    assert len(placed.pod.metadata.uid) == 32


def deployment(spec: str, *, kind: str = "Deployment", version: str = "apps/v1", template: str = TEMPLATE) -> Manifest:
    return read(
        f"apiVersion: {version}\nkind: {kind}\nmetadata: {{name: web}}\nspec: {{{spec} template: {template}}}\n"
    )


def test_replicas() -> None:
    many = deployment("replicas: 3,")
    assert many.warnings == ("f:4:18: spec.replicas: 3 are asked for, one is run",)
    assert len(many.pods) == 1
    none = deployment("replicas: 0,")
    assert (none.pods, none.problems, none.warnings) == ((), (), ())
    assert deployment("replicas: -1,").problems == ("f:4:18: spec.replicas: must be 0 or more, not -1",)


def test_what_belongs_to_many_pods_is_told() -> None:
    said = deployment("strategy: {type: Recreate}, minReadySeconds: 5, revisionHistoryLimit: 10,")
    assert said.warnings == ("f:4:8: spec.strategy, spec.minReadySeconds (line 4) have no effect here, ignored",)


def test_problems_stand_in_the_template() -> None:
    said = deployment("", template="{spec: {containers: [{name: Main, image: busybox, prots: []}]}}")
    assert [line.partition(" must")[0] for line in said.problems] == ["f:4:47: spec.template.spec.containers[0].name:"]
    assert said.warnings[0].startswith("f:4:69: spec.template.spec.containers[0].prots: is not a known field")
    assert not said.pods
    assert deployment("", version="extensions/v1beta1").problems == (
        'f:1:13: apiVersion: must be "apps/v1", not "extensions/v1beta1"',
    )
    assert read("{apiVersion: apps/v1, kind: deployment, metadata: {name: a}}").problems == (
        'f:1:29: kind: must be "Deployment", not "deployment"',
    )
    assert read("{apiVersion: apps/v1, kind: Deployment, metadata: {name: a}}").problems == (
        "f:1:1: spec: is required",
    )


JOB = "{spec: {restartPolicy: OnFailure, activeDeadlineSeconds: 60, containers: [{name: main, image: busybox}]}}"


def test_jobs() -> None:
    said = deployment("activeDeadlineSeconds: 30,", kind="Job", version="batch/v1", template=JOB)
    assert said.problems == ()
    (placed,) = said.pods
    assert placed.pod.spec.restart_policy is RestartPolicy.ON_FAILURE
    assert placed.pod.spec.active_deadline_seconds == 30
    later = deployment("activeDeadlineSeconds: 90, backoffLimit: 3,", kind="Job", version="batch/v1", template=JOB)
    assert later.pods[0].pod.spec.active_deadline_seconds == 60
    assert later.warnings == ("f:4:35: spec.backoffLimit has no effect here, ignored",)
    assert deployment("suspend: true,", kind="Job", version="batch/v1", template=JOB).pods == ()
    always = deployment("", kind="Job", version="batch/v1")
    assert always.problems == ('f:4:58: spec.template.spec.restartPolicy: must be "OnFailure" or "Never" in a Job',)


def test_a_stateful_set_has_claims_of_its_own() -> None:
    said = read("""
        apiVersion: apps/v1
        kind: StatefulSet
        metadata: {name: db, namespace: team}
        spec:
          serviceName: db
          volumeClaimTemplates:
            - metadata: {name: data}
              spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
          template:
            spec:
              volumes: [{name: data, hostPath: {path: /x}}, {name: other}]
              containers:
                - {name: main, image: busybox, volumeMounts: [{name: data, mountPath: /data}]}
    """)
    assert said.problems == ()
    assert said.warnings == ("f:6:3: spec.serviceName has no effect here, ignored",)
    (placed,) = said.pods
    assert [(volume.name, volume.source) for volume in placed.pod.spec.volumes] == [
        ("data", ClaimVolume(claim_name="data-db-0")),
        ("other", EmptyDir()),
    ]
    (claim,) = said.objects
    assert claim.title == 'PersistentVolumeClaim "team/data-db-0"'
    assert isinstance(claim.object, Claim)
    assert claim.object.access_modes == ("ReadWriteOnce",)
