"""Which passwords are good enough.

Length is what counts; nobody is made to use digits, capitals or signs, and nothing expires by
itself (NIST SP 800-63B, 3.1.1.2): such rules make people choose `Password1!`, and then
`Password2!`. What guessers try first is refused instead: well-known passwords and runs of the
keyboard, also with digits and signs at their ends or in the place of letters, and one's own name.
"""

import string

from xoproxy.errors import ErrorCode, RequestRefused

PASSWORD_LENGTH = 10
"""Characters that a password has at least."""
_FEWEST_DIFFERENT = 5
_LEAST_OWN = 6
"""Characters that a password has beside a well-known word or the user's name."""

_WORDS = """
    abcdefgh abcdefghij administrator administrador admin aaaaaaaaaa baseball basketball batman
    broadcom butterfly changeit changeme charlie chocolate citrix cisco computer consumer
    corvette dashboard datacenter default dragon easypass enterprise football freedom fuckyou
    guest hannover hypervisor iloveyou infrastructure internet jennifer jessica jordan
    kubernetes letmein liverpool login loveyou manager master mercedes michael michelle
    microsoft monkey mustang mypassword newpassword ninja nopassword ordinateur operator
    passphrase passw0rd passwd password passwort pokemon princess proxmox qazwsx qazwsxedc
    qwerty qwertyuiop qwertz qwertzuiop azerty azertyuiop asdfgh asdfghjkl zxcvbnm yxcvbnm root
    rootroot samsung secret server service shadow sommer spiderman starwars summer sunshine
    superman superuser support sysadmin system test testing testtest thisisapassword tigger
    toor topsecret trustno1 trustnoone unknown user vagrant virtual vmware welcome welcometo
    whatever winter xcpng xenserver xensource xenorchestra xoproxy hunter
"""
# What lists of leaked passwords have in common: words that stand alone or at the beginning of the
# most used ones. Short ones are not in it: what is long enough and holds them is something else.
_WELL_KNOWN = frozenset(_WORDS.split())
_AT_ENDS = string.digits + string.punctuation + " "
_LONG_NUMBER = 16
_LOOK_ALIKE = str.maketrans("013457@$!", "oieastasi")
_RUNS = (
    "abcdefghijklmnopqrstuvwxyz",
    "01234567890123456789",
    "qwertyuiopasdfghjklzxcvbnm",
    "qwertzuiopasdfghjklyxcvbnm",
    "azertyuiopqsdfghjklmwxcvbn",
    "1q2w3e4r5t6y7u8i9o0p",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm",
    "qazwsxedcrfvtgbyhnujm",
    "1a2b3c4d5e6f7g8h9i",
)


def check_password(password: str, name: str) -> None:
    """Refuse a password that is no good for an account of this name.

    Raises:
        RequestRefused: BAD_MESSAGE, with what to do.
    """
    plain, user = password.casefold(), name.casefold()
    if len(password) < PASSWORD_LENGTH:
        text = f"a password has at least {PASSWORD_LENGTH} characters"
    elif len(set(plain)) < _FEWEST_DIFFERENT or _is_repeated(plain):
        text = "this password repeats itself: choose another one"
    elif user in plain and len(plain.replace(user, "")) < _LEAST_OWN:
        text = "this password is little more than the user's name: choose another one"
    elif _is_well_known(plain):
        text = "this password is one of those that are tried first: choose another one"
    else:
        return
    raise RequestRefused(ErrorCode.BAD_MESSAGE, text)


def _is_well_known(plain: str) -> bool:
    rest = "".join(letter for letter in plain if letter.isalnum())
    if any(run.find(rest) >= 0 or run[::-1].find(rest) >= 0 for run in _RUNS):
        return True
    # at the ends: "123" and "2026!" and "!!"
    kernel = plain.strip(_AT_ENDS)
    if not kernel and len(plain) < _LONG_NUMBER:  # a date, a telephone
        return True
    letters = (kernel, kernel.translate(_LOOK_ALIKE), plain.translate(_LOOK_ALIKE).strip(_AT_ENDS))
    return any(one in _WELL_KNOWN or _is_repeated(one, _WELL_KNOWN) for one in letters)


def _is_repeated(text: str, among: frozenset[str] | None = None) -> bool:
    """Tell whether a text is a shorter one several times over."""
    for length in range(1, len(text) // 2 + 1):
        if len(text) % length == 0 and text == text[:length] * (len(text) // length):
            return among is None or text[:length] in among
    return False
