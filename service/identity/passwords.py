"""Passwords: hashed with argon2id, few at a time, and refused when they are easy to guess."""

import random
import re
import unicodedata
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import anyio
import anyio.to_thread
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher
from zxcvbn import zxcvbn

from service.kit.errors import INVALID, UNAVAILABLE, Problem
from sync_protocol.texts import Text

# OWASP's choice for argon2id: 19 MiB, two passes, one lane.
hasher = PasswordHash((Argon2Hasher(memory_cost=19 * 1024, time_cost=2, parallelism=1),))
# Checked for an unknown staff code, so that its answer takes as long as that for a wrong password.
_NOBODY = hasher.hash("nobody")
AT_ONCE = 2
WAIT_S = 5.0
MIN_LENGTH = 8
_MIN_GUESSES = 10**8
_LOOKED_AT = 72  # as far as the estimator reads

RULE = Text(
    "A password has at least 8 characters and is none that others would try first: no common word,"
    " name, date, phone number or"
    " row of keys, in letters or pinyin, and neither the staff code nor the code of a unit in it."
    " Three words that do not"
    " belong together do well."
)


class Passwords:
    """Hashes and checks passwords of a service process: at most two at a time, others wait for
    their turn.

    Each takes 19 MiB and a core for a while; a flood of them must not take the memory and the cores
    of everybody else.
    """

    def __init__(self, at_once: int = AT_ONCE, wait_s: float = WAIT_S) -> None:
        self._limiter = anyio.CapacityLimiter(at_once)
        self._wait_s = wait_s

    async def verify(self, password: str, hashed: str | None) -> tuple[bool, str | None]:
        """Whether a password is right, and its hash by the parameters of today if `hashed` is by
        older ones.

        Without a hash it takes as long, and is wrong. Raises `Problem` when too many others wait.
        """
        async with self.turn():
            right, newer = await anyio.to_thread.run_sync(
                hasher.verify_and_update, password, hashed or _NOBODY
            )
        return (right, newer) if hashed is not None else (False, None)

    async def hash(self, password: str) -> str:
        """The hash of a new password; raises `Problem` when too many others wait."""
        async with self.turn():
            return await anyio.to_thread.run_sync(hasher.hash, password)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """One of the turns; raises `Problem` when too many others wait."""
        me = object()
        try:
            with anyio.fail_after(self._wait_s):
                await self._limiter.acquire_on_behalf_of(me)
        except TimeoutError:
            raise Problem(
                UNAVAILABLE,
                "More people sign in just now than the server can serve; try again in a few"
                " seconds.",
                {"Retry-After": str(random.randint(2, 15))},
            ) from None
        try:
            yield
        finally:
            self._limiter.release_on_behalf_of(me)


def refuse_weak(password: str, known: Sequence[str]) -> None:
    """Raises `Problem` for a password that is easy to guess; `known`: what anybody knows of the
    person, the staff code first.
    """
    if is_weak(password, known):
        raise Problem(INVALID, Text("The password is too easy to guess. {rule}", rule=RULE))


_SYLLABLE = (
    "(?:zh|ch|sh|[bpmfdtnlgkhjqxrzcsyw])?"
    "(?:iang|iong|uang|ang|eng|ing|ong|iao|ian|uai|uan|ai|ei|ao|ou|an|en|er|ia|ie|iu|in|ua|uo|ui|un|ue|ve|[aoeiuv])"
)
# A name or a short phrase in pinyin, with a year, a birthday or a lucky number before or behind it.
_PINYIN = re.compile(rf"\d{{0,8}}(?:{_SYLLABLE}){{1,3}}\d{{0,8}}")
# What the estimator's lists, made elsewhere, do not know.
_LOCAL = (
    *(
        "gridloop",
        "wangge",
        "wanggeyuan",
        "baotou",
        "neimenggu",
        "menggu",
        "dangyuan",
        "cunzhishu",
        "nongmu",
        "mima",
    ),
    *("woaini", "woaizhongguo", "zhongguo", "aini", "nihao", "admin", "guanliyuan", "houtai"),
    *(
        "5201314",
        "1314520",
        "1314",
        "520",
        "147258",
        "147258369",
        "123qwe",
        "1qaz2wsx",
        "zxcvbnm",
        "qweasdzxc",
    ),
)


def is_weak(password: str, known: Sequence[str] = ()) -> bool:
    """Whether a password would be among the first hundred million that somebody tries who knows the
    person's code.
    """
    plain = unicodedata.normalize("NFKC", password).casefold()
    texts = {text.casefold() for text in known if len(text) >= 3}
    # Of a staff code like W150221100201001-1 the unit's code is known as well.
    numbers = {part for text in texts for part in re.findall(r"\d{6,}", text)}
    codes = {number[:length] for number in numbers for length in (9, 12, 15)}
    if len(password) < MIN_LENGTH or len(set(plain)) < 4:
        return True
    if any(text in plain for text in texts | codes):
        return True
    bare = re.sub(r"[\W_]", "", plain)
    if bare.isdigit() and len(bare) <= 20:
        return True  # a date, a phone number, the number of an identity card
    if _PINYIN.fullmatch(bare):
        return True
    found = zxcvbn(plain[:_LOOKED_AT], user_inputs=[*texts, *codes, *_LOCAL])
    return bool(found["guesses"] < _MIN_GUESSES)
