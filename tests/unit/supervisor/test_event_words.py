"""The sentences of events, where they are the kubelet's."""

from __future__ import annotations

import pytest

from nsrun.model.image import Image, ImageConfig
from nsrun.supervisor.events import image_pulled


@pytest.mark.parametrize(
    ("seconds", "took"), [(0.0004, "0s"), (0.0129, "12ms"), (1.2349, "1.234s"), (83.5, "1m23.5s"), (4000.0, "1h6m40s")]
)
def test_how_long_a_pull_took_and_how_much_came(seconds: float, took: str) -> None:
    image = Image(
        reference="docker.io/library/nginx:latest",
        digest="sha256:0",
        config_digest="sha256:1",
        config=ImageConfig(),
        layers=(),
        size=12345,
    )
    notice = image_pulled("nginx", image, seconds, "web")
    assert notice.message == (
        f'Successfully pulled image "nginx" in {took} ({took} including waiting). Image size: 12345 bytes.'
    )
    assert (notice.reason, notice.container, notice.warning) == ("Pulled", "web", False)
