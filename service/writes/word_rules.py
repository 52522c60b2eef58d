"""What stands against the words of a mutation: they hold on the day of its stamp. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from itertools import chain
from typing import Any

from service.vocabulary.terms import Vocabulary
from service.writes.mutations import HoldReason
from service.writes.prepared import PreparedMutation
from sync_protocol import clock
from sync_protocol.fields import shortened
from sync_protocol.kinds import Kind
from sync_protocol.periods import day_of_ms
from sync_protocol.sets import SetChange
from sync_protocol.texts import Text


def words_hold(
    vocabulary: Vocabulary,
    kind: Kind,
    columns: Mapping[str, Sequence[Any]],
    first_stamp: str,
    last_stamp: str,
) -> bool:
    """Whether all words in the columns of new records hold on every day from a stamp to another;
    never wrong when it says so.
    """
    for name, list in kind.listed:
        words = {*chain.from_iterable(filter(None, columns[name]))}
        if words <= vocabulary.always[list]:
            continue
        first, last = (day_of_ms(clock.stamp_ms(stamp)) for stamp in (first_stamp, last_stamp))
        if not vocabulary.all_hold(list, words, first, last):
            return False
    return True


def against_words(vocabulary: Vocabulary, item: PreparedMutation, kind: Kind) -> HoldReason | None:
    """A word that no list ever had is held as one that cannot be read. One that had ended, or had
    yet to begin, when the mutation was written waits for a person, who may release it.
    """
    unread = item.parsed.unless_known
    if unread is None and not vocabulary.edited:
        return None
    for name, list in kind.listed:
        value = item.fields.get(name)
        if value is None:
            continue
        added = value.add if isinstance(value, SetChange) else (value,)
        unknown = [word for word in _named(value) if not vocabulary.knows(list, word)]
        if unread is not None and unknown:
            day = day_of_ms(clock.stamp_ms(item.stamp))
            return _unknown(vocabulary, unread, kind.by_name[name].word, list, unknown[0], day)
        always = vocabulary.always[list]
        if item.is_decided or all(word in always for word in added):
            continue
        day = day_of_ms(clock.stamp_ms(item.stamp))
        for word in added:
            if not vocabulary.holds(list, word, day):
                return HoldReason(
                    "fields-wrong",
                    Text(
                        "{field} is ‘{word}’, which was not in its list on {day}; choose another,"
                        " or release it as it is.",
                        field=kind.by_name[name].word,
                        word=word,
                        day=day,
                    ),
                )
    return None


def _unknown(
    vocabulary: Vocabulary, unread: HoldReason, field: Text, list: str, word: str, day: date
) -> HoldReason:
    """Why a word is held that no list ever had: with the words of the day, where they are others
    than those of the code.
    """
    if list not in vocabulary.edited:
        return unread
    labels = vocabulary.labels(list, day)
    words = [code for code in labels if vocabulary.holds(list, code, day)]
    detail = Text(
        "{field} is ‘{word}’, which no list has; use one of {words}.",
        field=field,
        word=shortened(word),
        words=", ".join(words),
    )
    return HoldReason(unread.reason, detail)


def _named(value: Any) -> Iterator[str]:
    return chain(value.add, value.remove) if isinstance(value, SetChange) else iter((value,))
