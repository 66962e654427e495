"""What a pod is called."""

from __future__ import annotations

from typing import Any

import pytest

from nsrun.model.container import Container, PullPolicy
from nsrun.model.hostname import KERNEL_MAX, fqdn, hostname, kernel_hostname
from nsrun.model.pod import ObjectMeta, Pod, PodSpec

DOMAIN = "cluster.local"


def pod(name: str = "web", **spec: Any) -> Pod:
    container = Container(name="c", image="i", image_pull_policy=PullPolicy.NEVER)
    return Pod(metadata=ObjectMeta(name=name, namespace="shop", uid="u"), spec=PodSpec(containers=(container,), **spec))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("web", "web"),
        ("a" * 70, "a" * 63),
        ("a" * 62 + ".b", "a" * 62),
        ("a" * 61 + "--b", "a" * 61),
        ("a.b", "a.b"),
    ],
)
def test_the_pods_name_as_far_as_dns_takes_it(name: str, expected: str) -> None:
    assert hostname(pod(name)) == expected


def test_the_manifest_may_say_another() -> None:
    assert hostname(pod(hostname="db-0")) == "db-0"
    assert hostname(pod(hostname="db-0", hostname_override="db.example.org")) == "db.example.org"


def test_a_subdomain_makes_it_fully_qualified() -> None:
    assert fqdn(pod(), DOMAIN) == ""
    assert fqdn(pod(subdomain="db"), DOMAIN) == "web.db.shop.svc.cluster.local"
    assert fqdn(pod(subdomain="db", hostname="db-0"), "") == "db-0.db.shop.svc"
    assert fqdn(pod(subdomain="db", hostname_override="x"), DOMAIN) == ""


def test_the_kernel_is_told_the_short_name_unless_it_is_to_know_the_long_one() -> None:
    assert kernel_hostname(pod(subdomain="db"), DOMAIN) == "web"
    assert kernel_hostname(pod(set_hostname_as_fqdn=True), DOMAIN) == "web"
    assert kernel_hostname(pod(subdomain="db", set_hostname_as_fqdn=True), DOMAIN) == "web.db.shop.svc.cluster.local"


def test_a_name_the_kernel_cannot_hold() -> None:
    fits = pod(hostname="h" * (KERNEL_MAX - len(".s.shop.svc.cluster.local")), subdomain="s", set_hostname_as_fqdn=True)
    assert len(kernel_hostname(fits, DOMAIN)) == 64
    long = pod(hostname="h" * 40, subdomain="s", set_hostname_as_fqdn=True)
    full = "h" * 40 + ".s.shop.svc.cluster.local"
    with pytest.raises(ValueError, match=rf"^FQDN {full} is too long \(64 characters is the max, 65 characters reque"):
        kernel_hostname(long, DOMAIN)
