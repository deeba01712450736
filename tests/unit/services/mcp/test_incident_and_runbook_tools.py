"""What the incident and runbook tools say of a ticket with every section."""

from typing import Any

import pytest

from libs.errors import InvalidMessage, NotFound
from services.mcp.sources import Sources
from services.mcp.tool import TOOLSETS
from tests.unit.services.mcp.shop import NUMBER, ORDER, TRACE


def ask(sources: Sources, tool: str, **given: Any) -> Any:
    toolset = next(one for one in TOOLSETS.values() if tool in one.load().names())
    return toolset.tools.get(tool).run(sources, given)


def test_incidents_are_found_by_words_state_and_service(sources: Sources) -> None:
    assert [row.number for row in ask(sources, "search_incidents").rows] == [NUMBER, "INC-000001"]
    assert [row.number for row in ask(sources, "search_incidents", states=["resolved"]).rows] == ["INC-000001"]
    assert [row.number for row in ask(sources, "search_incidents", text="bad index").rows] == ["INC-000001"]
    assert [row.number for row in ask(sources, "search_incidents", service="gateway").rows] == [NUMBER]
    assert ask(sources, "search_incidents", text="nowhere").status == "no_data"


def test_the_next_page_of_a_search_asks_the_same_question(sources: Sources) -> None:
    text = "catalog " + "slow " * 90
    given = {"states": ["new", "resolved"], "priorities": ["P2"], "text": text}
    first = ask(sources, "search_incidents", limit=1, **given)
    assert first.cut.next_arguments == {"limit": 1, "offset": 1, **given}
    second = ask(sources, "search_incidents", **first.cut.next_arguments)
    assert {first.rows[0].number, second.rows[0].number} == {NUMBER, "INC-000001"}


def test_a_wrong_state_is_answered_with_the_states(sources: Sources) -> None:
    with pytest.raises(InvalidMessage, match="'in_progress'"):
        ask(sources, "search_incidents", states=["open"])


def test_an_unknown_incident_is_answered_with_the_newest(sources: Sources) -> None:
    with pytest.raises(NotFound, match=f"newest of 2 are {NUMBER}, INC-000001"):
        ask(sources, "get_incident", incident="INC-9")


def test_an_incident_shows_its_anomalies_and_its_leading_hypothesis(sources: Sources) -> None:
    found = ask(sources, "get_incident", incident=NUMBER)
    assert found.incident.affected_users == 7
    assert (found.leading_cause.kind, found.leading_cause.confidence) == ("deploy", 0.8)
    assert (found.hypotheses, found.remediation_runs, found.timeline_entries) == (2, 1, 2)
    assert [(row.service, row.observed, row.expected) for row in found.rows] == [
        ("catalog", 0.4, 0.05),
        ("gateway", 0.4, 0.05),
    ]
    assert found.rows[0].trace_ids == [TRACE]


def test_a_confirmed_root_cause_leads(sources: Sources) -> None:
    cause = ask(sources, "get_incident", incident="INC-000001").leading_cause
    assert (cause.text, cause.confirmed_by, cause.confidence) == ("bad index", "ann", None)


def test_an_investigation_shows_evidence_gaps_and_actions(sources: Sources) -> None:
    found = ask(sources, "get_investigation", incident=NUMBER)
    assert [row.rank for row in found.rows] == [1, 2]
    assert ORDER in found.rows[0].evidence_for[0].text
    assert found.rows[0].actions[0].parameters == {"to_version": "1"}
    assert found.gaps == ["search sends no telemetry"]
    assert found.steps[0].tool == "changes"


def test_an_incident_without_investigation_is_no_data(sources: Sources) -> None:
    found = ask(sources, "get_investigation", incident="INC-000001")
    assert (found.status, found.summary) == ("no_data", "INC-000001 has not been investigated yet.")


def test_the_context_holds_changes_traces_and_logs(sources: Sources) -> None:
    found = ask(sources, "get_incident_context", incident=NUMBER)
    assert [row.kind for row in found.rows] == ["change", "trace", "log"]
    assert (found.rows[2].count, found.calls[0].errors, found.affected_users_sample) == (30, 30, ["u1", "u2"])


def test_similar_incidents_come_with_what_caused_and_fixed_them(sources: Sources) -> None:
    (row,) = ask(sources, "find_similar_incidents", incident=NUMBER).rows
    assert (row.number, row.similarity, row.confirmed_by) == ("INC-000001", 1.0, "ann")
    assert (row.cause, row.fixed_by) == ("bad index", "rollback_deploy on catalog")


def test_runs_show_whether_production_was_changed(sources: Sources) -> None:
    found = ask(sources, "get_remediation_runs", incident=NUMBER)
    assert "0 of them changed production" in found.summary
    assert (found.rows[0].state, found.rows[0].applied_at) == ("awaiting_approval", None)


def test_runbooks_are_listed_by_kind_of_cause_and_read_in_full(sources: Sources) -> None:
    assert [row.name for row in ask(sources, "list_runbooks", cause_kind="deploy").rows] == ["roll-back-deploy"]
    found = ask(sources, "get_runbook", name="roll-back-deploy")
    assert found.text.startswith("# Roll back a bad deploy")
    assert found.parameters == {"to_version": "{change.previous_version}"}
    assert [row.tool for row in found.rows] == ["changes", "red", "traces", "logs"]


def test_an_unknown_runbook_is_answered_with_those_that_exist(sources: Sources) -> None:
    with pytest.raises(NotFound, match=r"did you mean roll-back-deploy.*restart-instance"):
        ask(sources, "get_runbook", name="rollback-deploy")


def test_each_hypothesis_is_matched_with_its_runbook(sources: Sources) -> None:
    rows = ask(sources, "match_runbooks", incident=NUMBER).rows
    assert [(row.kind, row.runbook) for row in rows] == [("deploy", "roll-back-deploy"), ("code_error", "")]


def test_the_scorecard_counts_only_runs_that_changed_production(sources: Sources) -> None:
    (row,) = ask(sources, "get_scorecard").rows
    assert (row.pattern, row.successes, row.applied, row.in_progress) == ("roll-back-deploy", 1, 1, 1)
    assert row.interval_low < 0.25
