"""The demo makes way for what runs already: a taken port becomes any free one."""

import socket
from pathlib import Path

from libs.service.settings import Settings
from paramedic.demo.stage import demo_environment, free_port


def test_a_taken_port_is_left_to_whoever_has_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert free_port("127.0.0.1", taken.getsockname()[1]) == 0


def test_a_free_port_is_kept() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert free_port("127.0.0.1", port) == port


def test_the_demo_has_its_own_folder_and_takes_any_port_when_told_so(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, intake_port=0, api_port=0, console_port=0)
    added = demo_environment(settings)
    assert Path(added["PARAMEDIC_DATA_DIR"]).parent == tmp_path
    assert {added[f"PARAMEDIC_{name}_PORT"] for name in ("INTAKE", "API", "CONSOLE")} == {"0"}
