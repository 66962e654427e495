"""The words of ``nsrun cp``, and docker's table of what becomes what."""

from __future__ import annotations

import pytest

from nsrun.cli.copying.places import (
    InPod,
    Landing,
    OnHost,
    Place,
    Shape,
    Stream,
    landing,
    last_name,
    means_content,
    place,
)
from nsrun.errors import NsrunError

NOTHING, FILE, DIRECTORY, OTHER = Shape.NOTHING, Shape.FILE, Shape.DIRECTORY, Shape.OTHER


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("-", Stream()),
        ("web:/etc", InPod(pod="web", path="/etc")),
        ("web:etc", InPod(pod="web", path="etc")),
        ("kube-system/web:/a:b", InPod(pod="kube-system/web", path="/a:b")),
        ("pod/web:/a", InPod(pod="pod/web", path="/a")),
        ("/a:b", OnHost(path="/a:b")),
        ("./web:/etc", OnHost(path="./web:/etc")),
        ("../a", OnHost(path="../a")),
        ("plain", OnHost(path="plain")),
        ("dir/plain", OnHost(path="dir/plain")),
    ],
)
def test_places(text: str, expected: Place) -> None:
    assert place(text) == expected


@pytest.mark.parametrize("text", ["", ":", ":/etc", "web:", "a/b/c:/etc", "ns/:/etc", "/", "a/:x"])
def test_what_is_no_place(text: str) -> None:
    if text == "/":
        assert place(text) == OnHost(path="/")
        return
    with pytest.raises(NsrunError):
        place(text)


IN = Landing(inside=True, name="s")
AS = Landing(inside=False, name="d")
CONTENT = Landing(inside=True, name="")


@pytest.mark.parametrize(
    ("source", "what", "destination", "there", "expected"),
    [
        ("/x/s", FILE, "/y/d", NOTHING, AS),
        ("/x/s", FILE, "/y/d", FILE, AS),
        ("/x/s", FILE, "/y/d", DIRECTORY, IN),
        ("/x/s", FILE, "/y/d/", DIRECTORY, IN),
        ("/x/s", FILE, "/y/d/.", DIRECTORY, IN),
        ("/x/s", DIRECTORY, "/y/d", NOTHING, AS),
        ("/x/s", DIRECTORY, "/y/d/", NOTHING, AS),
        ("/x/s/", DIRECTORY, "/y/d", NOTHING, AS),
        ("/x/s/.", DIRECTORY, "/y/d", NOTHING, AS),
        ("/x/s", DIRECTORY, "/y/d", DIRECTORY, IN),
        ("/x/s/", DIRECTORY, "/y/d", DIRECTORY, IN),
        ("/x/s/.", DIRECTORY, "/y/d", DIRECTORY, CONTENT),
        (".", DIRECTORY, "/y/d", DIRECTORY, CONTENT),
        ("/", DIRECTORY, "/y/d", DIRECTORY, CONTENT),
        ("..", DIRECTORY, "/y/d", DIRECTORY, CONTENT),
        ("/", DIRECTORY, "/y/d", NOTHING, AS),
    ],
)
def test_what_becomes_what(source: str, what: Shape, destination: str, there: Shape, expected: Landing) -> None:
    assert landing(source, what, destination, there) == expected


@pytest.mark.parametrize(
    ("source", "what", "destination", "there", "cause"),
    [
        ("/x/s", NOTHING, "/y/d", NOTHING, "no such file or directory"),
        ("/x/s", OTHER, "/y/d", NOTHING, "neither a file nor a directory"),
        ("/x/s/", FILE, "/y/d", NOTHING, "it is not a directory"),
        ("/x/s/.", FILE, "/y/d", DIRECTORY, "it is not a directory"),
        ("/x/s", FILE, "/y/d/", NOTHING, "the destination directory does not exist"),
        ("/x/s", FILE, "/y/d/", FILE, "the destination directory does not exist"),
        ("/x/s", DIRECTORY, "/y/d", FILE, "the destination is a file"),
        ("/x/s", FILE, "/y/d", OTHER, "the destination is neither"),
        ("/x/s", DIRECTORY, "/y/d", OTHER, "the destination is neither"),
    ],
)
def test_what_cannot_be(source: str, what: Shape, destination: str, there: Shape, cause: str) -> None:
    with pytest.raises(NsrunError) as error:
        landing(source, what, destination, there)
    assert cause in error.value.message


@pytest.mark.parametrize(
    ("path", "name", "content"),
    [
        ("/a/b", "b", False),
        ("/a/b/", "b", False),
        ("/a/b/.", "", True),
        ("b", "b", False),
        (".", "", True),
        ("..", "", False),
        ("/", "", False),
        ("/a/..", "", False),
    ],
)
def test_names(path: str, name: str, content: bool) -> None:
    assert (last_name(path), means_content(path)) == (name, content)
