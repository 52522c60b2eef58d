"""The client of rules.py as a process of its own: what `gridloop conformance` starts, so that a
second client lives through histories.
"""

import json
import sys
from email.message import Message
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import ProxyHandler, Request, build_opener

from tests.conformance.rules import Phone, Send

_TIMEOUT_S = 20
_opener = build_opener(ProxyHandler({}))


def _lower(headers: Message) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def sender(server: str) -> Send:
    """What carries a phone's requests to a server."""

    def send(
        path: str, headers: dict[str, Any], body: dict[str, Any]
    ) -> tuple[int, Any, Any] | None:
        is_form = path.endswith("/token")
        content = urlencode(body) if is_form else json.dumps(body)
        kind = "application/x-www-form-urlencoded" if is_form else "application/json"
        request = Request(server + path, content.encode(), {**headers, "Content-Type": kind})
        try:
            with _opener.open(request, timeout=_TIMEOUT_S) as response:
                return response.status, _lower(response.headers), json.load(response)
        except HTTPError as error:
            return error.code, _lower(error.headers), json.load(error)
        except (URLError, OSError, ValueError):
            return None

    return send


def main() -> None:
    """Answers hooks until standard input ends."""
    phones: dict[str, Phone] = {}
    for line in sys.stdin:
        hook = json.loads(line)
        name = hook["phone"]
        answer: dict[str, Any] = {}
        try:
            match hook["do"]:
                case "start":
                    phones[name] = Phone(hook, sender(hook["server"]))
                case "restart":
                    phones[name] = phones[name].restarted()
                case "end":
                    del phones[name]
                case _:
                    answer = phones[name].do(hook)
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer, ensure_ascii=False), flush=True)


if __name__ == "__main__":
    main()
