"""Persistent volume claims: content that outlives pods and nsrun, until the claim's manifest goes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.e2e.nsrunner import Nsrun
from tests.waiting import eventually

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]

CLAIM = """\
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec:
  accessModes: [ReadWriteOnce]
  resources: {requests: {storage: 1Gi}}
"""

VOLUME = """\
apiVersion: v1
kind: PersistentVolume
metadata: {{name: disk}}
spec:
  capacity: {{storage: 2Gi}}
  accessModes: [ReadWriteOnce]
  {source}
"""

POD = """\
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  terminationGracePeriodSeconds: 1
  securityContext: {{fsGroup: 4242}}
  containers:
  - name: main
    image: busybox
    imagePullPolicy: IfNotPresent
    command: [/bin/sh, -c, 'echo {name} >> /data/who; exec sleep 1000']
    volumeMounts: [{{name: data, mountPath: /data}}]
  volumes:
  - {{name: data, persistentVolumeClaim: {{claimName: data}}}}
"""


def own(nsrun: Nsrun) -> Path:
    return nsrun.root / "volumes" / "default_data"


def wrote(volume: Path, text: str) -> None:
    """A container runs, and is ready, before its program has done anything."""
    who = volume / "who"
    eventually(lambda: who.exists() and who.read_text() == text, what=f"{who} says {text!r}")


def test_content_outlives_pods_and_nsrun(loaded: Nsrun) -> None:
    loaded.start()
    loaded.apply("one.yaml", POD.format(name="one"))
    eventually(lambda: 'persistentvolumeclaim "data" not found' in loaded.said(), what="the pod waits for its claim")
    loaded.apply("claim.yaml", CLAIM)
    loaded.ready("one")
    wrote(own(loaded), "one\n")
    (loaded.manifests / "one.yaml").unlink()
    loaded.gone("one")
    loaded.kill()
    loaded.start()
    loaded.apply("two.yaml", POD.format(name="two"))
    loaded.ready("two")
    wrote(own(loaded), "one\ntwo\n")
    assert own(loaded).stat().st_gid == 4242

    (loaded.manifests / "claim.yaml").unlink()
    (loaded.manifests / "two.yaml").unlink()
    loaded.gone("two")
    eventually(lambda: not own(loaded).exists(), what="the claim's directory goes with its manifest")


def test_a_claim_that_a_pod_has_stays(loaded: Nsrun) -> None:
    """Another one, which nobody has, goes with the same file: so we know that it was seen to go."""
    spare = loaded.root / "volumes" / "default_spare"
    loaded.start()
    loaded.apply("claim.yaml", f"{CLAIM}---\n{CLAIM.replace('name: data', 'name: spare')}")
    loaded.apply("brief.yaml", POD.format(name="brief").replace("claimName: data", "claimName: spare"))
    loaded.apply("one.yaml", POD.format(name="one"))
    loaded.ready("one")
    loaded.ready("brief")
    wrote(spare, "brief\n")
    wrote(own(loaded), "one\n")
    (loaded.manifests / "brief.yaml").unlink()
    loaded.gone("brief")
    (loaded.manifests / "claim.yaml").unlink()
    eventually(lambda: not spare.exists(), what="the claim that nobody has goes")
    loaded.apply("two.yaml", POD.format(name="two"))
    eventually(lambda: 'persistentvolumeclaim "data" not found' in loaded.said(), what="another pod waits")
    assert (own(loaded) / "who").read_text() == "one\n"
    loaded.ready("one")


@pytest.mark.parametrize("kind", ["hostPath", "local"])
def test_a_volume_of_the_host_keeps_its_content(loaded: Nsrun, tmp_path: Path, kind: str) -> None:
    disk = tmp_path / "disk"
    disk.mkdir(mode=0o777)
    loaded.start()
    loaded.apply("volume.yaml", VOLUME.format(source=f"{kind}: {{path: {disk}}}"))
    loaded.apply("claim.yaml", CLAIM)
    loaded.apply("one.yaml", POD.format(name="one"))
    loaded.ready("one")
    wrote(disk, "one\n")
    assert disk.stat().st_gid == (4242 if kind == "local" else os.getegid())
    for name in ("one", "claim", "volume"):
        (loaded.manifests / f"{name}.yaml").unlink()
    loaded.gone("one")
    eventually(lambda: not own(loaded).is_symlink(), what="the claim is forgotten")
    assert (disk / "who").read_text() == "one\n"
