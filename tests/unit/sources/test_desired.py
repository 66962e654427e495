"""Last good versions, and one owner for every name."""

from __future__ import annotations

from nsrun.model.container import Container, PullPolicy
from nsrun.model.decode import Manifest, PlacedObject, PlacedPod
from nsrun.model.objects import ConfigMap, PersistentVolume, Secret
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


def config(name: str, value: str = "", *, line: int = 4, immutable: bool = False) -> PlacedObject:
    said = ConfigMap(namespace="default", name=name, data={"key": value.encode()}, immutable=immutable)
    return PlacedObject(object=said, line=line, column=9)


def holding(file: str, *objects: PlacedObject, leaving: bool = False) -> FileState:
    return FileState(file=file, origin=f"/m/{file}", objects=objects, leaving=leaving)


def values(update: SourceUpdate) -> dict[str, str]:
    return {name: said.data["key"].decode() for (_, name), said in update.objects.config_maps.items()}


def test_objects_are_those_of_all_files() -> None:
    secret = PlacedObject(object=Secret(namespace="team", name="one"), line=1, column=1)
    volume = PlacedObject(object=PersistentVolume(name="disk", path="/srv"), line=1, column=1)
    update, _ = desired([holding("a", config("one", "1"), secret), holding("b", config("two", "2"), volume)], NOBODY)
    assert values(update) == {"one": "1", "two": "2"}
    assert list(update.objects.secrets) == [("team", "one")]
    assert list(update.objects.volumes) == ["disk"]
    assert update.problems == ()


def test_who_has_an_object_keeps_it() -> None:
    a, b = holding("a", config("x", "a")), holding("b", config("x", "b", line=9))
    _, owners = desired([b], NOBODY)
    update, owners = desired([a, b], owners)
    assert values(update) == {"x": "b"}
    assert update.problems == ('a:4:9: metadata.name: ConfigMap "default/x" is already defined in b:9:9',)
    update, owners = desired([a], owners)
    assert (values(update), update.problems) == ({"x": "a"}, ())
    update, _ = desired([holding("a", config("x", "a"), leaving=True), b], owners)
    assert (values(update), update.problems) == ({"x": "a"}, ())


def test_two_of_a_name_in_one_file() -> None:
    update, _ = desired([holding("a", config("x", "1"), config("x", "2", line=9))], NOBODY)
    assert values(update) == {"x": "1"}
    assert update.problems == ('a:9:9: metadata.name: ConfigMap "default/x" is already defined in a:4:9',)


def test_a_broken_version_gives_up_no_object() -> None:
    before = holding("a", config("one", "1"), config("two", "2"))
    after = next_state(before, Manifest(objects=(config("two", "new"),), problems=("a:1:1: bad",)))
    update, _ = desired([after], NOBODY)
    assert values(update) == {"one": "1", "two": "new"}
    assert update.warnings == ('a: ConfigMap "default/one" stays as it was last read',)
    good = next_state(after, Manifest(objects=(config("two", "2"),)))
    assert values(desired([good], NOBODY)[0]) == {"two": "2"}


def test_what_is_immutable_stays_as_it_was() -> None:
    before = holding("a", config("x", "1", immutable=True))
    changed = next_state(before, Manifest(objects=(config("x", "2", line=7),)))
    update, _ = desired([changed], NOBODY)
    assert values(update) == {"x": "1"}
    assert update.objects.config_maps["default", "x"].immutable
    text = 'ConfigMap "default/x" is immutable and stays as it was: remove it, and then add it again'
    assert update.problems == (f"a:7:9: {text}",)
    assert update.broken == frozenset()
    again = next_state(changed, Manifest(objects=(config("x", "3", line=7),)))
    assert values(desired([again], NOBODY)[0]) == {"x": "1"}
    same = next_state(again, Manifest(objects=(config("x", "1", immutable=True),)))
    assert desired([same], NOBODY)[0].problems == ()
    gone = next_state(again, Manifest())
    new = next_state(gone, Manifest(objects=(config("x", "2", immutable=True),)))
    assert values(desired([new], NOBODY)[0]) == {"x": "2"}
