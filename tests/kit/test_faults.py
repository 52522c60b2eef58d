"""Errors of the database before, within and after COMMIT: what is answered, what was kept, and that
sending again makes it once.
"""

import asyncio
import itertools
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import psutil
import pytest

from migrations.roles import migrate
from service.app import create_app
from service.kit import database, database_limits
from service.kit.database import open_pool
from service.kit.database_errors import FAULTS, fault_of, is_of_database, leaves_doubt, table
from service.kit.outcomes import Kept, Outcome
from service.kit.settings import Settings
from service.runtime import failpoints, write_probe
from service.runtime.postgres import as_role
from service.runtime.write_probe import WriteProbe
from service.sync.exchange import Exchange, Exchanges
from simulator.database_proxy import CUT, GARBAGE, SILENCE, Failure, Moment, Proxy, fatal, proxied
from simulator.places import SUPERVISOR, TOWNSHIP, VILLAGE
from simulator.throwaway import ROLES
from tests.articles.test_articles import app_token
from tests.commands import run_command
from tests.conftest import running
from tests.world import GRID, OTHER_GRID, SECRETARY, Clock, World, first_held_at, until_none

PAGE = Path(__file__).parents[2] / "docs" / "operations" / "faults.md"
BY_NAME = {fault.name: fault for fault in FAULTS}

# At least one state of every row, and some faults of the service itself.
STATES = {
    "53100": "disk-full",
    "25006": "read-only",
    "55P03": "locked",
    "55006": "locked",
    "57014": "too-slow",
    "25P03": "too-slow",
    "25P04": "too-slow",
    "40001": "contended",
    "40P01": "contended",
    "40003": "contended",
    "53200": "no-resources",
    "53300": "no-resources",
    "53400": "no-resources",
    "28000": "not-let-in",
    "28P01": "not-let-in",
    "58030": "storage",
    "F0001": "storage",
    "08006": "unreachable",
    "57P01": "unreachable",
    "57P02": "unreachable",
    "57P03": "unreachable",
    "3D000": "unreachable",
    "42P01": "no-tables",
    "42703": "no-tables",
    "42501": "no-rights",
    "XX000": None,
    "22012": None,
    "23514": None,
}
# Classes whose errors no later try would mend: what was sent to the database is wrong, or its data
# is.
SERVICE_FAULTS = {
    *(
        "01",
        "02",
        "03",
        "09",
        "0A",
        "0B",
        "0F",
        "0L",
        "0P",
        "0Z",
        "10",
        "20",
        "21",
        "22",
        "23",
        "24",
        "25",
        "26",
        "27",
        "2B",
        "2D",
        "2F",
    ),
    *("34", "38", "39", "3B", "3F", "42", "44", "54", "72", "HV", "P0", "XX"),
}
SAYS = {
    ("rest", Kept.NOTHING): "Nothing was changed; try again",
    (
        "rest",
        Kept.UNKNOWN,
    ): "It is not known whether this was kept: send the same again with the same Idempotency-Key"
    " or id",
    ("sync", Kept.NOTHING): "Nothing was taken in; sync again",
    (
        "sync",
        Kept.UNKNOWN,
    ): "It is not known whether what was sent was taken in: send the same again with the same"
    " numbers",
}
MARKER = b"mutation_body"
# Fails the rows of the mutation log, which every write adds to, at their INSERT or at COMMIT, with
# the state that a table tells.
FAILING = """
CREATE TABLE failing (state TEXT, moment TEXT);
GRANT SELECT ON failing TO PUBLIC;
CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE wanted TEXT;
BEGIN
    SELECT state INTO wanted FROM failing WHERE moment = TG_ARGV[0];
    IF wanted IS NOT NULL THEN RAISE EXCEPTION 'made up' USING ERRCODE = wanted; END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER fail_before BEFORE INSERT ON mutation FOR EACH ROW EXECUTE FUNCTION
    fail('before COMMIT');
CREATE CONSTRAINT TRIGGER fail_within AFTER INSERT ON mutation DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION fail('within COMMIT');
"""


def test_the_page_for_operators_shows_the_table() -> None:
    assert table() in PAGE.read_text()


