"""Lines that say the same have the same pattern, in every process, within bounds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.observability.log_patterns import PatternMiner, mask

SAME = [
    ("served request 12 in 3.5 ms", "served request 99213 in 120.25 ms"),
    ("user u-0012 logged in from 10.0.0.1:4444", "user u-9911 logged in from 192.168.1.7:80"),
    (
        "order 3fa85f64-5717-4562-b3fc-2c963f66afa6 placed",
        "order 0e9ab211-aaaa-4bbb-8ccc-1234567890ab placed",
    ),
    ("GET https://shop.test/items/1?x=2 failed", "GET https://other.test/a/b failed"),
    ("cannot open /var/lib/app/data.db", "cannot open /tmp/x/y/z.txt"),
    ("commit deadbeef01 by a.b@example.org", "commit 0123abcdef by carol@example.org"),
    ("at 2026-03-02T09:00:00Z the job ended", "at 2025-12-31 23:59:59.123 the job ended"),
    ("Traceback in line 3\n  File a.py", "Traceback in line 77\n  File b.py\n  more"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_lines_that_differ_in_their_figures_are_one_pattern(one: str, other: str) -> None:
    assert mask(one) == mask(other)
    miner = PatternMiner()
    assert miner.pattern_of("s", "l", one).id == miner.pattern_of("s", "l", other).id


def test_lines_that_say_different_things_are_different_patterns() -> None:
    miner = PatternMiner()
    lines = ["payment accepted for order 1", "stock reserved for item 2 in hall 3", "KeyError: 'price'"]
    assert len({miner.pattern_of("s", "l", line).id for line in lines}) == 3


def test_words_that_are_no_hexadecimal_numbers_stay() -> None:
    assert mask("decade faded cafe") == "decade faded cafe"


def test_services_and_loggers_are_kept_apart() -> None:
    miner = PatternMiner()
    assert miner.pattern_of("a", "l", "failed").id != miner.pattern_of("b", "l", "failed").id
    assert miner.pattern_of("a", "l", "failed").id != miner.pattern_of("a", "m", "failed").id


def test_the_same_lines_give_the_same_ids_in_another_miner() -> None:
    lines = [line for pair in SAME for line in pair]
    first, second = PatternMiner(), PatternMiner()
    assert [first.pattern_of("s", "l", x) for x in lines] == [second.pattern_of("s", "l", x) for x in lines]


def test_a_restored_miner_goes_on() -> None:
    miner = PatternMiner()
    known = [miner.pattern_of("s", "l", line) for pair in SAME for line in pair]
    restored = PatternMiner.restore(miner.snapshot())
    again = [restored.pattern_of("s", "l", line) for pair in SAME for line in pair]
    assert [p.id for p in again] == [p.id for p in known]
    assert restored.pattern_of("s", "l", "something quite new").id not in {p.id for p in known}


def test_memory_is_bounded() -> None:
    miner = PatternMiner()
    for number in range(300):
        word = "".join(chr(97 + (number // 26**k) % 26) for k in range(3))
        miner.pattern_of("s", "l", f"{word} {word}x {word}y failed")
        miner.pattern_of(f"service {word}", "l", "failed")
    states = miner.snapshot()
    assert len([s for s in states if s.service == "s"]) <= 100
    assert len({(s.service, s.logger) for s in states}) <= 256


@given(st.lists(st.text(max_size=200), max_size=30))
def test_any_text_has_a_pattern(lines: list[str]) -> None:
    miner = PatternMiner()
    for line in lines:
        assert len(miner.pattern_of("s", "l", line).id) == 16
