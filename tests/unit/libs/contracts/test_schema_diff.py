"""What a new version of a schema changes is said in words."""

from typing import Any

import pytest

from libs.contracts.avro_schema import derive
from libs.contracts.records import RECORDS
from libs.contracts.schema_diff import differences


def record(*fields: dict[str, Any]) -> dict[str, Any]:
    return {"type": "record", "name": "p.R", "fields": list(fields)}


A: dict[str, Any] = {"name": "a", "type": "string"}


@pytest.mark.parametrize("name", RECORDS)
def test_a_schema_does_not_differ_from_itself(name: str) -> None:
    assert differences(derive(RECORDS[name]), derive(RECORDS[name])) == []


def test_added_removed_and_changed_fields_are_told_apart() -> None:
    before = record(A, {"name": "gone", "type": ["null", "long"], "default": None})
    after = record({"name": "a", "type": "long"}, {"name": "new", "type": "string", "default": ""})
    assert differences(before, after) == [
        "- gone: null | long",
        "~ a: string -> long",
        '+ new: string, default ""',
    ]


def test_a_new_field_without_default_says_so() -> None:
    assert differences(record(), record(A)) == ["+ a: string, no default"]


def test_a_changed_default_is_a_change() -> None:
    assert differences(record(A), record({**A, "default": "x"})) == ['~ a: default none -> "x"']


def test_documentation_is_no_change() -> None:
    assert differences(record(A), record({**A, "doc": "new words"})) == []


def test_changes_inside_nested_records_are_found_by_their_path() -> None:
    def nested(*fields: dict[str, Any]) -> dict[str, Any]:
        inner = {"type": "record", "name": "p.Inner", "fields": list(fields)}
        return record({"name": "many", "type": {"type": "array", "items": inner}}, {"name": "one", "type": "p.Inner"})

    assert differences(nested(), nested(A)) == ["+ many.a: string, no default", "+ one.a: string, no default"]


def test_a_record_that_holds_itself_ends() -> None:
    schema = record({"name": "next", "type": ["null", "p.R"], "default": None})
    assert differences(schema, schema) == []