def test_every_exception_of_the_driver_has_its_row_or_is_a_fault_of_the_service() -> None:
    errors = [
        error
        for error in vars(asyncpg.exceptions).values()
        if isinstance(error, type) and issubclass(error, Exception)
    ]
    assert len(errors) > 250
    for error in errors:
        fault = fault_of(error("made up"))
        if fault is None:
            state = getattr(error, "sqlstate", None)
            assert state is None or state[:2] in SERVICE_FAULTS, error
            assert not issubclass(
                error, (asyncpg.InterfaceError, asyncpg.InternalClientError, ConnectionError)
            ), error
        else:
            assert fault.retry_after > 0
            assert is_of_database(error("made up"))


@pytest.mark.parametrize(("state", "name"), STATES.items())
def test_a_state_has_one_row(state: str, name: str | None) -> None:
    fault = fault_of(
        asyncpg.PostgresError.new({"C": state, "S": "ERROR", "V": "ERROR", "M": "made up"})
    )
    assert (fault.name if fault else None) == name


def test_every_row_is_tried() -> None:
    assert {fault.name for fault in FAULTS} - {*STATES.values()} == {
        "migrating",
        "broken-connection",
        "tables-too-new",
    }


def test_only_a_refusal_of_the_server_leaves_no_doubt() -> None:
    def error(state: str, severity: str) -> Exception:
        return asyncpg.PostgresError.new({"C": state, "S": "FEHLER", "V": severity, "M": "made up"})

    assert not leaves_doubt(error("53100", "ERROR"))
    for doubtful in (
        error("57P01", "FATAL"),
        error("53100", "PANIC"),
        error("40003", "ERROR"),
        error("08007", "ERROR"),
    ):
        assert leaves_doubt(doubtful)
    for lost in (
        ConnectionResetError(),
        TimeoutError(),
        asyncpg.InterfaceError("lost"),
        asyncpg.ConnectionDoesNotExistError("lost"),
    ):
        assert leaves_doubt(lost)
    assert leaves_doubt(asyncio.CancelledError())


# ------------------------------------------------------------------------ over a failing connection


class Failing:
    """A world whose database fails when told to: over sync, as a new visit, and over REST, as a new
    problem or step.
    """

    def __init__(self, world: World, proxy: Proxy) -> None:
        self.world = world
        self.proxy = proxy
        self.phone = world.wire()
        self.seq = 0
        self.problem = ""
        self.app = ""
        self._numbers = itertools.count()

    async def set(self, state: str | None, moment: Moment) -> None:
        await self.world.fetch("DELETE FROM failing")
        if state is not None:
            await self.world.fetch("INSERT INTO failing VALUES ($1, $2)", state, moment.value)

    def a_visit(self) -> "Sent":
        self.seq += 1
        return SentVisit(self, self.phone.mutation(self.seq))

    def a_problem(self) -> "Sent":
        body = {"grid": GRID, "fields": {"title": "水管冻裂", "duty": "emergency"}}
        return SentRecord(self, "/v1/problems", body, "problem", next(self._numbers) % 2 == 0)

    def a_step(self) -> "Sent":
        body = {"action": "note", "fields": {"note": "看过"}}
        return SentRecord(
            self, f"/v1/problems/{self.problem}/steps", body, "step", next(self._numbers) % 2 == 0
        )

    def a_request(self) -> "Sent":
        body = {"unit": VILLAGE, "title": "羊圈漏雨"}
        return SentRecord(
            self, "/v1/requests", body, "receipt", next(self._numbers) % 2 == 0, self.app
        )


class Sent:
    """Something that is sent, and again as it was."""

    kind = "rest"

    async def send(self) -> httpx.Response:
        raise NotImplementedError

    async def count(self) -> int:
        """How many records it has made."""
        raise NotImplementedError


class SentVisit(Sent):
    kind = "sync"

    def __init__(self, failing: Failing, mutation: dict[str, Any]) -> None:
        self._failing = failing
        self._mutation = mutation

    async def send(self) -> httpx.Response:
        return await self._failing.phone.send(self._mutation)

    async def count(self) -> int:
        [row] = await self._failing.world.fetch(
            "SELECT count(*) FROM visit WHERE id = $1", uuid.UUID(self._mutation["id"])
        )
        return int(row["count"])


