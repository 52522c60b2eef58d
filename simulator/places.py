"""Where and with whom histories take place: a village of the made-up roster, its people, and the
moment at which it begins.
"""

from datetime import UTC, datetime

PASSWORD = "gridloop-demo"
NOW = datetime(2026, 11, 20, 2, 0, tzinfo=UTC)  # a Friday, 10:00 in Baotou
VILLAGE = "150202100200"
TOWNSHIP = VILLAGE[:9]
SUPERVISOR = f"S{TOWNSHIP}"
WAITING_FOR_LOCKS = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    " AND wait_event_type = 'Lock'"
)
