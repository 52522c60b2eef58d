"""Logs as JSON lines, with the request's id; staff codes appear only hashed."""

import hashlib
import json
import logging
import sys
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from asgi_correlation_id import correlation_id
from pythonjsonlogger.core import RESERVED_ATTRS, LogData
from pythonjsonlogger.msgspec import MsgspecFormatter

# The id of the request under way.
request_id = correlation_id


class JsonLines(MsgspecFormatter):
    """One JSON object a line: time, level, logger, message, request id, and what the call gave as
    `extra`.
    """

    def __init__(self) -> None:
        super().__init__(
            ("levelname", "name", "message"),
            rename_fields={"levelname": "level", "name": "logger", "exc_info": "error"},
            reserved_attrs=(*RESERVED_ATTRS, "color_message"),  # uvicorn's, for terminals
            json_default=str,
        )

    def add_fields(
        self, log_data: LogData, record: logging.LogRecord, message_dict: dict[str, Any]
    ) -> None:
        """Collects the fields of a line."""
        created = datetime.fromtimestamp(record.created, UTC)
        log_data["time"] = created.isoformat(timespec="milliseconds")
        super().add_fields(log_data, record, message_dict)
        log_data["level"] = record.levelname.lower()
        if request_id.get():
            log_data["request_id"] = request_id.get()

    def jsonify_log_record(self, log_data: LogData) -> str:
        """The fields as a line."""
        try:
            return super().jsonify_log_record(log_data)
        except UnicodeEncodeError:  # half a character, which somebody sent
            return json.dumps(log_data, default=str)


@lru_cache(maxsize=8192)
def hashed(staff_code: str, key: bytes) -> str:
    """A staff code as logs show it: the same for the same cadre, and of no use without the key."""
    return hashlib.blake2b(staff_code.encode(), key=key, digest_size=6).hexdigest()


def install(level: str) -> None:
    """Sends every log to standard error as JSON lines, without looking up what no line says:
    thread, process, and the caller's place.
    """
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in ("uvicorn", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers[:] = []
        logger.propagate = True
