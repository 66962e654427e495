"""What is written is what Prometheus' own parser reads."""

from __future__ import annotations

import math

import pytest
from prometheus_client.parser import text_string_to_metric_families

from nsrun.api.figures.exposition import Sample, counter, exposition, gauge, histogram, labels
from nsrun.supervisor.counts import Histogram


def test_families_are_read_as_they_were_meant() -> None:
    text = exposition(
        (
            counter("a_total", "How often.", [Sample(3, labels(pod="web", namespace="default"), 1_700_000_000.1234)]),
            gauge("b_bytes", "How much.", [Sample(0.5), Sample(1 << 60, 'x="1"')]),
        )
    ).decode()
    first, second = text_string_to_metric_families(text)
    assert (first.name, first.type, first.documentation) == ("a", "counter", "How often.")
    (sample,) = first.samples
    assert (sample.name, sample.labels, sample.value) == ("a_total", {"pod": "web", "namespace": "default"}, 3)
    assert sample.timestamp == pytest.approx(1_700_000_000.123)
    assert [(sample.labels, sample.value) for sample in second.samples] == [({}, 0.5), ({"x": "1"}, float(1 << 60))]


@pytest.mark.parametrize("text", ['"', "\\", "\n", 'a"b\\c\nd', "ü→", "}", 'x",y="z'])
def test_a_label_holds_any_text(text: str) -> None:
    """Names of images come from manifests: none of them makes a label, or a line, of its own."""
    written = exposition((gauge("a", "h", [Sample(1, labels(image=text, pod="p"))]),)).decode()
    (family,) = text_string_to_metric_families(written)
    assert [sample.labels for sample in family.samples] == [{"image": text, "pod": "p"}]


def test_labels_without_a_value_are_none() -> None:
    assert labels(container="", pod="p") == 'pod="p"'
    assert labels(container="") == ""


def test_help_is_one_line() -> None:
    (family,) = text_string_to_metric_families(exposition((gauge("a", "x\\y\nz", [Sample(1)]),)).decode())
    assert family.documentation == "x\\y\nz"


def test_a_histogram_adds_up() -> None:
    seen = Histogram(bounds=(0.5, 10))
    for value in (0.1, 0.2, 3.0, 11.0):
        seen = seen.observed(value)
    rows = [(labels(kind="a"), seen), ("", Histogram(bounds=(0.5, 10)))]
    (family,) = text_string_to_metric_families(exposition((histogram("took_seconds", "h", rows),)).decode())
    assert family.type == "histogram"
    found = {(s.name, tuple(sorted(s.labels.items()))): s.value for s in family.samples}
    assert found["took_seconds_bucket", (("kind", "a"), ("le", "0.5"))] == 2
    assert found["took_seconds_bucket", (("kind", "a"), ("le", "10"))] == 3
    assert found["took_seconds_bucket", (("kind", "a"), ("le", "+Inf"))] == 4
    assert found["took_seconds_count", (("kind", "a"),)] == 4
    assert found["took_seconds_sum", (("kind", "a"),)] == pytest.approx(14.3)
    assert found["took_seconds_count", ()] == 0


def test_families_without_samples_are_not_written() -> None:
    assert exposition((gauge("a", "h", []), histogram("b", "h", []))) == b""


def test_large_and_odd_numbers() -> None:
    values = [1e300, 123456789012345678.0, -1.5, 0.1 + 0.2, math.pi]
    (family,) = text_string_to_metric_families(
        exposition((gauge("a", "h", [Sample(value, f'n="{n}"') for n, value in enumerate(values)]),)).decode()
    )
    assert [sample.value for sample in family.samples] == values
