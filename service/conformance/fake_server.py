"""The server of a transcript: it answers each request as the step at hand says, gives tokens, and
keeps what it was sent.
"""

import uuid
from typing import Any, NamedTuple
from urllib.parse import parse_qs

from service.conformance.loopback import Reply, Request, json_reply
from service.conformance.transcripts import Epochs, Step, Transcript, with_epochs
from sync_protocol.ids import NAMESPACE
from sync_protocol.texts import Text

PASSWORD = "gridloop-demo"
TOKEN, SYNC, VERIFY = "/v1/auth/token", "/v1/sync", "/v1/sync/verify"
EPOCHS = [f"00000000-0000-4000-8000-{number:012d}" for number in range(1, 10)]
_REGISTERED_AT = "2026-11-01T00:00:00.000Z"


class Tokens:
    """The token endpoint: a refresh token has one successor, and stays good until that was used."""

    def __init__(self, transcript: Transcript) -> None:
        self._staff_codes = {
            device: phone.staff_code
            for phone in transcript.phones.values()
            for device in phone.devices
        }
        self._follows = {
            device: before
            for phone in transcript.phones.values()
            for before, device in zip(phone.devices, phone.devices[1:], strict=False)
        }
        self._number = 0
        self._newest: dict[str, str] = {}
        self._former: dict[str, str] = {}
        self._used: set[str] = set()
        # token or cursor -> the device to which it was given
        self.given: dict[str, str] = {}
        self.faults: list[Text] = []

    def ask(self, form: dict[str, str]) -> Reply:
        """An answer to a form, as RFC 6749 and PROTOCOL.md have it."""
        device = form.get("device_id", "")
        if device not in self._staff_codes:
            self.faults.append(
                Text(
                    "sends the device’s UUID with every form: ‘{device}’ is none of its own",
                    device=device,
                )
            )
        if form.get("grant_type") == "refresh_token":
            return self._refresh(device, form.get("refresh_token", ""))
        if (form.get("username"), form.get("password")) != (
            self._staff_codes.get(device),
            PASSWORD,
        ):
            self.faults.append(Text("signs in with the staff code and its password"))
        before = self._follows.get(device)
        if (
            before is not None
            and device not in self._newest
            and self.given.get(form.get("predecessor", "")) != before
        ):
            self.faults.append(
                Text(
                    "sends the last refresh token or cursor as predecessor when a device id takes"
                    " the place of another"
                )
            )
        return self._give(device)

    def _refresh(self, device: str, token: str) -> Reply:
        newest = self._newest.get(device)
        if token == newest:
            return self._give(device)
        if token == self._former.get(device) and newest not in self._used:
            return self._answer(device, str(newest))
        self.faults.append(
            Text("sends the newest refresh token, and never an old one after the new one was used")
        )
        return json_reply(
            400,
            {"type": "/problems/grant-refused", "title": "The grant was refused", "status": 400},
        )

    def _give(self, device: str) -> Reply:
        self._number += 1
        token = f"refresh-{self._number}"
        if device in self._newest:
            self._former[device] = self._newest[device]
        self._newest[device] = token
        self.given[token] = device
        return self._answer(device, token)

    def _answer(self, device: str, refresh: str) -> Reply:
        self._number += 1
        access = f"access-{self._number}-{refresh}"
        self.given[access] = device
        answer = {
            "access_token": access,
            "token_type": "bearer",
            "refresh_token": refresh,
            "expires_in": 900,
        }
        answer |= {
            "registered_at": _REGISTERED_AT,
            "password_change_needed": False,
            "otp_enrolment_needed": False,
        }
        return json_reply(200, answer)

    def device_of(self, authorization: str) -> str | None:
        """The device of an access token, which is used by this; None when it is none of these."""
        access = authorization.removeprefix("Bearer ")
        device = self.given.get(access)
        if device is None or not access.startswith("access-"):
            return None
        self._used.add(access.split("-", 2)[2])
        return device

    def end(self, authorization: str) -> None:
        """An access token is no longer good."""
        self.given.pop(authorization.removeprefix("Bearer "), None)


class Seen(NamedTuple):
    """A request that came: from which device, what it held, and the cursor that the device had
    received last.
    """

    path: str
    device: str
    body: Any
    last: str | None


