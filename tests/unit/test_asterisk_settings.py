"""The gateway's settings: complete descriptions, and errors that never show a value."""

from pathlib import Path

import pytest

from worker.errors import ConfigurationError
from worker.gateways.asterisk.settings import AsteriskSettings
from worker.settings import ASTERISK_PREFIX, Settings


def settings(**variables: str) -> AsteriskSettings:
    """Read settings from variables, named without their prefix."""
    return AsteriskSettings.from_environment(
        {ASTERISK_PREFIX + name: value for name, value in variables.items()}
    )


def refusal(**variables: str) -> str:
    """Return what the error says about variables, named without their prefix."""
    with pytest.raises(ConfigurationError) as caught:
        settings(**variables)
    return str(caught.value)


@pytest.mark.parametrize("name", AsteriskSettings.model_fields)
def test_every_setting_is_described(name: str) -> None:
    """The reference is made of the descriptions."""
    assert len(AsteriskSettings.model_fields[name].description or "") > 10


def test_a_worker_does_not_mind_the_gateways_settings() -> None:
    """Both may run in one environment."""
    environment = {f"{ASTERISK_PREFIX}URL": "http://asterisk:8088", "CALL_CONTROL_PARTITIONS": "2"}
    assert Settings.from_environment(environment).partitions == 2
    assert AsteriskSettings.from_environment(environment).url == "http://asterisk:8088"


def test_by_default_no_host_of_a_producers_choice_is_called() -> None:
    """sip: addresses take a template of their own."""
    assert settings().sip_endpoint == ""


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("URL", "asterisk:8088"),
        ("URL", "http://user:secret@asterisk"),
        ("URL", "http://asterisk/?x=secret"),
        ("URL", "http://[secret"),
        ("NAME", "a secret"),
        ("APPLICATION", "secret,incoming"),
        ("TEL_ENDPOINT", "PJSIP/secret"),
        ("SIP_ENDPOINT", "PJSIP/{secret}"),
        ("SIP_DOMAIN", "secret/"),
        ("CALLER_ID", "secret"),
        ("INTERNATIONAL_PREFIX", "secret"),
        ("REJECT_STATUS", "487"),
        ("REQUEST_SECONDS", "-17.5"),
        ("PASSWORD_FILE", "/secret"),
        ("SECRET", "secret"),
    ],
)
def test_a_mistake_is_told_by_its_variable_and_never_by_its_value(name: str, value: str) -> None:
    """What is mistyped may be a password in the wrong place."""
    said = refusal(**{name: value})
    assert f"{ASTERISK_PREFIX}{name}:" in said or f"{ASTERISK_PREFIX}{name}_FILE:" in said
    assert value not in said


def test_a_password_may_be_in_a_file_and_shows_nowhere(tmp_path: Path) -> None:
    """As secrets are mounted."""
    file = tmp_path / "password"
    file.write_text("hunter2\n")
    chosen = settings(PASSWORD_FILE=str(file))
    assert chosen.password.get_secret_value() == "hunter2"
    assert "hunter2" not in repr(chosen)
    assert "set one of them" in refusal(PASSWORD_FILE=str(file), PASSWORD="x")  # noqa: S106 - a test
    file.write_bytes(b"\xff\xfe\xff")
    assert f"{ASTERISK_PREFIX}PASSWORD_FILE: not a text file" in refusal(PASSWORD_FILE=str(file))
