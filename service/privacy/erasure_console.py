"""What came of an erasure, as tables on the console."""

from rich.table import Table

from service.privacy.erasure import Done


def tables(done: Done, dry_run: bool) -> tuple[Table, Table]:
    """What was removed, or would be; and what still holds something, until when."""
    verb = "would be removed" if dry_run else "removed"
    title = f"{done.kind} {done.subject}" + (
        ": erased before, nothing has come since" if done.repeated else ""
    )
    removed = Table("what", verb, title=title)
    for what, count in done.removed.items():
        removed.add_row(what, str(count))
    remains = Table(
        "what still holds something", "of what", "until", title="not reached by the erasure"
    )
    for item in done.remains:
        remains.add_row(item.where, item.what, item.until)
    return removed, remains
