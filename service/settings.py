"""Settings, each from an environment variable `GRIDLOOP_…`, with a default that suits a laptop."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Everything that can be set from outside."""

    model_config = SettingsConfigDict(env_prefix="GRIDLOOP_", env_file=None, extra="ignore")

    database_url: str | None = Field(None, description="PostgreSQL to use; empty: an embedded one is started in the data folder.")
    data: Path = Field(Path(".gridloop"), description="Folder of the embedded PostgreSQL.")
    pool_size: int = Field(8, ge=1, le=200, description="Database connections a service process keeps.")
    analysis_pool_size: int = Field(4, ge=1, le=200, description="Database connections a service process keeps for summaries and ledgers.")
    demo: bool = Field(False, description="Whether the demo sign-ins exist.")
    access_minutes: int = Field(15, ge=1, le=24 * 60, description="Life of an access token, minutes.")
    refresh_days: int = Field(90, ge=1, le=3650, description="Life of a refresh token, days.")
    issuer: str = Field("gridloop", description="The `iss` of tokens.")
    households_per_grid: int = Field(30, ge=0, le=999, description="Households that `roster load` makes up for each grid.")
    urgent_days: int = Field(3, ge=1, le=60, description="Time limit of urgent problems, working days.")
    ordinary_days: int = Field(7, ge=1, le=60, description="Time limit of ordinary problems, working days.")
    emergency_hours: int = Field(24, ge=1, le=720, description="Time limit of emergencies, hours by the clock.")
    analysis_due_hour: int = Field(12, ge=0, le=167, description="A week's analysis is due so many hours after the week has ended.")
    summary_due_day: int = Field(3, ge=1, le=28, description="A month's summary is due on this day of the next month …")
    summary_due_hour: int = Field(18, ge=0, le=23, description="… at this hour, Asia/Shanghai.")
    rank: bool = Field(False, description="Whether cadre tables carry ranks.")
