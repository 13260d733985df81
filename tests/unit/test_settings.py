"""Settings: complete descriptions, and errors that name the variable and never its value."""

import re
from pathlib import Path

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from yarl import URL

from schemas.contract import EventNames
from worker.errors import ConfigurationError
from worker.settings import PREFIX, LogFormat, Settings

FIELDS = list(Settings.model_fields)


def settings(**variables: str) -> Settings:
    """Read settings from variables, named without their prefix."""
    return Settings.from_environment({PREFIX + name: value for name, value in variables.items()})


def refusal(**variables: str) -> str:
    """Return what the error says about variables, named without their prefix."""
    with pytest.raises(ConfigurationError) as caught:
        settings(**variables)
    return str(caught.value)


@pytest.fixture
def authority(tmp_path: Path) -> dict[str, str]:
    """The settings that name the files of a private CA and of its client."""
    ca = trustme.CA()
    client = ca.issue_cert("client.example")
    blobs = {
        "CA_FILE": ca.cert_pem,
        "CERTIFICATE_FILE": client.cert_chain_pems[0],
        "KEY_FILE": client.private_key_pem,
    }
    for name, blob in blobs.items():
        blob.write_to_path(tmp_path / name)
    return {name: str(tmp_path / name) for name in blobs}


@pytest.mark.parametrize("name", FIELDS)
def test_every_setting_is_described(name: str) -> None:
    """The reference and ``--help`` are made of the descriptions."""
    assert len(Settings.model_fields[name].description or "") > 10


def test_nothing_has_to_be_set() -> None:
    """A worker on a developer's machine starts as it is."""
    chosen = settings()
    assert chosen.event_names is EventNames.DOCUMENTED
    assert (chosen.partitions, chosen.namespace) == (64, "")
    assert chosen.amqp_url.get_secret_value() == "amqp://guest:guest@127.0.0.1:5672/"


def test_settings_are_read_from_their_variables() -> None:
    """Each as its type."""
    chosen = settings(
        AMQP_URL="amqps://rabbit/calls",
        PARTITIONS="8",
        HEARTBEAT_SECONDS="0.05",
        EVENT_NAMES="canonical",
        LOG_FORMAT="json",
        NAMESPACE="blue",
    )
    assert chosen.amqp_url.get_secret_value() == "amqps://rabbit/calls"
    assert (chosen.partitions, chosen.heartbeat_seconds) == (8, 0.05)
    assert chosen.event_names is EventNames.CANONICAL
    assert chosen.log_format is LogFormat.JSON
    assert chosen.namespace == "blue"


@pytest.mark.parametrize("name", FIELDS)
def test_every_setting_has_a_variable(name: str) -> None:
    """The field ``x`` is the variable ``CALL_CONTROL_X``; a bad value there is noticed."""
    accepts_all = {"amqp_url", "redis_url", "http_host"}
    if name in accepts_all:
        chosen = settings(**{name.upper(): "somewhere"})
        assert "somewhere" in str(getattr(chosen, name)) or name.endswith("_url")
        assert chosen != settings()
    else:
        assert f"{PREFIX}{name.upper()}: " in refusal(**{name.upper(): "!"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PARTITIONS", "0"),
        ("PARTITIONS", "1025"),
        ("PARTITIONS", "8.5"),
        ("PARTITIONS", ""),
        ("PREFETCH", "0"),
        ("BATCH_SIZE", "2001"),
        ("EVENT_NAMES", "Documented"),
        ("LOG_FORMAT", "xml"),
        ("LOG_LEVEL", "critical"),
        ("LOG_LEVEL", "INFO\n"),
        ("HTTP_PORT", "65536"),
        ("HTTP_PORT", "-1"),
        ("HEARTBEAT_SECONDS", "0"),
        ("HEARTBEAT_SECONDS", "nan"),
        ("LAPSE_SECONDS", "61"),
        ("HOLD_SECONDS", "-1"),
        ("HOLD_SECONDS", "ten"),
        ("HOLD_SECONDS", "nan"),
        ("CONFIRM_SECONDS", "0"),
        ("GRACE_SECONDS", "0"),
        ("STANDBYS", "0"),
        ("STANDBYS", "9"),
        ("ENDED_RETENTION_SECONDS", "0"),
        ("IDLE_EXPIRY_SECONDS", "1.5"),
        ("NAMESPACE", "a.b"),
        ("NAMESPACE", "a b"),
        ("NAMESPACE", "x" * 65),
    ],
)
def test_a_bad_value_names_its_variable(name: str, value: str) -> None:
    """At the start, not when it is first used."""
    assert refusal(**{name: value}).startswith(f"{PREFIX}{name}: ")


