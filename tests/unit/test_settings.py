"""Settings: sources, their order, and one-line errors that name the setting."""

import os
import re

import pytest

from tools.settings_doc import TARGET, reference
from xoproxy.errors import ConfigError
from xoproxy.settings import GROUPS, SECRETS, Settings, env_name, load, read_secret


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch):
    for name in list(os.environ):
        if name.startswith("XOPROXY_"):
            monkeypatch.delenv(name)


@pytest.fixture
def config(tmp_path):
    def write(text):
        path = tmp_path / "xoproxy.toml"
        path.write_text(text)
        return path

    return write


def refusal(config=None):
    with pytest.raises(ConfigError) as caught:
        load(config)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_defaults_need_no_file_and_no_variable():
    settings = load()
    assert settings == Settings()
    assert settings.server.port == 8086
    assert settings.storage.database_url.startswith("sqlite+aiosqlite:////")
    assert settings.storage.database_url.endswith("/.local/state/xoproxy/xoproxy.db")


def test_file_overrides_default_and_environment_overrides_file(config, monkeypatch):
    monkeypatch.setenv("XOPROXY_SERVER__PORT", "99")
    settings = load(config('[server]\nport = 5\nhost = "::1"\n'))
    assert (settings.server.port, settings.server.host) == (99, "::1")


def test_lists_are_separated_by_commas(monkeypatch):
    monkeypatch.setenv("XOPROXY_SERVER__TRUSTED_ORIGINS", "https://a.example, http://b.example:9")
    assert load().server.trusted_origins == ("https://a.example", "http://b.example:9")
    monkeypatch.setenv("XOPROXY_SERVER__TRUSTED_PROXIES", "10.0.0.0/8, ::1")
    assert load().server.trusted_proxies == ("10.0.0.0/8", "::1")


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        (
            "XOPROXY_SERVER__TRUSTED_PROXIES",
            "10.0.0.0/8,front",
            "write an address or a network like 10.0.0.0/8, not 'front'",
        ),
        ("XOPROXY_ACCOUNTS__SESSION_S", "7200", "session_idle_s must not exceed session_s"),
        ("XOPROXY_ACCOUNTS__SESSION_IDLE_S", "0", "greater than or equal to 300"),
        ("XOPROXY_SERVER__PROT", "1", "unknown setting XOPROXY_SERVER__PROT; did you mean 'port'?"),
        ("XOPROXY_SERVER__PORT", "many", "bad setting XOPROXY_SERVER__PORT: input should be"),
        ("XOPROXY_SERVER__PORT", "65536", "less than or equal to 65535"),
        ("XOPROXY_SERVER_PORT", "1", "write XOPROXY_SERVER__PORT (two underscores)"),
        ("XOPROXY_SERVER", "{}", "write XOPROXY_SERVER__<NAME> (two underscores)"),
        ("XOPROXY_SERVR__PORT", "1", "no group 'servr' of settings; did you mean 'server'?"),
        ("XOPROXY_LOG__LEVEL", "loud", "XOPROXY_LOG__LEVEL: input should be 'debug', 'info'"),
        ("XOPROXY_LOG__LEVEL_FILE", "/x", "unknown setting XOPROXY_LOG__LEVEL_FILE"),
        ("XOPROXY_SERVER__TRUSTED_ORIGINS", "https://a/b", "write an origin like"),
        ("XOPROXY_LIMITS__TICK_MIN_MS", "500", "tick_min_ms must not exceed tick_max_ms"),
        ("XOPROXY_ADMIN_PASSWORD_FILE", "/nowhere/x", "XOPROXY_ADMIN_PASSWORD_FILE: cannot read"),
    ],
)
def test_bad_variable_is_named(monkeypatch, variable, value, expected):
    monkeypatch.setenv(variable, value)
    assert expected in refusal()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[server]\nprot = 1\n", "unknown setting server.prot in "),
        ("[servre]\nport = 1\n", "did you mean 'server'?"),
        ("server = 1\n", "write it as a table, [server]"),
        ("[server\n", "is not valid TOML"),
        ("[limits]\nmessage_bytes = 1000\n", "greater than or equal to 262144"),
        ("[limits]\njournal_total_bytes = 2000\n", "journal_bytes_per_pool must not exceed"),
        ("[pool_link]\nbackoff_min_s = 60\n", "backoff_min_s must not exceed backoff_max_s"),
    ],
)
def test_bad_file_is_named(config, text, expected):
    assert expected in refusal(config(text))


def test_missing_file_is_named(tmp_path):
    assert "No such file" in refusal(tmp_path / "none.toml")


def test_variables_of_the_commands_are_left_alone(monkeypatch):
    monkeypatch.setenv("XOPROXY_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("XOPROXY_POOL_PASSWORD", "x")
    assert load() == Settings()


def test_secrets_come_from_files_and_never_show(tmp_path, monkeypatch):
    secret = tmp_path / "secret"
    secret.write_text("sqlite+aiosqlite:////tmp/secret.db\n")
    monkeypatch.setenv("XOPROXY_STORAGE__URL_FILE", str(secret))
    monkeypatch.setenv("XOPROXY_ADMIN_PASSWORD_FILE", str(secret))
    settings = load()
    assert settings.storage.database_url == "sqlite+aiosqlite:////tmp/secret.db"
    assert settings.admin_password is not None
    assert settings.admin_password.get_secret_value() == "sqlite+aiosqlite:////tmp/secret.db"
    assert "secret.db" not in repr(settings)
    monkeypatch.setenv("XOPROXY_STORAGE__URL", "sqlite://")
    assert "are both set; keep one of them" in refusal()


def test_error_never_shows_a_secret(config):
    assert "hunter2" not in refusal(config("admin_password = ['hunter2']\n"))


@pytest.mark.parametrize("content", [b"", b"\n", b"a\nb\n", b"\xff\xfe"])
def test_secret_file_holds_one_line_of_text(tmp_path, content):
    path = tmp_path / "secret"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="--password-file: "):
        read_secret(path, "--password-file")


def test_docs_are_what_the_settings_say():
    assert TARGET.read_text() == reference(), "run python -m tools.settings_doc"


def test_every_setting_is_documented_with_its_reason():
    text = TARGET.read_text()
    for group, model in GROUPS.items():
        assert model.__doc__
        assert model.__doc__ in text
        for name, field in model.model_fields.items():
            assert env_name(f"{group}.{name}") in text
            assert len(field.description or "") > 20, f"{group}.{name} gives no reason"
    for secret in SECRETS:
        assert f"{env_name(secret)}_FILE" in text


def test_every_number_has_its_unit_in_its_name_or_meaning():
    units = re.compile(r"_(s|ms|bytes)$")
    words = re.compile(
        "Bytes|Seconds|Milliseconds|Days|Records|[Cc]alls|Connections|Lists|Subscriptions|Views"
    )
    for model in GROUPS.values():
        for name, field in model.model_fields.items():
            if field.annotation in {int, float} and name != "port":
                assert (
                    units.search(name)
                    or words.search(field.description or "")
                    or (name in {"messages_kept", "flush_slice"})
                ), name
