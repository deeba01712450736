"""The demo asks a busy shop again, and says so when it gives up."""

import threading
from collections.abc import Callable

from examples.shop.faults import WorldError
from paramedic.demo.patience import patiently


def refusing(times: int, done: list[str]) -> Callable[[], None]:
    """Something that a shop refuses so many times."""
    left = [times]

    def act() -> None:
        if left[0]:
            left[0] -= 1
            raise WorldError("409 catalog is being changed")
        done.append("deployed")

    return act


def test_what_a_busy_shop_refuses_is_asked_for_again_and_told_once() -> None:
    done: list[str] = []
    told: list[str] = []
    assert patiently(refusing(3, done), threading.Event(), told.append, pause_s=0.0)
    assert done == ["deployed"]
    assert told == ["the shop refuses for now: 409 catalog is being changed"]


def test_a_shop_that_never_lets_it_happen_is_given_up_with_its_words() -> None:
    told: list[str] = []
    assert not patiently(refusing(10**9, []), threading.Event(), told.append, patience_s=0.0, pause_s=0.0)
    assert told[-1] == "the shop refuses: 409 catalog is being changed"


def test_a_stop_ends_the_asking() -> None:
    stop = threading.Event()
    stop.set()
    assert not patiently(refusing(10**9, []), stop, lambda _: None)
