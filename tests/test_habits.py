"""The habits that no linter knows: layers, doorways, sizes, names, words."""

from __future__ import annotations

import ast
import re
import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parent.parent
PACKAGE = REPO / "nsrun"

MODULES = sorted(PACKAGE.rglob("*.py"))
C_FILES = sorted((REPO / "native").rglob("*.[ch]"))

# A layer may import itself and what is listed; `daemon` alone, the composition root, may import everything below `cli`.
MECHANISMS = {"sources", "images", "volumes", "network", "probes", "runtime"}
BELOW: dict[str, set[str]] = {
    "errors": set(),
    "support": {"errors"},
    "settings": {"support", "errors"},
    "host": {"support", "errors"},
    "model": {"support", "errors"},
    **{name: {"model", "host", "support", "errors"} for name in MECHANISMS},
    "supervisor": {"model", "support", "errors"},
    "api": {"supervisor", "model", "support", "errors", "settings"},
    "assembly": {"images", "support", "errors"},
    "daemon": {"assembly", "api", "supervisor", *MECHANISMS, "model", "host", "support", "errors", "settings"},
    "cli": {"assembly", "api", "daemon", "supervisor", *MECHANISMS, "model", "host", "support", "errors", "settings"},
}

# Foreign library → the only modules that may import it.
DOORWAYS = {
    "nsrun._native": {f"nsrun/support/{name}.py" for name in ("forward", "logtext", "native", "relay", "unpacking")},
    "pyroute2": {"nsrun/network/netlink.py"},
    "aiohttp": {
        "nsrun/sources/fetch.py",
        *(f"nsrun/api/{name}.py" for name in ("server", "sending", "takeover")),
    },
    "jeepney": {"nsrun/host/rootless/usermanager.py"},
    "h2": {"nsrun/probes/grpc_check.py"},
    "pyseccomp": {"nsrun/runtime/seccomp.py"},
    "prctl": {"nsrun/daemon.py"},
    "click": {str(p.relative_to(REPO)) for p in (PACKAGE / "cli").rglob("*.py")},
}

BANNED_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "misc", "tools"}

FUNCTION_CAP, FUNCTION_P90, FUNCTION_MEDIAN = 80, 40, 10
FILE_CAP, C_FILE_CAP = 500, 400


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(REPO).with_suffix("").parts).removesuffix(".__init__")


def layer(name: str) -> str:
    parts = name.split(".")
    return parts[1] if len(parts) > 1 else ""


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None and node.level == 0:
            yield node.lineno, node.module
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def functions(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield (
                f"{path.relative_to(REPO)}:{node.lineno} {node.name}",
                (node.end_lineno or node.lineno) - node.lineno + 1,
            )


def test_each_layer_imports_only_those_below_it() -> None:
    wrong = []
    for path in MODULES:
        own = layer(module_name(path))
        if own not in BELOW:
            continue
        for line, name in imports(parse(path)):
            if name.startswith("nsrun.") and name != "nsrun.__version__":
                other = layer(name)
                if other not in (own, "") and other in BELOW and other not in BELOW[own]:
                    wrong.append(f"{path.relative_to(REPO)}:{line}: {own} imports {name}")
    assert not wrong, "\n".join(wrong)


def test_foreign_libraries_have_one_doorway() -> None:
    wrong = []
    for path in MODULES:
        where = str(path.relative_to(REPO))
        for line, name in imports(parse(path)):
            for library, doors in DOORWAYS.items():
                if (name == library or name.startswith(library + ".")) and where not in doors:
                    wrong.append(f"{where}:{line}: imports {name}")
    assert not wrong, "\n".join(wrong)


def test_modules_are_named_for_what_they_hold() -> None:
    assert [str(p) for p in MODULES if p.stem in BANNED_NAMES] == []


def test_files_hold_one_concept() -> None:
    long = [f"{p.relative_to(REPO)}: {n} lines" for p in MODULES if (n := len(p.read_text().splitlines())) > FILE_CAP]
    long += [
        f"{p.relative_to(REPO)}: {n} lines" for p in C_FILES if (n := len(p.read_text().splitlines())) > C_FILE_CAP
    ]
    assert not long, "\n".join(long)


def test_functions_are_short() -> None:
    sizes = [size for path in MODULES for size in functions(path)]
    too_long = [f"{where}: {n} lines" for where, n in sizes if n > FUNCTION_CAP]
    assert not too_long, "\n".join(too_long)
    lengths = [n for _, n in sizes]
    assert statistics.median(lengths) <= FUNCTION_MEDIAN
    assert statistics.quantiles(lengths, n=10)[-1] <= FUNCTION_P90


@pytest.mark.parametrize("path", [p for p in MODULES if p.name != "__main__.py"], ids=module_name)
def test_public_names_are_listed(path: Path) -> None:
    """ruff (RUF022) keeps the lists sorted."""
    tree = parse(path)
    body = [n for n in tree.body if not (isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant))]
    if not body:
        return
    listed = any(
        "__all__" in ast.unparse(n.target if isinstance(n, ast.AnnAssign) else n.targets[0])
        for n in body
        if isinstance(n, ast.Assign | ast.AnnAssign)
    )
    assert listed, f"{path.relative_to(REPO)} has no __all__"


