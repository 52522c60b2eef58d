"""Every table, for the migrations to compare with."""

from sqlmodel import SQLModel

from service.articles import models as articles
from service.audit import models as audit
from service.cases import models as cases
from service.http import models as http
from service.identity import models as identity
from service.imports import models as imports
from service.indicators import models as indicators
from service.jobs import models as jobs
from service.organisation import models as roster
from service.privacy import models as privacy
from service.records import models as records
from service.runtime import write_probe
from service.tallies import models as summaries
from service.vocabulary import models as vocabulary
from service.webhooks import models as webhooks
from service.writes import models as sync

metadata = SQLModel.metadata
ROOMS = (
    articles,
    audit,
    http,
    identity,
    imports,
    indicators,
    cases,
    jobs,
    privacy,
    records,
    roster,
    summaries,
    sync,
    vocabulary,
    webhooks,
    write_probe,
)
