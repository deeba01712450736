"""Laws of every incident store: sections and versions, numbers, search, similar incidents, shared state."""

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from libs.contracts.document import (
    SECTION_TYPES,
    IncidentContext,
    IncidentDocument,
    LinkedTicket,
    LogSample,
    RootCause,
    Section,
    TimelineEntry,
)
from libs.contracts.incident import IncidentChange, IncidentChanged, IncidentState, Level, Priority
from libs.contracts.investigation import CauseKind, Hypothesis, InvestigationCompleted
from libs.contracts.remediation import Mode, RemediationChanged, RunState
from libs.errors import Conflict, InvalidMessage, Unavailable
from libs.stores.incidents import IncidentQuery, IncidentStore

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
LATER = NOON + timedelta(days=365)
HOSTILE = (
    '"', "'", '""', "*", "NEAR(", "NEAR(a b, 5)", "a AND", "OR", "NOT", "AND NOT", "title:", "^a", "-a", "+", "a*b",
    "(", ")", "{x}", "\0", "a\0b", "\ud800", "é" * 5000, "🔥", "\\", "%", "_", ";--", "a" * 300_000, "x " * 5000,
    "\u202e", "1e400", "c++", "--", 'a"b', '"a', 'a" OR "b',
)  # fmt: skip


def incident(identity: str, **changes: Any) -> IncidentChanged:
    plain = IncidentChanged(
        id=identity,
        number=f"INC-{identity}",
        version=1,
        change=IncidentChange.OPENED,
        title=f"Title of {identity}",
        state=IncidentState.NEW,
        priority=Priority.P2,
        impact=Level.HIGH,
        urgency=Level.MEDIUM,
        services=("checkout",),
        started_at=NOON,
        opened_at=NOON,
        updated_at=NOON,
        observed_at=NOON,
    )
    return replace(plain, **changes)


def put(store: IncidentStore, identity: str, **changes: Any) -> None:
    store.put(identity, Section.INCIDENT, incident(identity, **changes))


def root_cause(confirmed_by: str, text: str = "bad deploy") -> RootCause:
    return RootCause(service="catalog", kind="deploy", text=text, confirmed_by=confirmed_by, confirmed_at=NOON)


def investigation(identity: str, cause: str) -> InvestigationCompleted:
    hypothesis = Hypothesis(rank=1, service="stock", kind=CauseKind.DEPLOY, cause=cause, confidence=0.8)
    return InvestigationCompleted(
        id="i", incident_id=identity, revision=1, as_of=NOON, started_at=NOON, duration_s=1.0, hypotheses=(hypothesis,)
    )


def remediation(identity: str) -> RemediationChanged:
    return RemediationChanged(
        id="r",
        incident_id=identity,
        pattern="p",
        mode=Mode.APPROVE,
        action="rollback_deploy",
        target="catalog",
        state=RunState.REQUESTED,
        version=1,
        requested_at=NOON,
        updated_at=NOON,
    )


def every_section(identity: str) -> dict[Section, Any]:
    return {
        Section.INCIDENT: incident(identity),
        Section.CONTEXT: IncidentContext(logs=(LogSample(timestamp=NOON, service="x", severity=17, body="ü"),)),
        Section.TIMELINE: (TimelineEntry(id="t", at=NOON, actor="x", kind="state", text="opened"),),
        Section.ROOT_CAUSE: root_cause("ann"),
        Section.TICKETS: (LinkedTicket(system="jira", key="X-1"),),
        Section.INVESTIGATION: investigation(identity, "n+1 query"),
        Section.REMEDIATION: (remediation(identity),),
    }


def found(store: IncidentStore, **query: Any) -> list[str]:
    return [entry.id for entry in store.search(IncidentQuery(**query)).incidents]


