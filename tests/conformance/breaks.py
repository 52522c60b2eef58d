"""Ways to break rules.py, one after another: the name says what is forgotten, then what stands in place of what.

Each is what an author of a client may get wrong, and at least one vector has to notice it.
"""

from typing import NamedTuple


class Break(NamedTuple):
    """A break: `wrong` stands in place of `right`, which the rules hold just once."""

    name: str
    right: str
    wrong: str


BREAKS = [
    # ------------------------------------------------------------------------------------------------- clocks
    Break("the counter does not carry", 'return f"{int(stamp, 16) + 1:016x}"', 'return f"{stamp[:12]}{int(stamp[12:], 16) + 1:04x}"'),
    Break("follows every clock that was put back", "int(last[:12], 16) - wall_ms > MINUTE", "int(last[:12], 16) - wall_ms > 0"),
    Break("follows a clock that was put back by just a minute", "- wall_ms > MINUTE", "- wall_ms >= MINUTE"),
    Break("follows no clock that was put back", "int(last[:12], 16) - wall_ms > MINUTE", "False"),
    Break("forgets the last stamp", 'memory["stamp"] = stamp', "pass"),
    Break("two seconds are corrected", "abs(difference) > 2000", "abs(difference) >= 2000"),
    Break(
        "stamps after the server's now", "max(0, min(int(stamp[:12], 16) + offset_ms, now_ms))", "max(0, int(stamp[:12], 16) + offset_ms)"
    ),
    Break("an earlier edit is not drawn to the later", "moved[place] = min(moved[place], moved[place + 1])", "pass"),
    Break(
        "the highest stamp before is forgotten",
        "before = moved[place - 1] if place else last",
        "before = moved[place - 1] if place else ZERO",
    ),
    # ---------------------------------------------------------------------------------------------- computed ids
    Break("the computed id leaves the kind out", 'f"{kind}:{grid}:{key}"', 'f"{grid}:{key}"'),
    Break("another namespace", 'uuid.uuid5(uuid.NAMESPACE_DNS, "gridloop")', 'uuid.uuid5(uuid.NAMESPACE_URL, "gridloop")'),
    # ------------------------------------------------------------------------------------------------- canonical
    Break("text is not composed", 'value = unicodedata.normalize("NFC", value)', "pass"),
    Break("text is composed for compatibility", 'unicodedata.normalize("NFC", value)', 'unicodedata.normalize("NFKC", value)'),
    Break("all white space goes, as trim() does", 'value.strip(" \\t\\r\\n\\f\\v\\u3000")', 'value.strip().strip("\\ufeff")'),
    Break("U+3000 stays", 'value.strip(" \\t\\r\\n\\f\\v\\u3000")', 'value.strip(" \\t\\r\\n\\f\\v")'),
    Break("white space stays", 'value = value.strip(" \\t\\r\\n\\f\\v\\u3000")', "pass"),
    Break("length counts UTF-16 units", "need(least <= len(value) <= most)", 'need(least <= len(value.encode("utf-16-le")) // 2 <= most)'),
    Break("length counts bytes", "need(least <= len(value) <= most)", "need(least <= len(value.encode()) <= most)"),
    Break(
        "half characters are taken",
        'need(not re.search("[\\ud800-\\udfff\\0]", value))\n        value =',
        'need("\\0" not in value)\n        value =',
    ),
    Break(
        "U+0000 is taken",
        'need(not re.search("[\\ud800-\\udfff\\0]", value))\n        value =',
        'need(not re.search("[\\ud800-\\udfff]", value))\n        value =',
    ),
    Break(
        "an empty text clears",
        "        need(least <= len(value) <= most)\n        return str(value)",
        "        need(least <= len(value) <= most)\n        return str(value) or None",
    ),
    Break("null is dropped", "                clean[name] = None\n", "                pass\n"),
    Break("a required field can be cleared", "need(name not in REQUIRED[kind] and", "need("),
    Break(
        "sets are sorted by UTF-16",
        "change[side] = sorted({item(element) for element in elements})",
        'change[side] = sorted({item(element) for element in elements}, key=lambda text: text.encode("utf-16-be"))',
    ),
    Break(
        "sets are not sorted",
        "change[side] = sorted({item(element) for element in elements})",
        "change[side] = [*dict.fromkeys(item(element) for element in elements)]",
    ),
    Break("repeats stay in a set", "sorted({item(element) for element in elements})", "sorted([item(element) for element in elements])"),
    Break("added and removed at once", 'need(not set(change["add"]) & set(change["remove"]))', "pass"),
    Break(
        "finer fractions are rounded",
        '(fraction or ".")[1:4].ljust(3, "0")',
        '"%03d" % min(999, round(float("0." + (fraction or ".0")[1:]) * 1000))',
    ),
    Break("the offset is left out", ").astimezone(UTC)\n        except", ").replace(tzinfo=UTC)\n        except"),
    Break("seconds are needed", "(:\\d\\d)?([.,]", "(:\\d\\d)([.,]"),
    Break("times without an offset are taken", '([Zz]|[+-]\\d\\d:?\\d\\d|[+-]\\d\\d)"', '([Zz]|[+-]\\d\\d:?\\d\\d|[+-]\\d\\d|)"'),
    Break("an event has to lie in the years that count", "need(event or 2000 <= read.year <= 2199)", "need(2000 <= read.year <= 2199)"),
    Break(
        "the years are judged before the offset", "need(event or 2000 <= read.year <= 2199)", "need(event or 2000 <= int(day[:4]) <= 2199)"
    ),
    Break("years below 1000 lose their noughts", '.rjust(20, "0")', ".lstrip('0')"),
    Break("places are cut to six decimals", "ROUND_HALF_EVEN))", "'ROUND_DOWN'))"),
    Break("places are rounded half up", "ROUND_HALF_EVEN))", "'ROUND_HALF_UP'))"),
    Break("a negative accuracy stays", "if accuracy >= 0:", "if True:"),
    Break("other keys of a place stay", "    clean = {}\n    for name, bound in", "    clean = dict(value)\n    for name, bound in"),
    Break("31.0 is no whole number", "need(type(value) in (int, float) and value == int(value))", "need(type(value) is int)"),
    Break("31.5 is cut", "and value == int(value))", ")"),
    Break(
        "true is a number of people",
        "need(type(value) in (int, float) and value == int(value))",
        "need(isinstance(value, (int, float)) and value == int(value))",
    ),
    Break("every year has a week 53", "date(year, 12, 28).isocalendar().week", "53"),
    Break(
        "ids in upper case stay",
        'ID = form(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", lower=True)',
        'ID = form(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}")',
    ),
    Break(
        "fields that nobody knows are dropped",
        "                clean[name] = value\n            elif",
        "                pass\n            elif",
    ),
    Break(
        "names with a meaning elsewhere are dropped",
        "need(name.isidentifier() and",
        'need(name.isidentifier() and name not in ("__proto__", "constructor") and',
    ),
    Break(
        "numbers beyond 53 bits lose digits",
        "                clean[name] = value\n            elif",
        "                clean[name] = float(value) if type(value) is int else value\n            elif",
    ),
    # ----------------------------------------------------------------------------------------------------- merge
    Break("the later to come wins", "wins = seniority(self.clock) > max(map(seniority, rivals))", "wins = True"),
    Break("the first to come wins", "wins = seniority(self.clock) > max(map(seniority, rivals))", "wins = False"),
    Break(
        "ties go to the lower device id",
        'return clock["stamp"], clock["device"]',
        'return clock["stamp"], [-ord(letter) for letter in clock["device"]]',
    ),
    Break(
        "one rival is enough to win over",
        "wins = seniority(self.clock) > max(map(seniority, rivals))",
        "wins = seniority(self.clock) > seniority(rivals[0])",
    ),
    Break("the same value takes over every claim", "self.clocks[name] = [*rivals, self.clock]", "self.clocks[name] = [self.clock]"),
    Break("the same value makes no claim", "            self.clocks[name] = [*rivals, self.clock]\n", ""),
    Break("equal values conflict", "if json.dumps(value, sort_keys=True) == json.dumps(current, sort_keys=True):", "if False:"),
    Break("true is 1", "if json.dumps(value, sort_keys=True) == json.dumps(current, sort_keys=True):", "if value == current:"),
    Break(
        "only the first rival is told of",
        "        for rival in rivals:\n            self.lose(name, value, current",
        "        for rival in rivals[:1]:\n            self.lose(name, value, current",
    ),
    Break("the own edits are rivals", '        if clock["device"] == self.clock["device"]:\n            return False\n', ""),
    Break("base equal to the rev is concurrent", 'clock["rev"] > self.base', 'clock["rev"] >= self.base'),
    Break("a base of another epoch counts", "return bool(self.rebased or", "return bool("),
    Break(
        "the record's rev is compared, not the field's",
        "rivals = [clock for clock in holders if self.concurrent(clock)]",
        "rivals = [self.last] if self.concurrent(self.last) else []",
    ),
    Break(
        "the more severe is what comes first in the alphabet",
        "return SEVERITIES.index(word) if word in SEVERITIES else -1",
        "return -ord((word or '~')[0])",
    ),
    Break(
        "no severity is the most severe",
        "return SEVERITIES.index(word) if word in SEVERITIES else -1",
        "return SEVERITIES.index(word) if word in SEVERITIES else 9",
    ),
    Break("severity goes by stamps", 'elif policy == "most_severe":', 'elif policy == "never":'),
    Break(
        "fixed only against others",
        'if policy == "fixed" and current is not None:',
        'if policy == "fixed" and current is not None and rivals:',
    ),
    Break("a removal wins", "                if rivals and not self.is_later(rivals):", "                if False:"),
    Break(
        "who adds what is there makes no claim",
        "                rivals = []\n            self.claims[name, element] = [*rivals, self.clock]\n        for",
        "                self.claims[name, element] = [self.clock]\n        for",
    ),
    Break(
        "who adds what is there takes over every claim",
        "[*rivals, self.clock]\n        for element in change",
        "[self.clock]\n        for element in change",
    ),
    Break(
        "who removes what is gone takes over every claim",
        "[*rivals, self.clock]\n        if elements:",
        "[self.clock]\n        if elements:",
    ),
    Break(
        "a removal of what is not there is forgotten",
        "                rivals = []\n            self.claims[name, element] = [*rivals, self.clock]\n        if",
        "                self.claims[name, element] = [self.clock]\n        if",
    ),
    Break("an edit of which nothing stands stops no deletion", "if not self.deleted and self.clock not in self.standing():", "if False:"),
    Break("sets are replaced whole", "elements = set(self.fields.get(name, []))\n", "elements = set()\n"),
    Break("a deletion wins over an edit", "        elif edits:\n", "        elif False:\n"),
    Break("an edit does not revive", "            self.deleted = False\n", ""),
    Break(
        "a revival tells nobody of the deletion",
        '            for clock in unknown:\n                self.lose("deleted"',
        '            for clock in []:\n                self.lose("deleted"',
    ),
    Break("an edit of another epoch revives whatever came later", "if self.deleted and self.rebased and unknown", "if False and unknown"),
    Break("a deletion of another epoch always loses", "if edits and self.is_later(edits):", "if False:"),
    Break("a deletion of another epoch always stands", "if edits and self.is_later(edits):", "if edits and self.rebased:"),
    Break("a removal of another epoch always loses", "if rivals and not self.is_later(rivals):", "if rivals:"),
    Break(
        "a removal of another epoch is compared with one addition",
        "if rivals and not self.is_later(rivals):",
        "if rivals and not self.is_later(rivals[-1:]):",
    ),
    Break("an addition of another epoch always wins", "if rivals and self.rebased and not self.is_later(rivals):", "if False:"),
    Break("a severity of another epoch is never lowered", "severity(current) or self.is_later(rivals)", "severity(current)"),
    Break(
        "a severity of another epoch is always lowered", "severity(current) or self.is_later(rivals)", "severity(current) or self.rebased"
    ),
    Break("every base counts in the grid that it names", "        elif home != self.grid:\n", "        elif False:\n"),
    Break("what a device has seen bounds no base", 'edit["base"] > edit["seen"]:', "False:"),
    Break("a base at what was seen is foreign", 'edit["base"] > edit["seen"]:', 'edit["base"] >= edit["seen"]:'),
    Break("a base above what the record had in a grid saw it all", 'and edit["base"] == left["rev"]:', 'and edit["base"] >= left["rev"]:'),
    Break("who saw a part before a move saw it all", ' and edit["base"] == left["rev"]:', ":"),
    Break("what a move brought was seen before it", '(clock["stamp"], clock["device"]) == self.unknown_move)', "False)"),
    Break(
        "a move from where the record stands knows every move",
        "rivals = [*filter(self.concurrent, moves)]",
        "rivals = [*filter(self.concurrent, moves)] if self.base_grid != self.grid else []",
    ),
    Break("an own move is not moved back", "and grid in self.left and not own:", "and grid in self.left:"),
    Break("an edit before an own move moves it back", ' and clock["stamp"] < self.clock["stamp"]]', "]"),
    Break("who moved it there too has no claim", "        elif self.base_grid not in (None, self.grid):\n", "        elif False:\n"),
    Break(
        "who moved it back to where it stands has no claim",
        "        elif self.base_grid not in (None, self.grid):\n",
        '        elif self.base_grid not in (None, self.grid) and "grid" in self.clocks:\n',
    ),
    Break("a stale edit moves the record back", "return  # the device had not heard that the record left", "pass"),
    # --------------------------------------------------------------------------------------------------- overlay
    Break(
        "null stays in what is shown",
        "        if value is None:\n            shown.pop(name, None)\n",
        "        if value is None and name not in shown:\n            shown.pop(name, None)\n",
    ),
    Break("sets are shown as they are changed", "if name in sets and isinstance(value, dict):", "if False:"),
    Break(
        "every object with add is a set", "if name in sets and isinstance(value, dict):", 'if isinstance(value, dict) and "add" in value:'
    ),
    Break(
        "removals are not shown",
        ' - set(value.get("remove", []))\n            value = sorted(elements) or None',
        "\n            value = sorted(elements) or None",
    ),
    Break("an empty set is shown", "sorted(elements) or None\n        if", "sorted(elements)\n        if"),
    Break(
        "shown sets are sorted by UTF-16",
        "value = sorted(elements) or None\n        if",
        'value = sorted(elements, key=lambda text: text.encode("utf-16-be")) or None\n        if',
    ),
    Break(
        "empty values are not shown",
        "        if value is None:\n            shown.pop(name, None)\n        else:\n            shown[name] = value\n    return shown",
        "        if not value:\n            shown.pop(name, None)\n        else:\n            shown[name] = value\n    return shown",
    ),
    # -------------------------------------------------------------------------------------------- digest, windows
    Break(
        "a day need not exist",
        "        date.fromisoformat(value)\n    except ValueError:\n        raise InvalidValue from None\n    need(2000 <= date.fromisoformat(value).year",
        "        pass\n    except ValueError:\n        raise InvalidValue from None\n    need(2000 <= int(value[:4])",
    ),
    Break("days of any year", "need(2000 <= date.fromisoformat(value).year <= 2199)", "pass"),
    Break("a household does not die out", '"away", "died", "merged"', '"away", "merged"'),
    Break("a worker raises nothing", '["visit", "worker", "app", "inspection"]', '["visit", "app", "inspection"]'),
    Break("the digest adds up", "value ^= int.from_bytes", "value += int.from_bytes"),
    Break("the digest takes the id as text", "uuid.UUID(record).bytes", "record.encode()"),
    Break("the rev of the digest is little-endian", 'rev.to_bytes(8, "big")', 'rev.to_bytes(8, "little")'),
    Break("the rev of the digest has four bytes", 'rev.to_bytes(8, "big")', '(rev & 0xFFFFFFFF).to_bytes(8, "big")'),
    Break("the digest takes the last bytes", ".digest()[:8]", ".digest()[-8:]"),
    Break("the digest loses its noughts", 'return f"{value:016x}"', 'return f"{value:x}"'),
    Break("61 days of visits", "since = begins(today - timedelta(days=62))", "since = begins(today - timedelta(days=61))"),
    Break("days of UTC", "T00:00:00+08:00", "T00:00:00Z"),
    Break("25 weeks of analyses", "timedelta(weeks=26)", "timedelta(weeks=25)"),
    Break("12 months of summaries", "months_before(today, 13)", "months_before(today, 12)"),
    Break(
        "the year of the calendar for the week",
        "    year, number, _ = day.isocalendar()\n",
        "    year, number, _ = day.year, *day.isocalendar()[1:]\n",
    ),
    Break(
        "months of 30 days",
        "count = day.year * 12 + day.month - 1 - months",
        "day, count = day - timedelta(days=30 * months), 0\n    count = day.year * 12 + day.month - 1",
    ),
    Break("tombstones are counted", 'inside = not record.get("deleted")', "inside = True"),
    Break("steps of ended problems are counted", 'inside = inside and fields.get("problem_id") not in over', "pass"),
    Break("ended problems are counted", 'inside = inside and record["id"] not in over', "pass"),
    Break(
        "resolved problems are ended",
        'if after in ("closed", "rejected", "joined") else None',
        'if after in ("closed", "rejected", "joined", "resolved") else None',
    ),
    Break(
        "a problem ends when it was raised",
        "if ended is not None and ended < since",
        'if ended is not None and problem["fields"]["raised_at"] < since',
    ),
    Break(
        "the day of the phone's clock",
        "today = datetime.fromtimestamp((self.wall + self.offset) / 1000, SHANGHAI).date()",
        "today = datetime.fromtimestamp(self.wall / 1000, SHANGHAI).date()",
    ),
    Break(
        "mailboxes are not proved",
        'records = list(self.memory["records"].values())',
        'records = [record for record in self.memory["records"].values() if record["grid"].isdigit()]',
    ),
    Break("notices that were decided are proved, too", 'inside = inside and fields["state"] == "open"', "pass"),
    Break("articles of any age", 'inside = inside and fields.get("published_at", "") >= begins(today - timedelta(days=365))', "pass"),
    Break(
        "terms of the vocabulary that have ended are not counted",
        '        elif record["kind"] == "held":\n            inside',
        '        elif record["kind"] == "vocabulary":\n            inside = inside and "valid_to" not in fields\n        elif record["kind"] == "held":\n            inside',
    ),
    Break("articles of a day less", "timedelta(days=365)", "timedelta(days=364)"),
    Break(
        "what has no notice stays held",
        '            if item["outcome"] == "held" and item["mutation"]["seq"] not in open_:',
        "            if False:",
    ),
    Break(
        "what was acknowledged and has no record is not shown",
        "        if record is None:\n            return True\n",
        "        if record is None:\n            return False\n",
    ),
    Break("what is gone stays shown", "            self.await_no_longer()\n", ""),
    Break(
        "what is awaited on a later page is gone",
        "            self.await_no_longer()\n            self.note_decided()\n",
        "            self.note_decided()\n        self.await_no_longer()\n",
    ),
    Break("a duplicate is laid in again", ' or (taken and verdict["outcome"] == "duplicate"):', ":"),
    Break(
        "a grid that a record left loses it though it came back",
        ' and (record.get("stale") or record["rev"] <= change["rev"]):\n                del',
        ":\n                del",
    ),
    Break("a grid that has lost everything is not proved", 'named = sorted({*self.memory["grids"], ', "named = sorted({"),
    Break(
        "kinds that nobody knows are not kept",
        '        if change.get("gone"):\n',
        '        if change["kind"] not in {*KINDS, "held", "article"}:\n            return\n        if change.get("gone"):\n',
    ),
    Break(
        "the copy holds what the user typed",
        '                fields, wrong = canonical(hook["kind"], hook["fields"])\n',
        '                fields, wrong = hook["fields"], []\n',
    ),
    Break("held without a notice on a page is decided", "            self.note_decided()\n", "        self.note_decided()\n"),
    Break(
        "an earlier device's notices keep own ones held",
        'notice["state"] == "open" and notice["device"] == self.memory["device"]',
        'notice["state"] == "open"',
    ),
    Break(
        "the rev of a copy leaves tombstones out",
        'for record in records if record["grid"] == grid)])\n            grids',
        'for record in shown if record["grid"] == grid)])\n            grids',
    ),
    Break("every own verification counts", 'return own_work_from is None or step["stamp"] < own_work_from', "return True"),
    Break("no own verification ever counts", 'return own_work_from is None or step["stamp"] < own_work_from', "return False"),
    Break("the stamp itself is before the rule", 'step["stamp"] < own_work_from', 'step["stamp"] <= own_work_from'),
    # ------------------------------------------------------------------------------------------------- life cycle
    Break("steps in the order of coming", 'in sorted(steps, key=lambda step: (step["stamp"], step["id"])):', "in steps:"),
    Break("equal stamps in the order of coming", 'key=lambda step: (step["stamp"], step["id"])', 'key=lambda step: step["stamp"]'),
    Break(
        "steps that are not allowed have an effect",
        'if case["state"] not in TRANSITIONS.get(action, (set(), None))[0]:',
        "if action not in TRANSITIONS:",
    ),
    Break("satisfied stays empty when left out", 'fields.get("satisfied") or "unasked"', 'fields.get("satisfied")'),
    Break(
        "reopening keeps the credit",
        'dict.fromkeys(("resolved_at", "resolved_by", "satisfied", "reason", "duplicate_of"))',
        'dict.fromkeys(("satisfied", "reason", "duplicate_of"))',
    ),
    Break(
        "reopening keeps the reason",
        'dict.fromkeys(("resolved_at", "resolved_by", "satisfied", "reason", "duplicate_of"))',
        'dict.fromkeys(("resolved_at", "resolved_by", "satisfied", "duplicate_of"))',
    ),
    Break(
        "reopening keeps whether people were satisfied",
        'dict.fromkeys(("resolved_at", "resolved_by", "satisfied", "reason", "duplicate_of"))',
        'dict.fromkeys(("resolved_at", "resolved_by", "reason", "duplicate_of"))',
    ),
    Break(
        "reopening keeps the end",
        'case["ended_at"] = fields.get("at") if after in ("closed", "rejected", "joined") else None',
        'case["ended_at"] = fields.get("at") if after in ("closed", "rejected", "joined") else case["ended_at"]',
    ),
    Break(
        "a rejection does not end it",
        'if after in ("closed", "rejected", "joined") else None',
        'if after in ("closed", "joined") else None',
    ),
    Break(
        "an escalation leaves it in somebody's hands",
        'if action in ("return", "reopen", "escalate"):',
        'if action in ("return", "reopen"):',
    ),
    Break(
        "a return leaves it in somebody's hands", 'if action in ("return", "reopen", "escalate"):', 'if action in ("reopen", "escalate"):'
    ),
    Break("beyond the city", 'return len(case["handler_unit"]) > CITY', "return True"),
    Break("a return goes to the village", 'case["handler_unit"] = came_from.pop()', 'case["handler_unit"] = came_from.pop(0)'),
    Break("an assignment without a target", 'return bool(fields.get("to_unit") or fields.get("to_cadre"))', "return True"),
    Break("an assignment without a unit clears it", 'fields.get("to_unit") or case["handler_unit"]', 'fields.get("to_unit")'),
    Break(
        "an assignment without a cadre keeps the one before",
        'case["handler_cadre"] = fields.get("to_cadre")',
        'case["handler_cadre"] = fields.get("to_cadre") or case["handler_cadre"]',
    ),
    Break("joined to itself", ' and fields["duplicate_of"] != fields.get("problem_id")', ""),
    Break("an extension without a limit", 'return bool(fields.get("until"))', "return True"),
    # --------------------------------------------------------------------------------------------------- editing
    Break("base is always 0", 'mutation["base"] = copied["rev"]\n', "pass\n"),
    Break("where the base was seen is not said", '                mutation["base_grid"] = copied["grid"]\n', "                pass\n"),
    Break("the epoch is not said", '            mutation["epoch"] = memory["epoch"]\n', "            pass\n"),
    Break("a base of the old epoch in the new one", '                record["rev"] = 0\n', "                pass\n"),
    # -------------------------------------------------------------------------------------------------- requests
    Break("the cursor is never sent", '"cursor": self.memory["cursor"], "limit"', '"cursor": None, "limit"'),
    Break("queued counts what is sent", '"queued": len(unsent) - len(batch)', '"queued": len(unsent)'),
    Break("the newest go first", '"mutations": batch}', '"mutations": batch[::-1]}'),
    Break("one mutation at a time", "in unsent[:1000] if", "in unsent[:1] if"),
    Break(
        "sent_at is the server's clock",
        "sent_at = datetime.fromtimestamp(self.wall / 1000, UTC)",
        "sent_at = datetime.fromtimestamp((self.wall + self.offset) / 1000, UTC)",
    ),
    Break("does not go on while there is more", '"at once" if came[2]["more"] or', '"at once" if'),
    Break("does not go on while something is unacknowledged", 'or self.unsent() or self.out_of_step() else "done"', 'else "done"'),
    Break("Retry-After is not kept", 'float(headers.get("retry-after", 0)) + min', "min"),
    # ---------------------------------------------------------------------------------------------------- taking
    Break("an older change replaces", 'or record["rev"] <= change["rev"]:', "or True:"),
    Break(
        "a change of the same rev does not replace",
        'record["rev"] <= change["rev"]:\n            self',
        'record["rev"] < change["rev"]:\n            self',
    ),
    Break(
        "a record of another grid is compared by rev",
        'record is None or record["grid"] != change["grid"] or record.get("stale")',
        'record is None or record.get("stale")',
    ),
    Break(
        "a stale record is compared by rev", 'or record.get("stale") or record["rev"] <= change["rev"]', 'or record["rev"] <= change["rev"]'
    ),
    Break(
        "gone takes the record wherever it is",
        'if record and record["grid"] == change["grid"] and (',
        "if record and (",
    ),
    Break("gone is a change like others", 'if change.get("gone"):', "if False:"),
    Break(
        "the own edit is not laid into the copy", '            self.fold_in(sent[verdict["seq"]], verdict, request["cursor"] is None)\n', ""
    ),
    Break(
        "a duplicate is not what it was first",
        'item["outcome"] = verdict.get("first") or verdict["outcome"]',
        'item["outcome"] = verdict["outcome"]',
    ),
    Break("a merged edit is laid into the copy", '        if first != "applied" or', '        if first not in ("applied", "merged") or'),
    Break("what was deleted since comes back with a duplicate", 'or (from_start and verdict["outcome"] == "duplicate")', ""),
    Break(
        "an own edit of a record that is not here makes one",
        'if record is None and (mutation["base"] > 0 or',
        "if record is None and (False or",
    ),
    Break(
        "revs of two grids are compared",
        'if record and record["grid"] == mutation["grid"] and record["rev"] >= verdict["rev"]:',
        'if record and record["rev"] >= verdict["rev"]:',
    ),
    Break("the own deletion is laid in as a change", 'whole |= {"deleted": mutation["op"] == "delete",', 'whole |= {"deleted": False,'),
    Break("dropped grids stay", 'if record["grid"] != grid}\n', "if True}\n"),
    Break(
        "mailboxes are not dropped",
        'if record["grid"] != grid}\n',
        'if record["grid"] != grid or not grid.isdigit()}\n',
    ),
    Break("grids are dropped before the verdicts", '        for grid in answer["dropped_grids"]:\n', "        for grid in []:\n"),
    Break(
        "what did not come again stays",
        '        if not answer["more"]:\n            memory["records"]',
        '        if False:\n            memory["records"]',
    ),
    Break(
        "what has not come yet goes with the first page",
        '        if not answer["more"]:\n            memory["records"]',
        '        if True:\n            memory["records"]',
    ),
    Break(
        "the old copy goes at once with a new epoch",
        '        if answer["epoch"] != memory["epoch"]:\n',
        '        if answer["epoch"] != memory["epoch"]:\n            memory["records"] = {}\n',
    ),
    Break("a new epoch is not noticed", '        if answer["epoch"] != memory["epoch"]:\n', '        if memory["epoch"] is None:\n'),
    Break(
        "a new device takes its old copy for new",
        "        self.make_stale(lambda record: True)\n        self.access",
        "        self.access",
    ),
    Break(
        "again is forgotten when it was sent",
        '            request["again"] = self.memory["again"]\n',
        '            request["again"], self.memory["again"] = self.memory["again"], []\n',
    ),
    Break("again is sent for ever", '        memory["again"] = []\n', ""),
    Break("again is never sent", '        if self.memory["again"]:\n', "        if False:\n"),
    Break("again makes all grids stale", 'record["grid"] in again)', "bool(again))"),
    Break("again makes nothing stale", 'self.make_stale(lambda record: record["grid"] in again)', "pass"),
    Break(
        "the rules of the server are kept for ever",
        'if answer.get("rules") else ZERO',
        'if answer.get("rules") else memory["own_work_from"]',
    ),
    Break("the rules of the server are not read", 'answer["rules"]["own_work_from"] if answer.get("rules") else ZERO', "ZERO"),
    Break(
        "the cursor of a lost answer is not needed",
        'memory |= {"cursor": answer["cursor"], "server_ms": server_ms}',
        'memory |= {"cursor": memory["cursor"] or answer["cursor"], "server_ms": server_ms}',
    ),
    # --------------------------------------------------------------------------------------------------- showing
    Break("what is pending is not shown", "            if not self.is_pending(item,", "            if True or not self.is_pending(item,"),
    Break(
        "an own edit is shown until it is acknowledged, not longer",
        '        if item["outcome"] not in ("applied", "merged") or item["rev"] is None:\n',
        "        if True:\n",
    ),
    Break("a merged edit is shown for ever", 'return bool(record["rev"] < item["rev"])', 'return item["outcome"] == "merged"'),
    Break(
        "what is held is shown like what is pending",
        'if item["outcome"] not in ("applied", "merged") or item["rev"] is None:',
        'if item["outcome"] == "held":\n            return True\n'
        '        if item["outcome"] not in ("applied", "merged") or item["rev"] is None:',
    ),
    Break("a deletion does not hide", "                shown[key] = None\n                continue\n", "                continue\n"),
    Break("what lies below a deletion comes back", "under = shown.get(key)\n", 'under = memory["records"].get(key)\n'),
    Break("tombstones are shown", '            if not record.get("deleted")\n        }\n        for item', "        }\n        for item"),
    Break(
        "the new grid of a move is not shown",
        '"grid": mutation["grid"], "fields": fields, "pending": True}',
        '"grid": under["grid"] if under else mutation["grid"], "fields": fields, "pending": True}',
    ),
    Break("what is held is not told", '            if item["outcome"] == "held"\n', "            if False\n"),
    Break("notices of held mutations are not read", '            if record["kind"] == "held":\n', "            if False:\n"),
    Break("what was decided stays held", '                    found.pop(notice["seq"], None)\n', "                    pass\n"),
    Break(
        "notices of an earlier device are not shown", '                elif notice["state"] == "open":\n', "                elif False:\n"
    ),
    # -------------------------------------------------------------------------------------------------- recovery
    Break("acked that goes back is not noticed", 'restored = answer["acked"] < memory["acked"] or', "restored = False or"),
    Break("a new epoch does not trace back", 'or (memory["epoch"] not in (None, answer["epoch"]))', ""),
    Break("only what lies above acked is sent again", "self.set_acked(min(acked, first - 1))", "self.set_acked(acked)"),
    Break(
        "acknowledged mutations go at once",
        'old = item["acked_ms"] is not None and item["acked_ms"] < self.memory["server_ms"] - 30 * DAY',
        'old = item["acked_ms"] is not None',
    ),
    Break("acknowledged mutations are kept for 7 days", "- 30 * DAY", "- 7 * DAY"),
    Break("acknowledged mutations are kept for 60 days", "- 30 * DAY", "- 60 * DAY"),
    Break(
        "a gap that cannot be filled is not noticed",
        'return memory["copied"] or [item["seq"]',
        'return memory["copied"] or False and [item["seq"]',
    ),
    Break("acked above the own numbering is not noticed", ' or acked >= memory["next_seq"]', ""),
    Break("tracing jumps to what the server holds", 'if memory["tracing"] else acked)', "if False else acked)"),
    Break("what lies beyond a fork is sent, too", 'if not parts_at or mutation["seq"] < parts_at]', "]"),
    Break("a fork starts a new device at once", '            if memory["tracing"]:\n', "            if True:\n"),
    Break("a fork traces back for ever", '            if memory["tracing"]:\n', "            if False:\n"),
    Break("a new device hands in everything once more", 'memory["parts_at"] = problem["seq"]', 'memory["parts_at"] = 1'),
    Break("tracing back never ends", '{"tracing": False, "copied": memory["copied"]', '{"copied": memory["copied"]'),
    Break("a new device keeps its numbers", '{"mutation": mutation | {"seq": seq}, "outcome"', '{"mutation": mutation, "outcome"'),
    Break(
        "a new device keeps the cursor",
        'memory |= {"acked": 0, "cursor": None, "refresh": None,',
        'memory |= {"acked": 0, "refresh": None,',
    ),
    Break(
        "a new device deletes the old copy",
        "        self.make_stale(lambda record: True)\n        self.access",
        '        memory["records"] = {}\n        self.access',
    ),
    Break("a new device says nothing of the former one", '+ 1, "predecessor": before}', '+ 1, "predecessor": None}'),
    Break(
        "a new device keeps the old tokens",
        '        self.make_stale(lambda record: True)\n        self.access = ""\n',
        "        self.make_stale(lambda record: True)\n",
    ),
    Break("a gap stops the client", '        if slug == "seq-gap":\n', '        if slug == "never":\n'),
    Break("a gap does not trace back", 'self.trace_back(problem["expected"] - 1)', 'self.set_acked(problem["expected"] - 1)'),
    Break("a revoked device deletes at once", '            if problem["wipe"]:\n', "            if True:\n"),
    Break("a revoked device never deletes", '            if problem["wipe"]:\n', "            if False:\n"),
    Break(
        "verdicts of a refusal are not read",
        '                for verdict in problem["verdicts"]:\n                    self.note_verdict(verdict)\n',
        "",
    ),
    Break("acked of a refusal is not read", '                self.acknowledge(problem["acked"], [', "                str(["),
    Break(
        "an outdated app asks again at once",
        '            if slug == "upgrade-needed":\n                return {"next": "stopped"}\n',
        '            if slug == "upgrade-needed":\n                return {"next": "at once"}\n',
    ),
    Break("an ended session goes on with its refresh token", 'self.access, memory["refresh"] = "", None', 'self.access = ""'),
    Break(
        "an expired token is sent again",
        '        if slug in ("token-expired", "token-invalid"):\n            self.access = ""\n',
        '        if slug in ("token-expired", "token-invalid"):\n',
    ),
    Break(
        "the first refresh token is kept",
        'self.memory["refresh"] = came[2]["refresh_token"]',
        'self.memory["refresh"] = self.memory["refresh"] or came[2]["refresh_token"]',
    ),
    Break(
        "a refresh token that got no answer is thrown away",
        "if came is None or came[0] in (200, 408, 429, 503):",
        "if came is not None and came[0] == 200:",
    ),
    Break("a refused grant stops the client", '            memory["refresh"] = None\n', "            return came\n"),
]
