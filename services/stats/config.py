"""What `stats` needs to know besides what every service does."""

import re
from pathlib import Path

from pydantic import Field, SecretStr, field_validator

from shared.settings import KafkaSettings, ServiceSettings


class Settings(ServiceSettings):
    """The environment of `stats`."""

    signing_key: SecretStr = Field(
        min_length=32, description="a secret of 32 characters or more, from which releases' signatures come"
    )
    former_signing_keys: str = Field(
        "", description="public keys of releases that were signed with an earlier secret, with commas between"
    )

    @field_validator("former_signing_keys")
    @classmethod
    def _public(cls, keys: str) -> str:
        for key in keys.split(","):
            if key.strip() and not re.fullmatch(r"[0-9a-f]{64}", key.strip()):
                raise ValueError("a public key is 64 hexadecimal digits")
        return keys

    @property
    def former_keys(self) -> list[str]:
        return [key.strip() for key in self.former_signing_keys.split(",") if key.strip()]


class ImportSettings(KafkaSettings):
    """What an import needs: Kafka, as the police's user, and the folder that the mapping must fit."""

    municipality: Path = Field(description="folder of the municipality")
