"""What names may look like: the good, and the ones that would be paths, options or control sequences."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from nsrun.model import names

GOOD: dict[Callable[[str], str | None], list[str]] = {
    names.dns_label: ["a", "a-b", "0", "a" * 63],
    names.dns_subdomain: ["a", "a.b-c.d", "0.1", "a" * 253],
    names.qualified_name: ["a", "A_b.c-D", "example.com/Name", "a" * 63],
    names.label_value: ["", "a", "A_b.c-D", "a" * 63],
    names.env_name: ["A", "a.b-c", "1", "A B", "~"],
    names.port_name: ["http", "a-1", "1a", "a" * 15],
    names.pod_uid: ["a", "0a1b", "5a3f4a86-7a1f-4a0b", "a..b", "a" * 63],
    names.capability: ["ALL", "NET_ADMIN", "CHECKPOINT_RESTORE"],
}
BAD: dict[Callable[[str], str | None], list[str]] = {
    names.dns_label: ["", "-a", "a-", "A", "a.b", "a_b", "a/b", "..", "a\n", "ä", "a" * 64],
    names.dns_subdomain: ["", ".", "..", "a..b", ".a", "a.", "-a", "A", "a/b", "a\n", "a" * 254],
    names.qualified_name: ["", "/a", "a/", "a/b/c", "A/b", "-a", "a" * 64, "a b", "a\n", f"{'a' * 254}/b"],
    names.label_value: ["-", "a b", "a/b", "a" * 64, "a\n"],
    names.env_name: ["", "A=B", "A\n", "A\0", "Ä"],
    names.port_name: ["", "A", "a--b", "-a", "80", "8-0", "a" * 16, "a_b"],
    names.pod_uid: ["", ".", "..", "../x", "a/b", "-rf", ".a", "a\n", "a\0", "a b", "ä", "a" * 64],
    names.capability: ["", "all", "CAP_NET_ADMIN", "net_admin", "FLY"],
}


def test_good_names() -> None:
    assert [(rule.__name__, name) for rule, listed in GOOD.items() for name in listed if rule(name)] == []


@pytest.mark.parametrize("rule", BAD, ids=lambda rule: rule.__name__)
def test_bad_names(rule: Callable[[str], str | None]) -> None:
    for name in BAD[rule]:
        text = rule(name)
        assert text is not None, name
        assert text.isprintable()
        assert "must be" in text
