from pathlib import Path

import pytest

from examples.shop.state_files import ENDPOINTS_FILE, FLAGS_FILE, replace_json, watch_endpoints, watch_flags


def test_a_reader_sees_what_the_writer_wrote_last(tmp_path: Path) -> None:
    endpoints = watch_endpoints(tmp_path)
    assert endpoints.read() == {}
    replace_json(tmp_path / ENDPOINTS_FILE, {"cart": ["http://127.0.0.1:1"]})
    assert endpoints.read() == {"cart": ["http://127.0.0.1:1"]}
    replace_json(tmp_path / ENDPOINTS_FILE, {"cart": ["http://127.0.0.1:2"]})
    assert endpoints.read() == {"cart": ["http://127.0.0.1:2"]}


@pytest.mark.parametrize("broken", [b"", b"{", b"[]", b'{"cart": "x"}', b'{"cart": [1]}', b"\xff\xfe", b"null"])
def test_a_malformed_registry_keeps_the_last_good_one(tmp_path: Path, broken: bytes) -> None:
    endpoints = watch_endpoints(tmp_path)
    replace_json(tmp_path / ENDPOINTS_FILE, {"cart": ["http://127.0.0.1:1"]})
    endpoints.read()
    (tmp_path / ENDPOINTS_FILE).write_bytes(broken)
    assert endpoints.read() == {"cart": ["http://127.0.0.1:1"]}


def test_a_flag_that_is_not_a_switch_is_not_believed(tmp_path: Path) -> None:
    flags = watch_flags(tmp_path)
    replace_json(tmp_path / FLAGS_FILE, {"new-pricing": "yes"})
    assert flags.read() == {}


def test_a_replaced_file_leaves_no_scratch_behind(tmp_path: Path) -> None:
    replace_json(tmp_path / FLAGS_FILE, {})
    assert [path.name for path in tmp_path.iterdir()] == [FLAGS_FILE]
