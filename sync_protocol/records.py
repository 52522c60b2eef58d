"""The record kinds: each declared once, with the type and the merge policy of every field.

The tables, the wire validation, the OpenAPI schemas, the table in PROTOCOL.md and the merge all
read these declarations. To add a field, add its line here and a migration for its column.
"""

from sync_protocol import vocabulary
from sync_protocol.fields import (
    SHA256,
    STAFF_CODE,
    UNIT_CODE,
    WORD,
    Choice,
    Id,
    Number,
    Place,
    Text,
    Whole,
)
from sync_protocol.kinds import Field, Kind, Policy
from sync_protocol.moments import AnyPeriod, Day, Moment, Month, Week
from sync_protocol.sets import SetOf

L, T, S, F = Policy.LATEST, Policy.TEXT, Policy.SET, Policy.FIXED
NOTE = Text(4000)

HOUSEHOLD = Kind(
    "household",
    "农牧户",
    (
        Field("head_name", Text(60, min=1), L, "户主", required=True),
        Field("phone", Text(40), L, "电话", personal=True),
        Field("address", Text(200), L, "住址", personal=True),
        Field("members", Whole(0, 99), L, "人口"),
        Field("tags", SetOf(Choice(tuple(vocabulary.TAGS))), S, "类别", list="tag"),
        Field("contact_member", STAFF_CODE, L, "联系党员", kept=True),
        Field("lead_member", STAFF_CODE, L, "包联干部", kept=True),
        Field("location", Place(), L, "位置"),
        Field("note", NOTE, T, "备注"),
        Field("state", Choice(tuple(vocabulary.HOUSEHOLD_STATES)), L, "在册状态", kept=True),
        Field("state_since", Day(), L, "状态起始日", kept=True),
        Field("merged_into", Id(), L, "并入的农牧户", refers="household", kept=True),
    ),
    movable=True,
)

VISIT = Kind(
    "visit",
    "日走访",
    (
        Field("household_id", Id(), L, "农牧户", refers="household", kept=True),
        Field("visited_at", Moment(event=True), L, "走访时间", required=True, kept=True),
        Field(
            "duties",
            SetOf(Choice(tuple(vocabulary.DUTIES))),
            S,
            "职责类别",
            kept=True,
            list="duty",
        ),
        Field("content", NOTE, T, "走访内容"),
        Field("people_met", SetOf(Text(60, min=1)), S, "见到的人"),
        Field("location", Place(), L, "位置"),
        Field("photos", SetOf(SHA256, max=20), S, "照片"),
    ),
)

PROBLEM = Kind(
    "problem",
    "问题",
    (
        Field("visit_id", Id(), L, "走访", refers="visit", kept=True),
        Field("household_id", Id(), L, "农牧户", refers="household", kept=True),
        Field(
            "duty",
            Choice(tuple(vocabulary.DUTIES)),
            L,
            "职责类别",
            required=True,
            kept=True,
            list="duty",
        ),
        Field("category", Text(60), L, "细类"),
        Field("title", Text(200, min=1), L, "标题", required=True),
        Field("detail", NOTE, T, "问题描述"),
        Field(
            "severity",
            Choice(tuple(vocabulary.SEVERITIES)),
            Policy.MOST_SEVERE,
            "紧急程度",
            kept=True,
        ),
        Field("raised_at", Moment(event=True), F, "上报时间", required=True, kept=True),
        Field("location", Place(), L, "位置"),
        Field("photos", SetOf(SHA256, max=20), S, "照片"),
        Field("source", Choice(tuple(vocabulary.SOURCES)), F, "来源", kept=True),
        Field("contact", Text(100), L, "联系方式", personal=True),
        Field("parties", Text(200), L, "当事人", personal=True),
        Field(
            "dispute_kind",
            Choice(tuple(vocabulary.DISPUTE_KINDS)),
            L,
            "纠纷类型",
            kept=True,
            list="dispute_kind",
        ),
        Field("mediator", Text(60), L, "调解人"),
        Field("agreement", NOTE, T, "调解结果", personal=True),
        Field("second_visit_at", Moment(event=True), L, "回访时间", kept=True),
    ),
)