def test_all_that_is_wrong_is_named_at_once() -> None:
    """Nobody likes to mend one mistake per start."""
    said = refusal(PARTITIONS="0", LOG_LEVEL="loud", PARTITION="8")
    for name in ("PARTITIONS", "LOG_LEVEL", "PARTITION"):
        assert f"{PREFIX}{name}: " in said


@given(name=st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ_", min_size=1, max_size=20))
def test_an_unknown_variable_is_an_error_that_names_it(name: str) -> None:
    """A misspelt setting would else be a setting that silently is not in force."""
    if name.lower() in FIELDS or name.startswith("TEST_"):
        return
    assert refusal(**{name: "x"}) == f"{PREFIX}{name}: no such setting"


def test_heartbeats_must_outpace_their_lapse() -> None:
    """Or every worker would count as dead between two of its heartbeats."""
    assert settings(HEARTBEAT_SECONDS="0.5", LAPSE_SECONDS="1").lapse_seconds == 1
    said = refusal(HEARTBEAT_SECONDS="0.5", LAPSE_SECONDS="0.9")
    assert "lapse_seconds" in said.lower()
    assert "heartbeat_seconds" in said.lower()


def test_the_test_suites_variables_are_its_own() -> None:
    """They may stand in the environment of a worker that a test starts."""
    environment = {f"{PREFIX}TEST_AMQP_URL": "amqp://tests", f"{PREFIX}TEST_ANYTHING": ""}
    assert Settings.from_environment(environment) == settings()


def test_other_programs_variables_are_not_read() -> None:
    """Only those under the prefix."""
    assert Settings.from_environment({"PARTITIONS": "1", "PATH": "/bin"}) == settings()


@pytest.mark.parametrize("name", ["amqp_url", "redis_url"])
def test_passwords_in_urls_are_not_shown(name: str) -> None:
    """Neither in a log line that shows the settings, nor in a dump of them."""
    chosen = settings(**{name.upper(): "amqp://user:hunter2@host/"})
    assert getattr(chosen, name).get_secret_value() == "amqp://user:hunter2@host/"
    for shown in (repr(chosen), str(chosen), chosen.model_dump_json(), str(chosen.model_dump())):
        assert "hunter2" not in shown


@pytest.mark.parametrize("name", [name.upper() for name in FIELDS])
def test_an_error_does_not_quote_the_value(name: str) -> None:
    """A password may have been pasted into the wrong variable, or two may be wrong at once."""
    said = refusal(**{name: "hunter2 hunter2"} | {"UNKNOWN": "hunter2 hunter2"})
    assert "hunter2" not in said


def test_a_url_may_stand_in_a_file(tmp_path: Path) -> None:
    """As secrets are mounted; a newline at its end is an editor's."""
    file = tmp_path / "url"
    file.write_text("amqps://user:hunter2@rabbit/calls\n")
    chosen = settings(AMQP_URL_FILE=str(file))
    assert chosen.amqp_url.get_secret_value() == "amqps://user:hunter2@rabbit/calls"
    assert "hunter2" not in repr(chosen)


@pytest.mark.parametrize("name", ["AMQP_URL", "REDIS_URL"])
def test_a_url_s_file_that_cannot_be_read_is_an_error_that_names_the_variable(
    name: str, tmp_path: Path
) -> None:
    """Not there, a directory, or not text."""
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe")
    for file, why in (
        (tmp_path / "missing", "No such file or directory"),
        (tmp_path, "Is a directory"),
        (binary, "not a text file"),
    ):
        assert refusal(**{f"{name}_FILE": str(file)}) == f"{PREFIX}{name}_FILE: {why}"


def test_a_url_and_its_file_together_are_an_error(tmp_path: Path) -> None:
    """Nobody has to know which of them would win."""
    file = tmp_path / "url"
    file.write_text("redis://one")
    said = refusal(REDIS_URL="redis://other", REDIS_URL_FILE=str(file))
    assert said == "CALL_CONTROL_REDIS_URL and CALL_CONTROL_REDIS_URL_FILE: set one of them"


def test_the_files_of_tls_go_where_connections_are_encrypted(authority: dict[str, str]) -> None:
    """And what a URL says itself about them stays in force."""
    chosen = settings(
        AMQP_URL="amqps://rabbit/?cafile=other.pem", REDIS_URL="redis+cluster://one", **authority
    )
    ca, certificate, key = (authority[name] for name in ("CA_FILE", "CERTIFICATE_FILE", "KEY_FILE"))
    query = URL(chosen.amqp_url.get_secret_value()).query
    assert query.getall("cafile") == ["other.pem", ca]
    assert (query["certfile"], query["keyfile"]) == (certificate, key)
    assert chosen.redis_url.get_secret_value() == "redis+cluster://one"
    chosen = settings(REDIS_URL="rediss+cluster://one", **authority)
    query = URL(chosen.redis_url.get_secret_value()).query
    assert dict(query) == {"ssl_ca_certs": ca, "ssl_certfile": certificate, "ssl_keyfile": key}
    assert chosen.amqp_url == settings().amqp_url


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"REDIS_URL": "redis://one"}, "CERTIFICATE_FILE need a URL with amqps:// or rediss://"),
        ({"CERTIFICATE_FILE": None}, "CALL_CONTROL_KEY_FILE needs CALL_CONTROL_CERTIFICATE_FILE"),
        ({"KEY_FILE": None}, "CALL_CONTROL_CERTIFICATE_FILE: expected a readable certificate"),
        ({"CERTIFICATE_FILE": "/dev/null"}, "CERTIFICATE_FILE: Path does not point to a file"),
        ({"CA_FILE": __file__}, "CALL_CONTROL_CA_FILE: Value error, expected a readable file of"),
        ({"CA_FILE": "/nowhere"}, "CALL_CONTROL_CA_FILE: Path does not point to a file"),
    ],
)
def test_files_of_tls_that_would_not_do_are_errors_at_start(
    authority: dict[str, str], changed: dict[str, str | None], said: str
) -> None:
    """Not at the first connection, in a library's words."""
    variables = {"REDIS_URL": "rediss://one", **authority, **changed}
    assert said in refusal(**{name: value for name, value in variables.items() if value})


def test_a_delimiter_in_a_password_is_an_error_that_does_not_show_it() -> None:
    """It would cut the URL short, and the rest would be shown as a host or a port."""
    for delimiter in "/?#":
        for name, scheme in (("AMQP_URL", "amqp"), ("REDIS_URL", "rediss+sentinel")):
            said = refusal(**{name: f"{scheme}://user:12{delimiter}34@host/"})
            assert said.startswith(f"{PREFIX}{name}: ")
            assert "percent-encoded" in said
            assert not {"12", "34"} & set(re.findall(r"\d+", said))


def test_settings_do_not_change() -> None:
    """They are built once, and everybody has the same."""
    chosen = settings()
    with pytest.raises(ValidationError):
        chosen.partitions = 1
