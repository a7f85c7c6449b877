"""Names as the broker sees them: topics, consumer groups and transactional ids, under the settings' namespace."""

from __future__ import annotations

from qmosaic.streams.settings import Settings


def _spaced(settings: Settings, name: str) -> str:
    return f"{settings.namespace}.{name}" if settings.namespace else name


def topic_name(settings: Settings, topic: str) -> str:
    """`problems`, or `<namespace>.problems`."""
    return _spaced(settings, topic)


def group_id(settings: Settings, stage: str) -> str:
    """The consumer group of a stage."""
    return _spaced(settings, f"qmosaic.{stage}")


def transactional_id(settings: Settings, stage: str, partition: int) -> str:
    """The id of whoever owns a partition in a stage; a new owner fences the old one by it."""
    return _spaced(settings, f"qmosaic.{stage}.{partition}")
