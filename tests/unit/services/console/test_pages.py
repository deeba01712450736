"""Pages as people get them, from real stores."""

import re
from dataclasses import replace

import pytest

from libs.contracts.codec import from_json, to_json
from libs.contracts.document import IncidentDocument, LogSample, RootCause, Section
from libs.contracts.incident import AffectedUsers, IncidentChanged, IncidentState, Priority
from libs.contracts.investigation import InvestigationCompleted, SimilarIncident
from libs.contracts.remediation import RemediationChanged, RunState
from schemas import ROOT
from tests.unit.services.console import filled
from tests.unit.services.console.conftest import Console

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"


def text_of(html: str) -> str:
    """What a reader sees."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


def test_now_lists_open_incidents_with_the_most_urgent_first(console: Console) -> None:
    html = console.page("/")
    shown = re.findall(r'href="/incidents/(INC-\d+)">', html.split('id="history"')[0])
    assert shown == ["INC-000042", "INC-000043", "INC-000044"]
    said = text_of(html)
    for words in (
        "Open incidents 3",
        "217 users",
        "deploy 2.4.0 of catalog slowed its product queries 86 %",
        "waits for your approval: rollback deploy on catalog",
        "needs a human: no known pattern",
        "investigating",
        "lasts 8 min",
    ):
        assert words in said


def test_now_offers_the_approval_that_waits(console: Console) -> None:
    assert 'href="/incidents/INC-000042#run-run-incident-42"' in console.page("/")


def test_ten_urgent_incidents_are_not_hidden_by_a_hundred_small_ones(console: Console) -> None:
    for number in range(100, 200):
        console.incidents.put(
            f"incident-{number}", Section.INCIDENT, filled.a_core(number, priority=Priority.P5, opened_at=filled.NOW)
        )
    html = console.page("/").split('id="history"')[0]
    assert html.index("INC-000042") < html.index("INC-000199")
    assert "The 50 most urgent are shown" in html
    assert "P5</span> 100" in html


def test_the_history_is_searched_by_words_state_priority_and_service(console: Console) -> None:
    def found(query: str) -> list[str]:
        return sorted(
            set(re.findall(r'href="/incidents/(INC-\d+)"', console.page(f"/?{query}").split('id="history"')[1]))
        )

    assert found("") == ["INC-000007", "INC-000019", "INC-000031"]
    assert found("q=bank.example") == ["INC-000043"]
    assert found("state=resolved") == ["INC-000031"]
    assert found("service=payments") == ["INC-000043"]
    assert found("priority=P1") == ["INC-000042"]
    assert found("q=nothing-like-it") == []
    assert found('q="NEAR( *') == []
    assert found("state=broken&priority=P9&page=-3") == ["INC-000007", "INC-000019", "INC-000031"]


def test_results_are_paged_and_keep_what_was_asked(console: Console) -> None:
    for number in range(100, 160):
        core = filled.at_rest(filled.a_core(number), filled.moment(-number * 60))
        console.incidents.put(core.id, Section.INCIDENT, core)
    first = console.page("/?state=closed&service=catalog")
    assert 'href="/?state=closed&amp;service=catalog&amp;page=2#history"' in first
    last = console.page("/?state=closed&service=catalog&page=3")
    assert 'rel="prev"' in last
    assert 'rel="next"' not in last


def test_the_incident_page_shows_everything_that_was_gathered(console: Console) -> None:
    filled.put_telemetry(console.telemetry)
    html = console.page("/incidents/INC-000042")
    said = text_of(html)
    for words in (
        "217 users",
        "u-0042, u-0107",
        "start 2 instances of catalog 2.3.0; end 2 of 2.4.0",
        "medium risk",
        "catalog 2.4.0 went live 20 s before the deviation began",
        "cart itself stayed within its band",
        "no CPU metrics of catalog",
        "1,284 ×",
        "query timed out after &lt;n&gt; ms",
        "20 s before it began",
        "blamed",
        "INC-000007",
        "Fixed by rollback deploy",
        "rollback_deploy waits for approval",
        "OPS-1",
    ):
        assert words in said, words
    for drawing in ("metric", "graph", "waterfall"):
        assert f'class="drawing {drawing}"' in html
    assert 'class="curve"' in html
    assert 'class="node suspect"' in html
    assert 'class="span failed"' in html


def test_the_incident_is_found_by_id_too(console: Console) -> None:
    assert console.page("/incidents/incident-42") == console.page("/incidents/inc-000042")


def test_another_anomaly_and_another_trace_can_be_drawn(console: Console) -> None:
    filled.put_telemetry(console.telemetry)
    other = console.page("/incidents/INC-000042?anomaly=a-gateway")
    assert "gateway to catalog, span.client.errors ratio: 18 % at worst, expected 0 % to 1 %" in other
    gone = console.page(f"/incidents/INC-000042?trace={filled.TRACE + 1:032x}")
    assert "This trace is not kept any more" in gone
    assert 'class="drawing waterfall"' not in gone


def test_without_telemetry_the_band_is_drawn_and_the_page_says_why_there_is_no_curve(console: Console) -> None:
    html = console.page("/incidents/INC-000042")
    assert 'class="band"' in html
    assert 'class="curve"' not in html
    assert "No points of it are kept" in html


def test_a_telemetry_store_that_is_down_leaves_the_rest_of_the_page(console: Console) -> None:
    console.telemetry.close()
    html = console.page("/incidents/INC-000042")
    assert "The telemetry store does not answer" in html
    assert "deploy 2.4.0 of catalog slowed" in html


def test_a_bare_incident_has_a_page(console: Console) -> None:
    said = text_of(console.page("/incidents/INC-000044"))
    for words in (
        "no hypothesis yet",
        "No fix is proposed yet",
        "The investigation has not finished yet",
        "unknown affected",
    ):
        assert words in said, words


def test_an_ended_incident_offers_no_decision_that_its_state_does_not_allow(console: Console) -> None:
    html = console.page("/incidents/INC-000019")
    assert "/acknowledge" not in html
    assert "/resolve" not in html
    assert "/root-cause" in html
    assert "Root cause:</strong> bad deploy of catalog" in html
    assert "confirmed by verified fix" in html


def test_the_released_examples_are_shown(console: Console) -> None:
    core = from_json((ROOT / "examples/incident-changed/typical.json").read_bytes(), IncidentChanged)
    found = from_json((ROOT / "examples/investigation-completed/typical.json").read_bytes(), InvestigationCompleted)
    run = from_json((ROOT / "examples/remediation-changed/typical.json").read_bytes(), RemediationChanged)
    core = replace(core, number="INC-000900")
    filled.put(console.incidents, IncidentDocument(incident=core, investigation=found, remediation=(run,)))
    said = text_of(console.page("/incidents/INC-000900"))
    assert "verifying rollback deploy on catalog: waiting for the anomaly to close" in said
    assert "deployed 30 s before the deviation began" in said


def test_self_healing_never_shows_a_rate_without_its_denominator(console: Console) -> None:
    said = text_of(console.page("/healing"))
    assert "67 % 2 of 3 automatic fixes worked" in said
    assert "95 % interval 21 % to 94 %" in said
    assert "– 0 of 0 automatic fixes" in said
    assert "1 left to people: no known pattern" in said
    assert "1 in progress" in said
    assert "Mode observe from PARAMEDIC_MODES" in said
    assert "rolled catalog back to 2.3.0" in said


def test_a_run_that_changes_is_scored_anew(console: Console) -> None:
    assert "2 of 3" in console.page("/healing")
    done = filled.a_run("incident-42", state=RunState.SUCCEEDED, mode="auto", applied_at=filled.NOW, version=9)
    console.incidents.put("incident-42", Section.REMEDIATION, (done,))
    assert "3 of 4" in console.page("/healing")


def test_who_set_a_mode_and_who_halted_is_shown_on_the_page(console: Console) -> None:
    console.incidents.put_state(
        "remediation/modes",
        '{"by_pattern": {"scale-out": {"mode": "auto", "actor": "eva", "at": "2026-01-01T12:10:00Z"}}}',
    )
    console.incidents.put_state(
        "remediation/halt",
        '{"halted": true, "actor": "eva", "reason": "migration", "at": "2026-01-01T12:10:00Z", "command_id": "c"}',
    )
    said = text_of(console.page("/healing"))
    assert "Mode auto set by eva 95 s ago" in said or "Mode auto set by eva 1 min ago" in said
    assert "Halted by eva" in said
    for path in ("/", "/incidents/INC-000042", "/recommendations"):
        assert "Self-healing is halted by eva: migration" in text_of(console.page(path))


def test_no_recommendation_is_said_plainly(console: Console) -> None:
    assert "The recommender, which writes them, is not part of this installation yet" in console.page(
        "/recommendations"
    )


def test_recommendations_come_with_evidence_benefit_and_diff(console: Console) -> None:
    filled.put_recommendation(console.incidents)
    console.incidents.put_state("recommendation/broken", "{")
    html = console.page("/recommendations")
    assert '<span class="added">+CREATE INDEX products_by_name ON products (name);' in html
    assert '<span class="removed">-  name TEXT' in html
    for words in ("298 ms x 0.6 calls a request", "310 ms median", "shop/catalog/products.py:88 in search (2.4.0)"):
        assert words in text_of(html)
    assert "1 stored recommendations cannot be read: recommendation/broken" in html


@pytest.mark.parametrize(
    "path", ["/incidents/INC-999999", "/incidents/<b>", "/nothing", "/static/../app.py", "/static/x"]
)
def test_what_is_not_there_is_said_with_a_way_back(console: Console, path: str) -> None:
    html = console.page(path, 404)
    assert "There is nothing here" in html
    assert "<b>" not in html


def test_hostile_text_from_telemetry_is_shown_and_never_obeyed(console: Console) -> None:
    core = filled.a_core(
        title=HOSTILE,
        services=(HOSTILE, "catalog"),
        affected_users=AffectedUsers(count=1, basis=HOSTILE, sample=(HOSTILE,)),
        anomalies=(
            filled.an_anomaly(explanation=HOSTILE, attributes={HOSTILE: HOSTILE}, unit=HOSTILE, metric=HOSTILE),
        ),
    )
    found = filled.an_investigation()
    leader = replace(found.hypotheses[0], cause=HOSTILE, service=HOSTILE)
    step = replace(found.steps[0], query=HOSTILE, finding=HOSTILE, link="javascript:alert(3)")
    document = filled.a_document(
        incident=core,
        context=replace(
            filled.a_context(),
            logs=(LogSample(timestamp=filled.NOW, service=HOSTILE, severity=17, logger=HOSTILE, body=HOSTILE),),
            changes=(replace(filled.DEPLOY, summary=HOSTILE, service=HOSTILE, actor=HOSTILE),),
            topology=tuple(replace(e, callee=e.callee + HOSTILE) for e in filled.a_context().topology),
            similar_incidents=(
                SimilarIncident(id="x", number=HOSTILE, title=HOSTILE, similarity=0.5, root_cause=HOSTILE),
            ),
        ),
        timeline=tuple(replace(line, text=HOSTILE, actor=HOSTILE) for line in filled.a_document().timeline),
        investigation=replace(found, hypotheses=(leader,), gaps=(HOSTILE,), steps=(step,), author=HOSTILE),
        remediation=(filled.a_run(id=HOSTILE, reason=HOSTILE, target=HOSTILE, parameters={HOSTILE: HOSTILE}),),
        tickets=(replace(filled.a_document().tickets[0], key=HOSTILE, url="javascript:alert(4)"),),
        root_cause=RootCause(
            service=HOSTILE, kind="deploy", text=HOSTILE, confirmed_by=HOSTILE, confirmed_at=filled.NOW
        ),
    )
    filled.put(console.incidents, document)
    console.incidents.put_state(
        "recommendation/r",
        to_json(replace(filled.a_recommendation(), title=HOSTILE, diff=f"+{HOSTILE}", id=HOSTILE)).decode(),
    )
    for path in ("/", "/incidents/INC-000042", "/healing", "/recommendations", f"/?q={HOSTILE}&service={HOSTILE}"):
        html = console.page(path)
        assert "&lt;script&gt;alert(1)" in html, path
        assert not re.search(r"<script>|<img src=x|javascript:", html), path
        assert len(re.findall("<script", html)) == 1, path
        assert set(
            re.findall(r"\son\w+=", re.sub(r'"[^"]*"', '""', html.replace("&#34;", "").replace("&#39;", "")))
        ) <= {" onerror="}, path
        assert not re.search(r"<[^>]*\sstyle=", html), path


def test_an_incident_store_that_is_down_is_said_with_when_to_come_back(console: Console) -> None:
    console.incidents.close()
    answer = console.browser.get("/")
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "5"
    assert "A part of Paramedic is down" in answer.text


@pytest.mark.parametrize("state", list(IncidentState))
def test_every_state_has_a_page_and_a_row(console: Console, state: IncidentState) -> None:
    core = filled.a_core(state=state, version=9, resolved_by="ada" if state in ("resolved", "closed") else None)
    console.incidents.put(core.id, Section.INCIDENT, core)
    assert state.value.replace("_", " ") in console.page("/incidents/INC-000042")
    assert "INC-000042" in console.page("/?q=catalog")


@pytest.mark.parametrize("state", list(RunState))
def test_every_state_of_a_run_has_a_page(console: Console, state: RunState) -> None:
    console.incidents.put("incident-42", Section.REMEDIATION, (filled.a_run(state=state),))
    assert state.value.replace("_", " ") in console.page("/incidents/INC-000042")
    html = console.page("/incidents/INC-000042")
    assert ("/approve" in html) == (state is RunState.AWAITING_APPROVAL)
    assert state.value.replace("_", " ") in console.page("/healing")
    assert "INC-000042" in console.page("/")
