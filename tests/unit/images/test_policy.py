"""containers-policy.json(5)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from nsrun.errors import ImageError, SettingsError
from nsrun.images.policy import Policy, Transport, load_policy
from nsrun.images.reference import parse_reference

DIGEST = "sha256:" + "0" * 64
ACCEPT = [{"type": "insecureAcceptAnything"}]
REJECT = [{"type": "reject"}]
SIGNED = [{"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/k"}]
SIGSTORE = [{"type": "sigstoreSigned", "keyPath": "/k", "signedIdentity": {"type": "matchRepository"}}]


def policy(tmp_path: Path, document: object) -> Policy:
    path = tmp_path / "policy.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return load_policy(path, {})


def pulled(found: Policy, name: str) -> str:
    """``accepted``, or why not."""
    return _said(lambda: found.check_pull(parse_reference(name)))


def _said(check: Callable[[], None]) -> str:
    try:
        check()
    except ImageError as error:
        return f"{error.reason}: {error.message.partition(': ')[2]}"
    return "accepted"


REJECTED = "SignatureValidationFailed: policy.json rejects it"
UNVERIFIED = "SignatureValidationFailed: policy.json demands a signature, and nsrun cannot verify one"


def test_without_a_policy_everything_is_accepted(tmp_path: Path) -> None:
    found = load_policy(None, {}, etc=tmp_path)
    assert pulled(found, "nginx") == "accepted"
    found.check_load(Transport.OCI, Path("/a"), "x")


def test_which_file_counts(tmp_path: Path) -> None:
    etc, home, named = tmp_path / "etc", tmp_path / "home", tmp_path / "named.json"
    (home / ".config" / "containers").mkdir(parents=True)
    etc.mkdir()
    environment = {"HOME": str(home)}
    (etc / "policy.json").write_text(json.dumps({"default": REJECT}))
    assert pulled(load_policy(None, environment, etc=etc), "nginx") == REJECTED
    own = home / ".config" / "containers" / "policy.json"
    own.write_text(json.dumps({"default": SIGNED}))
    assert pulled(load_policy(None, environment, etc=etc), "nginx") == UNVERIFIED
    assert pulled(load_policy(None, {"XDG_CONFIG_HOME": str(home / ".config")}, etc=etc), "nginx") == UNVERIFIED
    assert pulled(load_policy(None, {}, etc=etc), "nginx") == REJECTED
    named.write_text(json.dumps({"default": ACCEPT}))
    assert pulled(load_policy(named, environment, etc=etc), "nginx") == "accepted"
    with pytest.raises(SettingsError, match="no such file"):
        load_policy(tmp_path / "none.json", environment, etc=etc)


LOCKED = {
    "default": REJECT,
    "transports": {
        "docker": {
            "docker.io/openshift": ACCEPT,
            "docker.io/library/busybox": ACCEPT,
            "docker.io/library/busybox:evil": REJECT,
            f"docker.io/library/busybox@{DIGEST}": SIGNED,
            "*.temporary-project.example.com": ACCEPT,
            "signed.temporary-project.example.com": SIGSTORE,
            "hostname:5000/myns": SIGSTORE,
            "hostname:5000/myns/both": [*ACCEPT, *SIGNED],
            "hostname:5000/myns/all": [*SIGNED, *REJECT],
            "*.wild.example": ACCEPT,
            "[::1]:5000": ACCEPT,
            "UPPER.example/x": ACCEPT,
        },
        "atomic": {"docker.io": ACCEPT},
    },
}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nginx", REJECTED),
        ("docker.io/openshift/a/b:1", "accepted"),
        ("docker.io/openshiftly/a", REJECTED),
        ("busybox", "accepted"),
        ("busybox:1", "accepted"),
        ("busybox:evil", REJECTED),
        (f"busybox@{DIGEST}", UNVERIFIED),
        ("busybox2", REJECTED),
        ("DOCKER.IO/library/busybox:evil", REJECTED),
        ("upper.example/x", "accepted"),
        ("Upper.Example/x/y", "accepted"),
        ("a.temporary-project.example.com/x", "accepted"),
        ("a.b.temporary-project.example.com:5000/x", "accepted"),
        ("temporary-project.example.com/x", REJECTED),
        ("signed.temporary-project.example.com/x", UNVERIFIED),
        ("hostname:5000/myns/x", UNVERIFIED),
        ("hostname:5000/myns/both", UNVERIFIED),
        ("hostname:5000/myns/all", REJECTED),
        ("hostname:5001/myns/x", REJECTED),
        ("a.wild.example/x", "accepted"),
        ("wild.example/x", REJECTED),
        ("[::1]:5000/x", "accepted"),
    ],
)
def test_the_most_specific_scope_counts(tmp_path: Path, name: str, said: str) -> None:
    assert pulled(policy(tmp_path, LOCKED), name) == said


def test_a_transport_has_a_default_of_its_own(tmp_path: Path) -> None:
    found = policy(tmp_path, {"default": REJECT, "transports": {"docker": {"": ACCEPT, "docker.io": REJECT}}})
    assert pulled(found, "quay.io/x") == "accepted"
    assert pulled(found, "x") == REJECTED


@pytest.mark.parametrize(
    ("transport", "path", "said"),
    [
        (Transport.OCI, "/images/good", "accepted"),
        (Transport.OCI, "/images/good/below", "accepted"),
        (Transport.OCI, "/images/goodly", REJECTED),
        (Transport.OCI, "/images", REJECTED),
        (Transport.OCI, "/one", "accepted"),
        (Transport.OCI, "/", REJECTED),
        (Transport.OCI_ARCHIVE, "/images/good", UNVERIFIED),
        (Transport.DOCKER_ARCHIVE, "/images/good", "accepted"),
    ],
)
def test_loading(tmp_path: Path, transport: Transport, path: str, said: str) -> None:
    found = policy(
        tmp_path,
        {
            "default": SIGNED,
            "transports": {
                "oci": {"": REJECT, "/images/good": ACCEPT, "/one:a:1": ACCEPT},
                "docker-archive": {"": ACCEPT},
                "dir": {"/images": ACCEPT},
            },
        },
    )
    assert _said(lambda: found.check_load(transport, Path(path), "a:1")) == said


def test_the_sentences(tmp_path: Path) -> None:
    found = policy(tmp_path, {"default": SIGSTORE})
    with pytest.raises(ImageError) as caught:
        found.check_pull(parse_reference("nginx"))
    assert caught.value.message == (
        'cannot pull image "docker.io/library/nginx:latest": policy.json demands a signature, '
        "and nsrun cannot verify one"
    )
    with pytest.raises(ImageError, match=r'cannot load image "a\\x0a:1" from "/x": policy\.json demands a signature'):
        found.check_load(Transport.OCI, Path("/x"), "a\n:1")


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ("{", "line 1, column 2: it is not JSON"),
        ("[]", "the file must be an object"),
        ("[" * 100_000, "the file must be an object"),
        ("{}", "default must be given"),
        ({"default": []}, "default must be a list of at least one requirement"),
        ({"default": {}}, "default must be a list"),
        ({"default": [1]}, r"default\[0\] must be an object"),
        ({"default": [{}]}, r"default\[0\].type must be one of insecureAcceptAnything, reject, signedBy"),
        ({"default": [{"type": "signed"}]}, r"default\[0\].type must be one of"),
        ({"default": [{"type": "reject", "x": 1}]}, r'default\[0\]: "x" is unknown'),
        ({"default": ACCEPT, "transport": {}}, '"transport" is unknown'),
        ({"default": ACCEPT, "transports": []}, "transports must be an object"),
        ({"default": ACCEPT, "transports": {"docker": []}}, "transports.docker must be an object"),
        ({"default": ACCEPT, "transports": {"docker": {"a": []}}}, 'transports.docker."a" must be a list'),
        ('{"default": [{"type": "reject"}], "default": [{"type": "reject"}]}', '"default" is given twice'),
        ('{"default": [{"type": "reject", "type": "insecureAcceptAnything"}]}', '"type" is given twice'),
        ({"default": ACCEPT, "transports": {"docker": {"a.X": ACCEPT, "A.x": REJECT}}}, '"a.x" is given twice'),
        ({"default": ACCEPT, "transports": {"docker-archive": {"/a": REJECT}}}, "the only scope of a docker-archive"),
        ({"default": ACCEPT, "transports": {"oci": {"/": REJECT}}}, 'write "" instead'),
        ({"default": ACCEPT, "transports": {"oci": {"a": REJECT}}}, "must be an absolute path"),
        ({"default": ACCEPT, "transports": {"dir": {"/a/": REJECT}}}, "must be an absolute path"),
        ({"default": ACCEPT, "transports": {"dir": {"/a//b": REJECT}}}, "must be an absolute path"),
        ({"default": ACCEPT, "transports": {"oci": {"/a/../b": REJECT}}}, r"without \.\."),
    ],
)
def test_a_policy_that_makes_no_sense_accepts_nothing(tmp_path: Path, document: object, said: str) -> None:
    found = policy(tmp_path, document)
    checks: list[Callable[[], None]] = [
        lambda: found.check_pull(parse_reference("nginx")),
        lambda: found.check_load(Transport.DOCKER_ARCHIVE, Path("/x"), "y"),
    ]
    for check in checks:
        with pytest.raises(ImageError, match=said) as caught:
            check()
        assert f'"{tmp_path}/policy.json" is not a policy' in caught.value.message
        assert caught.value.hint is not None


def test_a_policy_that_cannot_be_read_accepts_nothing(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"is a directory \(EISDIR\)"):
        load_policy(tmp_path, {}).check_pull(parse_reference("nginx"))
    (tmp_path / "policy.json").write_bytes(b'{"default": "\xff"}')
    with pytest.raises(ImageError, match="it is not UTF-8"):
        load_policy(tmp_path / "policy.json", {}).check_pull(parse_reference("nginx"))