class IncidentStoreLaws:
    """A subclass gives the fixtures `store` (fresh) and `reopen` (another client of the same store)."""

    def test_an_empty_store_answers_every_question_with_nothing(self, store: IncidentStore) -> None:
        assert store.get("x") is None
        assert store.section("x", Section.INCIDENT) is None
        assert list(store.sections(Section.INCIDENT)) == list(store.sections(Section.INCIDENT, ["x"])) == []
        assert store.search(IncidentQuery()).total == 0
        assert store.similar(["a"], "b", before=LATER, exclude="") == []
        assert store.state("x") is None
        assert store.states("") == {}

    def test_a_document_holds_every_section(self, store: IncidentStore) -> None:
        values = every_section("a")
        assert set(values) == set(SECTION_TYPES)
        for section, value in values.items():
            assert store.put("a", section, value) == 1
            assert store.section("a", section) == (value, 1)
        document = IncidentDocument(**{section.value: value for section, value in values.items()})
        assert store.get("a") == document == store.get("INC-a")

    def test_a_number_is_found_in_any_case(self, store: IncidentStore) -> None:
        put(store, "a", number="INC-000042")
        for number in ("INC-000042", "inc-000042"):
            document = store.get(number)
            assert document is not None
            assert document.incident.id == "a"
        assert store.get("INC-42' OR 1=1 --") is None
        assert store.get("\ud800") is None

    def test_a_section_may_come_before_the_core(self, store: IncidentStore) -> None:
        store.put("a", Section.INVESTIGATION, investigation("a", "exhausted connections"))
        assert store.get("a") is None
        assert found(store) == found(store, text="exhausted") == []
        assert store.similar([], "exhausted", before=LATER, exclude="") == []
        assert store.section("a", Section.INVESTIGATION) is not None
        put(store, "a")
        document = store.get("a")
        assert document is not None
        assert document.investigation == investigation("a", "exhausted connections")
        assert found(store, text="exhausted") == ["a"]

    def test_a_section_of_every_incident_is_read_at_once_newest_first(self, store: IncidentStore) -> None:
        for n, identity in enumerate(("old", "new", "without")):
            put(store, identity, opened_at=NOON + timedelta(hours=n))
        for identity in ("old", "new", "no-core-yet"):
            store.put(identity, Section.REMEDIATION, (remediation(identity),))
        store.put("old", Section.ROOT_CAUSE, root_cause("ann"))
        runs = {identity: (identity, (remediation(identity),)) for identity in ("old", "new")}
        assert list(store.sections(Section.REMEDIATION)) == [runs["new"], runs["old"]]
        assert list(store.sections(Section.ROOT_CAUSE)) == [("old", root_cause("ann"))]
        assert [identity for identity, _ in store.sections(Section.INCIDENT)] == ["without", "new", "old"]
        asked = ["old", "without", "no-core-yet", "unknown", "old", "\ud800", "' OR 1=1 --"]
        assert list(store.sections(Section.REMEDIATION, asked)) == [runs["old"]]
        assert list(store.sections(Section.REMEDIATION, [])) == []

    @pytest.mark.parametrize("section", list(Section))
    def test_a_section_read_at_once_is_the_section_read_alone(self, store: IncidentStore, section: Section) -> None:
        for identity in ("a", "b"):
            for other, value in every_section(identity).items():
                store.put(identity, other, value)
        assert dict(store.sections(section)) == {one: every_section(one)[section] for one in ("a", "b")}

    def test_more_sections_than_a_page_holds_are_read_once_each(
        self, store: IncidentStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(f"{type(store).__module__}._SECTIONS_PAGE", 3)
        identities = [f"i{n}" for n in range(7)]
        for n, identity in enumerate(identities):
            put(store, identity, opened_at=NOON + timedelta(minutes=n // 3))
            store.put(identity, Section.REMEDIATION, (remediation(identity),))
        together = [identity for identity, _ in store.sections(Section.REMEDIATION)]
        assert sorted(together) == identities
        assert together == found(store)
        some = identities[1:6]
        assert [identity for identity, _ in store.sections(Section.REMEDIATION, some)] == [
            identity for identity in together if identity in some
        ]

    def test_writing_twice_leaves_one_document(self, store: IncidentStore) -> None:
        for _ in range(2):
            put(store, "a")
            store.put("a", Section.TIMELINE, (TimelineEntry(id="t", at=NOON, actor="x", kind="comment", text="hm"),))
        assert store.search(IncidentQuery()).total == store.search(IncidentQuery(text="hm")).total == 1
        document = store.get("a")
        assert document is not None
        assert len(document.timeline) == 1

    def test_versions_count_up_and_the_wrong_one_conflicts(self, store: IncidentStore) -> None:
        core = incident("a")
        assert store.put("a", Section.INCIDENT, core, expected_version=0) == 1
        with pytest.raises(Conflict):
            store.put("a", Section.INCIDENT, core, expected_version=0)
        assert store.put("a", Section.INCIDENT, replace(core, title="new"), expected_version=1) == 2
        with pytest.raises(Conflict):
            store.put("a", Section.INCIDENT, core, expected_version=1)
        with pytest.raises(Conflict):
            store.put("a", Section.TICKETS, (), expected_version=3)
        assert store.put("a", Section.INCIDENT, core) == 3
        assert store.section("a", Section.INCIDENT) == (core, 3)

    def test_a_conflict_changes_nothing(self, store: IncidentStore) -> None:
        put(store, "a", title="before", state=IncidentState.NEW)
        with pytest.raises(Conflict):
            store.put(
                "a", Section.INCIDENT, incident("a", title="after", state=IncidentState.CLOSED), expected_version=9
            )
        assert found(store, text="after") == found(store, states=(IncidentState.CLOSED,)) == []
        assert found(store, text="before") == ["a"]

    def test_only_one_of_many_writers_wins_a_version(
        self, store: IncidentStore, reopen: Callable[[], IncidentStore]
    ) -> None:
        put(store, "a")
        won: list[int] = []

        def work(writer: IncidentStore) -> None:
            for _ in range(10):
                known = writer.section("a", Section.INCIDENT)
                assert known is not None
                try:
                    won.append(writer.put("a", Section.INCIDENT, known[0], expected_version=known[1]))
                except Conflict:
                    continue

        _in_threads([partial(work, writer) for writer in (store, store, reopen())])
        assert sorted(won) == list(range(2, len(won) + 2))

    def test_a_section_takes_only_its_own_type(self, store: IncidentStore) -> None:
        with pytest.raises(TypeError, match="section tickets"):
            store.put("a", Section.TICKETS, root_cause("ann"))
        with pytest.raises(InvalidMessage, match="cannot be stored as"):
            store.put("b", Section.INCIDENT, incident("a"))

    def test_numbers_are_unique_and_stable_under_concurrency(
        self, store: IncidentStore, reopen: Callable[[], IncidentStore]
    ) -> None:
        given: list[tuple[str, str]] = []

        def work(writer: IncidentStore) -> None:
            given.extend((f"i{n}", writer.number(f"i{n}")) for n in range(25))

        _in_threads([partial(work, writer) for writer in (store, store, reopen())])
        numbers = dict(given)
        assert len(set(given)) == len(set(numbers.values())) == 25
        assert all(number.startswith("INC-") and len(number) == 10 for number in numbers.values())
        assert store.number("i3") == numbers["i3"]

    def test_search_filters_by_every_field(self, store: IncidentStore) -> None:
        put(store, "a", state=IncidentState.RESOLVED, priority=Priority.P1, services=("cart", "shop"))
        put(store, "b", opened_at=NOON + timedelta(hours=1), services=("bank",))
        put(store, "c", opened_at=NOON + timedelta(hours=2))
        assert found(store) == ["c", "b", "a"]
        assert found(store, states=(IncidentState.RESOLVED, IncidentState.CLOSED)) == ["a"]
        assert found(store, priorities=(Priority.P1,)) == ["a"]
        assert found(store, services=("shop", "bank")) == ["b", "a"]
        assert found(store, opened_from=NOON + timedelta(hours=1)) == ["c", "b"]
        assert found(store, opened_to=NOON + timedelta(hours=1)) == ["a"]
        assert found(store, text="title", services=("bank",), states=(IncidentState.NEW,)) == ["b"]

    def test_a_page_says_how_many_there_are_in_all(self, store: IncidentStore) -> None:
        for n in range(7):
            put(store, f"i{n}", opened_at=NOON + timedelta(minutes=n))
        page = store.search(IncidentQuery(limit=3, offset=2))
        assert ([entry.id for entry in page.incidents], page.total) == (["i4", "i3", "i2"], 7)
        page = store.search(IncidentQuery(text="title", limit=3, offset=6))
        assert (len(page.incidents), page.total) == (1, 7)
        assert len(store.search(IncidentQuery(limit=0)).incidents) == 1
        assert len(store.search(IncidentQuery(limit=10**9, offset=-5)).incidents) == 7

    def test_a_change_of_state_or_service_moves_the_incident(self, store: IncidentStore) -> None:
        put(store, "a", services=("cart",), title="slow")
        put(store, "a", services=("bank",), title="fast", state=IncidentState.CLOSED)
        assert found(store, services=("cart",)) == found(store, text="slow") == []
        assert found(store, services=("bank",), text="fast", states=(IncidentState.CLOSED,)) == ["a"]

    @pytest.mark.parametrize(
        ("text", "where"),
        [
            ("latency", "title"), ("checkout", "service"), ("deadlock", "hypothesis"), ("misconfigured", "root cause"),
            ("OutOfMemory", "log"), ("rebooted", "comment"), ("INC-000007", "number"),
            ("outofm", "prefix of the last word"), ("LATENCY", "case"), ("zurich", "accent"),
        ],
    )  # fmt: skip
    def test_text_search_reaches(self, store: IncidentStore, text: str, where: str) -> None:
        put(store, "other", services=("bank",), title="Nothing to see", number="INC-000008")
        put(store, "a", title="Latency in Zürich", number="INC-000007")
        store.put("a", Section.INVESTIGATION, investigation("a", "deadlock in pool"))
        store.put("a", Section.ROOT_CAUSE, root_cause("ann", "misconfigured limit"))
        log = LogSample(timestamp=NOON, service="x", severity=17, body="java.lang.OutOfMemoryError: heap")
        store.put("a", Section.CONTEXT, IncidentContext(logs=(log,)))
        store.put("a", Section.TIMELINE, (TimelineEntry(id="t", at=NOON, actor="x", kind="comment", text="rebooted"),))
        assert found(store, text=text) == ["a"]

    def test_every_word_must_be_there_and_the_best_match_comes_first(self, store: IncidentStore) -> None:
        put(store, "title", title="payments timeout")
        put(store, "log", title="something else", opened_at=NOON + timedelta(hours=1))
        words = "payments waited long, then a timeout, as one of many things that this line tells"
        store.put(
            "log",
            Section.CONTEXT,
            IncidentContext(logs=(LogSample(timestamp=NOON, service="x", severity=9, body=words),)),
        )
        assert found(store, text="payments timeout") == ["title", "log"]
        assert found(store, text="payments zebra") == []

    @pytest.mark.parametrize("text", HOSTILE)
    def test_what_people_type_is_never_query_syntax(self, store: IncidentStore, text: str) -> None:
        put(store, "a")
        assert store.search(IncidentQuery(text=text)).total in (0, 1)
        assert len(store.similar(["x"], text, before=LATER, exclude="")) in (0, 1)

    def test_operators_are_words(self, store: IncidentStore) -> None:
        put(store, "a", title="cats")
        put(store, "b", title="cats OR dogs")
        assert found(store, text="cats OR dogs") == ["b"]
        assert found(store, text="title:cats") == []
        assert found(store, text="NOT cats") == []

    def test_a_text_of_blanks_does_not_filter_and_one_of_signs_finds_nothing(self, store: IncidentStore) -> None:
        put(store, "a")
        assert found(store, text="  \n") == ["a"]
        assert found(store, text="?!*") == []

    def test_the_same_fingerprint_is_the_same_incident(self, store: IncidentStore) -> None:
        put(store, "same", fingerprint=("a", "b", "c"))
        put(store, "half", fingerprint=("a", "b", "x", "y"))
        put(store, "none", fingerprint=("q",))
        hits = store.similar(["c", "b", "a"], "", before=LATER, exclude="")
        assert [hit.document.incident.id for hit in hits] == ["same", "half"]
        assert hits[0].similarity > 0.99
        assert 0.0 < hits[1].similarity < 0.8

    def test_a_rare_token_says_more_than_a_common_one(self, store: IncidentStore) -> None:
        for n in range(20):
            put(store, f"i{n:02}", fingerprint=("common", f"own-{n}"))
        put(store, "rare", fingerprint=("rare", "own-rare"))
        hits = store.similar(["common", "rare"], "", before=LATER, exclude="", limit=3)
        assert hits[0].document.incident.id == "rare"

    def test_words_help_but_do_not_make_the_same_incident(self, store: IncidentStore) -> None:
        put(store, "a", title="connection pool exhausted", fingerprint=("f", "g"))
        put(store, "b", title="something else", fingerprint=("f", "h"))
        put(store, "c", title="pool exhausted", fingerprint=("z",))
        hits = store.similar(["f", "k"], "pool exhausted", before=LATER, exclude="")
        assert [hit.document.incident.id for hit in hits] == ["a", "b", "c"]
        assert hits[0].similarity > hits[1].similarity > hits[2].similarity > 0
        assert hits[2].similarity < 0.3

    def test_only_the_past_counts_and_neither_itself_nor_canceled_ones(self, store: IncidentStore) -> None:
        put(store, "past", fingerprint=("f",))
        put(store, "itself", fingerprint=("f",))
        put(store, "canceled", fingerprint=("f",), state=IncidentState.CANCELED)
        put(store, "later", fingerprint=("f",), opened_at=NOON + timedelta(hours=2))
        hits = store.similar(["f"], "title", before=NOON + timedelta(hours=2), exclude="itself")
        assert [hit.document.incident.id for hit in hits] == ["past"]

    def test_ties_go_to_a_person_then_a_verified_fix_then_the_newest(self, store: IncidentStore) -> None:
        for n, (identity, confirmed_by) in enumerate(
            [("person", "ann"), ("fix", "verified_fix"), ("old", ""), ("new", "")]
        ):
            put(store, identity, fingerprint=("f",), opened_at=NOON + timedelta(minutes=n))
            if confirmed_by:
                store.put(identity, Section.ROOT_CAUSE, root_cause(confirmed_by))
        hits = store.similar(["f"], "", before=LATER, exclude="")
        assert [hit.document.incident.id for hit in hits] == ["person", "fix", "new", "old"]
        assert hits[0].document.root_cause == root_cause("ann")
        assert len(store.similar(["f"], "", before=LATER, exclude="", limit=2)) == 2

    def test_similarity_stays_between_0_and_1_and_falls(self, store: IncidentStore) -> None:
        for n in range(12):
            put(store, f"i{n}", fingerprint=tuple(f"t{k}" for k in range(n)), title=f"word{n % 3} again")
        hits = store.similar([f"t{k}" for k in range(6)], "word1 again", before=LATER, exclude="", limit=50)
        scores = [hit.similarity for hit in hits]
        assert scores == sorted(scores, reverse=True)
        assert all(0.0 < score <= 1.0 for score in scores)

    def test_shared_state_has_versions(self, store: IncidentStore) -> None:
        assert store.put_state("halt", "1", expected_version=0) == 1
        with pytest.raises(Conflict):
            store.put_state("halt", "2", expected_version=0)
        assert store.put_state("halt", "2", expected_version=1) == 2
        assert store.put_state("halt", "3") == 3
        state = store.state("halt")
        assert state is not None
        assert (state.value, state.version) == ("3", 3)

    def test_shared_state_is_listed_by_literal_prefix(self, store: IncidentStore) -> None:
        for key in ("mode/a", "mode/b", "mode%", "modes", "MODE/c", "x"):
            store.put_state(key, key)
        assert list(store.states("mode/")) == ["mode/a", "mode/b"]
        assert list(store.states("mode%")) == ["mode%"]
        assert {key: state.value for key, state in store.states("").items()} == {
            key: key for key in ("mode/a", "mode/b", "mode%", "modes", "MODE/c", "x")
        }

    def test_another_client_sees_what_was_written(
        self, store: IncidentStore, reopen: Callable[[], IncidentStore]
    ) -> None:
        other = reopen()
        put(store, "a")
        assert found(other) == ["a"]
        assert other.number("a") == store.number("a")

    def test_a_closed_store_is_unavailable(self, store: IncidentStore) -> None:
        store.close()
        store.close()
        with pytest.raises(Unavailable):
            store.get("a")
        with pytest.raises(Unavailable):
            store.put_state("a", "b")


def _in_threads(tasks: list[Callable[[], None]]) -> None:
    failures: list[BaseException] = []

    def run(task: Callable[[], None]) -> None:
        try:
            task()
        except BaseException as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=run, args=(task,)) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
