"""The settings that every service has: environment variables IBUURT_…, or files of that name in a folder."""

import os
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.errors import Refusal


class ServiceSettings(BaseSettings):
    """`IBUURT_SECRETS` may name a folder whose files, such as `ibuurt_operator_token`, hold secrets."""

    model_config = SettingsConfigDict(env_prefix="IBUURT_", frozen=True, extra="ignore")

    municipality: Path = Field(description="folder of the municipality")
    database_url: SecretStr = Field(description="postgresql://user:password@host:port/database")
    kafka_bootstrap: str = Field(description="host:port[,host:port…]")
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

    @classmethod
    def read(cls) -> Self:
        """Read the environment. Raises Refusal that names every variable that is missing or wrong."""
        secrets = os.environ.get("IBUURT_SECRETS")
        if secrets and not Path(secrets).is_dir():
            raise Refusal("IBUURT_SECRETS: there is no such folder; name the one that holds the secrets")
        try:
            return cls(_secrets_dir=secrets)
        except ValidationError as error:
            faults = []
            for fault in error.errors(include_input=False):
                name = str(fault["loc"][0]) if fault["loc"] else "?"
                wanted = cls.model_fields[name].description if name in cls.model_fields else ""
                faults.append(f"IBUURT_{name.upper()}: {fault['msg']}; set it to {wanted}")
            raise Refusal("; ".join(faults)) from None
