"""A phone in small: edits offline, syncs when it can, never loses what was written."""

import asyncio
import random
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any

import httpx
import msgspec

from sync_protocol import ids
from sync_protocol.cleaning import UnfitFields, clean_fields
from sync_protocol.clock import ZERO, HybridClock
from sync_protocol.device.handover import Export, on_clock
from sync_protocol.device.proof import claims
from sync_protocol.device.store import Held, Store, View
from sync_protocol.device.transport import Account, DeviceRevoked, Refused, Transport, Unreachable
from sync_protocol.device.words import knowing, offered
from sync_protocol.drafts import Draft, draft
from sync_protocol.messages import Mutation, SyncRequest, Verdict, encode
from sync_protocol.periods import Period, from_ms, local_day, to_ms
from sync_protocol.records import KINDS
from sync_protocol.sets import SetChange
from sync_protocol.version import PROTOCOL
from sync_protocol.vocabulary import Label

VERIFY_EVERY_MS = 24 * 3600 * 1000
OFFSET_KEPT_FROM_MS = 1_000
MAX_TRIES = 6
MAX_MENDS = 8
BACKOFF_S = 0.5
BACKOFF_MAX_S = 60.0


class SyncReport(msgspec.Struct):
    """What a sync did: exchanges made, verdicts, how many changes came, grids that left the scope,
    grids that were healed.
    """

    exchanges: int = 0
    verdicts: list[Verdict] = []
    changes: int = 0
    dropped_grids: list[str] = []
    healed: list[str] = []


