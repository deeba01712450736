"""The self-healing scorecard, read from the incident store and shown as a table."""

from rich.markup import escape
from rich.table import Table

from libs.contracts.remediation import RemediationChanged
from libs.runbooks.scorecard import Scorecard, scorecard
from libs.stores.incidents import IncidentQuery, IncidentStore
from paramedic.open_store import open_incidents

_PAGE = 500


def read_runs(store: IncidentStore) -> list[RemediationChanged]:
    """Every remediation run of every incident."""
    runs: list[RemediationChanged] = []
    offset, total = 0, 1
    while offset < total:
        page = store.search(IncidentQuery(limit=_PAGE, offset=offset))
        total = page.total
        offset += _PAGE
        for incident in page.incidents:
            document = store.get(incident.id)
            runs.extend(document.remediation if document is not None else ())
    return runs


def read_scorecard() -> Scorecard:
    """The scorecard of the settings' incident store."""
    store = open_incidents()
    try:
        return scorecard(read_runs(store))
    finally:
        store.close()


def scorecard_table(card: Scorecard) -> Table:
    """One row a pattern, and all together; rate, numerator, denominator, interval."""
    table = Table(
        "pattern",
        "success rate",
        "successes / automatic runs applied",
        "95 % interval",
        "not counted",
        title="Self-healing",
    )
    for row in (*card.patterns, card.total):
        rate = "-" if row.rate is None else f"{row.rate:.0%}"
        interval = "-" if row.applied == 0 else f"{row.interval_low:.0%}..{row.interval_high:.0%}"
        apart = f"{row.approved_by_human} approved by a human, {row.not_applied} not applied"
        table.add_row(escape(row.pattern or "all"), rate, f"{row.successes} / {row.applied}", interval, apart)
    return table
