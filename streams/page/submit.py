"""The form that sends a problem: only where the server was started with `--allow-control`, and with its token."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Callable
from typing import Any
from uuid import uuid4

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from nicegui import events, ui
from nicegui.element import Element

from qmosaic.codecs.errors import FormatError, QmosaicError
from qmosaic.codecs.events import public, wire
from qmosaic.codecs.formats.base import event_of
from qmosaic.codecs.formats.packed import unpacked
from qmosaic.codecs.formats.registry import read
from qmosaic.codecs.text import shown
from qmosaic.streams.kafka import pacing
from qmosaic.streams.kafka.bounded import bounded, closing
from qmosaic.streams.kafka.connect import producing
from qmosaic.streams.kafka.names import topic_name
from qmosaic.streams.kafka.records import headers_of
from qmosaic.streams.page.parts import text
from qmosaic.streams.page.rows import problem_href
from qmosaic.streams.settings import Settings

SEND_SECONDS = 15.0
READ_SECONDS = 20.0
MOST_PROBLEMS = 100
"""Of one file."""
MOST_TEXT = 500_000
"""Characters that are pasted: what a browser sends at once through its socket. A file may have more."""
MOST_TOKEN = 200
EXAMPLE = '{"family": "maxcut", "problem": {"edges": [[0, 1], [1, 2], [2, 0]]}, "deadline": 10}'


class Sender:
    """Puts problems on the topic; its connection is made when it is needed first."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._producer: AIOKafkaProducer | None = None
        self._lock = asyncio.Lock()

    async def send(self, problems: list[dict[str, Any]]) -> None:
        """Publish. Raises KafkaError, OSError, TimeoutError."""
        topic = topic_name(self._settings, "problems")
        async with self._lock:
            if self._producer is None:
                producer = AIOKafkaProducer(**producing(self._settings))
                await bounded(producer.start(), SEND_SECONDS, "connecting")
                self._producer = producer
            for event in problems:
                headers = headers_of(public.PROBLEM_SCHEMA, "/qmosaic/page", event["id"], [])
                sent = self._producer.send_and_wait(topic, wire.dumps(event), key=event["id"].encode(), headers=headers)
                await bounded(sent, SEND_SECONDS, "sending a problem")
        pacing.ring([topic])

    async def close(self) -> None:
        """Bounded."""
        if self._producer is not None:
            await closing(self._producer.stop(), 5, "stopping a client")


def problems_of(data: bytes, name: str, limit: int) -> list[dict[str, Any]]:
    """The events of a file's problems, each with an id. Raises QmosaicError for what is no such file, or too much."""
    found = read(unpacked(data, name, limit), name, limit=limit)
    if len(found) > MOST_PROBLEMS:
        raise FormatError(f"expected at most {MOST_PROBLEMS} problems, got {len(found)}", place=name)
    events_found = [event_of(problem, name) for problem in found]
    for event in events_found:
        event["id"] = event["id"] if isinstance(event.get("id"), str) and event["id"] else uuid4().hex
    return events_found


def _button(words: str, does: Callable[[], Any]) -> None:
    ui.button(words, on_click=does, color=None).props("no-caps unelevated").classes("button")


class Form:
    """One browser's form. Without the token there is nothing in it that could send."""

    def __init__(self, settings: Settings, sender: Sender, token: str) -> None:
        self._settings, self._sender, self._token = settings, sender, token
        self._busy = False
        with Element("div").classes("form") as self._place:
            text("p", "The token stands on the terminal where the page was started.", "dim")
            self._given = ui.input("Token", password=True).props('outlined autocomplete="off" maxlength="200"')
            self._given.on("keydown.enter", self._unlock)
            _button("Unlock", self._unlock)
            self._said = text("p", "", "bad").props('role="alert"')

    def _unlock(self) -> None:
        given = str(self._given.value or "")[:MOST_TOKEN]
        if not hmac.compare_digest(given.encode(), self._token.encode()):
            self._said.text = "That is not the token."
            return
        self._place.clear()
        with self._place:
            self._text = ui.textarea("A problem event, as JSON", value=EXAMPLE).props(
                f'outlined autogrow maxlength="{MOST_TEXT}"'
            )
            _button("Submit", self._pasted)
            text("p", "Or a file in one of the formats of docs/formats.md, packed with gzip or not:", "dim")
            ui.upload(
                label="File",
                auto_upload=True,
                max_file_size=self._settings.limits.event_bytes,
                on_upload=self._uploaded,
            ).props('aria-label="File"')
            self._said = text("p", "", "bad").props('role="alert"')
            self._sent = Element("ul").classes("lines").props('aria-label="What was sent"')

    async def _pasted(self) -> None:
        given = str(self._text.value or "")
        if len(given) > MOST_TEXT:
            self._said.text = f"At most {MOST_TEXT} characters: send it as a file."
            return
        await self._submit(given.encode(errors="replace"), "pasted.json")

    async def _uploaded(self, event: events.UploadEventArguments) -> None:
        await self._submit(await event.file.read(), shown(event.file.name, 100))

    async def _submit(self, data: bytes, name: str) -> None:
        if self._busy:
            self._said.text = "One after the other."
            return
        self._busy, self._said.text = True, ""
        try:
            reading = asyncio.to_thread(problems_of, data, name, self._settings.limits.event_bytes)
            problems = await bounded(reading, READ_SECONDS, "reading the file")
            await self._sender.send(problems)
        except QmosaicError as error:
            self._said.text = shown(str(error), 500)
        except (KafkaError, OSError, TimeoutError) as error:
            self._said.text = shown(f"It was not sent: {error}", 500)
        else:
            with self._sent:
                for problem in problems:
                    with Element("li"):
                        ui.link(shown(problem["id"], 100), problem_href(problem["id"]))
        finally:
            self._busy = False
