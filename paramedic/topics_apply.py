"""Bring a Kafka cluster's topics to what schemas/topics.toml declares."""

from libs.contracts.topics import topics
from libs.service.settings import Settings
from libs.streaming.kafka_topics import TopicAdmin
from libs.streaming.topic_plan import Action, Step, plan, replication_for, wanted_topics


def apply_topics(settings: Settings, *, dry_run: bool = False) -> list[Step]:
    """Plan, and unless it is a dry run carry the plan out; the steps, those with nothing to do too.

    Raises:
        ConfigurationError: The cluster refuses a change.
        Unavailable: The cluster does not answer; what was done until then stays, the next run goes on from there.
    """
    admin = TopicAdmin(settings.broker, settings.kafka)
    declared = topics().values()
    cluster = admin.look([name for topic in declared for name in (topic.name, topic.dead_letter)])
    replication = replication_for(cluster.brokers, settings.topic_replication)
    steps = plan(wanted_topics(declared, replication), cluster.topics, replication)
    if not dry_run:
        for step in steps:
            if step.action is not Action.KEEP:
                admin.carry_out(step)
    return steps
