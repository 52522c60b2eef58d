"""Writes any ledger to a sheet."""

from service.kit.database import Connection
from service.kit.settings import Settings
from service.ledgers import records, tables
from service.ledgers.sheet import Begin
from service.ledgers.what import TITLES, Labels, What
from service.vocabulary.keeping import current_reference_data

__all__ = ["TITLES", "Begin", "What", "write"]


async def write(connection: Connection, settings: Settings, what: What, begin: Begin) -> None:
    """Writes a ledger to a sheet that `begin` makes. Runs in the caller's transaction, which a
    cursor needs.
    """
    data = await current_reference_data(connection)
    labels = Labels(data.vocabulary, what.period.last)
    match what.which:
        case "weekly" | "monthly" | "quarterly" | "half-yearly" | "yearly":
            await tables.write_summary(connection, settings, what, begin)
        case "visits":
            await records.write_visits(connection, settings, what, labels, begin)
        case "problems":
            await records.write_problems(connection, what, labels, begin)
        case "disputes":
            await records.write_disputes(connection, settings, what, labels, begin)
        case "indicators":
            await tables.write_indicators(connection, data.vocabulary, what, begin)
        case "cadres":
            await tables.write_cadres(connection, what, begin)
        case "loop":
            await tables.write_loop(connection, settings, what, begin)
        case "special":
            await tables.write_special(connection, what, labels, begin)
        case "contracted":
            await tables.write_contracted(connection, settings, what, begin)
