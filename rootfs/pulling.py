"""Images for the tests and the bench of pulling: real packages, many layers, many files; packed as in registries."""

from __future__ import annotations

from collections.abc import Mapping

from rootfs.recipes import BUSYBOX, NGINX, PATH, Directory, File, ImageRecipe, LayerRecipe, Link, Pattern
from rootfs.testing.programs import DEBIAN

__all__ = ["PULL_RECIPES"]

_PYTHON_FOLLOW = ("python3.11-minimal", "libpython3.11-stdlib", "libpython3.11-minimal", "media-types", "tzdata")
# Debian chooses one of several by alternatives; the loader finds it by this.
_OPENBLAS = ":".join(f"/usr/lib/{machine}-linux-gnu/openblas-pthread" for machine in ("x86_64", "aarch64"))

APP = """\
import numpy, pandas, scipy.linalg, sympy
print(scipy.linalg.det(numpy.eye(3)), pandas.Series([1, 2]).sum(), sympy.factor("x**2 - 1"))
"""

PYTHON = ImageRecipe(
    reference="docker.io/library/python:3.11",
    layers=(
        *DEBIAN.layers,
        LayerRecipe(name="tools", packages=("perl-base", "git", "ca-certificates", "bzip2", "xz-utils", "openssl")),
        LayerRecipe(
            name="python",
            packages=("python3.11",),
            follow=_PYTHON_FOLLOW,
            files={"usr/bin/python3": Link(target="python3.11"), "usr/bin/python": Link(target="python3")},
        ),
        LayerRecipe(name="numpy", packages=("libopenblas0-pthread", "python3-numpy", "python3-pkg-resources")),
        LayerRecipe(name="scipy", packages=("python3-scipy", "python3-decorator", "python3-pythran", "liblbfgsb0")),
        LayerRecipe(
            name="pandas",
            packages=("python3-pandas", "python3-pandas-lib", "python3-dateutil", "python3-six", "python3-tz"),
        ),
        LayerRecipe(name="sympy", packages=("python3-sympy", "python3-mpmath")),
        LayerRecipe(
            name="app",
            files={
                "srv": Directory(),
                "srv/app": Directory(mode=0o2775, uid=1000, gid=1000),
                "srv/app/main.py": File(text=APP, mode=0o755),
                "usr/lib/python3/dist-packages/numpy/.wh.doc": File(text=""),
                "usr/lib/python3/dist-packages/scipy/linalg/.wh.tests": File(text=""),
            },
        ),
    ),
    config={
        "Env": [PATH, "LANG=C.UTF-8", f"LD_LIBRARY_PATH={_OPENBLAS}"],
        "Cmd": ["python3", "/srv/app/main.py"],
        "WorkingDir": "/srv/app",
    },
)

SIXTY_LAYERS = ImageRecipe(
    reference="docker.io/tests/sixty-layers:latest",
    layers=(
        *BUSYBOX.layers,
        *(
            LayerRecipe(
                name=f"of sixty {number}", pattern=Pattern(name="one of sixty", number=number), zstd=number % 4 == 0
            )
            for number in range(1, 60)
        ),
    ),
    config={"Env": [PATH], "Cmd": ["sh"]},
)

MANY_FILES = ImageRecipe(
    reference="docker.io/tests/many-files:latest",
    layers=(
        *BUSYBOX.layers,
        LayerRecipe(name="many files", pattern=Pattern(name="many files", number=100_000)),
    ),
    config={"Env": [PATH], "Cmd": ["sh"]},
)

PULL_RECIPES: Mapping[str, ImageRecipe] = {
    "busybox": BUSYBOX,
    "many-files": MANY_FILES,
    "nginx": NGINX,
    "python": PYTHON,
    "sixty-layers": SIXTY_LAYERS,
}
