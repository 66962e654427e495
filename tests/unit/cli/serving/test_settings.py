"""From flags to settings, and what is said about flags that make no sense."""

from __future__ import annotations

import re
from ipaddress import IPv4Network
from pathlib import Path

import click
import pytest

from nsrun.cli.main import GROUPS, cli
from nsrun.cli.serving.daemon_flags import FLAGS, daemon_options
from nsrun.cli.serving.settings import settings_of
from nsrun.errors import SettingsError
from nsrun.settings import SecurePort, Settings
from nsrun.support.layout import Layout

REPO = Path(__file__).resolve().parents[4]
PAGE = REPO / "docs" / "configuration.md"


daemon = click.Command("daemon", params=daemon_options())


def settings(*arguments: str) -> Settings:
    given = dict(daemon.make_context("nsrun", list(arguments)).params)
    return settings_of(Layout(), Path("m"), given)


def test_without_flags_they_are_the_defaults() -> None:
    found, plain = settings(), Settings(manifests=Path("m").absolute(), node_name="x")
    for name in Settings.__dataclass_fields__.keys() - {"node_name"}:
        assert getattr(found, name) == getattr(plain, name), name
    assert found.node_name


def test_every_flag_has_its_setting() -> None:
    found = settings(
        *("--cluster-dns", "10.96.0.10, 10.96.0.11", "--cluster-domain", "example.org.", "--resolv-conf", ""),
        *("--system-reserved", "cpu=500m,memory=1Gi", "--kube-reserved", "cpu=250m,ephemeral-storage=1G"),
        *("--allowed-unsafe-sysctls", "kernel.msg*,net.core.somaxconn", "--hostname-override", "node-1"),
        *("--crash-loop-initial", "1s", "--crash-loop-max", "1m", "--max-open-files", "2048", "--max-pods", "7"),
        *("--pod-max-pids", "100", "--pod-cidr", "10.1.0.0/24", "--bridge", "br1", "--cgroup-root", "/a/b/"),
        *("--container-log-max-size", "1Mi", "--container-log-max-files", "2"),
        *("--image-gc-high-threshold", "70", "--image-gc-low-threshold", "60"),
        *("--minimum-image-ttl-duration", "0", "--image-maximum-gc-age", "24h"),
        *("--file-check-frequency", "5s", "--address", "0.0.0.0", "--read-only-port", "0", "--registries-conf", "/r"),
        *("--port", "1", "--tls-cert-file", "/c", "--tls-private-key-file", "/k", "--cert-dir", "/d"),
        *("--manifest-url", "https://h/p", "--http-check-frequency", "3s"),
        *("--manifest-url-header", "A:1, B : x:y", "--manifest-url-header", "A:2"),
        *("--client-ca-file", "/a", "--token-auth-file", "/t", "--anonymous-auth"),
    )
    assert found == Settings(
        manifests=Path("m").absolute(),
        node_name="node-1",
        cluster_dns=("10.96.0.10", "10.96.0.11"),
        cluster_domain="example.org",
        resolv_conf=None,
        reserved={"cpu": 750, "memory": (1 << 30) * 1000, "ephemeral-storage": 10**12},
        unsafe_sysctls=("kernel.msg*", "net.core.somaxconn"),
        crash_loop_initial=1.0,
        crash_loop_max=60.0,
        log_max_bytes=1 << 20,
        log_max_files=2,
        open_files=2048,
        max_pods=7,
        pids_limit=100,
        pod_cidr=IPv4Network("10.1.0.0/24"),
        bridge="br1",
        cgroup_root="a/b",
        file_check_seconds=5.0,
        manifest_url="https://h/p",
        manifest_headers=(("A", "1"), ("B", "x:y"), ("A", "2")),
        http_check_seconds=3.0,
        image_gc_high=70,
        image_gc_low=60,
        image_minimum_age=0.0,
        image_maximum_age=86400.0,
        address="0.0.0.0",
        read_only_port=0,
        secure=SecurePort(
            port=1,
            certificate=Path("/c"),
            key=Path("/k"),
            directory=Path("/d"),
            client_ca=Path("/a"),
            tokens=Path("/t"),
            anonymous=True,
        ),
        registries_conf=Path("/r"),
    )


