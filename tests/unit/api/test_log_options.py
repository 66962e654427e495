"""What of a log is wanted, and what is said about wishes that make no sense."""

from __future__ import annotations

import pytest

from nsrun.api.log_options import LogOptions, log_options
from nsrun.api.places import Refused

NOW = 1_000_000.0


def options(**query: str) -> LogOptions:
    return log_options({name: (value,) for name, value in query.items()}, now=NOW)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, LogOptions()),
        (
            {"follow": "true", "previous": "1", "timestamps": ""},
            LogOptions(follow=True, previous=True, timestamps=True),
        ),
        ({"follow": "false", "previous": "0", "timestamps": "False"}, LogOptions()),
        ({"tailLines": "5"}, LogOptions(tail=5)),
        ({"tailLines": ""}, LogOptions()),
        ({"tail": "7", "tailLines": "5"}, LogOptions(tail=7)),
        ({"tail": "all", "tailLines": "5"}, LogOptions()),
        ({"limitBytes": "1"}, LogOptions(limit=1)),
        ({"sinceSeconds": "10"}, LogOptions(since=NOW - 10)),
        ({"sinceTime": "1970-01-01T00:01:00.5Z"}, LogOptions(since=60.5)),
        ({"sinceTime": "1970-01-01T01:01:00+01:00"}, LogOptions(since=60.0)),
        ({"stream": "All", "tailLines": "0"}, LogOptions(tail=0)),
        ({"stream": "Stderr"}, LogOptions(streams=frozenset({"stderr"}))),
        ({"stream": "Stdout", "unknown": "x"}, LogOptions(streams=frozenset({"stdout"}))),
    ],
)
def test_options(query: dict[str, str], expected: LogOptions) -> None:
    assert options(**query) == expected


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"tailLines": "many"}, 400),
        ({"tail": "x"}, 400),
        ({"limitBytes": "1.5"}, 400),
        ({"sinceSeconds": "9" * 30}, 400),
        ({"sinceTime": "yesterday"}, 400),
        ({"sinceTime": "2020-01-01"}, 400),
        ({"sinceTime": "2020-01-01T00:00:00"}, 400),
        ({"sinceTime": "T"}, 400),
        ({"sinceTime": "99999-01-01T00:00:00Z"}, 400),
        ({"tailLines": "-1"}, 422),
        ({"limitBytes": "0"}, 422),
        ({"sinceSeconds": "0"}, 422),
        ({"sinceSeconds": "1", "sinceTime": "1970-01-01T00:01:00Z"}, 422),
        ({"stream": "stdout"}, 422),
        ({"stream": "Stdout", "tailLines": "1"}, 422),
    ],
)
def test_nonsense(query: dict[str, str], status: int) -> None:
    with pytest.raises(Refused) as told:
        options(**query)
    said = {400: "Unable to decode query.", 422: "Invalid request."}[status]
    assert (told.value.answer.status, told.value.answer.body.decode()) == (status, f'{{"message": "{said}"}}')
