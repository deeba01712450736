"""The real Kafka, Elasticsearch, Schema Registry and OpenTelemetry Collector on this machine, without containers."""
