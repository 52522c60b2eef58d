"""Who loses a post by an import and has something in hand: told, and no reason to refuse it."""

from service.imports import known_queries, sheet_check
from service.imports.plan import Plan
from service.imports.report import MAX_WARNINGS
from service.kit.database import Connection
from sync_protocol.texts import Text, stored


async def warnings_of(connection: Connection, plan: Plan) -> list[str]:
    """What is to be known of posts that end, as texts are kept."""
    ended = [change for change in plan.posts if change.what == sheet_check.ENDED]
    said = {change.named.partition(" ")[0]: change.said for change in ended}
    if not said:
        return []
    rows = await known_queries.in_hand(connection, said)
    texts = [
        Text(
            "A post ends ({post}), and ‘{cadre}’ still has in hand: {what}. Pass it on.",
            post=said[row["code"]],
            cadre=row["code"],
            what=_in_hand(row["problems"], row["households"]),
        )
        for row in rows[:MAX_WARNINGS]
    ]
    if len(rows) > MAX_WARNINGS:
        text = Text(
            "{count} more people whose posts end have something in hand.",
            count=len(rows) - MAX_WARNINGS,
        )
        texts.append(text)
    return [stored(text) for text in texts]


def _in_hand(problems: int, households: int) -> list[Text]:
    counts = (
        (problems, Text("{count} open problems", count=problems)),
        (households, Text("{count} households", count=households)),
    )
    return [text for count, text in counts if count]
