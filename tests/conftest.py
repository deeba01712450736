"""The order of the tests: those that wait for processes and brokers stand among those that compute."""

from itertools import groupby
from pathlib import Path

import pytest

COMPUTING = Path(__file__).parent / "unit"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Deal the modules that wait out among the others, whole: at the end of the suite they left the cores idle.

    Behind all unit tests the last minute of 200 s had a core idle or both.
    """
    modules = [list(tests) for _, tests in groupby(items, key=lambda item: item.path)]
    computing = [tests for tests in modules if COMPUTING in tests[0].path.parents]
    waiting = [tests for tests in modules if COMPUTING not in tests[0].path.parents]
    if not waiting or not computing:
        return
    share = sum(map(len, computing)) / len(waiting)
    dealt: list[pytest.Item] = []
    computed, turn = 0, 0
    for tests in computing:
        while turn < len(waiting) and computed >= turn * share:
            dealt += waiting[turn]
            turn += 1
        dealt += tests
        computed += len(tests)
    for tests in waiting[turn:]:
        dealt += tests
    items[:] = dealt
