"""ConfigMaps, Secrets, claims and volumes: what is read, and what is told."""

from __future__ import annotations

import textwrap

import pytest

from nsrun.model.decode import Manifest, parse_manifest
from nsrun.model.objects import Claim, ConfigMap, PersistentVolume, ReclaimPolicy, Secret
from nsrun.model.volume import HostPathType


def read(text: str, *, file: str = "f") -> Manifest:
    return parse_manifest(textwrap.dedent(text).encode(), file=file, node_name="node", origin="/f")


def only(text: str) -> object:
    manifest = read(text)
    assert (manifest.problems, manifest.warnings, manifest.pods) == ((), (), ())
    (placed,) = manifest.objects
    return placed.object


def test_a_config_map() -> None:
    assert only("""
        apiVersion: v1
        kind: ConfigMap
        metadata: {name: settings, namespace: team, labels: {a: b}}
        data: {a: "1", empty: , text: "Zeile\\n"}
        binaryData: {bytes: "/wD+\\nAA=="}
        immutable: true
    """) == ConfigMap(
        namespace="team",
        name="settings",
        data={"a": b"1", "empty": b"", "text": b"Zeile\n", "bytes": b"\xff\x00\xfe\x00"},
        immutable=True,
    )
    assert only("{apiVersion: v1, kind: ConfigMap, metadata: {name: e}}") == ConfigMap(namespace="default", name="e")


def test_a_secret() -> None:
    assert only("""
        apiVersion: v1
        kind: Secret
        metadata: {name: login}
        data: {user: YWRtaW4=, password: b2xk}
        stringData: {password: hunter2}
    """) == Secret(namespace="default", name="login", data={"user": b"admin", "password": b"hunter2"})
    registry = only("""
        apiVersion: v1
        kind: Secret
        metadata: {name: registry}
        type: kubernetes.io/dockerconfigjson
        data: {.dockerconfigjson: e30=}
    """)
    assert isinstance(registry, Secret)
    assert (registry.type, registry.data) == ("kubernetes.io/dockerconfigjson", {".dockerconfigjson": b"{}"})


def test_claims_and_volumes() -> None:
    claim = only("""
        apiVersion: v1
        kind: PersistentVolumeClaim
        metadata: {name: data, annotations: {volume.podman.io/uid: "7"}}
        spec:
          accessModes: [ReadWriteOnce]
          volumeMode: Filesystem
          storageClassName: fast
          volumeName: disk
          resources: {requests: {storage: 1Gi}}
    """)
    assert isinstance(claim, Claim)
    assert (claim.access_modes, claim.storage_class, claim.volume_name) == (("ReadWriteOnce",), "fast", "disk")
    assert claim.request is not None
    assert claim.request.value == 1 << 30
    assert claim.annotations == {"volume.podman.io/uid": "7"}
    disk = only("""
        apiVersion: v1
        kind: PersistentVolume
        metadata: {name: disk}
        spec:
          capacity: {storage: 1Gi}
          accessModes: [ReadWriteOnce, ReadOnlyMany]
          persistentVolumeReclaimPolicy: Delete
          storageClassName: fast
          claimRef: {namespace: team, name: data, uid: x}
          hostPath: {path: /srv/disk, type: Directory}
    """)
    assert isinstance(disk, PersistentVolume)
    assert (disk.path, disk.type, disk.local, disk.claim) == (
        "/srv/disk",
        HostPathType.DIRECTORY,
        False,
        ("team", "data"),
    )
    assert (disk.reclaim_policy, disk.access_modes) == (ReclaimPolicy.DELETE, ("ReadWriteOnce", "ReadOnlyMany"))
    local = only("""
        apiVersion: v1
        kind: PersistentVolume
        metadata: {name: ssd}
        spec: {local: {path: /mnt/ssd}}
    """)
    assert isinstance(local, PersistentVolume)
    assert (local.path, local.local, local.reclaim_policy) == ("/mnt/ssd", True, ReclaimPolicy.RETAIN)


def test_lists_hold_anything() -> None:
    manifest = read("""
        apiVersion: v1
        kind: List
        items:
          - {apiVersion: v1, kind: Secret, metadata: {name: s}}
          - {apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {containers: [{name: c, image: i}]}}
          - {apiVersion: v1, kind: ConfigMap, metadata: {name: c}}
        ---
        apiVersion: v1
        kind: ConfigMapList
        items: [{metadata: {name: d}}]
    """)
    assert manifest.problems == ()
    assert [placed.title for placed in manifest.objects] == [
        'Secret "default/s"',
        'ConfigMap "default/c"',
        'ConfigMap "default/d"',
    ]
    assert [(placed.line, placed.column) for placed in manifest.objects] == [(5, 53), (7, 56), (11, 27)]
    assert [placed.pod.metadata.name for placed in manifest.pods] == ["p"]


def test_what_pods_refer_to_is_not_part_of_their_uid() -> None:
    pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: c, image: i}]}\n---\n"
    head = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: s}\n"
    (one,), (two,) = read(f"{pod}{head}data: {{a: '1'}}").pods, read(f"{pod}{head}data: {{a: '2'}}").pods
    assert one.pod == two.pod


HIDDEN = "hunter2"


@pytest.mark.parametrize(
    "text",
    [
        f"data: {{a: {HIDDEN}!}}",
        f"data: {HIDDEN}",
        f"data: [{HIDDEN}]",
        f"data: {{a: [{HIDDEN}]}}",
        f"stringData: {HIDDEN}",
        f"stringData: {{a: {{{HIDDEN}: {HIDDEN}}}}}",
        f"data: {{'{HIDDEN} {HIDDEN}': YQ==}}",
        f"stringData: {{a: *{HIDDEN}}}",
        f"stringData: {{a: !{HIDDEN} x}}",
        f"stringData: {{a: !!int {HIDDEN}}}",
        f"stringData: {{a: '{HIDDEN}\n",
        f"type: kubernetes.io/dockerconfigjson\ndata: {{.dockerconfigjson: {HIDDEN}}}",
        f"type: kubernetes.io/dockerconfigjson\nstringData: {{.dockerconfigjson: {HIDDEN}}}",
    ],
)
def test_nothing_of_a_secret_is_told(text: str) -> None:
    manifest = read(f"apiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\n{text}\n")
    assert manifest.problems
    assert not manifest.objects
    assert HIDDEN not in repr(manifest)


@pytest.mark.parametrize("number", ["5551234", "5551234.5", "0x5551234", "true"])
def test_a_secret_number_is_not_told(number: str) -> None:
    manifest = read(f"apiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\nstringData: {{a: {number}}}\n")
    assert len(manifest.problems) == 1
    assert "555" not in manifest.problems[0]
    assert "true" not in manifest.problems[0]


def test_nothing_of_a_secret_in_json_is_told() -> None:
    text = b'{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"a": Zunter2}}'
    manifest = parse_manifest(text, file="f", node_name="node", origin="/f", json_only=True)
    assert manifest.problems
    assert "Z" not in manifest.problems[0]


def test_other_documents_are_told_in_full() -> None:
    told = read("{apiVersion: v1, kind: Pod, metadata: !other {name: x}}").problems
    assert 'f:1:39: metadata: tag "!other" is not supported' in told
