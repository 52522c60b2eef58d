"""Logs as JSON lines, with the request's id; staff codes appear only hashed."""

import hashlib
import json
import logging
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import lru_cache

import msgspec

request_id: ContextVar[str] = ContextVar("request_id", default="")


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, message, request id, and what the call gave as
    `extra={"data": {…}}`.
    """

    def format(self, record: logging.LogRecord) -> str:
        """A record as a line."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request_id.get():
            line["request_id"] = request_id.get()
        line |= getattr(record, "data", {})
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        try:
            return msgspec.json.encode(line, enc_hook=str).decode()
        except UnicodeEncodeError:  # half a character, which somebody sent
            return json.dumps(line, default=str)


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
