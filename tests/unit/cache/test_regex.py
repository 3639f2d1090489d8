import random
import re

import pytest

from xoproxy.cache.regex import MAX_SIZE, MAX_TEXT, Regex, RegexError

TEXTS = [
    "",
    "a",
    "web",
    "web-1",
    "Web-12",
    "db-1.prod",
    "10.0.0.1",
    "a\nb",
    "aab",
    "é",
    "x/y",
    "tab\there",
    "[a]",
    "__ 7",
    "]",
]


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        "web",
        "^web",
        "1$",
        "^$",
        "^web-\\d+$",
        "w.b",
        "a.b",
        "[a-c]+b",
        "[^a-z]",
        "[]a]",
        "[]]",
        "[^]a]",
        "[a-]",
        "[\\d.]+",
        "[^\\d\\s]",
        "\\D",
        "\\W",
        "\\S$",
        "(web|db)-1",
        "(?:web|db)-[12]",
        "a{2}b",
        "a{1,}b",
        "a{0,2}b$",
        "a{0}",
        "(ab?){2,3}",
        "a*?b",
        "a+?",
        "a??",
        "(|x)y",
        "(a|)+$",
        "()*",
        "((a*)*)*b",
        "\\.",
        "\\[a\\]",
        "x/y",
        "\\t",
        "a|b|c",
        "^(web|Web)",
        "\\w\\w\\W\\d",
    ],
)
def test_it_finds_what_python_finds(pattern):
    regex, oracle = Regex(pattern), re.compile(pattern)

    assert {t: regex.search(t) for t in TEXTS} == {t: bool(oracle.search(t)) for t in TEXTS}


@pytest.mark.parametrize("pattern", ["WEB", "w[D-F]b", "[^A-V]EB", "\\D", "\\W", "É", "İ"])
def test_case_can_be_ignored(pattern):
    regex, oracle = Regex(pattern, ignore_case=True), re.compile(pattern, re.IGNORECASE)

    assert {t: regex.search(t) for t in TEXTS} == {t: bool(oracle.search(t)) for t in TEXTS}


def test_random_patterns_find_what_python_finds():
    rng = random.Random(7)

    def pattern(depth=0):
        choice = rng.random()
        if depth > 3 or choice < 0.35:
            return rng.choice(["a", "b", ".", "[ab]", "[^a]", "\\d", "1", "\\w"])
        if choice < 0.65:
            return pattern(depth + 1) + pattern(depth + 1)
        if choice < 0.75:
            return f"({pattern(depth + 1)}|{pattern(depth + 1)})"
        if choice < 0.8:
            return f"({pattern(depth + 1)}|)"
        quantifier = rng.choice(["*", "+", "?", "{2}", "{1,3}", "{0,2}", "{2,}", "{0}"])
        return f"(?:{pattern(depth + 1)}){quantifier}"

    for _ in range(600):
        text = rng.choice(["{}", "^{}", "{}$", "^(?:{})$"]).format(pattern())
        try:
            regex = Regex(text)
        except RegexError as error:
            assert "longer" in error.message  # noqa: PT017 - the only reason to refuse these
            continue
        oracle = re.compile(text.replace("$", "\\Z"))
        for _ in range(6):
            subject = "".join(rng.choice("ab1\n") for _ in range(rng.randrange(7)))
            assert regex.search(subject) == bool(oracle.search(subject)), (text, subject)


@pytest.mark.parametrize(
    ("pattern", "position", "message"),
    [
        ("(a", 0, "this '(' is not closed"),
        ("x(a", 1, "this '(' is not closed"),
        ("a)", 1, "this ')' has no '('"),
        ("[a", 0, "this '[' is not closed"),
        ("[a-", 0, "this '[' is not closed"),
        ("[z-a]", 1, "this range has no order"),
        ("[\\d-z]", 1, "this range has no order"),
        ("*a", 0, "'*' has nothing to work on"),
        ("a|*", 2, "'*' has nothing to work on"),
        ("a**", 2, "nothing to repeat here"),
        ("a{", 1, "a repetition is written"),
        ("a{x}", 1, "a repetition is written"),
        ("a{,3}", 1, "a repetition is written"),
        ("a{3,2}", 1, "wrong order"),
        ("a{999}", 1, "at most 250 repetitions"),
        ("a{99999999999}", 1, "at most 250 repetitions"),
        ("a}", 1, "'}' has nothing to work on"),
        ("(?=a)", 0, "only plain groups"),
        ("(?P<n>a)", 0, "only plain groups"),
        ("(a)\\1", 3, "\\1 is not offered"),
        ("\\bweb", 0, "\\b is not offered"),
        ("a\\", 1, "ends with a backslash"),
    ],
)
def test_a_wrong_pattern_is_refused_with_its_place(pattern, position, message):
    with pytest.raises(RegexError) as raised:
        Regex(pattern)

    assert message in raised.value.message
    assert raised.value.position == position


@pytest.mark.parametrize(
    "pattern",
    [
        "a" * (MAX_SIZE + 1),
        "[" + "ab" * MAX_SIZE + "]",
        "[abc]{84}",
        "((a{20}){20}){20}",
        "(" * 60 + "a" + ")" * 60,
        "((((((){99}){99}){99}){99}){99}){99}",
    ],
)
def test_a_pattern_too_large_is_refused_at_once(pattern):
    with pytest.raises(RegexError):
        Regex(pattern)  # the last one would otherwise not return


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("(a*)*b", "a" * MAX_TEXT),
        ("(a|a)*b", "a" * MAX_TEXT),
        (".*" * 100 + "x", "a" * MAX_TEXT),
        ("(.+)+x", "a" * MAX_TEXT),
        ("(a|b)*a(a|b){60}x", "ab" * (MAX_TEXT // 2)),
    ],
)
def test_what_keeps_a_backtracking_engine_busy_for_hours_is_quick(pattern, text):
    assert not Regex(pattern).search(text)  # with `re`, most of these would not return


def test_only_the_beginning_of_a_text_is_looked_at():
    assert Regex("x").search("a" * (MAX_TEXT - 1) + "x")
    assert not Regex("x").search("a" * MAX_TEXT + "x")


def test_what_a_pattern_remembers_is_bounded():
    regex = Regex("[^x]*y")
    for number in range(5000):
        assert not regex.search(chr(0x4E00 + number))
    assert len(regex._transitions) <= 1000
    assert len(regex._fitting) <= 1000
    assert regex.search("zy")
