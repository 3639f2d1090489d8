import pytest

from xoproxy.cache.filter_syntax import (
    MAX_LENGTH,
    MAX_NESTING,
    MAX_TERMS,
    Criterion,
    FilterError,
    Op,
    Term,
    negation,
    parse,
)


def tree(text):
    return parse(text, lambda term: term)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("web", '"web"'),
        ("  web \t\n", '"web"'),
        ('"two words"', '"two words"'),
        ("10.0.0.1", '"10.0.0.1"'),
        ("a..b", '"a..b"'),
        ("50%", '"50%"'),
        ("a:b", 'a:"b"'),
        ('a:"b"', 'a:"b"'),
        ("a:=b", 'a:="b"'),
        ("a:>4", 'a:>"4"'),
        ("a:>=4", 'a:>="4"'),
        ("a:<4", 'a:<"4"'),
        ("a:<=4", 'a:<="4"'),
        ("a:null", "a:null"),
        ("a:=null", "a:null"),
        ('a:"null"', 'a:"null"'),
        ("a:aa:bb:cc", 'a:"aa:bb:cc"'),
        ("a:OpaqueRef:NULL", 'a:"OpaqueRef:NULL"'),
        ("a.b:c", 'a.b:"c"'),
        ('a."b.c:d":e', 'a."b.c:d":"e"'),
        ('a."b":e', 'a.b:"e"'),
        ('a."":e', 'a."":"e"'),
        ('a:"say \\"x\\" \\\\"', 'a:"say \\"x\\" \\\\"'),
        ("a:/^web/", "a:/^web/"),
        ("a:/x y|(z)/i", "a:/x y|(z)/i"),
        ("a:/b\\/c/", "a:/b\\/c/"),
        ("a:/b\\\\/", "a:/b\\\\/"),
        ("/^web/", "/^web/"),
        ("a:b c:d", 'a:"b" c:"d"'),
        ("c:d a:b", 'a:"b" c:"d"'),
        ("a:b|c:d", 'a:"b" | c:"d"'),
        ("c:d | a:b", 'a:"b" | c:"d"'),
        ("a:b a:b", 'a:"b"'),
        ("a:1 b:2 | c:3", '(a:"1" b:"2") | c:"3"'),
        ("a:1 (b:2 | c:3)", 'a:"1" (b:"2" | c:"3")'),
        ("((a:1) (b:2 (c:3)))", 'a:"1" b:"2" c:"3"'),
        ("!a:b", '!a:"b"'),
        ("! ! a:b", 'a:"b"'),
        ("!(a:b c:d)", '!(a:"b" c:"d")'),
        ("a:!b", '!a:"b"'),
        ("a:(b | c)", 'a:"b" | a:"c"'),
        ("a:(b !c)", '!a:"c" a:"b"'),
        ("a:( >4 <=8 )", 'a:<="8" a:>"4"'),
        ("a.x:(/b/ | null)", "a.x:/b/ | a.x:null"),
    ],
)
def test_filters_have_one_text(text, canonical):
    assert str(tree(text)) == canonical
    assert tree(canonical) == tree(text)


@pytest.mark.parametrize(
    ("text", "position", "message"),
    [
        ("", 0, "empty"),
        ("   ", 3, "empty"),
        ("(a:b", 0, "this '(' is not closed"),
        ("x (a:b (c:d)", 2, "this '(' is not closed"),
        ("a:b)", 3, "this ')' has no '('"),
        ("a:b |", 5, "something is missing"),
        ("| a:b", 0, "something is missing"),
        ("a:b | | c", 6, "something is missing"),
        ("()", 1, "something is missing"),
        ("!", 1, "something is missing"),
        ("a:", 2, "a value is missing"),
        ("a: b", 2, "a value is missing"),
        ("a:()", 3, "something is missing"),
        ("a:>", 3, "something is missing"),
        ("a:> 4", 3, "something is missing"),
        (":b", 0, "no field before"),
        ("a.:b", 2, "no field before"),
        ("> 4", 0, "a comparison needs a field"),
        ("a >4", 2, "a comparison needs a field"),
        ('a:"b', 2, "this quotation mark is not closed"),
        ('"b', 0, "this quotation mark is not closed"),
        ('a:"b"c', 5, "unexpected 'c'"),
        ("a:b(c)", 3, "unexpected '('"),
        ('web"x"', 3, "unexpected '\"'"),
        ("a:/b", 2, "this regular expression is not closed"),
        ("a://", 2, "this regular expression is not closed"),
        ("a:/dev/sda", 7, "'sda' is no flag"),
        ("a:/b/g", 5, "'g' is no flag"),
    ],
)
def test_errors_name_their_place(text, position, message):
    with pytest.raises(FilterError) as raised:
        tree(text)

    assert message in raised.value.message
    assert raised.value.position == position


def test_a_path_that_looks_like_a_regular_expression_gets_a_hint():
    with pytest.raises(FilterError) as raised:
        tree("device:/dev/sda")

    assert '"/dev/sda"' in (raised.value.hint or "")


def test_sizes_are_bounded():
    assert tree("a" * MAX_LENGTH)
    assert tree("(" * (MAX_NESTING - 1) + "a" + ")" * (MAX_NESTING - 1))
    assert tree(" ".join(f"a:{n}" for n in range(MAX_TERMS)))

    for text, position in [
        ("a" * (MAX_LENGTH + 1), MAX_LENGTH),
        ("(" * MAX_NESTING + "a" + ")" * MAX_NESTING, MAX_NESTING),
        ("!" * MAX_NESTING + "a", MAX_NESTING),
        ("a:" + "(" * MAX_NESTING + "b", MAX_NESTING + 1),
        (" ".join(["a"] * (MAX_TERMS + 1)), 2 * MAX_TERMS),
        ("a:(" + " ".join(["b"] * (MAX_TERMS + 1)), 0),
    ]:
        with pytest.raises(FilterError) as raised:
            tree(text)
        assert raised.value.position == position


def test_terms_know_their_place():
    terms = []

    def remember(term):
        terms.append(term)
        return term

    parse('  x (a.b:>4 | "c")', remember)

    assert [(t.position, t.value_position, t.word) for t in terms] == [
        (2, 2, True),
        (5, 9, False),
        (14, 14, False),
    ]


def test_a_leaf_may_become_another():
    def shout(term):
        return Term(("flag",), Criterion(Op.HAS, "true")) if term.word else term

    assert str(parse('is_x "is_x" | !is_x', shout)) == '!flag:"true" | ("is_x" flag:"true")'


def test_denying_twice_says_nothing():
    node = tree("a:b")

    assert negation(negation(node)) == node
