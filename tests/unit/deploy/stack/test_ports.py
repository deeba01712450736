"""A server that was killed can be started again: its ports are waited for."""

import socket
import threading

from deploy.stack.stack import released


def listening() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


def test_ports_that_a_dying_process_still_holds_are_waited_for() -> None:
    dying = listening()
    threading.Timer(0.3, dying.close).start()
    assert released([dying.getsockname()[1]], within_s=20.0)


def test_ports_that_somebody_keeps_are_told() -> None:
    with listening() as kept:
        assert not released([kept.getsockname()[1]], within_s=0.1)