class SentRecord(Sent):
    def __init__(
        self,
        failing: Failing,
        path: str,
        body: dict[str, Any],
        table: str,
        with_key: bool,
        token: str = "",
    ) -> None:
        self._failing = failing
        self._token = token
        self._path = path
        self._table = table
        self._key = str(uuid.uuid4()) if with_key else None
        self._body = body if with_key else body | {"id": str(uuid.uuid4())}
        self._before: int | None = None

    async def send(self) -> httpx.Response:
        if self._before is None:
            self._before = await self._all()
        headers = {
            "Authorization": f"Bearer {self._token or await self._failing.world.token(SECRETARY)}"
        }
        if self._key is not None:
            headers["Idempotency-Key"] = self._key
        return await self._failing.world.client.post(self._path, json=self._body, headers=headers)

    async def _all(self) -> int:
        [row] = await self._failing.world.fetch(f"SELECT count(*) FROM {self._table}")
        return int(row["count"])

    async def count(self) -> int:
        assert self._before is not None
        return await self._all() - self._before


@pytest.fixture
async def failing(
    settings: Settings, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Failing]:
    """The service over a proxy to its database."""
    # Where nothing answers any more, the driver gives up soon after the server should have.
    monkeypatch.setattr(database_limits, "DRIVER_LATER_S", 0.2)
    monkeypatch.setattr(database, "ENDING_S", 0.2)
    async with proxied(str(settings.database_url), MARKER) as (proxy, through):
        brief = {"statement_seconds": 0.5, "sync_statement_seconds": 0.5}
        settings = settings.model_copy(
            update={"database_url": through(str(settings.database_url)), **brief}
        )
        app = create_app(settings, clock.now)
        async with running(app) as client:
            world = World(app, client, clock, tmp_path)
            connection = await asyncpg.connect(
                through(str(settings.database_url).replace(ROLES.service, "postgres"))
            )
            await connection.execute(FAILING)
            await connection.close()
            found = Failing(world, proxy)
            raised = await found.a_problem().send()
            assert raised.status_code == 201, raised.text
            found.problem = raised.json()["id"]
            found.app = await app_token(world)
            yield found
            await world.close()


def check(sent: Sent, answer: httpx.Response, name: str | None, kept: Kept, what: str) -> None:
    """Status, Retry-After, and what the text claims."""
    said = answer.json()["detail"]
    fault = BY_NAME[name] if name else None
    assert answer.status_code == (503 if fault else 500), (what, answer.text)
    assert answer.headers.get("Retry-After") == (str(fault.retry_after) if fault else None), what
    assert said.startswith(str(fault.text) if fault else "The server failed at this"), (what, said)
    for (kind, claim), text in SAYS.items():
        assert (text in said) == ((kind, claim) == (sent.kind, kept)), (what, said)


async def goes_through_once(sent: Sent, what: str) -> None:
    """The same, sent twice again."""
    for _ in range(2):
        again = await sent.send()
        assert again.status_code in (200, 201), (what, again.text)
        assert await sent.count() == 1, what


# With what PostgreSQL ends a connection.
ENDING = ("57P01", "57P02", "25P03", "53100", "XX000")
REQUESTS = (Failing.a_visit, Failing.a_problem, Failing.a_step, Failing.a_request)


@pytest.mark.parametrize("kind", [Failing.a_visit, Failing.a_problem])
@pytest.mark.parametrize("moment", [Moment.BEFORE, Moment.WITHIN])
async def test_an_error_of_the_server_is_answered_by_its_row_and_nothing_is_kept(
    failing: Failing, kind: Any, moment: Moment
) -> None:
    for state, name in STATES.items():
        sent = kind(failing)
        what = f"{state} {moment.value}"
        await failing.set(state, moment)
        answer = await sent.send()
        unknown = moment is Moment.WITHIN and state in ("08006", "40003")
        check(sent, answer, name, Kept.UNKNOWN if unknown else Kept.NOTHING, what)
        assert await sent.count() == 0, what
        await failing.set(None, moment)
        await goes_through_once(sent, what)


@pytest.mark.parametrize("kind", REQUESTS)
@pytest.mark.parametrize("moment", Moment)
async def test_a_connection_that_ends_is_answered_with_what_is_known(
    failing: Failing, kind: Any, moment: Moment
) -> None:
    ends: dict[str, tuple[bytes, str | None]] = {
        "cut": (CUT, "unreachable"),
        "garbage": (GARBAGE, None),
    }
    ends |= {state: (fatal(state), STATES[state] or "unreachable") for state in ENDING}
    for what, (said, name) in ends.items():
        sent = kind(failing)
        failing.proxy.fail(Failure(moment, said))
        answer = await sent.send()
        assert failing.proxy.failed.is_set(), what
        assert answer.status_code >= 500, (what, answer.text)
        if what == "garbage":
            name = next(
                fault.name
                for fault in FAULTS
                if answer.json()["detail"].startswith(str(fault.text))
            )
            assert name in ("broken-connection", "unreachable"), answer.text
        check(
            sent,
            answer,
            name,
            Kept.NOTHING if moment is Moment.BEFORE else Kept.UNKNOWN,
            f"{what} {moment.value}",
        )
        assert await sent.count() == (1 if moment is Moment.AFTER else 0), what
        await goes_through_once(sent, f"{what} {moment.value}")


