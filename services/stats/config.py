"""What `stats` needs to know besides what every service does: nothing yet."""

from pydantic import Field

from shared.settings import ServiceSettings


class Settings(ServiceSettings):
    """The environment of `stats`."""

    http_port: int = Field(0, description="the public port, which stats does not open yet")
