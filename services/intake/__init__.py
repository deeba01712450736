"""Intake: telemetry in any common protocol becomes validated, columnar batches on Kafka."""
