"""The settings of `tips`."""

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import NoDecode

from services.tips.limits import Network
from shared.settings import ServiceSettings


def _networks(text: object) -> object:
    if not isinstance(text, str):
        return text
    return tuple(ipaddress.ip_network(one.strip()) for one in text.split(",") if one.strip())


Networks = Annotated[tuple[Network, ...], NoDecode, BeforeValidator(_networks)]


class Settings(ServiceSettings):
    """The peppers may never change while reports are kept: a receipt would no longer find its report."""

    receipt_pepper: SecretStr = Field(
        min_length=32, description="a secret of 32 characters or more that receipts are made with"
    )
    lookup_pepper: SecretStr = Field(
        min_length=32, description="another such secret, that receipts are looked up with"
    )
    key_folder: Path = Field(description="a folder for the months' keys, backed up apart from the database")
    public_url: str = Field(
        pattern=r"^https?://[A-Za-z0-9._~:/@-]{1,200}$",
        description="where residents reach the public port, such as https://reports.example; the pages of"
        " public issues begin with it, and the links in e-mails",
    )
    photo_store: str = Field(
        description="a folder for the sealed photos, or the URL of an object store, such as s3://bucket/photos"
    )
    photo_store_secret_key: SecretStr = Field(
        SecretStr(""), description="the secret key that belongs to AWS_ACCESS_KEY_ID, where that is on S3"
    )
    smtp_host: str = Field("", description="the mail server; without one no e-mail is offered")
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
    trusted_proxies: Networks = Field(
        (), description="addresses or networks whose X-Forwarded-For is believed, with commas between"
    )
    shared_networks: Networks = Field(
        (), description="addresses that many share, such as an office's or the onion service's: limits × 20"
    )
    unlimited_networks: Networks = Field(
        (), description="the municipality's own systems, which may send as many reports as they like"
    )
    notify_token: SecretStr = Field(min_length=32, description="what `notify` shows when it reads words")

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

    @field_validator("lookup_pepper")
    @classmethod
    def _another(cls, pepper: SecretStr, info: ValidationInfo) -> SecretStr:
        if pepper == info.data.get("receipt_pepper"):
            raise ValueError("this is the same secret as IBUURT_RECEIPT_PEPPER")
        return pepper
