"""The settings that services have: environment variables IBUURT_…, or files of that name in a folder."""

import ipaddress
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from shared.cluster import Cluster
from shared.errors import Refusal

MIN_PASSWORD = 32


def _networks(text: object) -> object:
    if not isinstance(text, str):
        return text
    return tuple(ipaddress.ip_network(one.strip()) for one in text.split(",") if one.strip())


# Written with commas between.
Networks = Annotated[
    tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...], NoDecode, BeforeValidator(_networks)
]


class _Settings(BaseSettings):
    """`IBUURT_SECRETS` may name a folder whose files, such as `ibuurt_operator_token`, hold secrets."""

    model_config = SettingsConfigDict(env_prefix="IBUURT_", frozen=True, extra="ignore")

    @classmethod
    def read(cls, **given: Any) -> Self:
        """Read the environment, and what is `given` besides.

        Raises Refusal that names every variable that is missing or wrong.
        """
        secrets = os.environ.get("IBUURT_SECRETS")
        if secrets and not Path(secrets).is_dir():
            raise Refusal("IBUURT_SECRETS: there is no such folder; name the one that holds the secrets")
        try:
            named = {name: value for name, value in given.items() if value is not None}
            return cls(_secrets_dir=secrets, **named)
        except ValidationError as error:
            faults = []
            for fault in error.errors(include_input=False):
                name = str(fault["loc"][0]) if fault["loc"] else "?"
                wanted = cls.model_fields[name].description if name in cls.model_fields else ""
                faults.append(f"IBUURT_{name.upper()}: {fault['msg']}; set it to {wanted}")
            raise Refusal("; ".join(faults)) from None


class DatabaseSettings(_Settings):
    """All that a migration needs."""

    database_url: SecretStr = Field(description="postgresql://user:password@host:port/database")


class KafkaSettings(_Settings):
    """Where Kafka is; without a user it is taken to be unsecured, as the local stack's is."""

    kafka_bootstrap: str = Field(description="host:port[,host:port…]")
    kafka_user: str = Field("", description="the SCRAM-SHA-512 user to be; nothing where Kafka has no users")
    kafka_password: SecretStr = Field(
        SecretStr(""), validate_default=True, description="that user's password, of 32 characters or more"
    )
    kafka_ca: Path | None = Field(
        None, description="PEM file of the authority of Kafka's certificate; nothing for no TLS"
    )

    @field_validator("kafka_password")
    @classmethod
    def _with_user(cls, password: SecretStr, info: ValidationInfo) -> SecretStr:
        if info.data.get("kafka_user") and len(password.get_secret_value()) < MIN_PASSWORD:
            raise ValueError("missing or too short")
        return password

    @property
    def kafka(self) -> Cluster:
        return Cluster(
            self.kafka_bootstrap, self.kafka_user, self.kafka_password.get_secret_value(), self.kafka_ca
        )


class MendingSettings(DatabaseSettings, KafkaSettings):
    """What a command that mends needs."""


class MailSettings(_Settings):
    """Where a service that sends e-mail hands it over; without a host it sends none."""

    smtp_host: str = Field("", description="the mail server; without one no e-mail is sent")
    smtp_port: int = Field(587, ge=1, le=65_535, description="its port")
    smtp_tls: Literal["starttls", "tls", "none"] = Field(
        "starttls", description='"starttls", "tls", or "none" for a server on this machine'
    )
    smtp_user: str = Field("", description="the account there, where it wants one")
    smtp_password: SecretStr = Field(SecretStr(""), description="that account's password")
    email_from: str = Field(
        "",
        validate_default=True,
        description="whose e-mail it is, such as Meldingen <meldingen@town.example>",
    )

    @field_validator("smtp_tls")
    @classmethod
    def _not_in_clear(cls, tls: str, info: ValidationInfo) -> str:
        if tls == "none" and info.data.get("smtp_host") not in ("", "localhost", "127.0.0.1"):
            raise ValueError("addresses would travel in clear")
        return tls

    @field_validator("email_from")
    @classmethod
    def _with_a_server(cls, sender: str, info: ValidationInfo) -> str:
        if info.data.get("smtp_host") and not re.search(r"[^@\s<]+@[^@\s>]+\.[^@\s>]+", sender):
            raise ValueError("e-mail needs a sender")
        return sender


class ServiceSettings(MendingSettings):
    """What every service has."""

    municipality: Path = Field(description="folder of the municipality")
    http_host: str = Field("127.0.0.1", description="where the public port listens")
    http_port: int = Field(ge=1, le=65_535, description="the public port")
    internal_host: str = Field("127.0.0.1", description="where the internal port listens")
    internal_port: int = Field(
        ge=1, le=65_535, description="the port for probes, metrics, totals and other services"
    )
    operator_token: SecretStr = Field(min_length=32, description="what an operator's command shows")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="DEBUG, INFO, WARNING or ERROR"
    )
