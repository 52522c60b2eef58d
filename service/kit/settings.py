"""Settings, each from an environment variable `GRIDLOOP_…`, with a default that suits a laptop."""

import json
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import limits
from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from service.kit.addresses import checked
from service.kit.database_limits import Limits
from service.kit.key_file import read_keys
from service.kit.keyring import Keyring
from sync_protocol.texts import Text
from sync_protocol.vocabulary import ROLES

PREFIX = "GRIDLOOP_"
_ROLE = r"^[a-z_][a-z0-9_]{0,62}$"

# A list that is read as JSON by `Settings` itself, so that it can say what is wrong with it.
Listed = Annotated[list[str], NoDecode]


class Settings(BaseSettings):
    """Everything that can be set from outside."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_file=None, extra="ignore")

    database_url: str | None = Field(
        None, description="PostgreSQL to use; empty: an embedded one is started in the data folder."
    )
    owner_database_url: str | None = Field(
        None,
        description="The same database as the role that owns its tables, for `gridloop migrate`,"
        " `purge` and `fill`.",
    )
    owner_role: str = Field(
        "gridloop_owner",
        pattern=_ROLE,
        description="Role that owns the tables where a superuser migrates, as in the embedded"
        " PostgreSQL.",
    )
    service_role: str = Field(
        "gridloop_service",
        pattern=_ROLE,
        description="Role of the service in the embedded PostgreSQL.",
    )
    data: Path = Field(Path(".gridloop"), description="Folder of the embedded PostgreSQL.")
    pool_size: int = Field(
        8, ge=1, le=200, description="Database connections a service process keeps."
    )
    analysis_pool_size: int = Field(
        4,
        ge=1,
        le=200,
        description="Database connections a service process keeps for summaries and ledgers.",
    )
    sync_pool_size: int = Field(
        8,
        ge=1,
        le=200,
        description="Database connections a service process keeps for phones that sync.",
    )
    lock_seconds: float = Field(
        5,
        ge=0,
        le=3600,
        description="Seconds after which PostgreSQL ends a wait for a lock; 0: never.",
    )
    statement_seconds: float = Field(20, ge=0, le=3600, description="The same of a statement.")
    idle_seconds: float = Field(
        20, ge=0, le=3600, description="The same of a transaction in which nothing is done."
    )
    sync_lock_seconds: float = Field(
        5, ge=0, le=3600, description="The same three for phones that sync …"
    )
    sync_statement_seconds: float = Field(
        20, ge=0, le=3600, description="… a phone gives up after 30 seconds …"
    )
    sync_idle_seconds: float = Field(
        10, ge=0, le=3600, description="… and its locks must not stay."
    )
    analysis_lock_seconds: float = Field(
        5, ge=0, le=3600, description="The same three for summaries, ledgers and erasures."
    )
    analysis_statement_seconds: float = Field(
        60, ge=0, le=3600, description="… whose statements may take longer."
    )
    analysis_idle_seconds: float = Field(
        60, ge=0, le=3600, description="… also while a sheet is written."
    )
    exchange_seconds: float = Field(
        25,
        gt=0,
        le=3600,
        description="Seconds after which an exchange is answered that it took too long; a phone"
        " gives up after 30.",
    )
    sync_max_concurrency: int = Field(
        64,
        ge=1,
        le=10_000,
        description="Exchanges with phones that a service process has under way; more are asked to"
        " come again.",
    )
    held_quota_bytes: int = Field(
        20 * 1024 * 1024,
        ge=64 * 1024,
        description="Bytes of a device's mutations that may be held at a time; beyond them its"
        " pushes wait.",
    )
    keep_alive_seconds: int = Field(
        75,
        ge=1,
        le=3600,
        description="How long an idle connection stays open; longer than a proxy in front keeps"
        " it, so that none is cut.",
    )
    job_max_concurrency: int = Field(
        8,
        ge=2,
        le=200,
        description="Jobs in the background that a service process carries out at a time.",
    )
    job_timeout_seconds: float = Field(
        30,
        ge=1,
        le=3600,
        description="Seconds after which a job whose process is silent is taken up by another.",
    )
    purge_hour: int = Field(
        3,
        ge=-1,
        le=23,
        description="Hour, Asia/Shanghai, at which the service clears each day what was kept for"
        " its time, as `gridloop purge` does; -1: it does not.",
    )
    webhook_networks: Listed = Field(
        [],
        description="Networks beside the public ones to which webhooks may go, as a JSON list: else"
        " none go to private, loopback and link-local addresses.",
    )
    unit_code_lengths: str = Field(
        "4,6,9,12,15",
        pattern=r"^(\d{1,2}(,\d{1,2})*)?$",
        description="Digits of the codes of each level, from the topmost down: imports tell by them"
        " the level of a unit, and under which it lies. Empty, or of another number of levels than"
        " there are: the sheet of units says both.",
    )
    import_max_bytes: int = Field(
        32 * 1024 * 1024,
        ge=64 * 1024,
        le=256 * 1024 * 1024,
        description="Bytes of all files of an import together.",
    )
    import_max_rows: int = Field(
        200_000, ge=1, le=2_000_000, description="Rows of all sheets of an import together."
    )
    max_connections: int = Field(
        10_000,
        ge=64,
        le=1_000_000,
        description="Connections of a service process; idle ones are closed to make room beyond"
        " it.",
    )
    proxies: Listed = Field(
        [],
        description="Addresses or networks that may say where a request came from (X-Forwarded-For"
        " and -Proto), as a JSON list.",
    )
    trust_clock: bool = Field(
        False,
        description="Whether to serve although the clock lies behind the newest stamp in the"
        " database, when a wrong one wrote that.",
    )
    demo: bool = Field(False, description="Whether the demo sign-ins exist.")
    access_minutes: int = Field(
        15, ge=1, le=24 * 60, description="Life of an access token, minutes."
    )
    refresh_days: int = Field(90, ge=1, le=3650, description="Life of a refresh token, days.")
    attempts_here: str = Field(
        "10/15minutes", description="Failed sign-ins of an account from one address or device."
    )
    attempts_account: str = Field(
        "50/hour", description="Failed sign-ins of an account from addresses that are new to it."
    )
    attempts_address: str = Field(
        "200/15minutes",
        description="Failed sign-ins from one address of accounts to which it is new.",
    )
    sign_in_days: int = Field(
        180,
        ge=1,
        le=3650,
        description="Days after which a sign-in ends, however often it was renewed.",
    )
    page_idle_minutes: int = Field(
        60,
        ge=1,
        le=24 * 60,
        description="Minutes after which a browser is signed out of the pages that asks for none.",
    )
    page_session_hours: int = Field(
        12,
        ge=1,
        le=30 * 24,
        description="Hours after which a browser is signed out of the pages, however much it asks"
        " for.",
    )
    first_password_hours: int = Field(
        72, ge=1, le=24 * 60, description="Life of a first password, hours."
    )
    recovery_minutes: int = Field(
        60,
        ge=1,
        le=24 * 60,
        description="Life of a one-time code for a forgotten password, minutes.",
    )
    otp_roles: Listed = Field(
        [],
        description="Roles that must sign in with a second factor, as a JSON list; best"
        " `supervisor` and `admin`.",
    )
    idempotency_keys: int = Field(
        5_000, ge=1, le=10_000_000, description="Idempotency-Keys that a caller may use in a day."
    )
    secret_keys: str | None = Field(
        None,
        description="Keys that encrypt personal data: 32 bytes in URL-safe Base64, the newest"
        " first, with commas between.",
    )
    secret_file: Path | None = Field(
        None, description="File of these keys, a line each; empty: `secret.key` in the data folder."
    )
    late_days: int = Field(
        7,
        ge=0,
        le=3650,
        description="Days after a post's end, or a phone's revocation, in which what was written"
        " before still counts.",
    )
    stamp_too_old_days: int = Field(
        90,
        ge=1,
        le=36500,
        description="What is stamped so many days before its phone was registered waits for a"
        " person.",
    )
    location_days: int = Field(
        180,
        ge=1,
        le=3650,
        description="Days after which `gridloop purge` clears where a visit was made.",
    )
    audit_days: int = Field(
        365, ge=180, le=36500, description="Days that the trail is kept; never under 180."
    )
    backups_kept: str = Field(
        "",
        description="How long backups and WAL archives are kept, in words, for answers about"
        " erasures.",
    )
    cors_origins: Listed = Field(
        [], description="Origins of web pages that may call the API, as a JSON list."
    )
    metrics_token: str | None = Field(None, description="Bearer token that opens /metrics.")
    open_metrics: bool = Field(
        False, description="Whether /metrics is there for everybody; it is with `--demo`."
    )
    open_docs: bool = Field(
        False,
        description="Whether /docs, /redoc and /openapi.json are there; they are with `--demo`.",
    )
    log_level: str = Field(
        "info", pattern="^(debug|info|warning|error)$", description="What is logged."
    )
    issuer: str = Field("gridloop", description="The `iss` of tokens.")
    households_per_grid: int = Field(
        30, ge=0, le=999, description="Households that `roster load --demo` makes up for each grid."
    )
    urgent_days: int = Field(
        3, ge=1, le=60, description="Time limit of urgent problems, working days."
    )
    ordinary_days: int = Field(
        7, ge=1, le=60, description="Time limit of ordinary problems, working days."
    )
    emergency_hours: int = Field(
        24, ge=1, le=720, description="Time limit of emergencies, hours by the clock."
    )
    analysis_due_hour: int = Field(
        12,
        ge=0,
        le=167,
        description="A week's analysis is due so many hours after the week has ended.",
    )
    summary_due_day: int = Field(
        3, ge=1, le=28, description="A month's summary is due on this day of the next month …"
    )
    summary_due_hour: int = Field(18, ge=0, le=23, description="… at this hour, Asia/Shanghai.")
    rank: bool = Field(False, description="Whether cadre tables carry ranks.")

    @field_validator("otp_roles", "proxies", "cors_origins", "webhook_networks", mode="before")
    @classmethod
    def _is_json(cls, given: Any) -> Any:
        if not isinstance(given, str):
            return given
        try:
            found = json.loads(given)
        except ValueError:
            found = None
        if not isinstance(found, list):
            raise ValueError(
                Text(
                    'this is no JSON list; write ["one", "another"], with the quotes and the'
                    " brackets"
                )
            )
        return found

    @field_validator("otp_roles")
    @classmethod
    def _are_roles(cls, roles: list[str]) -> list[str]:
        unknown = sorted(set(roles) - set(ROLES))
        if unknown:
            raise ValueError(
                Text(
                    "there is no role {unknown}; there are {roles}",
                    unknown=", ".join(unknown),
                    roles=", ".join(ROLES),
                )
            )
        return roles

    @field_validator("proxies", "webhook_networks")
    @classmethod
    def _are_addresses(cls, proxies: list[str]) -> list[str]:
        return [checked(proxy) for proxy in proxies]

    @field_validator("attempts_here", "attempts_account", "attempts_address")
    @classmethod
    def _is_a_rate(cls, rate: str) -> str:
        try:
            limits.parse(rate)
        except ValueError:
            raise ValueError(
                Text(
                    "this is no number of attempts in a time; write one like 10/15minutes or"
                    " 50/hour"
                )
            ) from None
        return rate

    @property
    def main_limits(self) -> Limits:
        """How long PostgreSQL lets the statements of REST take."""
        return Limits(self.lock_seconds, self.statement_seconds, self.idle_seconds)

    @property
    def sync_limits(self) -> Limits:
        """The same for phones."""
        return Limits(self.sync_lock_seconds, self.sync_statement_seconds, self.sync_idle_seconds)

    @property
    def analysis_limits(self) -> Limits:
        """The same for summaries, ledgers and erasures."""
        return Limits(
            self.analysis_lock_seconds, self.analysis_statement_seconds, self.analysis_idle_seconds
        )

    @property
    def owner_url(self) -> str:
        """What connects as the owner of the tables: the service's own URL where none other is
        set.
        """
        return str(self.owner_database_url or self.database_url)

    @property
    def key_file(self) -> Path:
        """Where the keys lie that encrypt personal data, unless they are given as a setting."""
        return self.secret_file or self.data / "secret.key"

    @property
    def has_keys(self) -> bool:
        """Whether there are keys, or something that should be them."""
        return "keyring" in self.__dict__ or self.secret_keys is not None or self.key_file.exists()

    @property
    def code_lengths(self) -> list[int]:
        """The digits of the codes of each level, from the top down."""
        return [int(text) for text in self.unit_code_lengths.split(",") if text]

    @cached_property
    def keyring(self) -> Keyring:
        """The keys that encrypt personal data; `encryption_queries.cipher_of` gives what uses them,
        and makes the first.
        """
        return Keyring(read_keys(self.secret_keys, self.key_file))
