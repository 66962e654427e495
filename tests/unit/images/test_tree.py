"""What images share, and what each of them takes."""

from __future__ import annotations

from nsrun.cli.images import tree_lines
from nsrun.images.tree import LayerUse, StoredLayers, forest, shared_and_own
from tests.layouts import sha256


def layer(name: str, compressed: int = 10, unpacked: int = 100, *, blob: str = "") -> LayerUse:
    return LayerUse(
        diff_id=sha256(name.encode()),
        blob=sha256(f"blob of {blob or name}".encode()),
        compressed=compressed,
        unpacked=unpacked,
    )


def image(name: str, *layers: LayerUse) -> StoredLayers:
    return StoredLayers(names=(name,), id=sha256(name.encode()), layers=layers, documents=1)


BASE, MIDDLE, TOP, OTHER = layer("base"), layer("middle"), layer("top"), layer("other", 7, 0)


def test_images_that_begin_alike_share_a_trunk() -> None:
    (root,) = forest([image("a", BASE, MIDDLE, TOP), image("b", BASE, MIDDLE, OTHER), image("c", BASE)])
    assert (root.layer, root.count, root.images) == (BASE, 3, ["c"])
    (middle,) = root.above
    assert (middle.layer, middle.count, middle.images) == (MIDDLE, 2, [])
    assert [(node.layer, node.count, node.images) for node in middle.above] == [(TOP, 1, ["a"]), (OTHER, 1, ["b"])]


def test_a_layer_in_another_place_is_shared_too() -> None:
    roots = forest([image("a", BASE, TOP), image("b", TOP)])
    assert [(root.layer, root.count) for root in roots] == [(BASE, 1), (TOP, 2)]


def test_the_tree() -> None:
    roots = forest([image("a", BASE, MIDDLE, TOP), image("b", BASE, MIDDLE, OTHER), image("c", MIDDLE)])
    base, middle, top, other = (one.diff_id.partition(":")[2][:12] for one in (BASE, MIDDLE, TOP, OTHER))
    assert [line for root in roots for line in tree_lines(root)] == [
        f"{base}  10B, 100B unpacked, shared by 2 images",
        f"{middle}  10B, 100B unpacked, shared by 3 images",
        f"├── {top}  10B, 100B unpacked",
        "│   └── a",
        f"└── {other}  7B, not unpacked",
        "    └── b",
        f"{middle}  10B, 100B unpacked, shared by 3 images",
        "└── c",
    ]


def test_what_is_shared_counts_for_nobody_alone() -> None:
    a, b = image("a", BASE, TOP), image("b", BASE, OTHER)
    uses = {use.image.names[0]: (use.shared, use.own) for use in shared_and_own([a, b])}
    assert uses == {"a": (110, 111), "b": (110, 8)}
    assert [(use.shared, use.own) for use in shared_and_own([a])] == [(0, 221)]


def test_one_layer_from_two_blobs() -> None:
    """The same files, compressed twice: the files are shared, the blobs are not."""
    again = layer("base", 12, blob="base, better")
    uses = shared_and_own([image("a", BASE), image("b", again)])
    assert [(use.shared, use.own) for use in uses] == [(100, 11), (100, 13)]


def test_an_image_that_has_a_layer_twice_has_it_once() -> None:
    twice = image("a", BASE, BASE)
    assert (twice.compressed, twice.unpacked) == (11, 100)
    assert [(use.shared, use.own) for use in shared_and_own([twice])] == [(0, 111)]
