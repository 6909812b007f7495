"""The event log on Kafka: the only folder that imports confluent_kafka."""

from bottega.eventlog.kafka.log import KafkaLog

__all__ = ["KafkaLog"]
