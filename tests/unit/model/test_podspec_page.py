"""docs/podspec.md: no field is missing, each is what the page says it is, and the test it names exists."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from nsrun.model import shapes_environment as environment
from nsrun.model import shapes_probe as probe
from nsrun.model import shapes_security as security
from nsrun.model import shapes_volume as volume
from nsrun.model.decode import Manifest, parse_manifest
from nsrun.model.fields import Decoder, Shape
from nsrun.model.shapes import DNS_CONFIG, HOST_ALIAS, SPEC
from nsrun.model.shapes_container import CONTAINER, EXIT_CODES, PORT, RULE
from nsrun.model.shapes_resources import POD_RESOURCES, RESOURCES
from nsrun.model.wording import words

REPO = Path(__file__).parents[3]
PAGE = REPO / "docs" / "podspec.md"
ROW = re.compile(r"\| `(\w+)` \| (acted on|no effect|refused) \| (.*) \| `([^`]+)` \|")
ACTED_ON, NO_EFFECT, REFUSED = "acted on", "no effect", "refused"

KNOWN: Mapping[str, str] = {
    "PodSpec": """
        activeDeadlineSeconds affinity automountServiceAccountToken containers dnsConfig dnsPolicy enableServiceLinks
        ephemeralContainers evictionResponders hostAliases hostIPC hostNetwork hostPID hostUsers hostname
        hostnameOverride imagePullSecrets initContainers nodeName nodeSelector os overhead preemptionPolicy priority
        priorityClassName readinessGates resourceClaims resources restartPolicy runtimeClassName schedulerName
        schedulingGates schedulingGroup securityContext serviceAccount serviceAccountName setHostnameAsFQDN
        shareProcessNamespace subdomain terminationGracePeriodSeconds tolerations topologySpreadConstraints volumes
        workloadRef
    """,
    "Container": """
        args command env envFrom image imagePullPolicy lifecycle livenessProbe name ports readinessProbe resizePolicy
        resources restartPolicy restartPolicyRules securityContext startupProbe stdin stdinOnce terminationMessagePath
        terminationMessagePolicy tty volumeDevices volumeMounts workingDir
    """,
    "ContainerPort": "containerPort hostIP hostPort name protocol",
    "EnvVar": "name value valueFrom",
    "EnvVarSource": "configMapKeyRef fieldRef fileKeyRef resourceFieldRef secretKeyRef",
    "ObjectFieldSelector": "apiVersion fieldPath",
    "ResourceFieldSelector": "containerName divisor resource",
    "ConfigMapKeySelector": "key name optional",
    "SecretKeySelector": "key name optional",
    "EnvFromSource": "configMapRef prefix secretRef",
    "ResourceRequirements": "claims limits requests",
    "VolumeMount": """
        bindMountOptions mountPath mountPropagation name readOnly recursiveReadOnly subPath subPathExpr
    """,
    "Probe": """
        exec failureThreshold grpc httpGet initialDelaySeconds periodSeconds successThreshold tcpSocket
        terminationGracePeriodSeconds timeoutSeconds
    """,
    "ExecAction": "command",
    "HTTPGetAction": "host httpHeaders path port protocol scheme",
    "TCPSocketAction": "host port",
    "GRPCAction": "mode port service",
    "Lifecycle": "postStart preStop stopSignal",
    "LifecycleHandler": "exec httpGet sleep tcpSocket",
    "ContainerRestartRule": "action exitCodes",
    "ContainerRestartRuleOnExitCodes": "operator values",
    "SecurityContext": """
        allowPrivilegeEscalation appArmorProfile capabilities privileged procMount readOnlyRootFilesystem runAsGroup
        runAsNonRoot runAsUser seLinuxOptions seccompProfile windowsOptions
    """,
    "PodSecurityContext": """
        appArmorProfile fsGroup fsGroupChangePolicy runAsGroup runAsNonRoot runAsUser seLinuxChangePolicy
        seLinuxOptions seccompProfile supplementalGroups supplementalGroupsPolicy sysctls windowsOptions
    """,
    "Volume": """
        awsElasticBlockStore azureDisk azureFile cephfs cinder configMap csi downwardAPI emptyDir ephemeral fc
        flexVolume flocker gcePersistentDisk gitRepo glusterfs hostPath image iscsi name nfs persistentVolumeClaim
        photonPersistentDisk portworxVolume projected quobyte rbd scaleIO secret storageos vsphereVolume
    """,
    "EmptyDirVolumeSource": "medium mode sizeLimit",
    "HostPathVolumeSource": "path type",
    "ConfigMapVolumeSource": "defaultMode defaultUser items name optional",
    "SecretVolumeSource": "defaultMode defaultUser items optional secretName",
    "KeyToPath": "key mode path user",
    "DownwardAPIVolumeSource": "defaultMode defaultUser items",
    "DownwardAPIVolumeFile": "fieldRef mode path resourceFieldRef user",
    "ProjectedVolumeSource": "defaultMode defaultUser sources",
    "VolumeProjection": "clusterTrustBundle configMap downwardAPI podCertificate secret serviceAccountToken",
    "ImageVolumeSource": "pullPolicy reference",
    "PersistentVolumeClaimVolumeSource": "claimName readOnly",
    "NFSVolumeSource": "path readOnly server",
    "HostAlias": "hostnames ip",
    "PodDNSConfig": "nameservers options searches",
}
"""The fields of k8s.io/api/core/v1/types.go: Kubernetes 1.36, what 1.37 adds, and one that 1.35 alone has."""


@dataclass(frozen=True)
class Table:
    """What the decoders of one object act on, pass over and refuse."""

    acted_on: frozenset[str]
    no_effect: frozenset[str]
    refused: frozenset[str]


def table(*parts: object) -> Table:
    """Of shapes and of the ways of ``one_of``."""
    acted_on: set[str] = set()
    inert: set[str] = set()
    refused: set[str] = set()
    for part in parts:
        if isinstance(part, Shape):
            names = {key: decode for key, (_, decode) in part.fields.items()}
            inert |= part.ignored.keys()
            refused |= part.refused.keys()
        else:
            assert isinstance(part, Mapping)
            names = dict(part)
        passed_over = {key for key, decode in names.items() if is_inert(decode)}
        acted_on |= names.keys() - passed_over
        inert |= passed_over
    return Table(frozenset(acted_on), frozenset(inert), frozenset(refused))


def is_inert(decode: Decoder) -> bool:
    return getattr(decode, "__name__", "") == "decode_inert"


SHAPES: Mapping[str, Table] = {
    "PodSpec": table(SPEC),
    "Container": table(CONTAINER),
    "ContainerPort": table(PORT),
    "EnvVar": table(environment.VARIABLE),
    "EnvVarSource": table(environment.SOURCES, environment.NOTHING),
    "ObjectFieldSelector": table(environment.FIELD_REF),
    "ResourceFieldSelector": table(environment.RESOURCE_FIELD_REF),
    "ConfigMapKeySelector": table(environment.SOURCES["configMapKeyRef"]),
    "SecretKeySelector": table(environment.SOURCES["secretKeyRef"]),
    "EnvFromSource": table(environment.OBJECTS, environment.PREFIX),
    "ResourceRequirements": table(RESOURCES, POD_RESOURCES),
    "VolumeMount": table(volume.MOUNT),
    "Probe": table(probe.ACTIONS, probe.TIMES),
    "ExecAction": table(probe.EXEC),
    "HTTPGetAction": table(probe.HTTP_GET),
    "TCPSocketAction": table(probe.TCP_SOCKET),
    "GRPCAction": table(probe.GRPC),
    "Lifecycle": table(probe.LIFECYCLE),
    "LifecycleHandler": table(probe.HOOKS, probe.NOTHING),
    "ContainerRestartRule": table(RULE),
    "ContainerRestartRuleOnExitCodes": table(EXIT_CODES),
    "SecurityContext": table(security.SECURITY_CONTEXT),
    "PodSecurityContext": table(security.POD_SECURITY_CONTEXT),
    "Volume": table(volume.VOLUME_SOURCES, volume.NAME),
    "EmptyDirVolumeSource": table(volume.EMPTY_DIR),
    "HostPathVolumeSource": table(volume.HOST_PATH),
    "ConfigMapVolumeSource": table(volume.CONFIG_MAP),
    "SecretVolumeSource": table(volume.SECRET),
    "KeyToPath": table(volume.KEY_FILE),
    "DownwardAPIVolumeSource": table(volume.DOWNWARD),
    "DownwardAPIVolumeFile": table(volume.FILE_SOURCES, volume.FILE),
    "ProjectedVolumeSource": table(volume.PROJECTED),
    "VolumeProjection": table(volume.PROJECTED_SOURCES, volume.NOTHING),
    "ImageVolumeSource": table(volume.IMAGE),
    "PersistentVolumeClaimVolumeSource": table(volume.CLAIM),
    "NFSVolumeSource": table(volume.NFS),
    "HostAlias": table(HOST_ALIAS),
    "PodDNSConfig": table(DNS_CONFIG),
}


@dataclass(frozen=True)
class Row:
    """One line of the page."""

    field: str
    what: str
    test: str


def sections() -> Iterator[tuple[str, list[Row]]]:
    for section in PAGE.read_text().split("\n## ")[1:]:
        name, _, body = section.partition("\n")
        lines = [line for line in body.splitlines() if line.startswith("| `")]
        matches = [ROW.fullmatch(line) for line in lines]
        assert all(matches), [line for line, match in zip(lines, matches, strict=True) if match is None]
        yield name, [Row(match[1], match[2], match[4]) for match in matches if match is not None]


ROWS = dict(sections())


def test_every_object_has_its_section() -> None:
    assert list(ROWS) == list(KNOWN) == list(SHAPES)


@pytest.mark.parametrize("name", KNOWN)
def test_every_field_is_there(name: str) -> None:
    fields = [row.field for row in ROWS[name]]
    assert len(fields) == len(set(fields))
    assert set(fields) == words(KNOWN[name])


@pytest.mark.parametrize("name", KNOWN)
def test_every_field_is_what_the_page_says(name: str) -> None:
    def said(what: str) -> set[str]:
        return {row.field for row in ROWS[name] if row.what == what}

    decoded = SHAPES[name]
    assert said(ACTED_ON) == decoded.acted_on
    assert said(NO_EFFECT) == decoded.no_effect
    assert said(REFUSED) == decoded.refused


def named(test: str) -> bool:
    path, _, name = test.partition("::")
    file = REPO / path
    definition = re.compile(rf"^(async )?def {re.escape(name)}\(", re.MULTILINE)
    return file.is_file() and definition.search(file.read_text()) is not None


@pytest.mark.parametrize("test", sorted({row.test for rows in ROWS.values() for row in rows}))
def test_every_test_exists(test: str) -> None:
    assert named(test), test


def read(spec: str = "", container: str = "") -> Manifest:
    text = (
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n"
        f"spec: {{{spec}containers: [{{name: main, image: busybox{container}}}]}}\n"
    )
    return parse_manifest(text.encode(), file="f", node_name="node", origin="/f")


ODD = "{some: thing}"


@pytest.mark.parametrize("field", [row.field for row in ROWS["PodSpec"] if row.what == NO_EFFECT])
def test_what_has_no_effect_is_told(field: str) -> None:
    """With a value that nobody has by default; of ``enableServiceLinks`` both values mean the same."""
    if field == "enableServiceLinks":
        assert read("enableServiceLinks: false, ").warnings == read("enableServiceLinks: true, ").warnings == ()
        return
    value = {"automountServiceAccountToken": "true", "priority": "7"}.get(field, "x")
    manifest = read(f"{field}: {value}, ")
    assert len(manifest.pods) == 1
    (line,) = manifest.warnings
    assert line.startswith("f:4:")
    assert line.endswith(f"spec.{field} has no effect here, ignored")


def test_what_has_no_effect_in_other_places_is_told() -> None:
    (line,) = read(container=", resizePolicy: [{}], securityContext: {windowsOptions: {hostProcess: true}}").warnings
    assert "spec.containers[0].resizePolicy" in line
    assert "spec.containers[0].securityContext.windowsOptions" in line


@pytest.mark.parametrize("field", [row.field for row in ROWS["Volume"] if row.what == REFUSED])
def test_other_volume_sources_are_refused(field: str) -> None:
    manifest = read(f"volumes: [{{name: v, {field}: {ODD}}}], ")
    assert not manifest.pods
    assert manifest.problems[0].startswith(f"f:4:28: spec.volumes[0].{field}: is not supported: use configMap, ")


@pytest.mark.parametrize(
    "source",
    [
        "configMap: {name: a, defaultUser: 7}",
        "configMap: {name: a, items: [{key: k, path: p, user: 7}]}",
        "downwardAPI: {defaultUser: 7}",
        "downwardAPI: {items: [{path: p, user: 7, fieldRef: {fieldPath: metadata.name}}]}",
        "projected: {sources: [{configMap: {name: a}}], defaultUser: 7}",
    ],
)
def test_owners_of_files_are_refused(source: str) -> None:
    (line,) = read(f"volumes: [{{name: v, {source}}}], ").problems
    assert line.endswith("ser: is not supported: files are root's")


@pytest.mark.parametrize("source", ["serviceAccountToken", "clusterTrustBundle", "podCertificate"])
def test_nothing_is_projected_that_nobody_signs(source: str) -> None:
    (line,) = read(f"volumes: [{{name: v, projected: {{sources: [{{{source}: {ODD}}}]}}}}], ").problems
    assert line.endswith(f"{source}: is not supported: there is no API server here that could issue one")
