"""Records: what counts as one, and what is made of it."""

from datetime import datetime

import pytest
from data_processor.records import RawRecord, record_of_event, transform


@pytest.mark.parametrize(
    ("how", "result"),
    [
        ("upper", " STRASSE 5 "),
        ("lower", " straße 5 "),
        ("title", " Straße 5 "),
        ("strip", "Straße 5"),
        ("none", " Straße 5 "),
    ],
)
def test_a_value_is_transformed_as_the_option_says(how, result):
    assert transform(RawRecord("a", " Straße 5 "), how)["processed_value"] == result


def test_a_processed_record_says_what_it_was_and_when_and_by_whom_it_was_processed():
    processed = transform(RawRecord(7, "v"), "upper")
    assert processed["original_id"] == 7
    assert processed["metadata"]["processor"] == "data-processor-plugin"
    assert datetime.fromisoformat(processed["metadata"]["processed_at"]).tzinfo is not None


@pytest.mark.parametrize(
    ("data", "record"),
    [
        ({"id": "a", "value": "v"}, RawRecord("a", "v")),
        ({"id": 7, "value": "v", "colour": "red"}, RawRecord(7, "v")),
        ({}, RawRecord(None, "")),
    ],
)
def test_a_record_is_read_from_an_event(data, record):
    assert record_of_event(data) == record


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (["a"], "the data must be an object with id and value, not ['a']"),
        (
            {"id": [1], "value": 7},
            "'id' must be text or a whole number, not [1]; 'value' must be text, not 7",
        ),
        ({"id": True}, "'id' must be text or a whole number, not True"),
        ({"value": None}, "'value' must be text, not None"),
        (
            {"value": "a\0b"},
            "'value' must be free of null characters: PostgreSQL has none",
        ),
    ],
)
def test_an_event_without_a_record_is_refused_with_all_that_is_wrong(data, words):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the words are compared whole
        record_of_event(data)
    assert str(caught.value) == words
