"""Things are found by name, and a name is taken once."""

import pytest

from libs.errors import ConfigurationError, NotFound
from libs.registry import Registry


def test_what_is_registered_is_found_in_order_of_name() -> None:
    registry: Registry[str] = Registry("colour")
    registry.register("red")("#f00")
    registry.register("blue")("#00f")
    assert registry.get("red") == "#f00"
    assert list(registry) == [("blue", "#00f"), ("red", "#f00")]
    assert (registry.names(), len(registry)) == (("blue", "red"), 2)


def test_an_unknown_name_tells_the_known_ones() -> None:
    registry: Registry[str] = Registry("colour")
    registry.register("red")("#f00")
    with pytest.raises(NotFound, match="no colour 'green'; there are red"):
        registry.get("green")


def test_a_name_is_taken_once_but_the_same_thing_may_come_again() -> None:
    registry: Registry[str] = Registry("colour")
    registry.register("red")("#f00")
    registry.register("red")("#f00")
    with pytest.raises(ConfigurationError, match="two entries are called colour 'red'"):
        registry.register("red")("#e00")
