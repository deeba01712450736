"""Answers fit their budget and say what they left out."""

from typing import Annotated

import pytest
from pydantic import Field

from libs.observability.untrusted_text import cut_text
from services.mcp.answer import Answer, Found, PageArguments, Row, answer, page_of
from services.mcp.bounds import MOST_ANSWER_BYTES, MOST_OFFSET, Figure, Paragraph, untrusted


class TextRow(Row):
    text: Annotated[Paragraph, Field(description=untrusted("Text"))]
    value: Figure = None


class TextAnswer(Answer[TextRow]):
    pass


def shown(rows: list[TextRow], asked: PageArguments) -> TextAnswer:
    found = Found(rows=page_of(rows, asked), total=len(rows), summary="s", pinned={"end": "E"})
    return answer(TextAnswer, asked, found)


def test_rows_that_do_not_fit_are_counted_and_can_be_asked_for() -> None:
    rows = [TextRow(text=f"{n:03d}" + "x" * 1_900) for n in range(40)]
    seen: list[TextRow] = []
    asked = PageArguments(limit=40)
    while True:
        found = shown(rows, asked)
        assert len(found.model_dump_json().encode()) <= MOST_ANSWER_BYTES
        seen += found.rows
        if found.cut is None:
            break
        assert found.cut.rows_left == len(rows) - len(seen)
        assert found.cut.next_arguments == {"limit": 40, "end": "E", "offset": len(seen)}
        asked = PageArguments(limit=40, offset=len(seen))
    assert seen == rows


def test_rows_are_never_lost_to_the_shortening_of_texts() -> None:
    for size in range(0, 60, 7):
        rows = [TextRow(text=f"{n:04d}" + "x" * size) for n in range(1_000)]
        seen: list[TextRow] = []
        while len(seen) < len(rows):
            found = shown(rows, PageArguments(limit=200, offset=len(seen)))
            assert not found.texts_shortened
            seen += found.rows
        assert seen == rows


def test_one_row_that_is_too_large_is_shortened_and_says_so() -> None:
    class WideRow(Row):
        texts: Annotated[list[Paragraph], Field(max_length=100, description=untrusted("Texts"))]

    class WideAnswer(Answer[WideRow]):
        pass

    found = Found(rows=[WideRow(texts=["🔥" * 2_000] * 100)], total=1, summary="s")
    fitted = answer(WideAnswer, PageArguments(), found)
    assert len(fitted.model_dump_json().encode()) <= MOST_ANSWER_BYTES
    assert fitted.texts_shortened
    assert len(fitted.rows) == 1
    assert len(fitted.rows[0].texts) >= 5


def test_beyond_the_greatest_offset_a_narrower_question_is_asked_for() -> None:
    asked = PageArguments(offset=MOST_OFFSET, limit=1)
    found = Found(rows=[TextRow(text="x")], total=MOST_OFFSET + 9, summary="s")
    cut = answer(TextAnswer, asked, found).cut
    assert cut is not None
    assert cut.next_arguments is None
    assert "narrower" in cut.how


def test_an_offset_behind_the_last_row_shows_none_and_is_not_cut() -> None:
    found = shown([TextRow(text="x")], PageArguments(offset=5))
    assert (found.rows, found.rows_total, found.cut, found.status) == ([], 1, None, "success")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_figure_that_json_cannot_say_is_null(value: float) -> None:
    assert TextRow(text="", value=value).value is None


def test_a_figure_has_six_digits() -> None:
    assert TextRow(text="", value=1234567.891).value == 1234570


def test_a_text_that_is_cut_says_how_long_it_was() -> None:
    assert cut_text("a" * 100, 40) == "a" * 17 + "… [cut, 100 characters]"
    assert cut_text("short", 40) == "short"


def test_what_does_not_show_is_written_as_its_escape() -> None:
    hidden = "a\u200bb\u202ec\x1b[31md\U000e0041e\x00f\ng\th🔥é"
    assert cut_text(hidden, 200) == "a\\u200bb\\u202ec\\x1b[31md\\U000e0041e\\x00f\ng\th🔥é"
