"""What docker's and podman's users do with images, by ``nsrun VERB`` and ``nsrun image VERB``."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from pathlib import Path

import pytest

from nsrun.cli.image import VERBS
from nsrun.cli.main import COMMANDS
from tests.e2e.manifests import shell_pod
from tests.e2e.nsrunner import Nsrun
from tests.layouts import ImageParts, LayoutBuilder, layer_tar
from tests.registry import Registry, registry

__all__ = ["registry"]

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]

NGINX, BUSYBOX = "docker.io/library/nginx:latest", "docker.io/library/busybox:latest"


def names(nsrun: Nsrun) -> set[str]:
    return set(nsrun.cli("images", "-o", "name").stdout.split())


def piped(nsrun: Nsrun, command: str) -> str:
    """A shell's pipe of several of ours; ``$N`` is nsrun."""
    script = command.replace("$N", " ".join(nsrun.command()))
    done = subprocess.run(["sh", "-ec", script], env=nsrun.environ(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_group_and_the_short_forms_are_the_same_commands() -> None:
    others = {verb for verb, module in VERBS.items() if COMMANDS.get(verb, module) != module}
    assert others == {"inspect", "rm"}  # of pods, without "image"
    assert VERBS["ls"] == COMMANDS["images"]
    assert VERBS["rm"] == COMMANDS["rmi"]


@pytest.mark.parametrize("form", ["oci-archive", "docker-archive"])
def test_through_a_pipe_and_back(loaded: Nsrun, form: str) -> None:
    before = names(loaded)
    loaded.cli("save", "-o", str(loaded.base / "a.tar"), "--format", form, "nginx", "busybox")
    loaded.cli("rmi", "nginx", "busybox")
    assert names(loaded) == set()
    assert piped(loaded, f"$N load < {loaded.base}/a.tar").count("Loaded image: ") == 2
    assert names(loaded) == before
    assert piped(loaded, "$N save nginx | $N image load -q") == ""


@pytest.mark.parametrize("tool", ["gzip", "zstd", "xz", "bzip2"])
def test_archives_may_be_compressed(loaded: Nsrun, tool: str) -> None:
    said = piped(loaded, f"$N save busybox | {tool} -c > {loaded.base}/a; $N load -i {loaded.base}/a")
    assert said == f"Loaded image: {BUSYBOX}\n"


def test_a_directory(loaded: Nsrun) -> None:
    place = loaded.base / "layout"
    loaded.cli("image", "save", "--format", "oci-dir", "-o", str(place), "busybox")
    assert loaded.cli("load", str(place)).stdout == f"Loaded image: {BUSYBOX}\n"
    refused = loaded.cli("save", "--format", "oci-dir", "-o", str(place), "busybox", check=False)
    assert "cannot save busybox" in refused.stderr
    assert "directory not empty (ENOTEMPTY)" in refused.stderr


@pytest.mark.parametrize(("verb", "stream"), [(("save", "busybox"), "stdout"), (("load",), "stdin")])
def test_terminals_are_refused(loaded: Nsrun, verb: tuple[str, ...], stream: str) -> None:
    ours, theirs = pty.openpty()
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, stream: theirs}
    done = subprocess.run(
        loaded.command(*verb), env=loaded.environ(), stderr=subprocess.PIPE, text=True, check=False,
        stdin=streams["stdin"], stdout=streams["stdout"],
    )  # fmt: skip
    os.close(ours)
    os.close(theirs)
    assert done.returncode == 1
    assert f"{'output' if stream == 'stdout' else 'input'} is a terminal" in done.stderr


def test_a_reader_that_goes_away_is_no_failure(loaded: Nsrun) -> None:
    assert piped(loaded, "$N save nginx | head -c 1000 | wc -c").strip() == "1000"


def test_names(loaded: Nsrun) -> None:
    loaded.cli("tag", "busybox", "example.com/b:1", "localhost/b")
    assert {"example.com/b:1", "localhost/b:latest"} <= names(loaded)
    (found,) = json.loads(loaded.cli("image", "inspect", "example.com/b:1").stdout)
    assert found["RepoTags"] == [BUSYBOX, "example.com/b:1", "localhost/b:latest"]
    loaded.cli("tag", found["Id"][7:19], "by-id:2")  # as docker's users do
    loaded.cli("rmi", "busybox", "localhost/b", "example.com/b:1")
    assert loaded.cli("image", "inspect", "by-id:2", "-f", "{.Id}").stdout.strip() == found["Id"]
    refused = loaded.cli("tag", "nothing", "x", check=False)
    assert refused.stderr == 'nsrun: cannot tag image "nothing": there is no such image\n'
    refused = loaded.cli("tag", "nginx", f"x@sha256:{'0' * 64}", check=False)
    assert "a digest says what an image is" in refused.stderr


def test_what_is_known_of_an_image(loaded: Nsrun) -> None:
    (found,) = json.loads(loaded.cli("image", "inspect", "nginx").stdout)
    assert found["Config"]["Cmd"][0] == "nginx"
    assert (found["Os"], found["RootFS"]["Type"]) == ("linux", "layers")
    places = found["GraphDriver"]["Data"]
    layers = [places["UpperDir"], *places["LowerDir"].split(":")]
    assert len(layers) == len(found["RootFS"]["Layers"])
    assert all(Path(layer).is_dir() for layer in layers)
    steps = json.loads(loaded.cli("history", "nginx", "--format", "json", "--no-trunc").stdout)
    assert steps[0]["id"] == found["Id"]
    assert [step["createdBy"] for step in reversed(steps)] == [step["created_by"] for step in found["History"]]
    assert all(step["size"] for step in steps)
    table = loaded.cli("image", "history", "nginx").stdout.splitlines()
    assert table[0].split("   ")[0] == "IMAGE"
    assert len(table) == len(steps) + 1
    assert loaded.cli("history", "-q", "nginx").stdout.split()[0] == found["Id"][7:19]


def test_a_mount_is_seen_refused_changes_and_goes(loaded: Nsrun) -> None:
    place = loaded.base / "a place"
    place.mkdir()
    loaded.cli("image", "mount", "busybox", str(place))
    assert (place / "bin" / "busybox").is_file()
    assert loaded.cli("image", "mount").stdout.splitlines()[1].split("   ") == [BUSYBOX, str(place)]
    with pytest.raises(OSError, match="Read-only"):
        (place / "new").touch()
    with pytest.raises(PermissionError):  # noexec
        subprocess.run([place / "bin" / "busybox", "true"], check=False)
    refused = loaded.cli("rmi", "busybox", check=False)
    assert refused.returncode == 1
    assert "cannot remove image" in refused.stderr
    loaded.cli("prune", "--all", "--force")
    assert names(loaded) == {BUSYBOX}
    with (place / "bin" / "busybox").open("rb"):
        busy = loaded.cli("image", "umount", "busybox", check=False)
        assert "somebody uses what is in it" in busy.stderr
    assert loaded.cli("image", "umount", str(place)).stdout == f"{place}\n"
    assert list(place.iterdir()) == []
    assert loaded.cli("image", "mount").stdout == ""
    loaded.cli("rmi", "busybox")


def test_an_image_of_one_layer_and_one_of_a_hundred_can_be_mounted(nsrun: Nsrun) -> None:
    source = LayoutBuilder(nsrun.base / "source")
    source.image("one", ImageParts.make([layer_tar({"a": b"1"})]))
    source.image("many", ImageParts.make([layer_tar({"a": b"%d" % n, f"f{n}": b""}) for n in range(100)]))
    nsrun.cli("load", str(source.path))
    for name, content in (("one", b"1"), ("many", b"99")):
        place = nsrun.base / name
        place.mkdir()
        nsrun.cli("image", "mount", name, str(place))
        assert (place / "a").read_bytes() == content
    assert nsrun.cli("image", "unmount", "--all").stdout.split() == [str(nsrun.base / "many"), str(nsrun.base / "one")]


def test_what_another_tool_writes_into_the_store_works_at_once(loaded: Nsrun, tool: object) -> None:
    """As ``buildah push IMAGE oci:ROOT/images:NAME`` does."""
    skopeo = tool("skopeo")  # type: ignore[operator]
    store = loaded.root / "images"
    subprocess.run([skopeo, "copy", "-q", f"oci:{store}:{BUSYBOX}", f"oci:{store}:localhost/built:1"], check=True)
    place = loaded.base / "place"
    place.mkdir()
    loaded.cli("image", "mount", "localhost/built:1", str(place))
    loaded.cli("image", "umount", "localhost/built:1")
    loaded.start()
    loaded.apply("built.yaml", shell_pod("built", "exec sleep 1000").replace("busybox", "localhost/built:1", 1))
    loaded.ready("built")


def test_push_and_pull(loaded: Nsrun, registry: Registry) -> None:
    host = registry.start(tls=True, htpasswd=("user", "word"))
    file = loaded.base / "digest"
    flags = ("--cert-dir", str(registry.certificates / host), "--creds", "user:word")
    done = loaded.cli("push", *flags, "--digestfile", str(file), "busybox", f"docker://{host}/a/b:1")
    assert done.stdout == f"{host}/a/b@{file.read_text()}\n"
    assert "ready" in done.stderr
    loaded.cli("rmi", "busybox")
    loaded.cli("pull", "-q", *flags, f"{host}/a/b:1")
    (found,) = json.loads(loaded.cli("image", "inspect", f"{host}/a/b:1").stdout)
    assert found["Digest"] == file.read_text()
    assert loaded.cli("image", "push", "-q", *flags, f"{host}/a/b:1").stderr == ""
    refused = loaded.cli("push", "--cert-dir", str(registry.certificates / host), f"{host}/a/b:1", check=False)
    assert f'cannot push image "{host}/a/b:1": registry "{host}" answered 401 Unauthorized' in refused.stderr
    assert f"(log in with nsrun login {host}, as somebody who may push)" in refused.stderr
