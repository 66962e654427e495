"""Where a user's network namespace is pinned."""

from __future__ import annotations

import pytest

from nsrun.host.rootless.world import network_pin


@pytest.mark.parametrize(
    ("run_dir", "pin"),
    [
        ("/run/user/1000/nsrun", "/run/user/1000/netns/nsrun"),
        ("/run/user/1000/other", "/run/user/1000/netns/other"),
        ("/run/user/1000/deep/er", "/run/user/1000/deep/er/rootless-netns"),
        ("/run/user/me/nsrun", "/run/user/me/nsrun/rootless-netns"),
        ("/tmp/nsrun", "/tmp/nsrun/rootless-netns"),
    ],
)
def test_it_is_where_apparmors_profile_of_pasta_allows_it(run_dir: str, pin: str) -> None:
    assert network_pin(run_dir) == pin
