"""The transcripts in `sync_protocol/vectors/exchange`: what phones do, what they send, what a
server answers, and what they hold then.

A file is one transcript. Its steps are in order:

- `{"phone", "do": "put" | "delete" | "sync" | "verify" | "restart", "wall_ms", …, "then"}`: what a
  client does at a wall clock. `sync` is
  one exchange and holds the `request` that a conforming client sends, `status` and `answer`; `then`
  is what the phone holds afterwards;
- `{"phone", "do": "send", …}`: a request that no client would send by itself, or that is another
  device's;
- `{"server": …}`: what happens to the server.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

import sync_protocol
from sync_protocol.messages import DEFAULT_PAGE_RECORDS

FOLDER = Path(str(sync_protocol.__file__)).parent / "vectors" / "exchange"
SERVICE, CLIENT = "service", "client"
WIDTH = 180

Step = dict[str, Any]


class PhoneOf(msgspec.Struct):
    """A phone of a transcript: its cadre, and the device ids that it takes one after the other."""

    staff_code: str
    devices: list[str]
    limit: int = DEFAULT_PAGE_RECORDS


class Transcript(msgspec.Struct):
    """One case. `section`: where PROTOCOL.md says what it shows; `played`: against whom."""

    name: str
    about: str
    section: str
    played: list[str]
    phones: dict[str, PhoneOf]
    steps: list[Step]

    @property
    def clients(self) -> list[str]:
        """The phones that are a client's, and not only requests."""
        return [
            name
            for name in self.phones
            if any(step.get("phone") == name and step["do"] != "send" for step in self.steps)
        ]


def load(folder: Path = FOLDER) -> dict[str, Transcript]:
    """All transcripts by the stems of their files, in order."""
    files = sorted(folder.glob("*.json"))
    return {file.stem: msgspec.json.decode(file.read_bytes(), type=Transcript) for file in files}


def played_by(what: str) -> dict[str, Transcript]:
    """Those that are played against a service, or against a client."""
    return {stem: transcript for stem, transcript in load().items() if what in transcript.played}


def written(transcript: Transcript) -> str:
    """A transcript as its file has it: JSON, in which what fits a line stands on one."""
    plain = msgspec.to_builtins(transcript)
    for phone in plain["phones"].values():
        if phone["limit"] == DEFAULT_PAGE_RECORDS:
            del phone["limit"]
    return rendered(plain, split=True) + "\n"


def rendered(value: Any, indent: int = 0, split: bool = False) -> str:
    """JSON that breaks only what is too long for a line; `split` breaks in any case."""
    line = json.dumps(value, ensure_ascii=False)
    if (
        (not split and len(line) + indent <= WIDTH)
        or not isinstance(value, (dict, list))
        or not value
    ):
        return line
    inner = indent + 2
    pad = "\n" + " " * inner
    if isinstance(value, dict):
        items = [
            f"{json.dumps(name, ensure_ascii=False)}: {rendered(item, inner)}"
            for name, item in value.items()
        ]
        return "{" + pad + f",{pad}".join(items) + "\n" + " " * indent + "}"
    return (
        "["
        + pad
        + f",{pad}".join(rendered(item, inner) for item in value)
        + "\n"
        + " " * indent
        + "]"
    )


class Epochs:
    """The names of a server's epochs in a transcript, `1`, `2` …, in the order in which they are
    met.
    """

    def __init__(self, known: Sequence[str] = ()) -> None:
        self._known = list(known)

    def name(self, epoch: str) -> str:
        """The name of an epoch."""
        if epoch not in self._known:
            self._known.append(epoch)
        return str(self._known.index(epoch) + 1)

    def epoch(self, name: str) -> str:
        """The epoch of a name; a name that was not met yet stays as it is."""
        place = int(name) - 1 if name.isdigit() else -1
        return self._known[place] if 0 <= place < len(self._known) else name


def with_epochs(value: Any, change: Any) -> Any:
    """A message with every epoch in it changed."""
    if isinstance(value, Mapping):
        return {
            name: change(item)
            if name == "epoch" and isinstance(item, str)
            else with_epochs(item, change)
            for name, item in value.items()
        }
    if isinstance(value, list):
        return [with_epochs(item, change) for item in value]
    return value


def scrubbed(answer: Any) -> Any:
    """An answer without what differs from server to server: the cursor, the time, the ids of
    conflicts and held mutations.

    The epoch is left out, too, while it is the first.
    """
    left_out = {"cursor", "server_time"}
    plain = {
        name: value
        for name, value in answer.items()
        if name not in left_out and (name, value) != ("epoch", "1")
    }
    if "verdicts" in plain:
        plain["verdicts"] = [_without_ids(verdict) for verdict in plain["verdicts"]]
    if "changes" in plain:
        plain["changes"] = [
            {name: value for name, value in change.items() if name != "id"}
            if change["kind"] == "held"
            else change
            for change in plain["changes"]
        ]
    return plain


def _without_ids(verdict: Any) -> Any:
    if "conflicts" not in verdict:
        return verdict
    conflicts = [
        {name: value for name, value in conflict.items() if name != "id"}
        for conflict in verdict["conflicts"]
    ]
    return verdict | {"conflicts": conflicts}


def live(records: Sequence[Step]) -> list[Step]:
    """What a phone shows of its records while nothing is pending."""
    return [
        {name: record[name] for name in ("kind", "id", "grid", "fields")}
        for record in records
        if not record.get("deleted")
    ]


def compact(state: Step) -> Step:
    """A phone's state without what is empty, and without `shown` where it is the live records."""
    plain = {name: value for name, value in state.items() if value or name in ("device", "acked")}
    if plain.get("shown", []) == live(plain.get("records", [])):
        plain.pop("shown", None)
    elif "shown" not in plain:
        plain["shown"] = []
    return plain


def complete(state: Step) -> Step:
    """The reverse of `compact`."""
    lists: Step = {name: [] for name in ("pending", "held", "conflicts", "records")}
    plain = lists | {"tracing": False} | state
    return {"shown": live(plain["records"])} | plain


def whole(request: Step) -> Step:
    """A request with what may be left out of it: of mutations `op`, `base` and `fields`, and
    `again` when it names no grid.
    """
    plain = {name: value for name, value in request.items() if name != "again" or value}
    if "mutations" in plain:
        first = ("seq", "kind", "id", "grid")
        plain["mutations"] = [
            {name: item[name] for name in first if name in item}
            | {"op": "put", "base": 0}
            | {"stamp": item.get("stamp"), "fields": {}}
            | item
            for item in plain["mutations"]
        ]
    return plain
