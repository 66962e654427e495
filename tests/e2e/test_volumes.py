"""Volumes as the processes of pods see them: every source that needs no other document, and every way to mount one."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from tests.e2e.nsrunner import Nsrun
from tests.waiting import eventually

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]

POD = """\
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: shop, tier: web}}, annotations: {{note: 'two "words"'}}}}
spec:
  restartPolicy: {restart}
  terminationGracePeriodSeconds: 1
{spec}
  containers:
  - name: main
    image: busybox
    imagePullPolicy: IfNotPresent
    command: [/bin/sh, -c]
    args:
    - |
{script}
{container}
"""


def manifest(name: str, script: str, spec: str, container: str, *, restart: str = "Never") -> str:
    def indented(text: str, width: int) -> str:
        return "\n".join(" " * width + line for line in text.strip("\n").splitlines())

    return POD.format(
        name=name,
        restart=restart,
        script=indented(script, 6),
        spec=indented(spec, 2),
        container=indented(container, 4),
    )


def said(nsrun: Nsrun, name: str, last: str = "+++") -> list[str]:
    """What the pod printed, once it printed its last line."""

    def lines() -> list[str]:
        text = nsrun.cli("logs", name, check=False).stdout.splitlines()
        return text if text and text[-1] == last else []

    try:
        return eventually(lines, every=0.2)[:-1]
    except AssertionError as error:
        raise AssertionError(f"{nsrun.pods()}\n{nsrun.said()[-3000:]}") from error


def test_directories_in_memory_and_on_disk(loaded: Nsrun, tmp_path: Path) -> None:
    loaded.start()
    (tmp_path / "host").mkdir()
    (tmp_path / "host" / "file").write_text("from the host\n")
    spec = f"""
securityContext: {{fsGroup: 4242, runAsUser: 1000, runAsGroup: 1000}}
volumes:
- {{name: disk, emptyDir: {{}}}}
- {{name: memory, emptyDir: {{medium: Memory, sizeLimit: 1Mi}}}}
- {{name: host, hostPath: {{path: {tmp_path}/host, type: Directory}}}}
- {{name: made, hostPath: {{path: {tmp_path}/made, type: DirectoryOrCreate}}}}
"""
    container = """
volumeMounts:
- {name: disk, mountPath: /disk}
- {name: memory, mountPath: /memory}
- {name: host, mountPath: /host, readOnly: true}
- {name: host, mountPath: /one, subPath: file}
- {name: disk, mountPath: /part, subPath: a/b}
"""
    script = """
stat -c '%A %g' /disk /memory /part
echo x > /disk/file && stat -c '%u %g' /disk/file
head -c 2000000 /dev/zero > /memory/big 2>/dev/null || echo full
cat /host/file /one
touch /host/x 2>/dev/null || echo read-only
touch /part/deep && ls /disk/a/b
echo +++
"""
    loaded.apply("dirs.yaml", manifest("dirs", script, spec, container))
    assert said(loaded, "dirs") == [
        "drwxrwsrwx 4242",
        "drwxrwsrwx 4242",
        "drwxrwsrwx 4242",
        "1000 4242",
        "full",
        "from the host",
        "from the host",
        "read-only",
        "deep",
    ]
    assert stat.S_IMODE((tmp_path / "made").stat().st_mode) == 0o755
    (loaded.manifests / "dirs.yaml").unlink()
    loaded.gone("dirs")
    assert (tmp_path / "host" / "file").exists()
    assert loaded.remains() == []


def test_what_the_pod_says_of_itself(loaded: Nsrun) -> None:
    loaded.start()
    spec = """
volumes:
- name: me
  downwardAPI:
    defaultMode: 0440
    items:
    - {path: labels, fieldRef: {fieldPath: metadata.labels}}
    - {path: who/name, fieldRef: {fieldPath: metadata.name}, mode: 0400}
    - {path: note, fieldRef: {fieldPath: "metadata.annotations['note']"}}
    - {path: memory, resourceFieldRef: {containerName: main, resource: limits.memory, divisor: 1Mi}}
"""
    container = """
resources: {limits: {memory: 64Mi}}
volumeMounts:
- {name: me, mountPath: /etc/me}
"""
    script = """
