"""Which container is meant when none is named."""

from __future__ import annotations

import pytest

from nsrun.model.defaultcontainer import DefaultContainer, default_container


def pod(*names: str, init: tuple[str, ...] = (), annotated: object = None) -> dict[str, object]:
    annotations = {} if annotated is None else {"kubectl.kubernetes.io/default-container": annotated}
    containers, others = ([{"name": name} for name in some] for some in (names, init))
    return {"metadata": {"annotations": annotations}, "spec": {"containers": containers, "initContainers": others}}


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (pod("a"), DefaultContainer("a", False, ("a",))),
        (pod("a", "b"), DefaultContainer("a", True, ("a", "b"))),
        (pod("a", init=("i",)), DefaultContainer("a", True, ("a", "i (init)"))),
        (pod("a", "b", annotated="b"), DefaultContainer("b", False, ("a", "b"))),
        (pod("a", init=("i",), annotated="i"), DefaultContainer("i", False, ("a", "i (init)"))),
        (pod("a", "b", annotated="none"), DefaultContainer("a", True, ("a", "b"))),
        (pod("a", annotated=["a"]), DefaultContainer("a", False, ("a",))),
        (pod(), DefaultContainer(None, False, ())),
        ({"metadata": [], "spec": {"containers": "a"}}, DefaultContainer(None, False, ())),
        (None, DefaultContainer(None, False, ())),
    ],
)
def test_by_annotation_or_the_first(document: object, expected: DefaultContainer) -> None:
    assert default_container(document) == expected
