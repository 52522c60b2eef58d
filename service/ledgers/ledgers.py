"""Writes any ledger to a file."""

from pathlib import Path

from service.kit.database import Connection
from service.kit.settings import Settings
from service.ledgers import records, tables
from service.ledgers.what import TITLES, Labels, What
from service.vocabulary.keeping import current_reference_data

__all__ = ["TITLES", "What", "write"]


async def write(connection: Connection, settings: Settings, what: What, path: Path) -> None:
    """Writes a ledger to a file. Runs in the caller's transaction, which a cursor needs."""
    data = await current_reference_data(connection)
    labels = Labels(data.vocabulary, what.period.last)
    match what.which:
        case "weekly" | "monthly" | "quarterly" | "yearly":
            await tables.write_summary(connection, settings, what, path)
        case "visits":
            await records.write_visits(connection, settings, what, labels, path)
        case "problems":
            await records.write_problems(connection, what, labels, path)
        case "disputes":
            await records.write_disputes(connection, settings, what, labels, path)
        case "indicators":
            await tables.write_indicators(connection, data.vocabulary, what, path)
        case "cadres":
            await tables.write_cadres(connection, what, path)
        case "loop":
            await tables.write_loop(connection, settings, what, path)
        case "special":
            await tables.write_special(connection, what, labels, path)
        case "contracted":
            await tables.write_contracted(connection, settings, what, path)
