"""The topic of dead letters: made before the first one, and looked at where it was there before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from logweir.errors import LogweirError
from logweir.librdkafka import teller

_ASK_SECONDS = 15


def create_topic(settings: Mapping[str, Any], topic: str) -> bool:
    """Create the dead letter topic unless it exists; tell whether it was there before.

    Raises:
        LogweirError: The broker refuses or can't be reached; the message says what to grant or create. The supervisor
            tries again: a broker that is away must not end a flow for good.
    """
    from confluent_kafka import KafkaError, KafkaException
    from confluent_kafka.admin import AdminClient, NewTopic

    # Whatever the source topic took has to fit, with its headers and the letter's.
    new = NewTopic(topic, num_partitions=1, config={"max.message.bytes": "100000000"})
    # The client has to outlive its future. When it is closed librdkafka tells on stderr of what was left to read.
    client = AdminClient({"log_level": 4, **settings})
    try:
        client.create_topics([new], request_timeout=_ASK_SECONDS)[topic].result()
    except KafkaException as error:
        if error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS:
            return True
        said = teller(settings)(error.args[0])
        mend = "create it, allow this user to create topics, or set dead_letter.directory"
        msg = f"dead letter topic {topic}: {said}; {mend}"
        raise LogweirError(msg) from error
    return False


def shortcomings(settings: Mapping[str, Any], topic: str, sources: Sequence[str]) -> list[str]:
    """Return in words why a dead letter topic that is there keeps less than it should; nothing of one that isn't.

    Args:
        settings: librdkafka's settings of the cluster.
        topic: The topic.
        sources: The topics whose records may die.
    """
    from confluent_kafka import KafkaError, KafkaException
    from confluent_kafka.admin import AdminClient, ConfigResource

    client = AdminClient({"log_level": 0, **settings})
    asked = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in [topic, *sources]]
    found: list[dict[str, str]] = []
    for name, future in zip(
        [topic, *sources], client.describe_configs(asked, request_timeout=_ASK_SECONDS).values(), strict=True
    ):
        try:
            found.append({key: str(entry.value) for key, entry in future.result().items()})
        except KafkaException as error:
            code = error.args[0].code()
            if code != KafkaError.UNKNOWN_TOPIC_OR_PART and name == topic:
                said = teller(settings)(error.args[0])
                why = f"{topic}: it isn't known whether every letter fits, or how long it is kept: {said}"
                mend = "allow this user DescribeConfigs on it, or set its max.message.bytes to that of source.topics"
                return [f"{why}; {mend} and cleanup.policy to delete"]
            if name == topic:
                return []
            found.append({})
    return list(_compare(topic, found[0], dict(zip(sources, found[1:], strict=True))))


def _compare(topic: str, own: Mapping[str, str], sources: Mapping[str, Mapping[str, str]]) -> list[str]:
    said = []
    size = int(own.get("max.message.bytes", 0))
    larger = {name: int(each.get("max.message.bytes", 0)) for name, each in sources.items()}
    name = max(larger, key=lambda each: larger[each], default="")
    if size and name and larger[name] > size:
        said.append(
            f"{topic}: max.message.bytes is {size}, and {larger[name]} of {name}: of a letter that doesn't fit only "
            f"the beginning is kept, and where the record is; set it to {larger[name]} or more"
        )
    if "compact" in own.get("cleanup.policy", ""):
        said.append(
            f"{topic}: cleanup.policy is {own['cleanup.policy']}, by which a letter is deleted once another has its "
            "key; set it to delete"
        )
    return said
