"""The closed lists of words that records use, each with its Chinese and English label.

They live here and nowhere else: the wire validation, the pages and the ledgers all read these
tables, and the database stores plain text, so that a new word is one line and no migration.
Sources: the six duties and the roles follow the Baotou description of 2022 (五大职责 and 便民服务);
the tags follow the usual household categories of village ledgers.
"""

from typing import NamedTuple


class Label(NamedTuple):
    """A word for people: Chinese first, English second."""

    zh: str
    en: str


DUTIES: dict[str, Label] = {
    "party_building": Label("党的建设", "party building"),
    "social_security": Label("社会保障", "social security"),
    "public_order": Label("综合治理", "public order"),
    "emergency": Label("应急管理", "emergency"),
    "social_relief": Label("社会救助", "social relief"),
    "public_service": Label("政策宣传与便民服务", "policy and public service"),
}

TAGS: dict[str, Label] = {
    "elderly_alone": Label("独居老人", "elderly living alone"),
    "low_income": Label("低保", "low-income allowance"),
    "five_guarantee": Label("五保", "five guarantees"),
    "monitored": Label("防返贫监测户", "monitored against return to poverty"),
    "disabled": Label("残疾人", "disabled"),
    "veteran": Label("退役军人", "veteran"),
    "left_behind": Label("留守人员", "left behind"),
    "key_attention": Label("重点关注", "needs attention"),
}

# What `problem.category` proposes; it may hold any text. Problems of these two are counted by
# themselves: 矛盾纠纷 that are settled, 揪心事烦心事 that are answered.
CATEGORIES: dict[str, Label] = {
    "dispute": Label("矛盾纠纷", "dispute"),
    "worry": Label("揪心事烦心事", "worry"),
}

DISPUTE_KINDS: dict[str, Label] = {
    "family": Label("婚姻家庭", "marriage and family"),
    "neighbours": Label("邻里", "neighbours"),
    "land": Label("土地草场", "land and pasture"),
    "homestead": Label("宅基地", "homestead"),
    "debt": Label("借贷债务", "loans and debts"),
    "contract": Label("合同", "contracts"),
    "labour": Label("劳资", "wages and labour"),
    "damage": Label("损害赔偿", "damages"),
    "other": Label("其他", "other"),
}

# How a cadre is tied to a household. Only `contact` gives a contact member sight of it.
TIE_KINDS: dict[str, Label] = {
    "contact": Label("党员联系", "contact household of a party member"),
    "contracted": Label("包联", "contracted to a committee member"),
    "family": Label("结亲", "tied like a family"),
}

# What somebody who checks a visit has found.
FINDINGS: dict[str, Label] = {
    "seen": Label("已查看", "looked at"),
    "confirmed": Label("属实", "confirmed"),
    "not_confirmed": Label("不属实", "not confirmed"),
}

# How a village stands: the model ones, and those that are to get on by a plan.
MARKS: dict[str, Label] = {
    "model": Label("示范", "model"),
    "weak": Label("薄弱", "weak"),
    "lagging": Label("后进", "lagging"),
}

# Only `present` households count; none of the others is deleted, and each may come back.
HOUSEHOLD_STATES: dict[str, Label] = {
    "present": Label("在册", "lives here"),
    "away": Label("外迁", "moved away"),
    "died": Label("亡故", "died out"),
    "merged": Label("并户", "merged with another"),
}

# In rising order: the policy `most_severe` keeps the later of two.
SEVERITIES: dict[str, Label] = {
    "ordinary": Label("一般", "ordinary"),
    "urgent": Label("紧急", "urgent"),
    "emergency": Label("特急", "emergency"),
}

SOURCES: dict[str, Label] = {
    "visit": Label("走访", "visit"),
    "worker": Label("网格员上报", "grid worker"),
    "app": Label("群众上报", "app"),
    "inspection": Label("巡查", "inspection"),
}

ACTIONS: dict[str, Label] = {
    "accept": Label("受理", "accept"),
    "assign": Label("分派", "assign"),
    "handle": Label("处置", "handle"),
    "resolve": Label("办结", "resolve"),
    "verify": Label("核查", "verify"),
    "close": Label("结案", "close"),
    "return": Label("退回", "return"),
    "reopen": Label("重办", "reopen"),
    "escalate": Label("上报上级", "escalate"),
    "extend": Label("延期", "extend"),
    "reject": Label("不予受理", "reject"),
    "join": Label("并案", "join"),
    "note": Label("备注", "note"),
}

STATES: dict[str, Label] = {
    "raised": Label("已上报", "raised"),
    "accepted": Label("已受理", "accepted"),
    "assigned": Label("已分派", "assigned"),
    "handling": Label("处置中", "handling"),
    "resolved": Label("已办结", "resolved"),
    "verified": Label("已核查", "verified"),
    "closed": Label("已结案", "closed"),
    "returned": Label("已退回", "returned"),
    "reopened": Label("重办", "reopened"),
    "rejected": Label("不予受理", "rejected"),
    "joined": Label("已并案", "joined"),
}

ARTICLE_KINDS: dict[str, Label] = {
    "party_voice": Label("党的声音", "the Party's voice"),
    "policy": Label("政策", "policy"),
    "technical_guidance": Label("技术指导", "technical guidance"),
}

REJECT_REASONS: dict[str, Label] = {
    "unfounded": Label("不属实", "unfounded"),
    "out_of_scope": Label("不属受理范围", "out of scope"),
    "withdrawn": Label("已撤回", "withdrawn"),
}

SATISFIED: dict[str, Label] = {
    "yes": Label("满意", "satisfied"),
    "no": Label("不满意", "not satisfied"),
    "unasked": Label("未回访", "not asked"),
}

ROLES: dict[str, Label] = {
    "grid_worker": Label("网格员", "grid worker"),
    "village_secretary": Label("嘎查村党组织书记", "village party secretary"),
    "village_committee": Label("“两委”成员", "village committee member"),
    "village_supervisor": Label("监委", "village supervisory member"),
    "first_secretary": Label("驻村第一书记", "first secretary"),
    "contact_member": Label("联系户党员", "contact party member"),
    "supervisor": Label("上级工作人员", "supervisor"),
    "admin": Label("系统管理员", "administrator"),
    "auditor": Label("审计员", "auditor"),
    "app_client": Label("应用账号", "app client"),
}

LEVELS: dict[str, Label] = {
    "city": Label("市", "city"),
    "banner": Label("旗县区", "banner"),
    "township": Label("苏木乡镇", "township"),
    "village": Label("嘎查村", "village"),
    "grid": Label("网格", "grid"),
}

# How many digits of a code name each level: a unit's code begins with its parent's.
CODE_LENGTH: dict[str, int] = {"city": 4, "banner": 6, "township": 9, "village": 12, "grid": 15}
