"""The man pages: one for each command, all of it in them, and nothing that a reader of roff complains about."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import click
import pytest

from nsrun.cli import image, store
from nsrun.cli.main import COMMANDS, cli
from nsrun.cli.serving import systemd

REPO = Path(__file__).resolve().parents[3]


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("manpages", REPO / "docs" / "manpages.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    made: dict[str, str] = generator().pages("1.2.3", "2026-01-31")
    return made


def test_each_command_has_one(pages: dict[str, str]) -> None:
    images = {f"nsrun-image-{name}.1" for name in image.VERBS}
    stores = {f"nsrun-store-{name}.1" for name in store.VERBS}
    units = {f"nsrun-systemd-{name}.1" for name in systemd.command.commands}
    assert pages.keys() == {"nsrun.1", *(f"nsrun-{name}.1" for name in COMMANDS), *images, *stores, *units}
    assert "\\fBnsrun\\-image\\-mount(1)\\fR" in pages["nsrun-image.1"]


def test_every_flag_is_in_its_page(pages: dict[str, str]) -> None:
    root = click.Context(cli)
    for name in ("", *COMMANDS):
        command = cli.get_command(root, name) if name else cli
        assert command is not None
        page = pages[f"nsrun-{name}.1" if name else "nsrun.1"]
        for option in (one for one in command.params if isinstance(one, click.Option)):
            for flag in option.opts:
                assert flag.replace("-", "\\-") in page, (name, flag)


def test_what_roff_would_obey_is_text() -> None:
    plain = generator()._plain
    assert plain(".so /etc/passwd") == "\\&.so /etc/passwd"
    assert plain("a\\fBb --c … d") == "a\\efBb \\-\\-c \\[u2026] d"


def test_readers_do_not_complain(tmp_path: Path) -> None:
    """It is run as the build runs it, where nothing but click and cffi need be."""
    subprocess.run([sys.executable, str(REPO / "docs" / "manpages.py"), str(tmp_path)], check=True)
    written = sorted(tmp_path.glob("*.1"))
    assert len(written) == len(COMMANDS) + len(image.VERBS) + len(store.VERBS) + len(systemd.command.commands) + 1
    readers = {"mandoc": ("-T", "lint", "-W", "warning"), "man": ("--warnings", "-E", "UTF-8", "-l")}
    found = [name for name in readers if shutil.which(name)]
    if not found:
        pytest.skip("neither mandoc nor man is installed")
    for name in found:
        for page in written:
            done = subprocess.run([name, *readers[name], str(page)], capture_output=True, text=True, check=False)
            complaints = done.stderr if name == "man" else done.stdout + done.stderr
            assert (complaints, done.returncode) == ("", 0), f"{name}: {page.name}"


def test_the_build_needs_nothing_else() -> None:
    script = f"""
import sys
sys.path.insert(0, {str(REPO)!r})
before = set(sys.modules)
import importlib
from nsrun.cli.image import VERBS
from nsrun.cli.main import COMMANDS
for module in (*COMMANDS.values(), *VERBS.values()):
    importlib.import_module(module)
print(*({{name.partition(".")[0] for name in set(sys.modules) - before}} - set(sys.stdlib_module_names)))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) <= {"_cffi_backend", "click", "nsrun"}
