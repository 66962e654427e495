"""Package metadata, and the build of the native code.

Out of ``native/`` come the cffi extension ``nsrun._native`` (setuptools builds it from ``native/build_ffi.py``), and
the static programs in ``nsrun/_bin/`` (``native/Makefile``), which are shipped as package data. Man pages are made from
what was built (``docs/manpages.py``).
"""

import subprocess
import sys
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_ext import build_ext

# isort: split
# It is setuptools' own from here on.
from distutils.command.install_data import install_data


class BuildNative(build_ext):
    """Builds the static helpers beside the extension, so that one ``pip install`` makes everything."""

    def run(self) -> None:
        here = Path(__file__).parent
        target = here if self.inplace else here / self.build_lib
        subprocess.run(
            [
                "make",
                "--silent",
                "-C",
                str(here / "native"),
                f"BIN={(target / 'nsrun' / '_bin').resolve()}",
                "programs",
            ],
            check=True,
        )
        super().run()


class InstallManPages(install_data):
    """Asks the commands that were built what they do. ``pip install -e`` installs no data, and so no pages."""

    def run(self) -> None:
        here = Path(__file__).parent
        build = self.distribution.get_command_obj("build")
        build.ensure_finalized()
        built, pages = Path(vars(build)["build_lib"]), Path(vars(build)["build_temp"]) / "man"
        subprocess.run([sys.executable, str(here / "docs" / "manpages.py"), str(pages), str(built)], check=True)
        self.data_files = [("share/man/man1", sorted(str(page) for page in pages.glob("*.1")))]
        super().run()


setup(
    name="nsrun",
    version="0.1.0",
    description="Runs Kubernetes pods with nothing but Linux",
    python_requires=">=3.11",
    packages=find_packages(include=["nsrun", "nsrun.*"]),
    package_data={
        "nsrun": ["_bin/*", "host/rootless/apparmor/nsrun", "runtime/schema/*.json", "images/schema/*.json", "py.typed"]
    },
    cffi_modules=["native/build_ffi.py:ffi"],
    setup_requires=["cffi>=1.16", "click>=8.1"],
    data_files=[("share/man/man1", [])],
    cmdclass={"build_ext": BuildNative, "install_data": InstallManPages},
    install_requires=[
        "aiohttp>=3.14",
        "cffi>=1.16",
        "click>=8.1",
        "h2>=4.1",
        "isal>=1.6",
        "jeepney>=0.8",
        "jsonschema>=4.18",
        "pyroute2>=0.8",
        "pyseccomp>=0.1.2",
        "python-prctl>=1.8",
        "PyYAML>=6",
        "rich>=13",
        "zstandard>=0.21",
    ],
    extras_require={
        "test": [
            "coverage[toml]>=7",
            "hypothesis>=6",
            "kubernetes>=29",
            "mypy>=1.8",
            "prometheus-client>=0.16",
            "pytest>=8,<9.2",  # pytest-xdist 3.8 gives groups to workers by names that 9.2 makes itself
            "pytest-asyncio>=0.23",
            "pytest-timeout>=2",
            "pytest-xdist>=3",
            "ruff>=0.4",
            "schemathesis>=4",
            "types-PyYAML",
            "types-cffi",
            "types-jsonschema",
            "types-setuptools",
        ]
    },
    scripts=["bin/nsrun"],
)
