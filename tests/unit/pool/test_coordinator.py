"""Who coordinates, by what the hosts say; no sockets."""

import asyncio

import pytest
from yarl import URL

from xoproxy.errors import PoolAuthFailed, PoolError, PoolUnreachable
from xoproxy.pool.coordinator import Answer, find, reachable, with_address

HOME = URL("https://a:8443")


def at(name: str) -> URL:
    return HOME.with_host(name)


class Hosts:
    """Hosts that say "" (it is me), a name (it is that one), an exception, or never anything."""

    def __init__(self, **said: str | PoolError | None) -> None:
        self.said = said
        self.asked: list[str] = []

    async def ask(self, url: URL) -> Answer:
        name = url.host or ""
        self.asked.append(name)
        said = self.said.get(name, PoolUnreachable(f"nobody at {name}"))
        if said is None:
            await asyncio.Event().wait()
        if isinstance(said, PoolError):
            raise said
        return Answer(said) if said else Answer(None, f"session at {name}")

    async def found(self, *names: str) -> str | None:
        best, *_ = await find([at(name) for name in names], self.ask)
        assert best.session == f"session at {best.url.host}"
        return best.url.host


async def test_the_only_host_is_asked():
    assert await Hosts(a="").found("a") == "a"


async def test_a_member_leads_to_the_coordinator_even_if_nobody_knew_it():
    hosts = Hosts(a="b", b="")

    assert await hosts.found("a") == "b"
    assert hosts.asked == ["a", "b"]


@pytest.mark.looptime
async def test_a_host_that_never_answers_holds_nobody_up():
    assert await Hosts(a=None, b="c", c="").found("a", "b", "c") == "c"
    assert asyncio.get_running_loop().time() < 1


@pytest.mark.looptime
async def test_of_two_that_claim_the_pool_the_one_that_the_members_name():
    assert await Hosts(a="", b="", c="b", d="b").found("a", "b", "c", "d") == "b"


async def test_of_two_equals_the_one_that_we_come_from():
    assert await Hosts(a="", b="").found("b", "a") == "b"


async def test_members_that_name_each_other_are_not_followed_for_ever():
    hosts = Hosts(a="b", b="c", c="d", d="e", e="a")
    with pytest.raises(PoolUnreachable, match="name each other"):
        await hosts.found("a")
    assert hosts.asked == ["a", "b", "c"]


async def test_nobody_there_is_what_the_first_one_says():
    with pytest.raises(PoolUnreachable, match="nobody at a"):
        await Hosts(a=PoolUnreachable("nobody at a"), b=PoolUnreachable("no b")).found("a", "b")


async def test_what_an_operator_must_mend_comes_first():
    refused = PoolUnreachable("another certificate", "CERTIFICATE")
    with pytest.raises(PoolUnreachable, match="another certificate"):
        await Hosts(b=refused).found("a", "b")


@pytest.mark.looptime
async def test_who_claimed_the_pool_in_vain_is_told_with_his_session():
    hosts = Hosts(a="", b="", c="b")
    claims = await find([at("a"), at("b"), at("c")], hosts.ask)

    assert [claim.session for claim in claims] == ["session at b", "session at a"]


async def test_a_refused_password_does_not_hide_who_lets_us_in():
    hosts = Hosts(a=PoolAuthFailed("no"), b="")
    assert await hosts.found("a", "b") == "b"
    with pytest.raises(PoolAuthFailed):
        await hosts.found("x", "a")


async def test_only_hosts_that_listen_are_reachable():
    async with await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0) as one:
        port = one.sockets[0].getsockname()[1]
        here = URL(f"http://127.0.0.1:{port}")
        away = URL(f"http://127.0.0.2:{port}")
        assert await reachable([away, here, away], 5) == [here]
    with pytest.raises(PoolUnreachable, match="does not accept") as refused:
        await reachable([away, here], 5)
    assert refused.value.code == "UNREACHABLE"


async def test_a_name_that_is_none_is_told():
    with pytest.raises(PoolUnreachable, match="cannot be resolved"):
        await reachable([URL("http://no-such-host.invalid:1")], 5)


async def test_a_failure_of_our_own_is_no_answer():
    async def ask(url: URL) -> Answer:
        raise ZeroDivisionError(url)

    with pytest.raises(ExceptionGroup):
        await find([HOME], ask)


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("192.0.2.7", "https://192.0.2.7:8443"),
        ("2001:db8::1", "https://[2001:db8::1]:8443"),
        ("[2001:db8::1]", "https://[2001:db8::1]:8443"),
        ("xcp-1.example", "https://xcp-1.example:8443"),
    ],
)
def test_scheme_and_port_stay(address: str, url: str):
    assert str(with_address(HOME, address)) == url
