"""What becomes of every way in which a cluster can refuse, hang, be overloaded or be the wrong one."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from elastic_transport import ConnectionError as Refused
from elastic_transport import ConnectionTimeout, TlsError

from libs.errors import ConfigurationError, Conflict, InvalidMessage, Unavailable
from libs.stores.elastic_bulk import BulkItem, write_bulk
from libs.stores.elastic_connection import ElasticConnection, GuardFailed
from libs.stores.elastic_incidents import ElasticIncidentStore
from libs.stores.elastic_options import ElasticOptions, parse_addresses
from libs.stores.elastic_telemetry import ElasticTelemetryStore
from tests.unit.libs.stores.elastic_fake import FakeCluster, refusal


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


def connected(cluster: FakeCluster, **changes: Any) -> ElasticConnection:
    return ElasticConnection(cluster.options(**changes), lambda *_: None)


def in_turn(*answers: Any) -> Callable[[str, str, Any], Any]:
    left: Iterator[Any] = iter(answers)
    return lambda *_: next(left)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_an_overloaded_cluster_is_asked_again_after_a_pause(cluster: FakeCluster, status: int) -> None:
    cluster.answer = in_turn((status, {}), (status, {}), (200, {"fine": True}))
    assert connected(cluster).request("GET", "/x") == {"fine": True}
    assert len(cluster.pauses) == 2
    assert cluster.pauses[1] > cluster.pauses[0] / 3 > 0


@pytest.mark.parametrize(
    "failure", [(429, refusal("es_rejected_execution_exception", "full")), Refused("no"), (503, {})]
)
def test_a_cluster_that_stays_away_is_unavailable(cluster: FakeCluster, failure: Any) -> None:
    cluster.answer = lambda *_: failure
    with pytest.raises(Unavailable, match="cluster:9200: GET /x"):
        connected(cluster).request("GET", "/x")
    assert len(cluster.pauses) == 3


def test_a_request_that_hangs_is_tried_once_more_only(cluster: FakeCluster) -> None:
    connection = connected(cluster)
    cluster.answer = lambda *_: ConnectionTimeout("slow")
    with pytest.raises(Unavailable, match="ConnectionTimeout"):
        connection.request("GET", "/x")
    assert len(cluster.pauses) == 1


def test_a_refused_request_names_the_reason(cluster: FakeCluster) -> None:
    cluster.answer = lambda *_: (400, refusal("mapper_parsing_exception", "failed to parse [a]"))
    with pytest.raises(InvalidMessage, match=r"400 mapper_parsing_exception failed to parse \[a\]"):
        connected(cluster).request("PUT", "/x", {})
    assert cluster.pauses == []


def test_a_guard_that_fails_says_whether_an_answer_was_lost_before(cluster: FakeCluster) -> None:
    connection = connected(cluster)
    cluster.answer = in_turn((409, {}), (503, {}), (409, {}))
    for ambiguous in (False, True):
        with pytest.raises(GuardFailed) as failed:
            connection.request("PUT", "/x", {})
        assert failed.value.ambiguous is ambiguous


def test_a_missing_document_is_none_only_where_that_is_an_answer(cluster: FakeCluster) -> None:
    cluster.answer = lambda *_: (404, {"found": False})
    connection = connected(cluster)
    assert connection.request("GET", "/x", missing_ok=True) is None
    with pytest.raises(Unavailable, match="404"):
        connection.request("GET", "/x")


@pytest.mark.parametrize("version", ["7.17.0", "10.0.0", "6.8.23"])
def test_a_server_of_another_major_is_refused_at_start(cluster: FakeCluster, version: str) -> None:
    cluster.version = version
    with pytest.raises(ConfigurationError, match=rf"Elasticsearch {version} is not supported.*talks to 8\.x or 9\.x"):
        connected(cluster)


@pytest.mark.parametrize("version", ["8.0.0", "8.19.9", "9.1.0-SNAPSHOT"])
def test_a_server_of_the_clients_major_or_the_next_is_accepted(cluster: FakeCluster, version: str) -> None:
    cluster.version = version
    assert connected(cluster).request("GET", "/x") == {}


def test_a_store_opened_during_an_outage_works_after_it(cluster: FakeCluster) -> None:
    cluster.down = Refused("nobody listens")
    store = ElasticIncidentStore(cluster.options())
    with pytest.raises(Unavailable, match="nobody listens"):
        store.state("x")
    cluster.down = None
    cluster.answer = lambda _, path, __: (404, {"found": False}) if "/_doc/" in path else None
    assert store.state("x") is None
    assert "/_index_template/paramedic-incidents" in cluster.paths("PUT")


def test_a_wrong_server_found_after_an_outage_holds_instead_of_refusing_messages(cluster: FakeCluster) -> None:
    cluster.down = Refused("nobody listens")
    store = ElasticIncidentStore(cluster.options())
    cluster.down, cluster.version = None, "7.17.0"
    with pytest.raises(Unavailable, match=r"7\.17\.0 is not supported"):
        store.state("x")


@pytest.mark.parametrize("status", [401, 403])
def test_rejected_credentials_are_told_at_start_and_held_later(cluster: FakeCluster, status: int) -> None:
    connection = connected(cluster)
    cluster.answer = lambda *_: (status, refusal("security_exception", "no"))
    with pytest.raises(Unavailable, match="check PARAMEDIC_ELASTICSEARCH_API_KEY"):
        connection.request("GET", "/x")
    with pytest.raises(ConfigurationError, match="check PARAMEDIC_ELASTICSEARCH_API_KEY"):
        ElasticIncidentStore(cluster.options())


def test_a_certificate_that_is_not_trusted_names_the_setting(cluster: FakeCluster) -> None:
    cluster.down = TlsError("self-signed certificate")
    with pytest.raises(ConfigurationError, match="PARAMEDIC_ELASTICSEARCH_CA_FILE"):
        connected(cluster)


def test_credentials_are_sent_and_never_shown(cluster: FakeCluster) -> None:
    options = cluster.options(api_key="bXkta2V5")
    connected(cluster, api_key="bXkta2V5").request("GET", "/x")
    assert {name.lower(): value for name, value in cluster.headers[-1].items()}["authorization"] == "ApiKey bXkta2V5"
    assert "bXkta2V5" not in repr(options)
    connected(cluster, user="ann", password="hunter2").request("GET", "/x")
    assert {name.lower(): value for name, value in cluster.headers[-1].items()}["authorization"].startswith("Basic ")
    assert "hunter2" not in repr(cluster.options(user="ann", password="hunter2"))
    with pytest.raises(ConfigurationError, match="not both"):
        connected(cluster, api_key="k", user="ann")


def test_a_ca_file_that_is_missing_is_told_at_start() -> None:
    options = ElasticOptions(addresses=("https://127.0.0.1:9200",), ca_file="/nowhere/ca.pem")
    with pytest.raises(ConfigurationError, match="PARAMEDIC_ELASTICSEARCH"):
        ElasticConnection(options, lambda *_: None)


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("http://ann:hunter2@es:9200", "leave user and password out"),
        ("ftp://es", "no address of Elasticsearch"),
        ("http://", "no address of Elasticsearch"),
        ("http://es:port", "no URL"),
        (" , ", "no address"),
        ("http://es/?q=1", "no address of Elasticsearch"),
        ("http://es,https://es", "some http and some https|some addresses are http"),
    ],
)
def test_an_address_that_is_wrong_is_told_without_its_secrets(address: str, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told) as failed:
        parse_addresses(address, "PARAMEDIC_INCIDENT_STORE")
    assert "hunter2" not in str(failed.value)


def test_addresses_are_completed() -> None:
    assert parse_addresses("http://a, http://[::1]:19200/es/", "X") == ("http://a:9200", "http://[::1]:19200/es")


def test_a_lifecycle_is_put_in_place_only_where_the_cluster_has_it(cluster: FakeCluster) -> None:
    told: list[str] = []
    ElasticTelemetryStore(cluster.options(notice=told.append))
    assert not [path for path in cluster.paths("PUT") if path.startswith("/_ilm")]
    assert "no index lifecycle management" in told[0]
    full = FakeCluster(modules=("x-pack-core", "x-pack-ilm"))
    ElasticTelemetryStore(full.options(notice=told.append, retention_s=7200.0))
    (policy,) = [body for _, path, body in full.asked if path == "/_ilm/policy/paramedic-telemetry"]
    assert policy["policy"]["phases"]["delete"]["min_age"] == "28h"
    templates = [body["template"] for _, path, body in full.asked if path == "/_index_template/paramedic-spans"]
    assert templates[0]["settings"]["index"]["lifecycle"] == {"name": "paramedic-telemetry"}
    assert len(told) == 1


def items(*outcomes: dict[str, Any]) -> tuple[int, Any]:
    return 200, {"items": [{"create": outcome} for outcome in outcomes]}


def documents(count: int) -> list[BulkItem]:
    return [BulkItem("i", f"d{n}", {"n": n}, create=True) for n in range(count)]


def test_only_the_turned_away_documents_of_a_bulk_are_sent_again(cluster: FakeCluster) -> None:
    connection = connected(cluster)
    cluster.answer = in_turn(
        items({"status": 201, "result": "created"}, {"status": 429}, {"status": 409}),
        items({"status": 201, "result": "created"}),
    )
    assert write_bulk(connection, documents(3)) == 2
    assert [line["create"]["_id"] for line in cluster.asked[-1][2][::2]] == ["d1"]


def test_a_document_that_was_written_since_it_was_seen_is_left_alone(cluster: FakeCluster) -> None:
    connection = connected(cluster)
    cluster.answer = lambda *_: (200, {"items": [{"index": {"status": 409}}, {"index": {"status": 200}}]})
    assert write_bulk(connection, [BulkItem("i", f"d{n}", {}, seen=(n, 7)) for n in (4, 5)]) == 0
    guards = [
        (action["index"]["if_seq_no"], action["index"]["if_primary_term"]) for action in cluster.asked[-1][2][::2]
    ]
    assert guards == [(4, 7), (5, 7)]
    assert len(cluster.paths("POST")) == 1


def test_documents_that_are_turned_away_for_good_make_it_unavailable(cluster: FakeCluster) -> None:
    connection = connected(cluster)
    full = {"status": 429, "error": {"type": "es_rejected_execution_exception", "reason": "queue is full"}}
    cluster.answer = lambda _, __, body: items(*[full] * (len(body) // 2))
    with pytest.raises(Unavailable, match=r"2 documents were turned away.*queue is full"):
        write_bulk(connection, documents(2))


@pytest.mark.parametrize("status", [403, 404, 429, 503])
def test_what_the_cluster_cannot_do_now_is_no_fault_of_the_document(cluster: FakeCluster, status: int) -> None:
    connection = connected(cluster)
    blocked = {"status": status, "error": {"type": "cluster_block_exception", "reason": "index read-only"}}
    cluster.answer = lambda *_: items(blocked)
    with pytest.raises(Unavailable, match="index read-only"):
        write_bulk(connection, documents(1))


def test_indices_that_somebody_deleted_are_put_in_place_again(cluster: FakeCluster) -> None:
    prepared: list[str] = []
    connection = ElasticConnection(cluster.options(), lambda _, server: prepared.append(server.version))
    cluster.answer = in_turn((404, refusal("index_not_found_exception", "no such index")), (200, {}))
    with pytest.raises(Unavailable, match="no such index"):
        connection.request("POST", "/x/_search", {})
    connection.request("POST", "/x/_search", {})
    assert len(prepared) == 2


def test_a_document_that_is_refused_is_named(cluster: FakeCluster) -> None:
    connection = connected(cluster)
    bad = {"status": 400, "error": {"type": "document_parsing_exception", "reason": "failed to parse field [n]"}}
    cluster.answer = in_turn(items({"status": 201}, bad))
    with pytest.raises(InvalidMessage, match=r"i/d1: 400 document_parsing_exception failed to parse field \[n\]"):
        write_bulk(connection, documents(2))


def test_a_bulk_answer_that_leaves_documents_out_is_no_success(cluster: FakeCluster) -> None:
    connection = connected(cluster)
    cluster.answer = in_turn(items({"status": 201}))
    with pytest.raises(Unavailable, match="1 of 2"):
        write_bulk(connection, documents(2))


def test_many_documents_go_in_several_requests(cluster: FakeCluster) -> None:
    connection = connected(cluster)
    cluster.answer = lambda _, __, body: items(*[{"status": 201, "result": "created"}] * (len(body) // 2))
    assert write_bulk(connection, documents(12_000)) == 12_000
    assert [len(body) // 2 for _, path, body in cluster.asked if path == "/_bulk"] == [5_000, 5_000, 2_000]


def test_a_write_whose_answer_was_lost_counts_as_written_once(cluster: FakeCluster) -> None:
    """The first attempt is stored although its answer is lost; the guard of the second fails on our own write."""
    stored: dict[str, Any] = {}

    def answer(method: str, path: str, body: Any) -> Any:
        if method == "GET" and "/_doc/state/halt" in path:
            return (200, {"found": True, "_source": stored, "_seq_no": 1, "_primary_term": 1}) if stored else (404, {})
        if "/_create/state/halt" in path:
            if stored:
                return 409, {}
            stored.update(body)
            return Refused("reset")
        return None

    cluster.answer = answer
    store = ElasticIncidentStore(cluster.options())
    assert store.put_state("halt", "1", expected_version=0) == 1
    with pytest.raises(Conflict):
        store.put_state("halt", "2", expected_version=0)
