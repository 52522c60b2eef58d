"""What is sent: JSON for apps, and the text messages of group robots."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol

from service.kit.database import Row
from service.kit.localization import in_language
from sync_protocol.moments import canonical_moment
from sync_protocol.periods import in_minutes
from sync_protocol.texts import Text
from sync_protocol.vocabulary import STATES

STANDARD, WECOM, DINGTALK, FEISHU = "standard", "wecom", "dingtalk", "feishu"
FORMATS = (STANDARD, WECOM, DINGTALK, FEISHU)


class Told(Protocol):
    """An event, as far as a body tells of it."""

    @property
    def type(self) -> str: ...
    @property
    def at(self) -> datetime: ...
    @property
    def data(self) -> Mapping[str, Any]: ...
    @property
    def client(self) -> str | None: ...
    @property
    def receipt(self) -> str | None: ...


def body_of(hook: Row, event: Told, unit_name: str) -> str:
    """The body for a webhook: the same at every attempt.

    A receipt is for the app alone that handed the request in: it is what opens its state there.
    """
    if hook["format"] != STANDARD:
        return message(hook["format"], sentence(event, unit_name))
    data = dict(event.data)
    if event.receipt is not None and hook["app"] == event.client:
        data["receipt"] = event.receipt
    told = {"type": event.type, "timestamp": canonical_moment(event.at), "data": data}
    return json.dumps(told, ensure_ascii=False, separators=(",", ":"))


def message(format: str, text: str) -> str:
    """A text message as a group robot takes it."""
    body: dict[str, Any]
    if format == FEISHU:
        body = {"msg_type": "text", "content": {"text": text}}
    else:
        body = {"msgtype": "text", "text": {"content": text}}
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"))


def sentence(event: Told, unit_name: str) -> str:
    """What a group reads, in Chinese."""
    data = event.data
    number = str(data.get("problem", ""))[:8]
    state = data.get("state", "")
    texts = {
        "problem.changed": Text(
            "Problem {number} in {unit} is now: {state}",
            number=number,
            unit=unit_name,
            state=STATES.get(state, state),
        ),
        "request.changed": Text(
            "The herder's request {number} in {unit} is now: {state}",
            number=number,
            unit=unit_name,
            state=STATES.get(state, state),
        ),
        "problem.escalated": Text(
            "Problem {number} in {unit} was handed to the unit above", number=number, unit=unit_name
        ),
        "problem.overdue": Text(
            "Problem {number} in {unit} is overdue; its limit was {due}",
            number=number,
            unit=unit_name,
            due=in_minutes(event.at),
        ),
        "period.closed": Text(
            "{unit}: the numbers of {period} are closed",
            unit=unit_name,
            period=data.get("period", ""),
        ),
        "article.published": Text("{unit} has published a new article", unit=unit_name),
    }
    text = texts.get(event.type, Text("A test message of Gridloop: messages arrive here"))
    return in_language(text, "zh")
