"""The reference adapter, broken on purpose: `python -m tests.conformance.broken_adapter NAME`. The
conformance test has to notice.
"""

import json
import sys
from collections.abc import Callable
from typing import Any

from service.conformance import reference
from simulator.devices import damage
from sync_protocol.device import Device, Store, Transport, Unreachable
from sync_protocol.device.outbox import Outbox


def acknowledges_before_the_answer() -> None:
    """Counts mutations as handed in once they were sent."""
    plain = Outbox.batch

    def batch(self: Outbox) -> Any:
        sent = plain(self)
        if sent:
            self.set_acked(sent[-1].seq)
        return sent

    Outbox.batch = batch  # type: ignore[method-assign]


def keeps_no_outbox() -> None:
    """Loses what is pending when it is switched off."""
    plain = reference.ReferencePhone.switch_on

    def switch_on(self: Any) -> None:
        plain(self)
        store = self.device.store
        damage(store.path, "DELETE FROM outbox WHERE seq > ?", store.acked)
        store.set(next_seq=str(store.acked + 1))

    reference.ReferencePhone.switch_on = switch_on  # type: ignore[method-assign]


def believes_every_change() -> None:
    """Takes what came last for the newest, and a record that is gone from one grid for gone from
    all.
    """
    plain = Store.take

    def take(self: Store, answer: Any, *given: Any, **named: Any) -> None:
        plain(self, answer, *given, **named)
        for change in answer.changes:
            if change.gone:
                damage(
                    self.path,
                    "DELETE FROM record WHERE kind = ? AND id = ?",
                    change.kind,
                    change.id,
                )
            else:
                damage(
                    self.path,
                    "INSERT OR REPLACE INTO record (kind, id, grid, rev, deleted, fields)"
                    " VALUES (?, ?, ?, ?, ?, ?)",
                    *(change.kind, change.id, change.grid, change.rev, int(change.deleted)),
                    json.dumps(change.fields),
                )

    Store.take = take  # type: ignore[method-assign]


def never_asks_again() -> None:
    """Proves its copy, and does not heal it."""
    Store.ask_again = lambda *_: None  # type: ignore[method-assign]


def keeps_what_a_restored_server_has_lost() -> None:
    """Does not notice a new epoch."""
    plain = Store.take

    def take(self: Store, answer: Any, *given: Any, **named: Any) -> None:
        self.set(epoch=answer.epoch)
        plain(self, answer, *given, **named)

    Store.take = take  # type: ignore[method-assign]


def stops_after_a_page() -> None:
    """Takes the first page for the whole."""
    plain = Device.exchange_once

    async def exchange(self: Device, report: Any) -> bool:
        await plain(self, report)
        return False

    Device.exchange_once = exchange  # type: ignore[method-assign]


def forgets_the_refresh_token() -> None:
    """Signs in anew with every token that expires, and tells nobody of its former device."""
    plain = Device.access_token

    async def token(self: Device) -> str:
        self.store.set(refresh_token="", predecessor="")
        return await plain(self)

    Device.access_token = token  # type: ignore[method-assign]


def gives_up_without_an_answer() -> None:
    """Takes a lost answer for a refusal of what it sent."""
    plain = Transport.sync

    async def sync(self: Transport, body: bytes, token: str) -> Any:
        try:
            return await plain(self, body, token)
        except Unreachable as error:
            raise RuntimeError("gave up") from error

    Transport.sync = sync  # type: ignore[method-assign]


def sends_everything_at_once() -> None:
    """Knows no limit of a request."""
    Outbox.batch = lambda self: self.unsent(1_000_000)  # type: ignore[method-assign]


BROKEN: dict[str, Callable[[], None]] = {
    action.__name__: action
    for action in (
        acknowledges_before_the_answer,
        keeps_no_outbox,
        believes_every_change,
        never_asks_again,
        keeps_what_a_restored_server_has_lost,
        stops_after_a_page,
        forgets_the_refresh_token,
        gives_up_without_an_answer,
        sends_everything_at_once,
    )
}


if __name__ == "__main__":
    BROKEN[sys.argv[1]]()
    reference.main()
