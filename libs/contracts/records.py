"""Every record of the contract by the name of its schema file; a new record is one new line here."""

from collections.abc import Mapping
from typing import Final

from libs.contracts.anomaly import AnomalyDetected
from libs.contracts.avro_schema import record_name
from libs.contracts.command import Command
from libs.contracts.incident import IncidentChanged
from libs.contracts.investigation import InvestigationCompleted
from libs.contracts.recommendation import CodeChangeRecommended
from libs.contracts.remediation import RemediationChanged
from libs.contracts.telemetry import ChangeEvent, LogBatch, MetricBatch, SpanBatch

Record = (
    MetricBatch
    | LogBatch
    | SpanBatch
    | ChangeEvent
    | AnomalyDetected
    | IncidentChanged
    | InvestigationCompleted
    | RemediationChanged
    | CodeChangeRecommended
    | Command
)

RECORDS: Final[Mapping[str, type[Record]]] = {
    record_name(record): record
    for record in (
        MetricBatch,
        LogBatch,
        SpanBatch,
        ChangeEvent,
        AnomalyDetected,
        IncidentChanged,
        InvestigationCompleted,
        RemediationChanged,
        CodeChangeRecommended,
        Command,
    )
}
