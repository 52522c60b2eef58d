"""The figures at `/metrics`, for one process or many.

With `PROMETHEUS_MULTIPROC_DIR` set every process writes its part there, and any of them answers for
all.
"""

import collections
import os
import time
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

if TYPE_CHECKING:
    from service.kit.database import Pool
    from sync_protocol.messages import Mutation, Verdict

CONTENT_TYPE = CONTENT_TYPE_LATEST
_LATENCY = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)

requests = Histogram(
    "gridloop_request_seconds", "Time to answer", ("method", "route", "status"), buckets=_LATENCY
)
_pushes = Counter("gridloop_pushes_total", "Exchanges that handed in mutations")
_mutations = Counter("gridloop_mutations_total", "Mutations taken in, by verdict", ("outcome",))
_conflicts = Counter(
    "gridloop_conflicts_total", "Conflicts found, by record kind and rule", ("kind", "rule")
)
_shed = Counter(
    "gridloop_requests_shed_total",
    "Exchanges that were asked to come again, because too many were under way",
)
_sent_away = Counter(
    "gridloop_sent_away_total",
    "The former name of gridloop_requests_shed_total; goes with the next release",
)
pulled = Counter("gridloop_pulled_changes_total", "Changes sent to phones")
feed_pending = Histogram(
    "gridloop_feed_pending",
    "Changes still to come after a page",
    buckets=(0, 10, 100, 1_000, 10_000, 100_000),
)
_pool = Gauge(
    "gridloop_pool_connections",
    "Database connections",
    ("pool", "state"),
    multiprocess_mode="livesum",
)
clock_ahead = Gauge(
    "gridloop_clock_ahead_seconds",
    "How far the service's clock is ahead of the database's, and of those of the phones lately"
    " seen (their median); behind it is below 0",
    ("of",),
    multiprocess_mode="livemostrecent",
)
undecryptable = Counter(
    "gridloop_undecryptable_values_total",
    "Stored values that could not be decrypted",
    ("table", "column"),
)
database_errors = Counter(
    "gridloop_database_errors_total",
    "Errors of the database that a request or task met",
    ("fault",),
)
write_probe_failures = Counter(
    "gridloop_write_probe_failures_total",
    "Times that the database took no write when it was probed",
    ("fault",),
)
writable = Gauge(
    "gridloop_database_writable",
    "1 while the database takes writes, as last probed",
    multiprocess_mode="mostrecent",
)
tables_newer = Gauge(
    "gridloop_tables_newer",
    "1 while the tables are of a newer release over which this one may run, 2 while it may not, 0"
    " while they are its own",
    multiprocess_mode="livemax",
)
clock_wrong = Gauge(
    "gridloop_clock_wrong",
    "1 while nothing is stored because the service's clock is wrong, 0 while it is right",
    multiprocess_mode="livemax",
)
clock_refusals = Counter(
    "gridloop_clock_refusals_total",
    "Requests and tasks that were refused because the service's clock is wrong",
)
jobs = Gauge(
    "gridloop_jobs",
    "Jobs in the queue: waiting for a process, waiting for a later moment, running, failed",
    ("job", "state"),
    multiprocess_mode="livemostrecent",
)
jobs_oldest = Gauge(
    "gridloop_jobs_oldest_waiting_seconds",
    "How long the oldest job waits that could have begun",
    ("job",),
    multiprocess_mode="livemostrecent",
)
jobs_broken_off = Counter(
    "gridloop_jobs_broken_off_total",
    "Attempts under which the process ended: it was killed, or ran out of memory",
    ("job",),
)
job_seconds = Histogram(
    "gridloop_job_seconds",
    "Time that jobs took, by what came of them: done, retried or failed",
    ("job", "outcome"),
    buckets=(0.1, 1, 10, 60, 600, 3600),
)
sign_in_failures = Counter("gridloop_sign_in_failures_total", "Attempts to sign in that failed")


@cache
def request(method: str, route: str, status: int) -> Histogram:
    """The times of requests of one kind; methods are those of HTTP, routes those that exist."""
    return requests.labels(method, route, str(status))


def shed() -> None:
    """Counts an exchange that was asked to come again."""
    _shed.inc()
    _sent_away.inc()


def pushed(mutations: "Sequence[Mutation]", verdicts: "Sequence[Verdict]") -> None:
    """Counts what a push brought, once it is committed."""
    _pushes.inc()
    for outcome, count in collections.Counter([verdict.outcome for verdict in verdicts]).items():
        _mutations.labels(outcome).inc(count)
    disputed = {
        verdict.seq: verdict.conflicts
        for verdict in verdicts
        if verdict.conflicts and verdict.outcome != "duplicate"
    }
    for mutation in mutations if disputed else ():
        for conflict in disputed.get(mutation.seq, ()):
            _conflicts.labels(mutation.kind, conflict.rule).inc()


class Pools:
    """Notes the connections of this process, now and then: whichever process is asked answers for
    all.
    """

    every_s = 5.0
    _noted = -every_s

    @classmethod
    def note(cls, pools: "dict[str, Pool]", at_once: bool = False) -> None:
        """Sets the gauges, unless that was done a moment ago."""
        now = time.monotonic()
        if at_once or now - cls._noted >= cls.every_s:
            cls._noted = now
            for name, pool in pools.items():
                _pool.labels(name, "open").set(pool.get_size())
                _pool.labels(name, "idle").set(pool.get_idle_size())


def forget_process(pid: int) -> None:
    """Takes what a process that has ended said of itself out of the figures; what it counted stays
    counted.
    """
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        mark_process_dead(pid)  # type: ignore[no-untyped-call]


def text(pools: "dict[str, Pool]") -> bytes:
    """The figures as Prometheus reads them."""
    Pools.note(pools, at_once=True)
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return generate_latest(REGISTRY)
    whole = CollectorRegistry()
    MultiProcessCollector(whole)  # type: ignore[no-untyped-call]
    return generate_latest(whole)