class FakeServer:
    """Answers as the step at hand says; `requests` and `forms` are what came in that step, `faults`
    what was wrong with how it came.
    """

    def __init__(self, transcript: Transcript) -> None:
        self.tokens = Tokens(transcript)
        self.epochs = Epochs(EPOCHS)
        self._phones = transcript.phones
        self._cursors: dict[str, str] = {}
        self._number = 0
        self._step: Step | None = None
        self._forms: list[Step] = []
        self.requests: list[Seen] = []
        self.faults: list[Text] = []

    def begin(self, step: Step) -> None:
        """From now on requests belong to this step."""
        self._step = step
        self._forms = list(step.get("tokens", ()))
        self.requests = []
        self.faults = self.tokens.faults = []

    def end(self) -> None:
        """The step is over."""
        if self._forms:
            self.faults.append(
                Text(
                    "asks the token endpoint as PROTOCOL.md says under Signing in: {count}"
                    " requests did not come",
                    count=len(self._forms),
                )
            )
        self._step = None

    def cursor(self, name: str | None, device: str) -> str | None:
        """What a cursor of a transcript stands for: `last` is the one that the device received
        last.
        """
        return self._cursors.get(device) if name == "last" else name

    async def handle(self, request: Request) -> Reply | None:
        """One request."""
        if self._step is None:
            return json_reply(503, {"title": "not now", "status": 503}, {"retry-after": "1"})
        path = request.path.partition("?")[0]
        if path == TOKEN:
            return self._token(request)
        wanted = {"sync": SYNC, "verify": VERIFY}.get(self._step["do"])
        device = self.tokens.device_of(request.headers.get("authorization", ""))
        if device is None:
            self.faults.append(Text("sends the newest access token as bearer token"))
            return json_reply(
                401,
                {
                    "type": "/problems/token-invalid",
                    "title": "The token is not valid",
                    "status": 401,
                },
            )
        if path == VERIFY and wanted != VERIFY:
            return json_reply(200, {"mismatched": []})  # a client may doubt at any time
        if path != wanted or request.method != "POST":
            self.faults.append(
                Text(
                    "sends {method} {path}, where the step has none of it",
                    method=request.method,
                    path=path,
                )
            )
            return json_reply(
                404, {"type": "/problems/not-found", "title": "Not found", "status": 404}
            )
        self.requests.append(Seen(path, device, request.json, self._cursors.get(device)))
        if len(self.requests) > 1:
            self.faults.append(Text("makes one exchange, and waits for the next step"))
            return json_reply(503, {"title": "not now", "status": 503}, {"retry-after": "1"})
        return self._reply(self._step, device, request)

    def _token(self, request: Request) -> Reply | None:
        form = {
            name: values[0]
            for name, values in parse_qs(request.content.decode("utf-8", "replace")).items()
        }
        script = self._forms.pop(0) if self._forms else {}
        wrong = [
            name
            for name in ("grant_type", "device_id")
            if name in script and form.get(name) != script[name]
        ]
        if wrong:
            self.faults.append(
                Text(
                    "asks the token endpoint with {name} {wanted}",
                    name=wrong[0],
                    wanted=script[wrong[0]],
                )
            )
        if script.get("lost") == "request":
            return None
        if "status" in script:
            return _problem(script)
        reply = self.tokens.ask(form)
        return None if script.get("lost") == "answer" else reply

    def _reply(self, step: Step, device: str, request: Request) -> Reply | None:
        if step.get("lost") == "request":
            return None
        if "status" not in step:  # the step has no request
            return json_reply(503, {"title": "not now", "status": 503}, {"retry-after": "1"})
        if step["status"] != 200:
            if step["status"] == 401 and "/device-revoked" not in step["answer"].get("type", ""):
                self.tokens.end(request.headers["authorization"])
            return None if "lost" in step else _problem(step)
        if step["do"] == "verify":
            return None if "lost" in step else json_reply(200, step["answer"])
        self._number += 1
        cursor = f"cursor-{self._number}"
        answer = {"epoch": "1", "server_time": step["server_time"], "cursor": cursor} | step[
            "answer"
        ]
        answer["changes"] = [self._with_id(change) for change in answer["changes"]]
        if "lost" in step:
            return None
        self._cursors[device] = cursor
        self.tokens.given[cursor] = device
        return json_reply(200, with_epochs(answer, self.epochs.epoch))

    @staticmethod
    def _with_id(change: Step) -> Step:
        """A notice of a held mutation has the same id each time."""
        if change["kind"] != "held" or "id" in change:
            return change
        fields = change["fields"]
        return {
            "id": str(uuid.uuid5(NAMESPACE, f"held {fields['device']} {fields['seq']}"))
        } | change


def _problem(step: Step) -> Reply:
    headers = {"retry-after": str(step["retry_after"])} if "retry_after" in step else {}
    plain = {"type": "about:blank", "title": "refused", "status": step["status"]}
    return json_reply(step["status"], plain | step.get("answer", {}), headers)
