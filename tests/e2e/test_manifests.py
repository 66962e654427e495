"""What a user does to manifests, and what nsrun says and does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.e2e.manifests import shell_pod
from tests.e2e.nsrunner import Document, Nsrun, container_status, pod_named
from tests.waiting import eventually

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]

FOREVER = "while true; do sleep 1000; done"


def container_id(pod: Document) -> str:
    return str(container_status(pod, "main")["containerID"])


def problems(nsrun: Nsrun) -> str:
    return nsrun.cli("pods").stderr


def test_a_broken_manifest_is_reported_whole_and_stops_nothing(loaded: Nsrun) -> None:
    loaded.start()
    loaded.apply("good.yaml", shell_pod("good", FOREVER))
    before = container_id(loaded.ready("good"))
    loaded.apply(
        "good.yaml",
        shell_pod("good", FOREVER).replace("image: busybox", "image: ''\n    ports: [{containerPort: 70000}]"),
    )

    def both() -> bool:
        said = problems(loaded)
        return "spec.containers[0].image" in said and "not 70000" in said

    eventually(both, what="both problems are told")
    assert f"{loaded.manifests}/good.yaml:" in problems(loaded)
    assert container_id(loaded.ready("good")) == before
    assert "keeps running" in loaded.said()

    loaded.apply("good.yaml", shell_pod("good", FOREVER))
    eventually(lambda: "good.yaml" not in problems(loaded), what="the problems are over")
    assert container_id(loaded.ready("good")) == before


def test_an_edit_replaces_the_pod(loaded: Nsrun) -> None:
    loaded.start()
    loaded.apply("pod.yaml", shell_pod("pod", FOREVER))
    before = container_id(loaded.ready("pod"))
    loaded.apply("pod.yaml", shell_pod("pod", FOREVER + "; true"))

    def replaced() -> bool:
        pod = pod_named(loaded.pods(), "pod")
        return pod is not None and container_status(pod, "main").get("containerID", "") not in ("", before)

    eventually(replaced, what="another container")
    loaded.ready("pod")
    assert len(loaded.pods()) == 1


def test_the_first_file_keeps_the_name(loaded: Nsrun) -> None:
    loaded.start()
    loaded.apply("a.yaml", shell_pod("same", FOREVER))
    before = container_id(loaded.ready("same"))
    loaded.apply("b.yaml", shell_pod("same", FOREVER + "; true"))
    eventually(lambda: "b.yaml" in problems(loaded), what="the second is reported")
    assert container_id(loaded.ready("same")) == before


def test_json_and_several_documents(loaded: Nsrun) -> None:
    loaded.start()
    document = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "json"},
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "containers": [
                {
                    "name": "main",
                    "image": "busybox",
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["/bin/sleep", "1000"],
                }
            ],
        },
    }
    loaded.apply("pod.json", json.dumps(document))
    loaded.apply("two.yaml", shell_pod("one", FOREVER) + "---\n" + shell_pod("two", FOREVER))
    for name in ("json", "one", "two"):
        loaded.ready(name)


def test_restart_policies(loaded: Nsrun) -> None:
    loaded.start()
    loaded.apply("never.yaml", shell_pod("never", "exit 3"))
    loaded.apply("onfailure.yaml", shell_pod("onfailure", "exit 0", restart="OnFailure"))
    loaded.apply("always.yaml", shell_pod("always", "exit 1", restart="Always"))

    def phase(name: str) -> str:
        status = (pod_named(loaded.pods(), name) or {}).get("status")
        return str(status.get("phase")) if isinstance(status, dict) else ""

    eventually(lambda: phase("never") == "Failed", what="never: Failed")
    eventually(lambda: phase("onfailure") == "Succeeded", what="onfailure: Succeeded")

    def backing_off() -> bool:
        status = container_status(pod_named(loaded.pods(), "always") or {}, "main")
        state = status["state"]
        assert isinstance(state, dict)
        return state.get("waiting", {}).get("reason") == "CrashLoopBackOff" and status["restartCount"] == 1

    eventually(backing_off, what="the first restart is at once, then it backs off")
    assert "CrashLoopBackOff" in loaded.cli("pods").stdout


def test_fields_reach_the_process(loaded: Nsrun, tmp_path: Path) -> None:
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / "file").write_text("from the host\n")
    loaded.start()
    loaded.apply(
        "fields.yaml",
        f"""\
apiVersion: v1
kind: Pod
metadata: {{name: fields, labels: {{app: test}}}}
spec:
  restartPolicy: Never
  containers:
  - name: main
    image: busybox
    imagePullPolicy: IfNotPresent
    workingDir: /work
    env: [{{name: GREETING, value: hello}}, {{name: TWICE, value: $(GREETING) $(GREETING)}}]
    command: [/bin/sh, -c]
    args:
    - |
      echo "$TWICE"; pwd; hostname; cat /given/file; (echo x > /given/no) 2>/dev/null || echo read-only
      df /memory | tail -n 1; stat -c %a /scratch; cat /etc/hosts; ulimit -n; id; grep ^Cap /proc/self/status
    volumeMounts:
    - {{name: given, mountPath: /given, readOnly: true}}
    - {{name: memory, mountPath: /memory}}
    - {{name: scratch, mountPath: /scratch}}
  volumes:
  - {{name: given, hostPath: {{path: {tmp_path}/given, type: Directory}}}}
  - {{name: memory, emptyDir: {{medium: Memory, sizeLimit: 8Mi}}}}
  - {{name: scratch, emptyDir: {{}}}}
""",
    )

    def ended() -> bool:
        pod = pod_named(loaded.pods(), "fields")
        state = container_status(pod, "main")["state"] if pod else {}
        return isinstance(state, dict) and "terminated" in state

    eventually(ended, what="it ended")
    said = loaded.cli("logs", "fields").stdout
    for part in (
        "hello hello\n/work\nfields\nfrom the host\nread-only\n",
        "8192",
        "777",
        "\tfields",
        "CapInh:\t0000000000000000",
    ):
        assert part in said, said


def test_an_image_that_cannot_be_had_says_why(loaded: Nsrun) -> None:
    loaded.start()
    loaded.apply("absent.yaml", shell_pod("absent", "true").replace("image: busybox", "image: 127.0.0.1:1/absent"))

    def waiting() -> dict[str, str]:
        pod = pod_named(loaded.pods(), "absent")
        state = container_status(pod, "main")["state"] if pod else {}
        return state.get("waiting", {}) if isinstance(state, dict) else {}

    eventually(lambda: waiting().get("reason") in ("ErrImagePull", "ImagePullBackOff"), what="the reason is told")
    assert "127.0.0.1:1" in waiting()["message"]
    assert "Traceback" not in loaded.said()


def test_a_container_that_cannot_start_says_why_in_one_sentence(loaded: Nsrun) -> None:
    loaded.start()
    text = shell_pod("wrong", "true").replace("command: [/bin/sh, -c]", "command: [/no/such/program]")
    loaded.apply("wrong.yaml", text)

    def message() -> str:
        pod = pod_named(loaded.pods(), "wrong")
        state = container_status(pod, "main")["state"] if pod else {}
        assert isinstance(state, dict)
        return str((state.get("terminated") or state.get("waiting") or {}).get("message", ""))

    eventually(lambda: "/no/such/program" in message(), what="the sentence is there")
    assert "ENOENT" in message()
    assert "\n" not in message()
    assert "/no/such/program" in loaded.cli("logs", "wrong").stderr
