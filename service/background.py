"""The work in the background: the jobs of all domains, one line each. What has to run in every
process, because it looks at the process itself, stands in `app`.
"""

from collections.abc import Sequence

from service.audit.sign_ins import NOTE_SIGN_INS
from service.inbox.retry_held import RELEASE
from service.jobs.clearing import CLEAR
from service.jobs.kinds import JobKind
from service.kit.settings import Settings
from service.ledgers.jobs import LEDGER
from service.privacy.purge_job import purge_job
from service.webhooks.delivering import WEBHOOKS


def kinds(settings: Settings) -> Sequence[JobKind]:
    """The kinds of jobs that a service process carries out."""
    return (
        RELEASE,
        NOTE_SIGN_INS,
        CLEAR,
        WEBHOOKS,
        LEDGER,
        purge_job(settings),
    )