STEP = Kind(
    "step",
    "办理步骤",
    (
        Field("problem_id", Id(), F, "问题", required=True, refers="problem", kept=True),
        Field("action", Choice(tuple(vocabulary.ACTIONS)), F, "动作", required=True, kept=True),
        Field("at", Moment(event=True), F, "时间", required=True, kept=True),
        Field("note", NOTE, F, "说明"),
        Field("to_unit", UNIT_CODE, F, "承办单位", kept=True),
        Field("to_cadre", STAFF_CODE, F, "承办人", kept=True),
        Field("satisfied", Choice(tuple(vocabulary.SATISFIED)), F, "群众是否满意", kept=True),
        Field("reason", Choice(tuple(vocabulary.REJECT_REASONS)), F, "不予受理原因", kept=True),
        Field("duplicate_of", Id(), F, "并入的问题", refers="problem", kept=True),
        Field("until", Moment(), F, "延期至", kept=True),
        Field("photos", SetOf(SHA256, max=20), S, "照片"),
        Field("answer", Text(1000), F, "给群众的答复"),
    ),
    append_only=True,
)

WEEKLY_ANALYSIS = Kind(
    "weekly_analysis",
    "周分析",
    (
        Field("week", Week(), F, "周", required=True, kept=True),
        Field("situation", NOTE, T, "本周情况"),
        Field("causes", NOTE, T, "原因分析"),
        Field("measures", NOTE, T, "措施"),
        Field("next_week", NOTE, T, "下周打算"),
    ),
    key=("week",),
)

MONTHLY_SUMMARY = Kind(
    "monthly_summary",
    "月汇总",
    (
        Field("month", Month(), F, "月", required=True, kept=True),
        Field("results", NOTE, T, "成效"),
        Field("shortfalls", NOTE, T, "不足"),
        Field("measures", NOTE, T, "措施"),
        Field("next_month", NOTE, T, "下月打算"),
    ),
    key=("month",),
)

TIE = Kind(
    "tie",
    "联系",
    (
        Field("household_id", Id(), F, "农牧户", required=True, refers="household", kept=True),
        Field("cadre", STAFF_CODE, F, "干部", required=True, kept=True),
        Field("kind", Choice(tuple(vocabulary.TIE_KINDS)), F, "联系方式", required=True, kept=True),
        Field("valid_from", Day(), L, "起始日", required=True, kept=True),
        Field("valid_to", Day(), L, "终止日", kept=True),
    ),
)

VISIT_CHECK = Kind(
    "visit_check",
    "走访核查",
    (
        Field("visit_id", Id(), F, "走访", required=True, refers="visit", kept=True),
        Field("checked_at", Moment(event=True), F, "核查时间", required=True, kept=True),
        Field(
            "finding",
            Choice(tuple(vocabulary.FINDINGS)),
            L,
            "核查结果",
            required=True,
            kept=True,
        ),
        Field("note", NOTE, T, "说明"),
    ),
)

INDICATOR_VALUE = Kind(
    "indicator_value",
    "指标填报",
    (
        Field("indicator", WORD, F, "指标", required=True, kept=True),
        Field("period", AnyPeriod(), F, "期间", required=True, kept=True),
        Field("value", Number(), L, "数值", required=True, kept=True),
        Field("source", Text(200), L, "数据来源"),
        Field("evidence", SetOf(SHA256, max=20), S, "佐证材料"),
        Field("note", NOTE, T, "说明"),
    ),
    key=("indicator", "period"),
    of_units=True,
)

KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        HOUSEHOLD,
        VISIT,
        PROBLEM,
        STEP,
        WEEKLY_ANALYSIS,
        MONTHLY_SUMMARY,
        TIE,
        VISIT_CHECK,
        INDICATOR_VALUE,
    )
}

# kind -> its personal fields, for the kinds that have any
PERSONAL: dict[str, frozenset[str]] = {
    kind.name: kind.personal for kind in KINDS.values() if kind.personal
}

# What stands for a text that a record must have, once the personal data of the record was erased.
ERASED = "（已删除）"

# The windows of a first pull (promise 13).
VISIT_DAYS = 62
CLOSED_PROBLEM_DAYS = 62
ANALYSIS_WEEKS = 26
SUMMARY_MONTHS = 13
ARTICLE_DAYS = 365