cat /etc/me/labels; echo
cat /etc/me/who/name; echo
cat /etc/me/note; echo
cat /etc/me/memory; echo
stat -L -c %a /etc/me/labels /etc/me/who/name
touch /etc/me/x 2>/dev/null || echo read-only
echo +++
"""
    loaded.apply("me.yaml", manifest("me", script, spec, container))
    assert said(loaded, "me") == [
        'app="shop"',
        'tier="web"',
        "me",
        'two "words"',
        "64",
        "440",
        "400",
        "read-only",
    ]


def test_the_content_of_an_image(loaded: Nsrun) -> None:
    loaded.start()
    spec = """
volumes:
- {name: tools, image: {reference: nginx, pullPolicy: IfNotPresent}}
"""
    container = """
volumeMounts:
- {name: tools, mountPath: /tools}
- {name: tools, mountPath: /only-etc, subPath: etc}
"""
    script = """
[ -x /tools/usr/sbin/nginx ] && echo there
cmp /tools/etc/passwd /only-etc/passwd && echo same
/tools/usr/sbin/nginx -v 2>/dev/null || echo no-programs
touch /tools/x 2>/dev/null || echo read-only
echo +++
exec sleep 1000
"""
    loaded.apply("image.yaml", manifest("image", script, spec, container))
    assert said(loaded, "image") == ["there", "same", "no-programs", "read-only"]
    refused = loaded.cli("rmi", "nginx", check=False)
    assert refused.returncode != 0
    assert "cannot remove image" in refused.stderr
    (loaded.manifests / "image.yaml").unlink()
    loaded.gone("image")
    loaded.cli("rmi", "nginx")


def test_parts_named_by_variables_and_mounts_below_mounts(loaded: Nsrun) -> None:
    loaded.start()
    spec = """
volumes:
- {name: logs, emptyDir: {}}
- {name: inner, emptyDir: {}}
"""
    container = """
env:
- {name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
volumeMounts:
- {name: inner, mountPath: /logs/inner}
- {name: logs, mountPath: /all}
- {name: logs, mountPath: /logs, subPathExpr: pods/$(POD)}
"""
    script = """
touch /logs/here /logs/inner/there
ls /all/pods /all/pods/parts
echo +++
"""
    loaded.apply("parts.yaml", manifest("parts", script, spec, container))
    assert said(loaded, "parts") == ["/all/pods:", "parts", "", "/all/pods/parts:", "here", "inner"]


def test_a_volume_that_cannot_be_mounted_is_told_and_tried_again(loaded: Nsrun, tmp_path: Path) -> None:
    loaded.start()
    spec = f"volumes:\n- {{name: late, hostPath: {{path: {tmp_path}/late, type: Directory}}}}\n"
    container = "volumeMounts:\n- {name: late, mountPath: /late}\n"
    loaded.apply("late.yaml", manifest("late", "ls /late\necho +++", spec, container))
    text = f"hostPath type check failed: {tmp_path}/late is not a directory"
    eventually(lambda: text in loaded.said(), what=text)
    (tmp_path / "late").mkdir()
    (tmp_path / "late" / "here").touch()
    assert said(loaded, "late") == ["here"]


def test_a_killed_nsrun_leaves_volumes_as_they_are(loaded: Nsrun) -> None:
    loaded.start()
    spec = "volumes:\n- {name: memory, emptyDir: {medium: Memory}}\n- {name: disk, emptyDir: {}}\n"
    container = "volumeMounts:\n- {name: memory, mountPath: /memory}\n- {name: disk, mountPath: /disk}\n"
    script = "touch /memory/a /disk/b\nexec sleep 1000\n"
    loaded.apply("kept.yaml", manifest("kept", script, spec, container, restart="Always"))
    loaded.ready("kept")
    loaded.kill()
    loaded.start()
    loaded.ready("kept")
    uid = loaded.pods()[0]["metadata"]["uid"]  # type: ignore[index]
    volumes = loaded.root / "pods" / str(uid) / "volumes" / "kubernetes.io~empty-dir"
    assert [os.listdir(volumes / name) for name in ("memory", "disk")] == [["a"], ["b"]]
    (loaded.manifests / "kept.yaml").unlink()
    loaded.gone("kept")
    assert loaded.remains() == []