class Device:
    """One phone of one cadre, over a `Store` and a `Transport`.

    `now` is the phone's wall clock in Unix milliseconds, `rng` its randomness, `sleep` how it
    waits: a simulation passes its own.
    """

    def __init__(
        self,
        store: Store,
        transport: Transport,
        account: Account,
        *,
        now: Callable[[], int] | None = None,
        rng: random.Random | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        page: int = 500,
        max_tries: int = MAX_TRIES,
        name: str = "reference device",
    ) -> None:
        self.store = store
        self.account = account
        self.transport = transport
        self._now = now or (lambda: time.time_ns() // 1_000_000)
        self._rng = rng or random.SystemRandom()
        self._sleep = sleep
        self._page = page
        self._max_tries = max_tries
        self._name = name
        self._access_token = ""
        self._server_offset_ms = 0
        self._clock = HybridClock(self._now, store.last_stamp())
        if not store.get("device"):
            store.set(device=self.new_device_id(), staff_code=account.staff_code)

    @classmethod
    def open(cls, path: str | Path, *, server: str, account: Account) -> "Device":
        """The phone whose file is `path`, talking to the server at that base URL."""
        return cls(Store(path), Transport(httpx.AsyncClient(base_url=server, timeout=30)), account)

    @property
    def id(self) -> str:
        """The device id under which the server knows this phone."""
        return self.store.get("device")

    def new_device_id(self) -> str:
        """An id under which this phone starts as a new device."""
        return str(uuid.UUID(int=self._rng.getrandbits(128), version=4))

    # ---------------------------------------------------------------------------------------- edits

    def put(self, kind: str, fields: Mapping[str, Any], *, grid: str, id: str | None = None) -> str:
        """Makes or edits a record offline and returns its id.

        Fields are checked by the rules of the kind (`UnfitFields`); set fields take `{"add": […],
        "remove": […]}`.
        """
        if id is None:
            id = self.id_for(kind, fields, grid)
        self.put_unchecked(kind, self._checked(kind, fields), grid=grid, id=id)
        return id

    def put_unchecked(self, kind: str, fields: Mapping[str, Any], *, grid: str, id: str) -> None:
        """Like `put`, for fields that this version cannot check."""
        self._queue(Mutation(0, kind, id, grid, "put", fields=dict(fields)))

    def delete(self, kind: str, id: str, *, grid: str) -> None:
        """Deletes a record offline."""
        self._queue(Mutation(0, kind, id, grid, "delete"))

    def _queue(self, mutation: Mutation) -> None:
        mutation.stamp = self._clock.tick()
        self.store.queue(mutation)

    def id_for(self, kind: str, fields: Mapping[str, Any], grid: str) -> str:
        """The id of a new record: computed where its kind has a natural key, else a fresh one."""
        key = KINDS[kind].key if kind in KINDS else ()
        if key and all(name in fields for name in key):
            return ids.natural_id(kind, grid, *(str(fields[name]) for name in key))
        return ids.uuid7(self._now(), random.Random(self._rng.getrandbits(64)))

    def _checked(self, kind: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        try:
            cleaned, _ = clean_fields(KINDS[kind], fields)
        except UnfitFields:
            # Perhaps for a word that this version does not know, but the server does.
            cleaned, _ = clean_fields(knowing(KINDS[kind], self.records("vocabulary")), fields)
        return {
            name: value.wire() if isinstance(value, SetChange) else value
            for name, value in cleaned.items()
        }

    # ---------------------------------------------------------------------------------------- reads

    def records(self, kind: str | None = None, grid: str | None = None) -> list[View]:
        """The live records as the owner sees them: pulled state with pending edits over it."""
        return self.store.views(kind, grid)

    def offered(self, name: str, day: date) -> dict[str, Label]:
        """The words of a list that a form offers on a day of Asia/Shanghai, in order."""
        return offered(self.records("vocabulary"), name, day)

    def draft(self, grid: str, period: Period) -> Draft:
        """The numbers of a grid's week or month from this phone's own records, to begin an analysis
        with.
        """
        return draft(self.records(grid=grid), grid, period, self.own_work_from)

    @property
    def own_work_from(self) -> str:
        """The stamp from which nobody verifies the own resolution, as the server told; always,
        where it told nothing.
        """
        return self.store.get("own_work_from", ZERO)

    def held(self) -> list[Held]:
        """This phone's mutations that the server keeps aside, with the reason."""
        return self.store.held()

    # ------------------------------------------------------------------------ lost or broken phones

    def export_outbox(self) -> bytes:
        """What this phone has not handed in yet, to be carried to another phone of the same cadre;
        see PROTOCOL.md.
        """
        unsent = self.store.unsent(self.store.count_unsent())
        offset_ms = int(self.store.get("offset_ms", "0"))
        return encode(Export(self.account.staff_code, self.store.get("cursor"), offset_ms, unsent))

    def import_outbox(self, exported: bytes) -> int:
        """Takes over what another phone of this cadre had not handed in, as a new device; returns
        how many mutations.
        """
        export = msgspec.json.decode(exported, type=Export)
        if export.staff_code != self.account.staff_code:
            raise ValueError(
                f"this is the outbox of {export.staff_code}, not of {self.account.staff_code}"
            )
        others = on_clock(
            export.mutations, export.offset_ms - int(self.store.get("offset_ms", "0"))
        )
        self.store.import_outbox(others, export.predecessor, self.new_device_id())
        self._clock = HybridClock(self._now, self.store.last_stamp())
        self._access_token = ""
        return len(export.mutations)

    # ----------------------------------------------------------------------------------------- sync

    async def sync(self) -> SyncReport:
        """Hands in every edit and pulls until there is nothing more.

        Raises `Unreachable` when the tries are used up, `Refused` when the server refuses the
        request as a whole, `DeviceRevoked` when this device was revoked and has been wiped.
        Whatever is raised, nothing is lost: call again later.
        """
        report = SyncReport()
        while (
            await self.exchange(report)
            or self.store.count_unsent()
            or self.store.out_of_step()
            or await self._doubts(report)
        ):
            pass
        return report

    async def exchange(self, report: SyncReport) -> bool:
        """One exchange, tried again after passing failures; returns whether there is more to come.
        Raises what `sync` does.
        """
        failures = mends = 0
        while True:
            try:
                return await self.exchange_once(report)
            except Unreachable as error:
                failures += 1
                if failures == self._max_tries:
                    raise
                await self._sleep(self.pause_s(failures - 1, error.retry_after))
            except Refused as error:
                mends += 1
                if mends > MAX_MENDS:
                    raise
                await self.mend(error)

    def pause_s(self, attempt: int, retry_after: float | None) -> float:
        """Seconds to wait: exponential with full jitter, so that phones that failed together do not
        come back together.
        """
        bound = min(BACKOFF_MAX_S, BACKOFF_S * 2**attempt)
        return (retry_after or 0) + self._rng.uniform(0, bound)

    async def exchange_once(self, report: SyncReport) -> bool:
        """One exchange that is not tried again, noted in a report; returns whether there is more to
        come. Raises `Unreachable`, and `Refused`, of which `mend` may know what to do.
        """
        if self.store.out_of_step():
            self.store.renumber(self.new_device_id())
            self._access_token = ""
        token = await self.access_token()
        sent = self.store.batch()
        cursor = self.store.get("cursor") or None
        request = SyncRequest(
            protocol=PROTOCOL,
            sent_at=from_ms(self._now()),
            cursor=cursor,
            limit=self._page,
            queued=self.store.count_unsent() - len(sent),
            mutations=sent,
            again=self.store.again,
        )
        answer = await self.transport.sync(encode(request), token)
        self._note_offset(to_ms(datetime.fromisoformat(answer.server_time)) - self._now())
        self.store.take(answer, sent, from_start=cursor is None, again=request.again)
        report.exchanges += 1
        report.verdicts += answer.verdicts
        report.changes += len(answer.changes)
        report.dropped_grids += answer.dropped_grids
        return answer.more

    def _note_offset(self, offset_ms: int) -> None:
        self._server_offset_ms = offset_ms
        if abs(offset_ms - int(self.store.get("offset_ms", "0"))) > OFFSET_KEPT_FROM_MS:
            self.store.set(offset_ms=str(offset_ms))

    async def mend(self, error: Refused) -> None:
        """Does what a refusal asks for, or raises it again."""
        match error.slug:
            case "token-expired" | "token-invalid":
                self._access_token = ""
            case "session-ended":
                self._access_token = ""
                self.store.set(refresh_token="")
            case "seq-gap":
                self.store.trace_back(int(error.problem["expected"]) - 1)
            case "device-forked":
                if self.store.tracing:
                    # What lies before is the server's, too; its verdicts have not come as far as it
                    # was in the same request.
                    self.store.part_at(int(error.problem["seq"]))
                else:
                    self.store.trace_back(int(error.problem["seq"]) - 1)
            case "device-revoked":
                self.store.take_refusal(error.problem)
                if self.store.count_unsent() == 0:
                    self.store.wipe()
                    raise DeviceRevoked(str(error)) from error
            case "upgrade-needed":
                self.store.take_refusal(error.problem)
                raise error
            case _:
                raise error

    async def access_token(self) -> str:
        """An access token: the one at hand, else by the refresh token, else by signing in.
        Raises `Unreachable` and `Refused`.
        """
        if not self._access_token:
            refresh_token = self.store.get("refresh_token")
            answer = None
            if refresh_token:
                try:
                    answer = await self.transport.refresh(refresh_token, self.id)
                except Refused:
                    self.store.set(refresh_token="")
            if answer is None:
                before = self.store.get("predecessor") or self.store.get("cursor")
                answer = await self.transport.sign_in(self.account, self.id, self._name, before)
                self.store.set(predecessor="")
            # Kept before the access token is used: from then on the refresh token before it is no
            # longer good.
            self.store.set(
                refresh_token=answer["refresh_token"], staff_code=self.account.staff_code
            )
            self._access_token = answer["access_token"]
        return self._access_token

    # --------------------------------------------------------------------------------------- verify

    async def _doubts(self, report: SyncReport) -> bool:
        """Verifies the copy once a day, and after any doubt; whether grids differ and must be
        pulled again (promise 12).
        """
        last = int(self.store.get("verify") or 0)
        if last and self._now() - last < VERIFY_EVERY_MS:
            return False
        try:
            mismatched = await self.verify()
        except (Unreachable, Refused):
            return False  # next time will do: the exchange itself succeeded
        self.store.ask_again(mismatched, self._now())
        report.healed += mismatched
        return bool(mismatched)

    def doubt(self) -> None:
        """Makes the next sync verify the whole copy."""
        self.store.set(verify="")

    async def verify(self) -> list[str]:
        """The grids of this phone's copy that differ from the server's."""
        grids = self.copies()
        if not grids:
            return []
        answer = await self.transport.verify(encode({"grids": grids}), await self.access_token())
        return answer.mismatched

    def copies(self) -> list[dict[str, Any]]:
        """This phone's account of its copy, grid by grid and mailbox by mailbox: highest rev,
        number of live records, digest.
        """
        # The windows are those of the server's day: this phone's clock may be years off.
        today = local_day(from_ms(self._now() + self._server_offset_ms))
        return claims(self.store.grids(), self.store.pulled(), today, self.own_work_from)
