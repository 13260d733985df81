"""The gateway's own settings, read from ``CALL_CONTROL_ASTERISK_*`` variables."""

from collections.abc import Mapping
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FilePath,
    PositiveFloat,
    SecretStr,
    ValidationError,
    field_validator,
)

from schemas.fields import GATEWAY_PATTERN
from worker.errors import ConfigurationError
from worker.gateways.asterisk import dialing
from worker.gateways.asterisk.causes import REJECTIONS
from worker.settings import ASTERISK_PREFIX, explain, from_files


class AsteriskSettings(BaseModel):
    """Everything that can be set. The field ``x`` is the variable ``CALL_CONTROL_ASTERISK_X``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=GATEWAY_PATTERN)] = Field(
        "asterisk",
        description="the gateway's name, one for each Asterisk; processes of the same name stand"
        " by for each other",
    )
    url: str = Field(
        "http://127.0.0.1:8088",
        description="Asterisk's HTTP server, http:// or https://, with its prefix if it has one and"
        " without /ari",
    )
    user: str = Field("call-control", min_length=1, description="the user of ari.conf")
    password: SecretStr = Field(SecretStr(""), description="its password")
    password_file: FilePath | None = Field(
        None, description="a file with CALL_CONTROL_ASTERISK_PASSWORD in it, instead of that"
    )
    application: Annotated[str, Field(pattern=r"^[A-Za-z0-9_\-]{1,64}$")] = Field(
        "call-control",
        description="the Stasis application; the dialplan hands incoming calls over with"
        " Stasis(call-control,incoming,${EXTEN})",
    )
    tel_endpoint: str = Field(
        "PJSIP/{number}@trunk",
        description="the dial string of a tel: address: {number} is +18164388687, {digits} the same"
        " without the plus; empty refuses them",
    )
    sip_endpoint: str = Field(
        "",
        description="the dial string of a sip: address, such as PJSIP/trunk/{uri}: {uri} is"
        " sip:alice@example.com:5060, {user} alice, {host} example.com:5060; empty refuses them:"
        " any producer could otherwise have any host called",
    )
    sip_domain: Annotated[str, Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9.\-]*[A-Za-z0-9])?$")] = (
        Field(
            "asterisk.invalid",
            description="the domain of the sip: address of a caller, or of a called extension, that"
            " is no telephone number",
        )
    )
    international_prefix: Annotated[str, Field(pattern=r"^(\+[0-9]{0,12})?$")] = Field(
        "",
        description="what makes a number that comes in without a plus an international one, such as"
        " +1, or + where the country is in it; empty where such a number is an extension",
    )
    caller_id: Annotated[str, Field(pattern=r"^(\+?[0-9]{1,32})?$")] = Field(
        "",
        description="the number that endpoints are shown; empty shows each party the number of the"
        " other one",
    )
    music: Annotated[str, Field(pattern=r"^[A-Za-z0-9_\-]{0,64}$")] = Field(
        "", description="the class of the music on hold; empty for Asterisk's default"
    )
    reject_status: int = Field(
        603,
        description=f"the SIP status of a rejected call: one of {', '.join(map(str, REJECTIONS))}",
    )
    request_seconds: PositiveFloat = Field(
        5.0, le=60, description="how long Asterisk may take to answer a request"
    )
    patience_seconds: PositiveFloat = Field(
        3.0,
        le=60,
        description="how long a connection to Asterisk may be lost before its gateway takes no more"
        " actions until it is back",
    )

    @field_validator("url")
    @classmethod
    def _is_a_url(cls, url: str) -> str:
        try:
            parts = urlsplit(url)
            host, has_credentials = parts.hostname, parts.username or parts.password
        except ValueError:
            raise ValueError("not a URL") from None
        if parts.scheme not in {"http", "https"} or not host or parts.query or parts.fragment:
            raise ValueError("expected http:// or https:// and a host")
        if has_credentials:
            raise ValueError("user and password have settings of their own")
        return url.rstrip("/")

    @field_validator("tel_endpoint")
    @classmethod
    def _has_known_fields_of_tel(cls, template: str) -> str:
        return dialing.checked_template(template, dialing.TEL_FIELDS)

    @field_validator("sip_endpoint")
    @classmethod
    def _has_known_fields_of_sip(cls, template: str) -> str:
        return dialing.checked_template(template, dialing.SIP_FIELDS)

    @field_validator("reject_status")
    @classmethod
    def _can_be_said(cls, status: int) -> int:
        if status not in REJECTIONS:
            raise ValueError(f"expected one of {', '.join(map(str, REJECTIONS))}")
        return status

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "AsteriskSettings":
        """Read the settings; the password from its file, if it is in one.

        Raises:
            ConfigurationError: A variable has a value it cannot have, or an unknown name.
        """
        values = {
            name.removeprefix(ASTERISK_PREFIX).lower(): value
            for name, value in environment.items()
            if name.startswith(ASTERISK_PREFIX)
        }
        values |= from_files(["password"], values, ASTERISK_PREFIX)
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise ConfigurationError(explain(error, ASTERISK_PREFIX)) from None

    @property
    def plan(self) -> dialing.Plan:
        """How addresses are called, and how callers are named."""
        return dialing.Plan(
            tel_endpoint=self.tel_endpoint,
            sip_endpoint=self.sip_endpoint,
            sip_domain=self.sip_domain,
            international_prefix=self.international_prefix,
        )
