"""Which passwords are refused, and which are nobody's business."""

import pytest

from xoproxy.auth.password_policy import check_password
from xoproxy.errors import ErrorCode, RequestRefused


@pytest.mark.parametrize(
    ("password", "said"),
    [
        ("", "at least 10 characters"),
        ("Zq7!xW2#p", "at least 10 characters"),
        ("aaaaaaaaaaaa", "repeats itself"),
        ("abababababab", "repeats itself"),
        ("hunger-hunger-", "repeats itself"),
        ("bobby-smith", "user's name"),
        ("Bobby-Smith123", "user's name"),
        ("bobby-smithbobby-smith!", "user's name"),
        ("Password123!", "tried first"),
        ("P@ssw0rd2026", "tried first"),
        ("!!passw0rd!!", "tried first"),
        ("Administrator1", "tried first"),
        ("4dministr4tor", "tried first"),
        ("letmein2026!!", "tried first"),
        ("qwertyuiop", "tried first"),
        ("QWERTYuiop", "tried first"),
        ("1q2w3e4r5t6y", "tried first"),
        ("0123456789", "tried first"),
        ("9876543210", "tried first"),
        ("abcdefghijkl", "tried first"),
        ("1984-07-23-4", "tried first"),
        ("xenserver2024", "tried first"),
    ],
)
def test_what_guessers_try_is_refused(password, said):
    with pytest.raises(RequestRefused, match=said) as caught:
        check_password(password, "bobby-smith")
    assert caught.value.code is ErrorCode.BAD_MESSAGE
    assert password not in caught.value.message or not password


@pytest.mark.parametrize(
    ("password", "name"),
    [
        ("correct horse", "admin"),
        ("my password is long enough", "admin"),  # holds a well-known word, and is none
        ("zqxjvkwpyf", "admin"),
        ("8402917365028374", "admin"),
        ("bob likes long walks", "bob"),
        ("quiet harbour", "a"),  # a name of one letter is in most passwords
        ("пароль надёжный", "admin"),
        ("密码密码很长很长的一个", "admin"),
    ],
)
def test_nobody_is_made_to_use_signs_and_capitals(password, name):
    check_password(password, name)
