"""Desired against actual."""

from __future__ import annotations

from dataclasses import replace

from nsrun.model.pod import Pod
from nsrun.supervisor.admission import Admission
from nsrun.supervisor.reconciler import Incumbent, reconcile
from nsrun.support.layout import PodName
from tests.unit.supervisor.world import container, pod

A, B, C = pod("a"), pod("b"), pod("c")


def room(max_pods: int) -> Admission:
    return Admission(max_pods=max_pods)


def there(pod: Pod, *, leaving: bool = False, finished: bool = False) -> Incumbent:
    return Incumbent(uid=pod.uid, name=pod.name, pod=pod, leaving=leaving, finished=finished)


def test_what_is_wanted_and_not_there_is_started_in_order() -> None:
    assert reconcile([B, A], [], admission=room(9)).start == (B, A)


def test_what_is_there_and_wanted_is_left_alone() -> None:
    decision = reconcile([A], [there(A)], admission=room(9))
    assert (decision.start, decision.refresh, decision.terminate) == ((), (), ())


def test_what_is_there_and_not_wanted_is_ended_once() -> None:
    assert reconcile([], [there(A), there(B, leaving=True)], admission=room(9)).terminate == (A.uid,)


def test_another_uid_of_the_same_name_waits_until_the_first_is_gone() -> None:
    edited = pod("a", uid="other")
    decision = reconcile([edited], [there(A)], admission=room(9))
    assert (decision.terminate, decision.wait, decision.start) == ((A.uid,), (edited,), ())
    decision = reconcile([edited], [there(A, leaving=True)], admission=room(9))
    assert (decision.terminate, decision.wait, decision.start) == ((), (edited,), ())
    assert reconcile([edited], [], admission=room(9)).start == (edited,)


def test_the_same_uid_with_another_spec_is_another_pod() -> None:
    edited = pod("a", container("main", "exit 1"))
    decision = reconcile([edited], [there(A)], admission=room(9))
    assert (decision.terminate, decision.wait) == ((A.uid,), (edited,))


def test_other_labels_are_taken_on_the_fly() -> None:
    labelled = replace(A, metadata=replace(A.metadata, labels={"x": "y"}))
    decision = reconcile([labelled], [there(A)], admission=room(9))
    assert (decision.refresh, decision.terminate, decision.start) == ((labelled,), (), ())


def test_a_pod_that_is_wanted_again_while_it_leaves_waits_for_its_own_end() -> None:
    decision = reconcile([A], [there(A, leaving=True)], admission=room(9))
    assert (decision.wait, decision.start, decision.refresh) == ((A,), (), ())


def test_a_uid_that_moves_to_another_name_waits_too() -> None:
    moved = pod("z", uid=A.uid)
    decision = reconcile([moved], [there(A)], admission=room(9))
    assert (decision.terminate, decision.wait) == ((A.uid,), (moved,))


def test_remains_of_the_same_name_are_waited_for() -> None:
    remains = Incumbent(uid="old", name=A.name, pod=None, leaving=True)
    nameless = Incumbent(uid="older", name=None, pod=None, leaving=True)
    assert reconcile([A, B], [remains, nameless], admission=room(9)).wait == (A,)
    assert reconcile([A, B], [remains, nameless], admission=room(9)).start == (B,)


def test_pods_beyond_the_room_are_turned_away() -> None:
    decision = reconcile([A, B, C], [there(C)], admission=room(2))
    assert decision.start == (A,)
    (rejection,) = decision.reject
    assert rejection.pod == B
    assert rejection.reason == "OutOfpods"
    assert rejection.message == "Node didn't have enough resource: pods, requested: 1, used: 2, capacity: 2"


def test_running_pods_are_never_ended_for_want_of_room() -> None:
    decision = reconcile([A, B], [there(A), there(B)], admission=room(1))
    assert (decision.terminate, decision.reject) == ((), ())


def test_finished_pods_take_no_room() -> None:
    assert reconcile([A, B], [there(A, finished=True)], admission=room(1)).start == (B,)


def test_a_replacement_keeps_its_room() -> None:
    edited = pod("b", uid="other")
    decision = reconcile([A, edited], [there(B)], admission=room(1))
    assert decision.wait == (edited,)
    assert [r.pod for r in decision.reject] == [A]


def test_the_first_of_a_name_counts() -> None:
    assert reconcile([A, pod("a", uid="second")], [], admission=room(9)).start == (A,)


def test_a_uid_belongs_to_one_pod() -> None:
    thief = pod("thief", uid=A.uid)
    decision = reconcile([A, thief], [], admission=room(9))
    assert decision.start == (A,)
    (rejection,) = decision.reject
    assert (rejection.pod, rejection.reason) == (thief, "DuplicateUID")
    assert rejection.message == 'the UID "uid-a" belongs to pod "default/a"'


def test_a_pod_whose_manifest_cannot_be_read_goes_on() -> None:
    decision = reconcile([], [there(A), there(B)], admission=room(9), keeps=lambda pod: pod == A)
    assert (decision.keep, decision.terminate) == ((A.uid,), (B.uid,))
    assert reconcile([C], [there(A)], admission=room(1), keeps=lambda pod: True).reject[0].pod == C


def test_but_not_beside_another_of_its_name() -> None:
    edited = pod("a", uid="other")
    decision = reconcile([edited], [there(A)], admission=room(9), keeps=lambda pod: True)
    assert (decision.keep, decision.terminate, decision.wait) == ((), (A.uid,), (edited,))


def test_names_compare_by_namespace_too() -> None:
    elsewhere = replace(A, metadata=replace(A.metadata, namespace="elsewhere", uid="x"))
    assert elsewhere.name == PodName(namespace="elsewhere", name="a")
    assert reconcile([A, elsewhere], [], admission=room(9)).start == (A, elsewhere)
