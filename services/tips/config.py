"""The settings of `tips`."""

from pathlib import Path

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from shared.settings import MailSettings, Networks, ServiceSettings


class Settings(ServiceSettings, MailSettings):
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

    @field_validator("lookup_pepper")
    @classmethod
    def _another(cls, pepper: SecretStr, info: ValidationInfo) -> SecretStr:
        if pepper == info.data.get("receipt_pepper"):
            raise ValueError("this is the same secret as IBUURT_RECEIPT_PEPPER")
        return pepper
