"""How a user's processes come by cgroups: in directories that look like a hierarchy."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from nsrun.host.rootless import delegation
from nsrun.host.rootless.delegation import CGROUP_ROOT, SUPERVISOR, Delegation, cgroup_of, enter_scope
from nsrun.host.rootless.usermanager import NO_SUCH_UNIT, ManagerError

SESSION = "user.slice/user-7.slice/session-1.scope"
SCOPE = "user.slice/user-7.slice/user@7.service/app.slice/nsrun.scope"


class Machine:
    """A v2 hierarchy, and a process in it."""

    def __init__(self, base: Path) -> None:
        self.top, self.proc = base / "cgroup", base / "proc"
        (self.proc / "self").mkdir(parents=True)
        self.top.mkdir()
        (self.top / "cgroup.controllers").write_text("cpu memory pids\n")
        self.delegated: set[str] = set()
        self.place(SESSION)

    def place(self, path: str) -> None:
        """Where the process is."""
        (self.proc / "self" / "cgroup").write_text(f"0::/{path}\n")
        (self.top / path).mkdir(parents=True, exist_ok=True)
        for name in (path, os.path.dirname(path)):
            (self.top / name / "cgroup.procs").touch()

    def enter(self, environment: dict[str, str] | None = None) -> Delegation:
        given = {"XDG_RUNTIME_DIR": "/run/user/7"} if environment is None else environment
        return enter_scope(given, top=self.top, proc=self.proc)


class FakeManager:
    """A manager that moves the machine's process. ``scope``: whether there is one already."""

    def __init__(self, machine: Machine, *, scope: bool, refuse: str = "") -> None:
        self.machine, self.scope, self.refuse = machine, scope, refuse
        self.calls: list[str] = []

    def __enter__(self) -> FakeManager:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def attach(self, unit: str, subcgroup: str, pids: Sequence[int]) -> None:
        self.calls.append(f"attach {unit} {subcgroup}")
        assert list(pids) == [os.getpid()]
        if not self.scope:
            raise ManagerError("Unit nsrun.scope not loaded.", NO_SUCH_UNIT)
        self.machine.place(f"{SCOPE}{subcgroup}")

    def start_scope(self, unit: str, description: str, pids: Sequence[int]) -> None:
        self.calls.append(f"start {unit}")
        if self.refuse:
            self.scope = self.refuse == "another came first"
            raise ManagerError(self.refuse)
        self.machine.place(SCOPE)
        (self.machine.top / SCOPE / "cgroup.procs").write_text(f"{pids[0]}\n0\n")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine(tmp_path)

    def getxattr(path: Path, name: str) -> bytes:
        assert name == "user.delegate"
        if str(path.relative_to(made.top)) not in made.delegated:
            raise OSError(61, "no data")
        return b"1"

    monkeypatch.setattr(os, "getxattr", getxattr)
    return made


def use(monkeypatch: pytest.MonkeyPatch, manager: FakeManager | None) -> None:
    monkeypatch.setattr(delegation, "open_manager", lambda runtime: manager)


def test_the_first_one_makes_the_scope_and_goes_into_a_leaf(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeManager(machine, scope=False)
    use(monkeypatch, fake)
    environment = {"XDG_RUNTIME_DIR": "/run/user/7"}
    assert machine.enter(environment) == Delegation(root=f"{SCOPE}/pods")
    assert environment[CGROUP_ROOT] == f"{SCOPE}/pods"
    assert fake.calls == ["attach nsrun.scope /supervisor", "start nsrun.scope"]
    assert (machine.top / SCOPE / SUPERVISOR / "cgroup.procs").read_text() == str(os.getpid())


def test_later_ones_join(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeManager(machine, scope=True)
    use(monkeypatch, fake)
    assert machine.enter().root == f"{SCOPE}/pods"
    assert fake.calls == ["attach nsrun.scope /supervisor"]


def test_of_two_at_once_the_second_joins(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeManager(machine, scope=False, refuse="another came first")
    use(monkeypatch, fake)
    assert machine.enter().root == f"{SCOPE}/pods"
    assert len(fake.calls) == 3


def test_who_is_in_the_scope_asks_nobody(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, None)
    machine.place(f"{SCOPE}/{SUPERVISOR}")
    machine.delegated = {SCOPE}
    assert machine.enter().root == f"{SCOPE}/pods"


def test_a_delegated_service_is_used_as_it_is(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, None)
    service = "user.slice/user-7.slice/user@7.service/app.slice/nsrun.service"
    machine.place(service)
    machine.delegated = {service}
    (machine.top / service / "cgroup.procs").write_text("4321\n")
    assert machine.enter().root == f"{service}/pods"
    assert (machine.top / service / SUPERVISOR / "cgroup.procs").read_text() == "4321"


def test_the_managers_own_service_is_not_ours(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, None)
    machine.place("user.slice/user-7.slice/user@7.service")
    machine.delegated = {"user.slice/user-7.slice/user@7.service"}
    assert machine.enter().refusal == "no user manager of systemd's answers"


def test_what_somebody_said_stays(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, FakeManager(machine, scope=True))
    environment = {"XDG_RUNTIME_DIR": "/run/user/7", CGROUP_ROOT: "mine"}
    machine.enter(environment)
    assert environment[CGROUP_ROOT] == "mine"


@pytest.mark.parametrize("refuse", ["access denied"])
def test_without_delegation_users_are_told_apart(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, refuse: str
) -> None:
    none = f"nsrun-{os.geteuid()}"
    use(monkeypatch, None)
    assert machine.enter() == Delegation(root=none, refusal="no user manager of systemd's answers")
    assert machine.enter({}).root == none
    use(monkeypatch, FakeManager(machine, scope=False, refuse=refuse))
    assert machine.enter() == Delegation(root=none, refusal="Unit nsrun.scope not loaded.")
    (machine.top / "cgroup.controllers").unlink()
    assert "not cgroup v2 alone" in machine.enter().refusal
    (machine.proc / "self" / "cgroup").unlink()
    assert machine.enter().root == none


def test_a_manager_that_moves_nobody_is_told(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeManager(machine, scope=True)
    fake.attach = lambda *_: None  # type: ignore[method-assign]
    use(monkeypatch, fake)
    assert machine.enter().refusal == f"systemd left this process in {SESSION}"


def test_where_a_process_is() -> None:
    assert cgroup_of("1:name=systemd:/x\n0::/a/b\n") == "a/b"
    assert cgroup_of("4:memory:/x\n") == ""
