"""Which passwords are refused because others would try them first, and how they are kept."""

import subprocess
import sys

import pytest
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from service.identity.passwords import Passwords, is_weak, refuse_weak
from service.kit.errors import Problem

KNOWN = ["W150202100200001-1", "孟和巴特尔", "13947212345"]


@pytest.mark.parametrize(
    "password",
    [
        *(
            "12345678",
            "password1",
            "qwertyuiop12",
            "P@ssw0rd2026",
            "monkey1990",
            "aaaaaaaa1234",
            "abcd1234",
            "short7!",
        ),
        # dates, phone numbers, numbers of identity cards
        *(
            "19900101",
            "1990-01-01",
            "13947212345",
            "139 4721 2345",
            "150202198801011234",
            "20261126",
        ),
        # pinyin, with a year or a lucky number
        *(
            "woaini1314",
            "zhangwei1990",
            "1990zhangwei",
            "neimenggu2026",
            "wang.wei@1988",
            "lishiyang2001",
            "Zhangsan@123",
        ),
        *("baotou2026", "5201314aini", "nihao12345"),
        # what anybody knows of the person
        *(
            "W150202100200001-1x",
            "w150202100200001-1",
            "150202100200xyq",
            "150202100-moon",
            "孟和巴特尔孟和巴特尔",
            "x13947212345y",
        ),
    ],
)
def test_what_others_would_try_first_is_refused(password: str) -> None:
    assert is_weak(password, KNOWN)


@pytest.mark.parametrize(
    "password",
    [
        "走访要留痕但不为痕迹",
        "第一次登录用的口令",
        "纸船 钟表 麦田",
        "paper tram onion",
        "correct horse",
        "kx7Qp2vT",
        "9f!kd72hs",
    ],
)
def test_what_nobody_would_guess_is_taken(password: str) -> None:
    assert not is_weak(password, KNOWN)


def test_the_refusal_says_the_rule_in_force() -> None:
    with pytest.raises(Problem) as refusal:
        refuse_weak("12345678", KNOWN)
    for words in ("8 characters", "pinyin", "staff code", "phone number"):
        assert words in refusal.value.detail


@pytest.mark.parametrize(
    "password", ["", "\0" * 200, "\ud800" * 20, "a1" * 100, "𝒑𝒂𝒔𝒔𝒘𝒐𝒓𝒅", "x" * 200]
)
def test_no_password_breaks_the_estimate(password: str) -> None:
    assert is_weak(password, KNOWN) in (True, False)


def test_passwords_are_hashed_by_argon2id_as_owasp_says() -> None:
    # In a process of its own: tests have a hasher that is quick.
    said = "from service.identity.passwords import hasher; print(hasher.hash('paper tram onion'))"
    made = subprocess.run([sys.executable, "-c", said], check=True, capture_output=True, text=True)
    assert made.stdout.startswith("$argon2id$v=19$m=19456,t=2,p=1$")


async def test_a_hash_by_older_parameters_is_right_and_made_anew() -> None:
    older = PasswordHash((Argon2Hasher(time_cost=2, memory_cost=8, parallelism=1),))
    right, newer = await Passwords().verify("paper tram onion", older.hash("paper tram onion"))
    assert right
    assert newer is not None
    assert await Passwords().verify("paper tram onion", newer) == (True, None)
    assert await Passwords().verify("another", newer) == (False, None)
