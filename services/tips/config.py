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
    public_url: str = Field(
        pattern=r"^https?://[A-Za-z0-9._~:/@-]{1,200}$",
        description="where residents reach the public port, such as https://reports.example; the pages of"
        " public issues begin with it",
    )
    notify_token: SecretStr = Field(min_length=32, description="what `notify` shows when it reads words")

    @field_validator("lookup_pepper")
    @classmethod
    def _another(cls, pepper: SecretStr, info: ValidationInfo) -> SecretStr:
        if pepper == info.data.get("receipt_pepper"):
            raise ValueError("this is the same secret as IBUURT_RECEIPT_PEPPER")
        return pepper
