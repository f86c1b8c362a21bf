"""The settings of `tips`."""

from pathlib import Path

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from shared.settings import ServiceSettings


class Settings(ServiceSettings):
    """The peppers may never change while reports are kept: a receipt would no longer find its report."""

    receipt_pepper: SecretStr = Field(
        min_length=32, description="a secret of 32 characters or more that receipts are made with"
    )
    lookup_pepper: SecretStr = Field(
        min_length=32, description="another such secret, that receipts are looked up with"
    )
    key_folder: Path = Field(description="a folder for the months' keys, backed up apart from the database")
    photo_store: str = Field(
        description="a folder for the sealed photos, or the URL of an object store, such as s3://bucket/photos"
    )
    notify_token: SecretStr = Field(min_length=32, description="what `notify` shows when it reads words")

    @field_validator("lookup_pepper")
    @classmethod
    def _another(cls, pepper: SecretStr, info: ValidationInfo) -> SecretStr:
        if pepper == info.data.get("receipt_pepper"):
            raise ValueError("this is the same secret as IBUURT_RECEIPT_PEPPER")
        return pepper
