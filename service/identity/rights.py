"""The one table that says which role may do what. Everything that checks a right reads it.

A right holds for the unit of the post and everything below it, while the post is valid (promise 7).
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import NamedTuple

from service.organisation.tree import ALWAYS, BY_CODES, Tree
from sync_protocol.clock import make_stamp
from sync_protocol.periods import from_ms, local_day, midnight, to_ms

_TIE = frozenset({"tie"})
_CHECK = frozenset({"visit_check"})
# Beside this, the indicator says who reports it.
_REPORT = frozenset({"indicator_value"})
_LOGS = frozenset({"household", "visit", "problem", "step", "weekly_analysis", "monthly_summary"})
_FIELD_WORK = frozenset({"household", "visit", "problem", "step"})

# role -> the kinds of record that it may write
WRITES: dict[str, frozenset[str]] = {
    "grid_worker": _LOGS | _REPORT,
    "village_secretary": _LOGS | _TIE | _CHECK | _REPORT,
    "first_secretary": _LOGS | _TIE | _CHECK | _REPORT,
    "village_committee": _FIELD_WORK | _REPORT,
    "village_supervisor": _FIELD_WORK | _CHECK,
    "contact_member": frozenset({"visit", "problem", "step"}),
    "supervisor": frozenset({"problem", "step"}) | _CHECK | _REPORT,
    "admin": _LOGS | _TIE | _CHECK | _REPORT,
    "auditor": frozenset(),
    # Of steps, that a herder is satisfied or not, on the app's own requests.
    "app_client": frozenset({"problem", "step"}),
}

# The roles that read the records and summaries of their units.
READS = frozenset(WRITES) - {"auditor", "app_client"}

# Those of them that read every record of their units; a contact member reads what is about the tied
# households.
READS_WHOLE = READS - {"contact_member"}

# The roles that settle conflicts and decide on held mutations of their units.
SETTLES = frozenset({"village_secretary", "first_secretary", "supervisor", "admin"})

# The roles that write to whom a household is tied, but for their own ties: a tie gives sight of
# personal data.
TIES = frozenset({"village_secretary", "first_secretary", "admin"})

# The roles that may report indicators; the indicator says which of them do.
REPORTS = frozenset(role for role, kinds in WRITES.items() if kinds >= _REPORT)

# The roles that check visits, of others than themselves.
CHECKS = frozenset(role for role, kinds in WRITES.items() if kinds >= _CHECK)

# The roles that set targets, and mark villages as model, weak or lagging.
SETS_TARGETS = frozenset({"supervisor", "admin"})

# The roles that keep accounts and devices; those that see which phone has handed in everything.
ADMINISTERS = frozenset({"admin"})
SEES_DEVICES = SETTLES

# The roles that give a one-time code to who has forgotten the password, and the roles to which all
# but administrators may.
RECOVERS = frozenset({"village_secretary", "first_secretary", "admin"})
RECOVERED = frozenset({"grid_worker", "village_committee", "village_supervisor", "contact_member"})

# The roles that edit articles.
EDITS = frozenset({"village_secretary", "first_secretary", "supervisor", "admin"})

# What an app may be allowed, as the scopes of its token.
SCOPES: Mapping[str, str] = {
    "articles:read": "read published articles",
    "articles:write": "write, publish and withdraw articles",
    "requests:write": "hand in herders' requests, ask how they stand, and hand in whether herders"
    " are satisfied",
    "villages:read": "villages with the public contacts of their cadres",
    "statistics:read": "statistics without personal data",
}


class Right(NamedTuple):
    """Who may call a route.

    `roles`: with one of these posts at present, for its units and all below. `scope`: an app whose
    token carries it, for its unit and all below. `signed`: anybody signed in, for what is one's
    own. `device`: the token must be bound to a device. Nothing at all: everybody.
    """

    roles: frozenset[str] = frozenset()
    scope: str | None = None
    signed: bool = False
    device: bool = False

    @property
    def open(self) -> bool:
        """Whether no token is asked for."""
        return not (self.roles or self.scope or self.signed or self.device)


_OPEN, _SIGNED = Right(), Right(signed=True)
_READ, _READ_WHOLE, _SETTLE, _ADMIN = (
    Right(READS),
    Right(READS_WHOLE),
    Right(SETTLES),
    Right(ADMINISTERS),
)

# operation id -> who may call it. A route that is not here answers nobody.
ROUTES: Mapping[str, Right] = {
    # signing in
    "issue_token": _OPEN,
    "list_keys": _OPEN,
    "recover_password": _OPEN,
    "change_password": _SIGNED,
    "sign_out": _SIGNED,
    "list_own_sessions": _SIGNED,
    "end_own_sessions": _SIGNED,
    "start_otp": _SIGNED,
    "confirm_otp": _SIGNED,
    "renew_otp_codes": _SIGNED,
    "who_am_i": _SIGNED,
    # webhooks
    "create_webhook": _ADMIN,
    "list_webhooks": _ADMIN,
    "change_webhook": _ADMIN,
    "delete_webhook": _ADMIN,
    "test_webhook": _ADMIN,
    "list_webhook_deliveries": _ADMIN,
    "replay_webhook": _ADMIN,
    "replay_webhook_delivery": _ADMIN,
    # jobs that one has asked for oneself
    "list_jobs": _SIGNED,
    "get_job": _SIGNED,
    "get_job_content": _SIGNED,
    # the phone
    "sync": Right(device=True),
    "verify_copy": Right(device=True),
    # the inbox; one's own held mutations are shown to everybody
    "list_conflicts": _READ_WHOLE,
    "resolve_conflict": _SETTLE,
    "list_held": Right(READS_WHOLE, signed=True),
    "held_original": Right(frozenset({"village_secretary", "first_secretary"}), signed=True),
    "release_held": _SETTLE,
    "discard_held": Right(SETTLES, signed=True),
    # reading
    "list_units": Right(READS | {"auditor"}, signed=True),
    "list_levels": _SIGNED,
    "set_levels": _ADMIN,
    "get_unit": Right(READS | {"auditor"}),
    # units that change: by who administers the unit above
    "create_unit": _ADMIN,
    "change_unit": _ADMIN,
    "move_unit": _ADMIN,
    "split_unit": _ADMIN,
    "merge_unit": _ADMIN,
    "close_unit": _ADMIN,
    # lists and the official calendar: by who administers the topmost unit; local holidays of a unit
    # by who administers that
    "list_vocabulary": _SIGNED,
    "put_term": _ADMIN,
    "change_term": _ADMIN,
    "get_calendar": _SIGNED,
    "put_calendar_year": _ADMIN,
    "delete_calendar_year": _ADMIN,
    # indicators are kept by who administers the topmost unit; targets and marks of a unit by who
    # supervises it from there or above
    "list_indicators": _READ,
    "put_indicator": _ADMIN,
    "indicator_values": _READ_WHOLE,
    "report_indicator": Right(REPORTS),
    "put_indicator_target": Right(SETS_TARGETS),
    "list_marks": _READ_WHOLE,
    "put_mark": Right(SETS_TARGETS),
    "list_cadres": _READ,
    "get_cadre": Right(READS, signed=True),
    "list_posts": _READ,
    "in_hand": Right(SETTLES, signed=True),
    "list_visits": _READ,
    "list_problems": _READ,
    "get_problem": _READ,
    "list_households": _READ,
    "get_household": _READ,
    "list_analyses": _READ_WHOLE,
    "list_monthly_summaries": _READ_WHOLE,
    "weekly_summary": _READ,
    "monthly_summary": _READ,
    "daily_summary": _READ,
    "quarterly_summary": _READ,
    "half_year_summary": _READ,
    "yearly_summary": _READ,
    "period_summary": _READ,
    "summary_trend": _READ,
    "cadre_table": _READ,
    "member_table": _READ,
    "cadre_summary": Right(READS, signed=True),
    "list_seals": _READ,
    "loop": _READ,
    "weekly_draft": _READ_WHOLE,
    "monthly_draft": _READ_WHOLE,
    "export_ledger": _READ_WHOLE,
    "ask_ledger": _READ_WHOLE,
    "record_history": _READ_WHOLE,
    # writing over REST: the kind of record decides, see WRITES
    "raise_problem": _READ,
    "take_step": _READ,
    "correct_household": _READ,
    "create_household": _READ,
    "move_household": _READ,
    "household_duplicates": _READ,
    "assign_households": _SETTLE,
    "list_ties": _READ_WHOLE,
    "visiting": _READ_WHOLE,
    "list_visit_checks": _READ_WHOLE,
    "check_visit": Right(CHECKS),
    "create_tie": Right(TIES),
    "change_tie": Right(TIES),
    "hand_over": _SETTLE,
    "seal_summary": _SETTLE,
    "unseal_summary": _SETTLE,
    # the roster
    "create_import": _ADMIN,
    "list_imports": _ADMIN,
    "get_import": _ADMIN,
    "apply_import": _ADMIN,
    "undo_import": _ADMIN,
    "export_roster": _READ_WHOLE,
    # accounts and devices; one's own devices are shown to everybody
    "list_devices": Right(SEES_DEVICES, signed=True),
    "revoke_device": Right(ADMINISTERS, signed=True),
    "hire_cadre": _ADMIN,
    "give_post": _ADMIN,
    "change_post": _ADMIN,
    "set_password": _ADMIN,
    "correct_cadre": _ADMIN,
    "end_sessions": _ADMIN,
    "make_recovery_code": Right(RECOVERS),
    "reset_otp": _ADMIN,
    # accounts of apps: by who administers the whole city
    "list_apps": _ADMIN,
    "create_app": _ADMIN,
    "renew_app_secret": _ADMIN,
    "end_app": _ADMIN,
    # personal data
    "export_household": _SETTLE,
    "erase_household": _ADMIN,
    "erase_cadre": _ADMIN,
    "export_cadre": Right(ADMINISTERS, signed=True),
    "list_audit": Right(frozenset({"admin", "auditor"})),
    # articles, requests and the app
    "list_articles": Right(READS | {"app_client"}, "articles:read"),
    "get_article": Right(READS | {"app_client"}, "articles:read"),
    "count_article_reads": Right(READS | {"app_client"}, "articles:read"),
    "article_reads": Right(EDITS),
    "create_article": Right(EDITS | {"app_client"}, "articles:write"),
    "update_article": Right(EDITS | {"app_client"}, "articles:write"),
    "publish_article": Right(EDITS | {"app_client"}, "articles:write"),
    "withdraw_article": Right(EDITS | {"app_client"}, "articles:write"),
    "create_request": Right(frozenset({"app_client"}), "requests:write"),
    "list_requests": Right(frozenset({"app_client"}), "requests:write"),
    "rate_request": Right(frozenset({"app_client"}), "requests:write"),
    "get_request": Right(frozenset({"app_client"}), "requests:write"),
    "list_villages": Right(frozenset({"app_client"}), "villages:read"),
    "village_statistics": Right(frozenset({"app_client"}), "statistics:read"),
    # operations
    "healthz": _OPEN,
    "readyz": _OPEN,
    "metrics": _OPEN,
}


# page, or form of a page -> the route whose right it has: that whose answer it shows, or what it
# does. A page that shows more asks for each part whether its route's right is there, too.
PAGES: Mapping[str, str] = {
    # signing in
    "sign_in_page": "issue_token",
    "sign_in_to_pages": "issue_token",
    "sign_out_of_pages": "sign_out",
    "sign_out_everywhere": "end_own_sessions",
    "password_page": "change_password",
    "choose_password": "change_password",
    "second_factor_page": "start_otp",
    "begin_second_factor": "start_otp",
    "confirm_second_factor": "confirm_otp",
    "home_page": "who_am_i",
    "help_page": "who_am_i",
    # the numbers
    "week_page": "weekly_summary",
    "month_page": "monthly_summary",
    "quarter_page": "quarterly_summary",
    "year_page": "yearly_summary",
    "seal_on_page": "seal_summary",
    "unseal_on_page": "unseal_summary",
    "find_unit": "list_units",
    # what needs a decision
    "inbox_page": "list_held",
    "settle_on_page": "resolve_conflict",
    "settle_many_on_page": "resolve_conflict",
    "release_on_page": "release_held",
    "discard_on_page": "discard_held",
    "decide_many_on_page": "discard_held",
    # problems
    "problems_page": "list_problems",
    "problem_page": "get_problem",
    "take_step_on_page": "take_step",
    # the field work
    "households_page": "list_households",
    "visits_page": "list_visits",
    "analyses_page": "list_analyses",
    "cadres_page": "cadre_table",
    "cadre_page": "cadre_summary",
    "loop_page": "loop",
    "trend_page": "summary_trend",
    "indicators_page": "indicator_values",
    "indicator_page": "indicator_values",
    "report_on_page": "report_indicator",
    "target_on_page": "put_indicator_target",
    "mark_on_page": "put_mark",
    "ledgers_page": "export_ledger",
    "ledger_page": "export_ledger",
    "ledger_file": "export_ledger",
    "ask_ledger_on_page": "ask_ledger",
    "asked_ledgers": "list_jobs",
    "asked_ledger_file": "get_job_content",
    "roster_file": "export_roster",
    "devices_page": "list_devices",
    "revoke_on_page": "revoke_device",
    # administration; the first page names those that one may see
    "admin_page": "who_am_i",
    "seals_page": "list_seals",
    "admin_units_page": "list_units",
    "admin_unit_page": "get_unit",
    "change_unit_on_page": "change_unit",
    "create_unit_on_page": "create_unit",
    "move_unit_on_page": "move_unit",
    "split_unit_page": "split_unit",
    "split_unit_on_page": "split_unit",
    "merge_unit_on_page": "merge_unit",
    "close_unit_on_page": "close_unit",
    "admin_cadres_page": "list_cadres",
    "admin_cadre_page": "get_cadre",
    "correct_cadre_on_page": "correct_cadre",
    "hire_page": "hire_cadre",
    "hire_on_page": "hire_cadre",
    "give_post_on_page": "give_post",
    "change_post_on_page": "change_post",
    "end_post_on_page": "change_post",
    "transfer_on_page": "change_post",
    "hand_over_on_page": "hand_over",
    "recovery_code_on_page": "make_recovery_code",
    "first_password_on_page": "set_password",
    "reset_otp_on_page": "reset_otp",
    "end_sessions_on_page": "end_sessions",
    "slips_page": "set_password",
    "slips_file": "set_password",
    "admin_posts_page": "list_posts",
    "vocabulary_page": "list_vocabulary",
    "put_term_on_page": "put_term",
    "change_term_on_page": "change_term",
    "limits_page": "list_vocabulary",
    "put_limit_on_page": "put_term",
    "admin_indicators_page": "list_indicators",
    "put_indicator_on_page": "put_indicator",
    "calendar_page": "get_calendar",
    "calendar_on_page": "put_calendar_year",
    "delete_calendar_on_page": "delete_calendar_year",
    "admin_articles_page": "article_reads",
    "new_article_page": "create_article",
    "create_article_on_page": "create_article",
    "admin_article_page": "article_reads",
    "update_article_on_page": "update_article",
    "publish_article_on_page": "publish_article",
    "withdraw_article_on_page": "withdraw_article",
    "apps_page": "list_apps",
    "create_app_on_page": "create_app",
    "renew_app_secret_on_page": "renew_app_secret",
    "end_app_on_page": "end_app",
    "trail_page": "list_audit",
    "imports_page": "list_imports",
    "import_on_page": "create_import",
    "import_page": "get_import",
    "import_progress": "get_import",
    "apply_on_page": "apply_import",
    "undo_on_page": "undo_import",
}


def right_to(operation: str) -> Right:
    """Who may call a route, or see a page; raises KeyError for what is in neither table."""
    return ROUTES[PAGES.get(operation, operation)]


class PostHeld(NamedTuple):
    """A role at a unit, from `valid_from` (included) to `valid_to` (excluded; None: still); the end
    was recorded at `end_recorded_at`. `tree` says what lies under the unit.
    """

    role: str
    unit: str
    valid_from: datetime
    valid_to: datetime | None
    end_recorded_at: datetime | None = None
    tree: Tree = BY_CODES

    def covers(self, below: str, moment: datetime) -> bool:
        """Whether a unit or grid is the post's unit or lay under it at a moment, whether or not the
        post was held then.
        """
        if self.tree.is_plain:
            return below.startswith(self.unit)
        return self.tree.covers(self.unit, below, local_day(moment))

    def valid_at(self, moment: datetime) -> bool:
        """Whether the post was held at a moment."""
        return self.valid_from <= moment and (self.valid_to is None or moment < self.valid_to)

    def validity(self) -> tuple[str, str]:
        """The stamps between which the post was held: from the first (included) to the second
        (excluded).
        """
        return _stamp_of(self.valid_from), _LATEST if self.valid_to is None else _stamp_of(
            self.valid_to
        )

    def validities(self, grid: str) -> list[tuple[str, str]]:
        """The same for a grid or unit: while the post was held, and the grid lay under its unit."""
        if self.tree.is_plain:
            return [self.validity()] if grid.startswith(self.unit) else []
        first, last = self.validity()
        found = []
        for begins, ends in self.tree.held_in(self.unit, grid):
            lower = first if begins == ALWAYS else max(first, _stamp_of(midnight(begins)))
            upper = last if ends is None else min(last, _stamp_of(midnight(ends)))
            if lower < upper:
                found.append((lower, upper))
        return found


_LATEST = "g"  # lies behind every stamp


def _stamp_of(moment: datetime) -> str:
    """The first stamp that does not lie before a moment, which may have a part of a millisecond."""
    ms = to_ms(moment)
    return make_stamp(max(0, ms if from_ms(ms) == moment else ms + 1))


def may_write(posts: Iterable[PostHeld], kind: str, grid: str, moment: datetime) -> bool:
    """Whether one of the posts allowed writing such a record in a grid at that moment."""
    return any(
        post.valid_at(moment) and post.covers(grid, moment)
        for post in posts
        if kind in WRITES.get(post.role, ())
    )


# The stamps from which (included) to which (excluded) a post allows something, and the post.
Validity = tuple[str, str, PostHeld]


def writing_posts(posts: Iterable[PostHeld], kind: str, grid: str) -> list[Validity]:
    """Those of the posts that allow writing such a record in a grid, and when: while they are held,
    and the grid lies under their unit.
    """
    return [
        (begins, ends, post)
        for post in posts
        if kind in WRITES.get(post.role, ())
        for begins, ends in post.validities(grid)
    ]


def any_present(posts: Iterable[PostHeld], moment: datetime) -> bool:
    """Whether any of the posts is held at that moment."""
    return any(post.valid_at(moment) for post in posts)


def may_settle(posts: Iterable[PostHeld], grid: str, moment: datetime) -> bool:
    """Whether one of the posts allows deciding on conflicts and held mutations of a grid at that
    moment.
    """
    return holds(posts, moment, SETTLES, grid)


def holds(
    posts: Iterable[PostHeld], moment: datetime, roles: frozenset[str], unit: str | None = None
) -> bool:
    """Whether one of the posts has one of the roles at that moment, for all of `unit` if that is
    given.
    """
    return any(
        post.role in roles and (unit is None or post.covers(unit, moment)) and post.valid_at(moment)
        for post in posts
    )


def scope(posts: Iterable[PostHeld], moment: datetime, roles: frozenset[str] = READS) -> list[str]:
    """The topmost units whose records may be read at that moment, without those that lie under
    another.
    """
    held = [post for post in posts if post.role in roles and post.valid_at(moment)]
    return held[0].tree.topmost((post.unit for post in held), local_day(moment)) if held else []
