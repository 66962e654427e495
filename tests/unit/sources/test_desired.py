"""Last good versions, and one owner for every name."""

from __future__ import annotations

from nsrun.model.container import Container, PullPolicy
from nsrun.model.decode import Manifest, PlacedPod
from nsrun.model.pod import ObjectMeta, Pod, PodSpec
from nsrun.model.update import SourceUpdate
from nsrun.sources.desired import FileState, Owners, desired, next_state
from nsrun.support.layout import PodName


def placed(name: str, *, uid: str = "", image: str = "busybox", line: int = 4) -> PlacedPod:
    container = Container(name="main", image=image, image_pull_policy=PullPolicy.ALWAYS)
    meta = ObjectMeta(name=name, namespace="default", uid=uid or f"uid-{name}-{image}")
    return PlacedPod(pod=Pod(metadata=meta, spec=PodSpec(containers=(container,))), line=line, column=9)


def state(file: str, *pods: PlacedPod, leaving: bool = False, problems: tuple[str, ...] = ()) -> FileState:
    return FileState(file=file, origin=f"/m/{file}", pods=pods, leaving=leaving, problems=problems)


def images(update: SourceUpdate) -> list[tuple[str, str]]:
    return [(pod.metadata.name, pod.spec.containers[0].image) for pod in update.pods]


def full(name: str) -> PodName:
    return PodName(namespace="default", name=name)


NOBODY: Owners = {}


def test_a_broken_version_gives_up_no_pod() -> None:
    before = state("a", placed("one"), placed("two"), placed("three"))
    after = next_state(before, Manifest(pods=(placed("two", image="new"),), problems=("a:1:1: bad",)))
    update, _ = desired([after], NOBODY)
    assert images(update) == [("two", "new"), ("one", "busybox"), ("three", "busybox")]
    assert update.retained == {full("one"), full("three")}
    assert update.broken == {"/m/a"}
    assert update.problems == ("a:1:1: bad",)
    assert update.warnings == (
        'a: pod "default/one" keeps running as it was last read',
        'a: pod "default/three" keeps running as it was last read',
    )
    still = next_state(after, Manifest(problems=("a:1:1: worse",)))
    assert len(still.pods) == 3
    good = next_state(still, Manifest(pods=(placed("two"),)))
    assert images(desired([good], NOBODY)[0]) == [("two", "busybox")]
    assert not good.retained


def test_the_first_by_name_has_a_name_that_nobody_has() -> None:
    update, owners = desired([state("a", placed("x", image="a")), state("b", placed("x", image="b"))], NOBODY)
    assert images(update) == [("x", "a")]
    assert update.problems == ('b:4:9: metadata.name: pod "default/x" is already defined in a:4:9',)
    assert owners == {full("x"): "/m/a"}


def test_who_has_a_name_keeps_it() -> None:
    a, b = state("a", placed("x", image="a")), state("b", placed("x", image="b"))
    _, owners = desired([b], NOBODY)
    update, owners = desired([a, b], owners)
    assert images(update) == [("x", "b")]
    assert update.problems == ('a:4:9: metadata.name: pod "default/x" is already defined in b:4:9',)
    update, owners = desired([a], owners)
    assert images(update) == [("x", "a")]
    assert owners == {full("x"): "/m/a"}


def test_a_broken_file_keeps_its_names_too() -> None:
    broken = next_state(state("b", placed("x", image="b")), Manifest(problems=("b:1:1: bad",)))
    update, _ = desired([state("a", placed("x", image="a")), broken], {full("x"): "/m/b"})
    assert images(update) == [("x", "b")]
    assert update.retained == {full("x")}


def test_a_name_that_another_file_has_is_not_retained() -> None:
    broken = next_state(state("b", placed("x", image="b")), Manifest(problems=("b:1:1: bad",)))
    update, _ = desired([state("a", placed("x", image="a")), broken], {full("x"): "/m/a"})
    assert images(update) == [("x", "a")]
    assert update.retained == frozenset()


def test_a_file_that_is_leaving_is_waited_for() -> None:
    files = [state("a", placed("x", image="a"), leaving=True), state("b", placed("x", image="b"))]
    update, _ = desired(files, {full("x"): "/m/a"})
    assert images(update) == [("x", "a")]
    assert update.problems == ()


def test_two_documents_of_a_file_cannot_share_a_name() -> None:
    update, _ = desired([state("a", placed("x", image="1"), placed("x", image="2", line=9))], NOBODY)
    assert images(update) == [("x", "1")]
    assert update.problems == ('a:9:9: metadata.name: pod "default/x" is already defined in a:4:9',)


def test_uids_are_unique() -> None:
    update, _ = desired([state("a", placed("x", uid="same"), placed("y", uid="same", line=9))], NOBODY)
    assert images(update) == [("x", "busybox")]
    assert update.problems == ('a:9:9: metadata.uid: "same" is already the UID of pod "default/x"',)


def test_pods_come_in_order_of_file_and_document() -> None:
    files = [state("a", placed("z"), placed("y")), state("b", placed("x"))]
    update, _ = desired(files, {full("x"): "/m/b"})
    assert [pod.metadata.name for pod in update.pods] == ["z", "y", "x"]
