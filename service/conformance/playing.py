"""Plays a transcript with a client: does what its steps say, checks what the client sends, and what
it then holds and shows.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from service.conformance.comparing import (
    canonical,
    comparable,
    differing,
    plain_value,
    shortened,
    without_optional,
)
from service.conformance.fake_server import PASSWORD, FakeServer
from service.conformance.transcripts import Step, Transcript, complete, whole, with_epochs
from sync_protocol.texts import Text

# What PROTOCOL.md says of each part of a request, of each part of a mutation, and of each part of
# what a phone holds.
REQUEST: Mapping[str, Text] = {
    "protocol": Text("`protocol` is 1"),
    "sent_at": Text("`sent_at` is the phone’s wall clock at sending, RFC 3339 with offset"),
    "cursor": Text("`cursor` is the last one received, or null"),
    "limit": Text("`limit` is the number of changes a page that the client was told"),
    "queued": Text("`queued` is the number of mutations that remain on the phone after these"),
    "again": Text("`again` names the mismatched grids with the next exchange, and no others"),
    "mutations": Text(
        "the unacknowledged mutations go in order of `seq`, without gaps; what was sent under a"
        " seq never changes"
    ),
    "grids": Text(
        "a copy is proved by grid, highest rev, count and digest of the live records that a first"
        " pull would give now"
    ),
}
MUTATION: Mapping[str, Text] = {
    "base": Text("`base` is the rev that the copy has, 0 for a record that is not in it"),
    "stamp": Text(
        "a stamp is the later of the wall clock and the last stamp plus one; a clock put back by"
        " more than a minute is followed"
    ),
    "fields": Text(
        "a mutation holds only what changed, in canonical form; set fields as additions and"
        " removals"
    ),
    "epoch": Text("`epoch` is the server’s epoch to which `base` belongs"),
    "base_grid": Text(
        "`base_grid` is where `base` was seen, when the mutation moves the record to another grid"
    ),
    "id": Text(
        "an analysis or a summary has the id that is computed of its grid and its week or month"
    ),
}
STATE: Mapping[str, Text] = {
    "device": Text(
        "a device keeps its id, and takes another one only where PROTOCOL.md says: start as a new"
        " device"
    ),
    "acked": Text("`acked` is what the server last said, or where tracing back begins"),
    "tracing": Text(
        "a phone traces back after a new epoch, `acked` below its own, or seq-gap, until all was"
        " shown again"
    ),
    "pending": Text("what is not acknowledged stays in the outbox, in order"),
    "held": Text(
        "a held mutation is shown to its author with its reason, until a notice says that it was"
        " decided"
    ),
    "conflicts": Text("a verdict lists what was kept and what lost"),
    "records": Text(
        "the copy holds what the answers brought: whole answers, newest revs, nothing that is gone"
        " or was not brought again"
    ),
    "shown": Text(
        "pending mutations lie over the copy: null removes, sets take additions and lose removals,"
        " `delete` hides"
    ),
}
NEXT: Mapping[str, Text] = {
    "at once": Text("goes on at once while `more` is set or anything is unacknowledged"),
    "done": Text("is done when there is no more and everything is acknowledged"),
    "later": Text(
        "waits after a failure, at least as long as Retry-After says, and sends the same again"
    ),
    "stopped": Text(
        "stops when it has to: its app is too old, or it was revoked and has handed in everything"
    ),
}


class Client(Protocol):
    """A client under test: whatever does what hooks ask for."""

    async def do(self, hook: Step) -> Step:
        """The answer to a hook; raises `ClientFailed`."""


class ClientFailed(Exception):
    """The client did not do what a hook asked for."""


class Finding(NamedTuple):
    """What a client got wrong: the case, the number of its step, the rule, what was wanted and what
    came.
    """

    case: str
    section: str
    step: int
    rule: str
    wanted: str = ""
    came: str = ""


class Playing:
    """One transcript with one client: `findings` is what it got wrong."""

    def __init__(
        self, transcript: Transcript, fake: FakeServer, client: Client, url: str, prefix: str = ""
    ) -> None:
        self._transcript = transcript
        self._fake = fake
        self._client = client
        self._url = url
        self._prefix = prefix
        self._started: set[str] = set()
        self._devices = {name: phone.devices[0] for name, phone in transcript.phones.items()}
        self._number = 0
        self.findings: list[Finding] = []

    async def play(self) -> list[Finding]:
        """Plays until the end, or until the first step that went wrong: what comes after it would
        only be wrong for the same reason.
        """
        try:
            for number, step in enumerate(self._transcript.steps, 1):
                self._number = number
                if step.get("phone") in self._transcript.clients and step["do"] != "send":
                    await self._do(step)
                if self.findings:
                    break
        except ClientFailed as error:
            self._found(Text("does what the hook asks for"), step["do"], str(error))
        for name in self._started:
            try:
                await self._client.do({"do": "end", "phone": self._prefix + name})
            except ClientFailed as error:
                self._found(Text("ends when it is told to"), "end", str(error))
        return self.findings

    def _found(self, rule: str, wanted: Any = "", came: Any = "") -> None:
        pair = map(shortened, differing(wanted, came))
        self.findings.append(
            Finding(self._transcript.name, self._transcript.section, self._number, rule, *pair)
        )

    async def _do(self, step: Step) -> None:
        name = self._prefix + step["phone"]
        if step["phone"] not in self._started:
            self._started.add(step["phone"])
            phone = self._transcript.phones[step["phone"]]
            start = {
                "do": "start",
                "phone": name,
                "server": self._url,
                "staff_code": phone.staff_code,
                "password": PASSWORD,
            }
            await self._client.do(
                start | {"devices": phone.devices, "limit": phone.limit, "wall_ms": step["wall_ms"]}
            )
        hook = {
            key: step[key]
            for key in ("do", "wall_ms", "kind", "id", "grid", "fields")
            if key in step
        } | {"phone": name}
        self._fake.begin(step)
        came = await self._client.do(hook)
        self._fake.end()
        for fault in self._fake.faults:
            self._found(fault)
        if step["do"] in ("sync", "verify"):
            self._check_request(step)
            self._check_next(step, came)
        if "then" in step:
            self._check_state(step, await self._client.do({"do": "show", "phone": name}))
            self._devices[step["phone"]] = step["then"]["device"]

    # ------------------------------------------------------------------------------------- requests

    def _check_request(self, step: Step) -> None:
        wanted = step.get("request")
        if not self._fake.requests:
            if wanted is not None:
                self._found(Text("sends one request"), wanted, "–")
            return
        _, device, body, last = self._fake.requests[0]
        if wanted is None:
            self._found(Text("sends nothing without a new access token"), "–", body)
            return
        if not isinstance(body, dict):
            self._found(Text("sends JSON"), wanted, body)
            return
        own = step.get("device") or self._devices[step["phone"]]
        if device != own:
            self._found(STATE["device"], own, device)
        wanted = dict(wanted)
        if wanted.get("cursor") == "last":
            wanted["cursor"] = last
        body = whole(with_epochs(body, self._fake.epochs.name))
        for key in {**wanted, **body}:
            if key == "mutations":
                self._check_mutations(wanted.get(key, []), body.get(key))
            elif key in REQUEST and plain_value(key, wanted.get(key)) != plain_value(
                key, body.get(key)
            ):
                self._found(REQUEST[key], wanted.get(key, "–"), body.get(key, "–"))

    def _check_mutations(self, wanted: list[Step], came: Any) -> None:
        numbers = [item["seq"] for item in wanted]
        if not isinstance(came, list) or [item.get("seq") for item in came] != numbers:
            self._found(
                REQUEST["mutations"],
                numbers,
                [item.get("seq") for item in came] if isinstance(came, list) else came,
            )
            return
        for one, other in zip(wanted, came, strict=True):
            for key in {**one, **other}:
                left, right = one.get(key), other.get(key)
                if key == "fields":
                    left, right = (
                        canonical(one.get("kind", ""), left),
                        canonical(one.get("kind", ""), right),
                    )
                if left != right:
                    rule = MUTATION.get(key, REQUEST["mutations"])
                    self._found(
                        rule,
                        {"seq": one["seq"], key: one.get(key, "–")},
                        {"seq": other["seq"], key: other.get(key, "–")},
                    )

    def _check_next(self, step: Step, came: Step) -> None:
        wanted = step.get("next")
        if wanted is not None and came.get("next") != wanted:
            self._found(NEXT[wanted], wanted, came.get("next", "–"))
        after = step.get("retry_after", 0)
        if wanted == "later" and not after <= float(came.get("wait_s") or 0):
            self._found(NEXT["later"], after, came.get("wait_s", "–"))
        if (
            step["do"] == "verify"
            and step.get("status") == 200
            and came.get("mismatched") != step["answer"]["mismatched"]
        ):
            self._found(
                Text("the answer names the mismatched grids"),
                step["answer"]["mismatched"],
                came.get("mismatched", "–"),
            )

    # ---------------------------------------------------------------------------------------- state

    def _check_state(self, step: Step, came: Step) -> None:
        wanted = complete(step["then"])
        came = complete({"records": [], "device": "", "acked": 0} | came)
        for key, rule in STATE.items():
            left, right = (
                [*comparable(key, wanted[key], came)],
                [*comparable(key, came[key], came)],
            )
            if key == "records":
                left, right = without_optional(left, right)
            if left != right:
                self._found(
                    rule,
                    [item for item in left if item not in right],
                    [item for item in right if item not in left],
                )