@pytest.mark.parametrize(
    ("flag", "text", "said"),
    [
        ("--cluster-dns", "10.96.0.10,here", "'here' does not appear to be an IPv4 or IPv6 address"),
        ("--cluster-domain", "Cluster_Local", 'must be at most 253 lower case letters, digits, "-" and "."'),
        ("--resolv-conf", "/nowhere/at/all", '"/nowhere/at/all" is not a file'),
        ("--system-reserved", "cpu", 'cpu must be an amount such as "500m", not ""'),
        ("--system-reserved", "cpu=much", 'cpu must be an amount such as "500m", not "much"'),
        ("--kube-reserved", "pid=100", '"pid" cannot be reserved'),
        ("--kube-reserved", "memory=-1Gi", 'memory must not be negative, not "-1Gi"'),
        ("--allowed-unsafe-sysctls", "vm.*", '"vm.*" does not belong to a namespace'),
        ("--allowed-unsafe-sysctls", "net.x,../y", '"../y" is no name of a sysctl'),
        ("--crash-loop-initial", "soon", 'must be a duration such as "20s" or "1m30s", not "soon"'),
        ("--crash-loop-initial", "0", 'must be more than nothing, not "0"'),
        ("--crash-loop-max", "1s", "1s is less than --crash-loop-initial (10s)"),
        ("--container-log-max-size", "large", 'must be a size such as "10Mi", not "large"'),
        ("--container-log-max-size", "0", 'must be more than nothing, not "0"'),
        ("--file-check-frequency", "inf", 'must be more than nothing, not "inf"'),
        ("--pod-cidr", "10.0.0.0/33", "'33' is not a valid netmask"),
        ("--bridge", "br 1", '"br 1" is no name for a bridge'),
        ("--manifest-url", "/etc/pods.yaml", "it is no web address"),
        ("--manifest-url", "ftp://h/p", "it is no web address"),
        ("--manifest-url", "https:///p", "it is no web address"),
        ("--manifest-url", "https://h:99999/p", "it is no web address"),
        ("--manifest-url", "https://h/a b", "it is no web address"),
        ("--manifest-url-header", "A:1,secret", "item 2 is no header"),
        ("--manifest-url-header", "A B:secret", "item 1 is no header"),
        ("--manifest-url-header", "A:secret\r\nB:x", "item 1 is no header"),
        ("--manifest-url-header", "Host:elsewhere", "Host is not yours to choose"),
        ("--tls-cert-file", "/c", "it needs --tls-private-key-file"),
        ("--tls-private-key-file", "/k", "it needs --tls-cert-file"),
    ],
)
def test_values_that_make_no_sense(flag: str, text: str, said: str) -> None:
    with pytest.raises(SettingsError) as told:
        settings(flag, text)
    assert told.value.message.startswith(f"cannot use {flag}: ")
    assert said in told.value.message
    assert "\n" not in told.value.message
    assert "secret" not in told.value.message


def test_headers_in_a_variable_stand_in_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NSRUN_MANIFEST_URL_HEADER", "Authorization:Bearer abc\nX-A:1")
    assert settings().manifest_headers == (("Authorization", "Bearer abc"), ("X-A", "1"))


def test_secrets_are_not_shown() -> None:
    shown = repr(settings("--manifest-url", "https://me:secret@h/", "--manifest-url-header", "A:secret"))
    assert "secret" not in shown


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--image-gc-high-threshold", "70"), "the thresholds of 70 and 80 percent for images"),
        (("--image-maximum-gc-age", "1m"), "a maximum age of images that is below their minimum age"),
    ],
)
def test_images_that_go_too_early(arguments: tuple[str, str], said: str) -> None:
    with pytest.raises(SettingsError, match=f"cannot use {said}"):
        settings(*arguments)


def test_the_page_lists_every_flag_with_its_default() -> None:
    rows = [line.split(" | ") for line in PAGE.read_text().splitlines() if line.startswith("| `-")]
    listed = {flag: row[1].strip(" `|") for row in rows for flag in re.findall(r"`(-{1,2}[a-z-]+)`", row[0])}
    options = [option for option in cli.get_params(click.Context(cli)) if isinstance(option, click.Option)]
    assert listed.keys() == {flag for option in options for flag in option.opts if flag not in ("-h", "--help")}
    for option in options:
        if isinstance(option.default, str | int) and not option.is_flag and option.default != "":
            assert {listed[flag] for flag in option.opts} == {str(option.default)}


def test_the_help_shows_each_flag_in_its_group() -> None:
    shown = cli.get_help(click.Context(cli, info_name="nsrun"))
    sections = re.findall(r"^([A-Z][\w -]+):$", shown, re.MULTILINE)
    groups = ["Places", "Manifests", "Node", "Network", "Containers", "Images", "API", "Output"]
    assert sections == [*groups, "Options", *GROUPS, "More"]
    assert len(FLAGS) + 6 == len(
        [option for option in cli.get_params(click.Context(cli)) if isinstance(option, click.Option)]
    )
    network = shown[shown.index("\nNetwork:") : shown.index("\nContainers:")]
    assert "--cluster-dns" in network
    assert "--max-pods" not in network