def test_no_module_keeps_state() -> None:
    """A module-level name is bound once, to a constant; `global` is for nobody."""
    wrong = [
        f"{path.relative_to(REPO)}:{node.lineno}"
        for path in MODULES
        for node in ast.walk(parse(path))
        if isinstance(node, ast.Global)
    ]
    assert not wrong


def test_only_the_command_line_prints_or_exits() -> None:
    wrong = []
    for path in MODULES:
        if layer(module_name(path)) == "cli":
            continue
        for node in ast.walk(parse(path)):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                if called in ("print", "exit", "sys.exit", "os._exit"):
                    wrong.append(f"{path.relative_to(REPO)}:{node.lineno}: {called}")
    assert not wrong, "\n".join(wrong)


# Statuses and events that dashboards and people look for.
KUBELETS_WORDS = (
    "1 if there was an error while getting container metrics",
    'failed to connect service at "',
    'timeout: failed to connect service "',
    "failed to parse Location header ",
    '{"message": "Unable to decode query."}',
    "couldn't find key ",
    "Unable to retrieve some image pull secrets (",
    "unable to provision SubPath `",
    "unable to upgrade: ",
    'unable to parse "',
    "Failed to garbage collect required amount of images. Attempt",
)


def test_messages_say_cannot() -> None:
    """``cannot <verb> <object>: <cause>``: never "failed to", "unable to", "could not", but in the kubelet's words."""
    word = re.compile(r"\b(failed to|unable to|could not|couldn't|error while)\b", re.IGNORECASE)
    wrong = []
    for path in MODULES:
        tree = parse(path)
        docstrings = {id(n.body[0].value) for n in ast.walk(tree) if _has_docstring(n)}  # type: ignore[attr-defined]
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Constant)
                and isinstance(node.value, str)
                and id(node) not in docstrings
                and word.search(node.value)
                and not node.value.startswith(KUBELETS_WORDS)
            ):
                wrong.append(f"{path.relative_to(REPO)}:{node.lineno}: {node.value[:60]!r}")
    assert not wrong, "\n".join(wrong)


def _has_docstring(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and bool(node.body)
        and isinstance(node.body[0], ast.Expr)
        and isinstance(node.body[0].value, ast.Constant)
    )


def test_nobody_sleeps_in_tests() -> None:
    """A test waits for a condition, by ``tests.waiting`` or an event; it never guesses how long something takes."""
    wrong = []
    for path in sorted((REPO / "tests").rglob("*.py")):
        if path.name == "waiting.py":
            continue
        for node in ast.walk(parse(path)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("time.sleep", "asyncio.sleep"):
                zero = len(node.args) == 1 and isinstance(node.args[0], ast.Constant) and node.args[0].value == 0
                if not zero:
                    wrong.append(f"{path.relative_to(REPO)}:{node.lineno}")
    assert not wrong, "\n".join(wrong)


# Of these a test waits more than two seconds only for what should be there at once.
DEADLINES = {
    "asyncio.timeout",
    "asyncio.wait_for",
    "communicate",
    "create_connection",
    "run",
    "settimeout",
    "urlopen",
    "wait",
}


def test_deadlines_in_tests_are_stretched() -> None:
    """An emulated processor is ten times slower: ``tests.waiting.PATIENCE``."""
    wrong = []
    for path in sorted((REPO / "tests").rglob("*.py")):
        for node in ast.walk(parse(path)):
            if isinstance(node, ast.Call | ast.Compare) and any(map(_is_fixed, _deadlines(node))):
                wrong.append(f"{path.relative_to(REPO)}:{node.lineno}: {ast.unparse(node)[:80]}")
    assert not wrong, "\n".join(wrong)


def _deadlines(node: ast.Call | ast.Compare) -> list[ast.expr]:
    """What a call may take, and how much time has passed at most."""
    if isinstance(node, ast.Compare):
        return node.comparators[-1:] if "monotonic() - " in ast.unparse(node) and _is_upper(node.ops[-1]) else []
    called = ast.unparse(node.func)
    if not {called, called.rpartition(".")[2]} & DEADLINES:
        return []
    named = [word.value for word in node.keywords if word.arg == "timeout"]
    return [*named, *(node.args[-1:] if called != "run" else [])]


def _is_upper(operator: ast.cmpop) -> bool:
    return isinstance(operator, ast.Lt | ast.LtE)


def _is_fixed(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and isinstance(value.value, int | float) and value.value > 2


def test_names_of_tests_are_short(request: pytest.FixtureRequest) -> None:
    """They are typed, kept and compared."""
    long = [item.nodeid[:200] for item in request.session.items if len(item.nodeid) > 400]
    assert not long, "\n".join(long)