@pytest.mark.parametrize("kind", REQUESTS[:2])
@pytest.mark.parametrize("moment", Moment)
async def test_a_server_that_answers_no_more_is_given_up_and_goes_on_with_nothing(
    failing: Failing, kind: Any, moment: Moment
) -> None:
    sent = kind(failing)
    failing.proxy.fail(Failure(moment, SILENCE))
    answer = await sent.send()
    assert failing.proxy.failed.is_set()
    check(
        sent,
        answer,
        "too-slow",
        Kept.NOTHING if moment is Moment.BEFORE else Kept.UNKNOWN,
        moment.value,
    )
    failing.proxy.close()  # as the network does at last; and the server notices
    await until_none(lambda: failing.world.fetch(OPEN_TRANSACTIONS))
    assert await sent.count() == (1 if moment is Moment.AFTER else 0)
    await goes_through_once(sent, moment.value)


async def test_nothing_is_asked_of_the_database_after_the_commit_of_what_was_written(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So nothing can fail after it."""
    events: list[str] = []
    kept, acquire = Outcome.note_kept, asyncpg.pool.Pool.acquire

    def noted(outcome: Outcome) -> None:
        events.append("kept")
        kept(outcome)

    def acquired(pool: Any, **options: Any) -> Any:
        events.append("asked")
        return acquire(pool, **options)

    token = await app_token(world)
    [house] = (await world.get("/v1/households", SECRETARY, limit=1)).json()["items"]
    monkeypatch.setattr(Outcome, "note_kept", noted)
    monkeypatch.setattr(asyncpg.pool.Pool, "acquire", acquired)

    async def write(method: str, path: str, body: Any, bearer: str) -> Any:
        events.clear()
        answer = await world.client.request(
            method, path, json=body, headers={"Authorization": f"Bearer {bearer}"}
        )
        assert answer.is_success, answer.text
        assert events.count("kept") == 1, (path, events)
        assert events[-1] == "kept", (path, events)
        return answer.json()

    secretary, supervisor = await world.token(SECRETARY), await world.token(SUPERVISOR)
    problem = await write(
        "POST",
        "/v1/problems",
        {"grid": GRID, "fields": {"title": "水管冻裂", "duty": "emergency"}},
        secretary,
    )
    await write(
        "POST",
        f"/v1/problems/{problem['id']}/steps",
        {"action": "note", "fields": {"note": "看过"}},
        secretary,
    )
    await write("POST", "/v1/requests", {"unit": VILLAGE, "title": "羊圈漏雨"}, token)
    await write(
        "PATCH", f"/v1/households/{house['id']}", {"fields": {"head_name": "苏和"}}, secretary
    )
    article = await write(
        "POST",
        "/v1/articles",
        {"unit": VILLAGE, "kind": "policy", "title": "t", "body": "b"},
        token,
    )
    await write("POST", f"/v1/articles/{article['id']}/publication", None, token)
    await write("POST", f"/v1/summaries/weekly/2026-W46/seal?unit={TOWNSHIP}", None, supervisor)
    await write("DELETE", f"/v1/cadres/{SECRETARY}/sessions", None, await world.token("admin"))


OPEN_TRANSACTIONS = """
    SELECT state, wait_event_type, query FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND state <> 'idle'
"""


async def test_a_push_whose_answer_fails_is_told_that_it_was_taken_in(world: World) -> None:
    phone = world.wire()
    mutation = phone.mutation(1)
    with first_held_at(failpoints.PUSH_COMMITTED) as (reached, go_on):
        sending = asyncio.create_task(phone.send(mutation))
        await reached.wait()
        await world.fetch("ALTER TABLE household RENAME TO elsewhere")
        go_on.set()
        answer = await sending
    await world.fetch("ALTER TABLE elsewhere RENAME TO household")
    assert answer.status_code == 503
    assert "What was sent was taken in; sync again" in answer.json()["detail"]
    assert len(await world.fetch("SELECT FROM visit")) == 1
    again = await phone.send(mutation)
    assert [verdict["outcome"] for verdict in again.json()["verdicts"]] == ["duplicate"]


async def test_a_key_is_free_again_once_the_database_is_back(world: World) -> None:
    """Its request came to nothing, and so did freeing it at first."""
    await world.fetch(FORGETTING_FAILS)
    await world.fetch(
        "CREATE TRIGGER fail BEFORE INSERT ON problem FOR EACH ROW EXECUTE FUNCTION full_disk()"
    )
    await world.fetch(
        "CREATE TRIGGER fail BEFORE DELETE ON idempotency FOR EACH ROW EXECUTE FUNCTION full_disk()"
    )
    headers = {"Authorization": f"Bearer {await world.token(SECRETARY)}", "Idempotency-Key": "one"}
    body = {"grid": GRID, "fields": {"title": "水管冻裂", "duty": "emergency"}}

    async def post() -> httpx.Response:
        return await world.client.post("/v1/problems", json=body, headers=headers)

    failed = await post()
    assert (failed.status_code, failed.headers["Retry-After"]) == (503, "30"), failed.text
    assert "Nothing was changed" in failed.json()["detail"]
    assert (await post()).json()["type"] == "/problems/request-under-way"
    await world.fetch("DROP TRIGGER fail ON idempotency")
    await world.fetch("DROP TRIGGER fail ON problem")
    await until_none(lambda: world.fetch("SELECT FROM idempotency"))
    made = await post()
    assert made.status_code == 201, made.text
    assert (await post()).json() == made.json()
    assert len(await world.fetch("SELECT FROM problem")) == 1


FORGETTING_FAILS = """
    CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql
    AS $$ BEGIN RAISE EXCEPTION 'made up' USING ERRCODE = 'disk_full'; END $$
"""


# --------------------------------------------------------------------------------- locks and limits


@pytest.fixture
async def impatient(
    settings: Settings, clock: Clock, tmp_path: Path, request: pytest.FixtureRequest
) -> AsyncIterator[World]:
    """The service with the limits that a test wants."""
    async with running(
        app := create_app(settings.model_copy(update=request.param), clock.now)
    ) as client:
        world = World(app, client, clock, tmp_path)
        yield world
        await world.close()


def limited(**given: float) -> pytest.MarkDecorator:
    """Marks a test with limits."""
    return pytest.mark.parametrize("impatient", [given], indirect=True, ids=["limits"])


@pytest.fixture
async def other(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """Another connection, as its superuser."""
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@limited(sync_lock_seconds=0.5, lock_seconds=0.5)
async def test_a_locked_grid_goes_alone_and_the_others_of_its_batch_are_committed(
    impatient: World, other: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[int] = []
    together: list[set[str]] = []
    push = Exchanges._push

    async def counted(self: Exchanges, exchanges: list[Exchange]) -> None:
        batches.append(len(exchanges))
        together.append(
            {
                mutation.grid
                for exchange in exchanges
                for mutation in exchange.request.message.mutations
            }
        )
        await push(self, exchanges)

    monkeypatch.setattr(Exchanges, "_push", counted)
    world = impatient
    world.state.give(Exchanges, Exchanges(world.state.database, world.state.settings))
    phones = [world.wire(SECRETARY) for _ in range(5)]
    sent = [
        phone.mutation(1, grid=GRID if place == 2 else OTHER_GRID)
        for place, phone in enumerate(phones)
    ]
    for phone in phones:
        await world.token(SECRETARY, phone.device)
    await other.execute("BEGIN")
    await other.execute("UPDATE counter SET rev = rev WHERE grid = $1", GRID)
    with first_held_at(failpoints.PUSH_LOCKED) as (reached, go_on):
        first = asyncio.create_task(phones[0].send(sent[0]))
        await reached.wait()
        rest = [
            asyncio.create_task(phone.send(mutation))
            for phone, mutation in zip(phones[1:], sent[1:], strict=True)
        ]
        while len(world.state.of(Exchanges)._pushes._waiting) < len(rest) and 4 not in batches:  # noqa: ASYNC110 - they tell nobody
            await asyncio.sleep(0)
        go_on.set()
        answers = await asyncio.gather(first, *rest)
    assert 4 in batches, "they shared a batch with the locked grid"
    assert batches.count(1) == 2, "the first, and the one of the locked grid: the others stayed one"
    assert [answer.status_code for answer in answers] == [200, 200, 503, 200, 200]
    assert answers[2].headers["Retry-After"] == "5"
    assert (
        answers[2]
        .json()["detail"]
        .startswith("Somebody else holds what this needs in the database. Nothing was taken in")
    )
    problem = await world.post(
        "/v1/problems",
        {"grid": GRID, "fields": {"title": "水管冻裂", "duty": "emergency"}},
        SECRETARY,
    )
    assert (problem.status_code, problem.headers["Retry-After"]) == (503, "5")
    assert "Nothing was changed" in problem.json()["detail"]
    # While the grid is held nobody else shares a transaction with its phones any more.
    together.clear()
    again = [
        phones[2].send(sent[2]),
        *(
            phone.send(phone.mutation(2, grid=OTHER_GRID))
            for phone in (phones[0], phones[1], phones[3])
        ),
    ]
    assert [answer.status_code for answer in await asyncio.gather(*again)] == [503, 200, 200, 200]
    assert {GRID} in together
    assert {GRID, OTHER_GRID} not in together
    await other.execute("ROLLBACK")
    assert (await phones[2].send(sent[2])).json()["verdicts"][0]["outcome"] == "applied"
    assert world.state.of(Exchanges)._locked_grids == set()
    assert len(await world.fetch("SELECT FROM visit")) == 8


SLOW = """
    CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(60); RETURN
        NEW; END $$;
    CREATE TRIGGER slow BEFORE INSERT ON mutation FOR EACH ROW EXECUTE FUNCTION slow();
"""


@limited(sync_statement_seconds=0.5, statement_seconds=0.5)
async def test_a_slow_statement_ends_in_the_server_and_is_answered(
    impatient: World, other: asyncpg.Connection
) -> None:
    world, phone = impatient, impatient.wire()
    mutation = phone.mutation(1)
    await other.execute(SLOW)
    answer = await phone.send(mutation)
    problem = await world.post(
        "/v1/problems",
        {"grid": GRID, "fields": {"title": "水管冻裂", "duty": "emergency"}},
        SECRETARY,
    )
    for failed in (answer, problem):
        assert (failed.status_code, failed.headers["Retry-After"]) == (503, "10"), failed.text
        assert failed.json()["detail"].startswith("The database took too long. Nothing was")
    assert await other.fetch(OPEN_TRANSACTIONS) == []
    await other.execute("DROP TRIGGER slow ON mutation")
    assert (await phone.send(mutation)).json()["verdicts"][0]["outcome"] == "applied"


@limited(exchange_seconds=0.7, sync_lock_seconds=60, sync_statement_seconds=60)
async def test_an_exchange_is_answered_before_the_phone_gives_up_and_goes_on_no_more(
    impatient: World, other: asyncpg.Connection
) -> None:
    phone = impatient.wire()
    mutation = phone.mutation(1)
    await impatient.token(phone.staff_code, phone.device)
    await other.execute("BEGIN; LOCK TABLE counter IN ACCESS EXCLUSIVE MODE")
    answer = await phone.send(mutation)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "10")
    assert "Nothing was taken in" in answer.json()["detail"]
    await until_none(lambda: other.fetch(OPEN_TRANSACTIONS))  # while the lock is still held
    await other.execute("ROLLBACK")
    assert await impatient.fetch("SELECT FROM visit") == []
    assert (await phone.send(mutation)).json()["verdicts"][0]["outcome"] == "applied"


@limited(sync_idle_seconds=0.3)
async def test_who_stalls_within_a_transaction_keeps_nobody_else_waiting(impatient: World) -> None:
    stalled, other = impatient.wire(), impatient.wire()
    mutation = stalled.mutation(1)
    with first_held_at(failpoints.PUSH_LOCKED) as (reached, go_on):
        sending = asyncio.create_task(stalled.send(mutation))
        await reached.wait()
        answer = await other.send(other.mutation(1))
        assert answer.status_code == 200, answer.text
        go_on.set()
        failed = await sending
    assert failed.status_code == 503
    assert "Nothing was taken in" in failed.json()["detail"]
    assert (await stalled.send(mutation)).json()["verdicts"][0]["outcome"] == "applied"


async def test_commands_have_no_limits_whatever_the_database_has(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = await asyncpg.connect(database_url)
    name = await connection.fetchval("SELECT current_database()")
    limited = [*database_limits.UNLIMITED.server_settings()]
    for each in limited:
        await connection.execute(f"ALTER DATABASE \"{name}\" SET {each} = '1ms'")
    await connection.close()
    pool = await open_pool(database_url, 1)
    assert [await pool.fetchval(f"SELECT current_setting('{each}')") for each in limited] == [
        "0",
        "0",
        "0",
    ]
    assert await pool.fetchval("SELECT pg_sleep(0.02) IS NOT NULL")
    await pool.close()
    await asyncio.to_thread(migrate, database_url, ROLES)
    variables = {
        "DATABASE_URL": as_role(database_url, ROLES.service),
        "OWNER_DATABASE_URL": database_url,
        "DATA": str(tmp_path),
    }
    for command in (["migrate"], ["check"], ["keys", "reencrypt"]):
        done = await run_command(monkeypatch, command, variables)
        assert done.exit_code == 0, (command, done.output, done.exception)


async def test_each_pool_has_its_limits(world: World) -> None:
    for name, seconds in (("main", (5, 20, 20)), ("sync", (5, 20, 10)), ("analysis", (5, 60, 60))):
        pool = world.state.database.pools[name]
        names = database_limits.UNLIMITED.server_settings()
        found = [
            await pool.fetchval(
                f"SELECT setting::int / 1000 FROM pg_settings WHERE name = '{each}'"
            )
            for each in names
        ]
        assert found == [*seconds]


# ---------------------------------------------------------------------------------- the write probe


async def figures(world: World) -> str:
    """The metrics."""
    return (await world.client.get("/metrics")).text


async def test_readyz_notices_a_read_only_database_and_that_it_takes_writes_again(
    world: World, server: str, caplog: pytest.LogCaptureFixture
) -> None:
    world.app.state.write_probe = WriteProbe(every_s=0)
    caplog.set_level("INFO", "gridloop")
    [row] = await world.fetch("SELECT current_database() AS name")
    phone = world.wire(SECRETARY)
    mutation = phone.mutation(1)
    await world.token(SECRETARY, phone.device)
    headers = {"Authorization": f"Bearer {await world.token(SECRETARY)}"}

    async def turn(to: str) -> None:
        connection = await asyncpg.connect(server)
        await connection.execute(
            f'ALTER DATABASE "{row["name"]}" SET default_transaction_read_only = {to}'
        )
        await connection.close()
        for pool in world.state.database.pools.values():
            await pool.expire_connections()

    async def post() -> httpx.Response:
        body = {
            "grid": GRID,
            "id": "0192f3a1-0000-7000-8000-00000000c11e",
            "fields": {"title": "水管冻裂", "duty": "emergency"},
        }
        return await world.client.post("/v1/problems", json=body, headers=headers)

    assert (await world.client.get("/readyz")).status_code == 200
    await turn("on")
    for answer in (
        await world.client.get("/readyz"),
        await world.client.get("/readyz"),
        await phone.send(mutation),
        await post(),
    ):
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "30"), answer.text
        assert answer.json()["detail"].startswith("The database takes no writes just now.")
    assert 'gridloop_write_probe_failures_total{fault="read-only"}' in await figures(world)
    assert "gridloop_database_writable 0.0" in await figures(world)
    await turn("off")
    assert (await world.client.get("/readyz")).status_code == 200
    assert "gridloop_database_writable 1.0" in await figures(world)
    assert ((await phone.send(mutation)).status_code, (await post()).status_code) == (200, 201)
    told = ("the database takes no writes:", "the database takes writes again")
    said = [
        record.getMessage() for record in caplog.records if record.getMessage().startswith(told)
    ]
    assert [text.startswith(known) for text, known in zip(said, told, strict=True)] == [True, True]


async def test_all_who_ask_within_a_moment_share_one_write(world: World) -> None:
    world.app.state.write_probe = WriteProbe(every_s=3600)
    before = await world.fetch("SELECT at FROM write_probe")
    await asyncio.gather(*(world.client.get("/readyz") for _ in range(5)))
    first = await world.fetch("SELECT at FROM write_probe")
    await world.client.get("/readyz")
    assert before != first == await world.fetch("SELECT at FROM write_probe")


async def test_a_database_that_is_down_is_not_writable_though_nobody_could_try(
    settings: Settings, clock: Clock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with proxied(str(settings.database_url), MARKER) as (proxy, through):
        through_proxy = settings.model_copy(
            update={"database_url": through(str(settings.database_url))}
        )
        app = create_app(through_proxy, clock.now)
        async with running(app) as client:
            world = World(app, client, clock, tmp_path)
            app.state.write_probe = WriteProbe(every_s=0)
            before = (await client.get("/readyz")).json()
            assert "gridloop_database_writable 1.0" in await figures(world)
            proxy.refuse()
            ready = await client.get("/readyz")
            assert ready.status_code == 503
            # What is known of the tables is said all the same.
            assert {
                name: ready.json()[name] for name in ("tables", "tables_newer", "warnings")
            } == {name: before[name] for name in ("tables", "tables_newer", "warnings")}
            assert "gridloop_database_writable 0.0" in await figures(world)
            assert "the database takes no writes: unreachable" in caplog.text


async def test_a_process_finds_out_by_itself_whether_the_database_takes_writes(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert "gridloop_database_writable 1.0" in await figures(world), "it looks at its start"
    probe = WriteProbe(every_s=0)
    monkeypatch.setattr(write_probe, "BY_ITSELF_S", 0.01)
    await world.fetch("REVOKE UPDATE ON write_probe FROM PUBLIC")
    await world.fetch(f"REVOKE UPDATE ON write_probe FROM {ROLES.service}")
    keeping = asyncio.create_task(probe.run(world.state.database))
    async with asyncio.timeout(10):
        while "gridloop_database_writable 0.0" not in await figures(world):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert "the database takes no writes: no-rights" in caplog.text
        await world.fetch(f"GRANT UPDATE ON write_probe TO {ROLES.service}")
        while "gridloop_database_writable 1.0" not in await figures(world):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    keeping.cancel()


@asynccontextmanager
async def with_stopped_backend(world: World, pool: str) -> AsyncIterator[None]:
    """The process of PostgreSQL behind the connection that a pool lends next is stopped inside."""
    async with world.state.database.pools[pool].acquire() as connection:
        process = psutil.Process(connection.get_server_pid())
    process.suspend()
    try:
        yield
    finally:
        process.resume()


async def test_a_transaction_begins_on_another_connection_where_one_hangs(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(database, "BEGIN_S", 0.3)
    phone = world.wire()
    assert (await phone.send(phone.mutation(1))).status_code == 200
    async with with_stopped_backend(world, "sync"):
        assert (await phone.send(phone.mutation(2))).status_code == 200
    async with with_stopped_backend(world, "main"), world.state.database.transaction() as one:
        assert await one.fetchval("SELECT count(*) FROM visit") == 2
    assert caplog.text.count("did not begin a transaction") == 2
    assert (await phone.send(phone.mutation(3))).status_code == 200


async def test_a_start_does_not_wait_for_a_write_that_hangs(
    world: World, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write_probe, "LIMITS", "SELECT 1")
    owner = await asyncpg.connect(str(world.state.settings.owner_database_url))
    async with owner.transaction():
        await owner.execute("LOCK TABLE write_probe")
        async with running(create_app(world.state.settings, clock.now)) as client:
            assert await world.fetch(
                "SELECT FROM pg_locks WHERE NOT granted AND relation = 'write_probe'::regclass"
            ), "the write is still under way"
            assert (await client.get("/healthz")).status_code == 200
    await owner.close()


async def test_missing_rights_are_503_and_say_what_gives_them(world: World) -> None:
    await world.fetch(f"REVOKE SELECT ON server FROM {ROLES.service}")
    ready = await world.client.get("/readyz")
    assert (ready.status_code, ready.headers["Retry-After"]) == (503, "60")
    assert "gridloop migrate" in ready.json()["detail"]


async def test_a_full_disk_is_told_by_readyz(world: World) -> None:
    world.app.state.write_probe = WriteProbe(every_s=0)
    await world.fetch(FORGETTING_FAILS)
    await world.fetch(
        "CREATE TRIGGER fail BEFORE UPDATE ON write_probe FOR EACH ROW EXECUTE FUNCTION full_disk()"
    )
    ready = await world.client.get("/readyz")
    assert (ready.status_code, ready.headers["Retry-After"]) == (503, "30")
    assert ready.json()["detail"].startswith("The disk of the database is full.")
    await world.fetch("DROP TRIGGER fail ON write_probe")
    assert (await world.client.get("/readyz")).status_code == 200
