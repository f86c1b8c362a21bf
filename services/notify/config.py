"""What notify needs to know from its surroundings, read once at start."""

import base64
import binascii
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr

from services.notify.core.addresses import NAT64_LENGTHS, Network
from services.notify.core.subscriptions import SECRET_PREFIX
from shared.errors import Refusal
from shared.municipality import Municipality
from shared.settings import MailSettings, Networks, ServiceSettings

SECRET_BYTES = (24, 64)


def _nat64(networks: Sequence[Network]) -> Sequence[Network]:
    if any(one.version == 4 or one.prefixlen not in NAT64_LENGTHS for one in networks):
        raise ValueError("one of these is no prefix of NAT64")
    return networks


class Settings(ServiceSettings, MailSettings):
    """The environment of notify."""

    tips_url: str = Field(pattern=r"^https?://", description="base URL of tips' internal port")
    tips_token: SecretStr = Field(min_length=32, description="tips' IBUURT_NOTIFY_TOKEN")
    desk_token: SecretStr = Field(
        SecretStr(""), description="what the desk shows at the internal port; without one nobody is let in"
    )
    link_secret: SecretStr = Field(
        min_length=32, description="what signs the links to the answer page; a new one ends all links"
    )
    webhook_secrets: Path = Field(
        description="folder with one file per unit id that holds whsec_<base64>; while a secret is being "
        "replaced, the new and the old one, each on a line"
    )
    subscription_secret: SecretStr = Field(
        min_length=32,
        description="what the secrets of webhook subscriptions follow from; a new one changes all of them",
    )
    subscription_concurrency: int = Field(16, ge=1, le=500, description="calls of subscriptions at once")
    subscription_at_once: int = Field(4, ge=1, le=500, description="calls at once to one subscription")
    subscription_disable_days: float = Field(
        5, gt=0, le=365, description="days of nothing but failures after which a subscription is disabled"
    )
    subscription_aside_refusals: int = Field(
        20, ge=1, le=10_000, description="refusals in a row before a subscriber's event may be set aside"
    )
    subscription_aside_hours: float = Field(
        24, gt=0, le=8_760, description="hours of refusals before a subscriber's event may be set aside"
    )
    public_url: str = Field(pattern=r"^https?://", description="where units reach the public port")
    private_networks: Networks = Field(
        (),
        description="networks with commas between, such as 10.20.0.0/16, in which units' systems may be "
        "although no outsider can call there",
    )
    nat64_prefixes: Annotated[Networks, AfterValidator(_nat64)] = Field(
        (),
        description="the IPv6 prefixes of this network's own NAT64 with commas between, such as "
        f"2001:db8:64::/96, each {', '.join(map(str, NAT64_LENGTHS))} bits long",
    )
    delivery_concurrency: int = Field(64, ge=1, le=500, description="deliveries under way at once")
    delivery_per_unit: int = Field(16, ge=1, le=500, description="deliveries under way at once to one unit")
    retry_base_seconds: float = Field(1, gt=0, le=60, description="the first wait before trying again")
    retry_cap_seconds: float = Field(300, gt=0, le=86_400, description="the longest wait before trying again")
    max_attempts: int = Field(20, ge=1, le=1_000, description="failed attempts before a person must look")


def read_webhook_secrets(folder: Path, municipality: Municipality) -> Mapping[str, tuple[str, ...]]:
    """The signing secrets of each unit that has a webhook, the newest first.

    Blocking: for start-up. Raises Refusal that names the file that is missing or wrong, and how to make it.
    """
    return {unit.id: _secrets(folder / unit.id) for unit in municipality.units.values() if unit.webhooks}


def check_mail(settings: Settings, municipality: Municipality) -> None:
    """Raise Refusal where a unit has an e-mail address and there is no mail server to hand e-mail over to."""
    units = ", ".join(unit.id for unit in municipality.units.values() if unit.has_email)
    if units and not settings.smtp_host:
        raise Refusal(
            f"IBUURT_SMTP_HOST: there is no mail server, and these units are to get e-mail: {units}; set it "
            "and IBUURT_EMAIL_FROM, or take the channels out of units.toml"
        )


def _secrets(path: Path) -> tuple[str, ...]:
    mend = f"make one with: (printf {SECRET_PREFIX}; head -c 32 /dev/urandom | base64) > {path}"
    try:
        lines = path.read_text(encoding="ascii").split()
    except (OSError, UnicodeDecodeError) as error:
        raise Refusal(
            f"IBUURT_WEBHOOK_SECRETS: {path} cannot be read ({type(error).__name__}); {mend}"
        ) from None
    if not lines:
        raise Refusal(f"IBUURT_WEBHOOK_SECRETS: {path} is empty; {mend}")
    for line in lines:
        try:
            size = len(base64.b64decode(line.removeprefix(SECRET_PREFIX), validate=True))
        except binascii.Error:
            size = 0
        if not line.startswith(SECRET_PREFIX) or not SECRET_BYTES[0] <= size <= SECRET_BYTES[1]:
            raise Refusal(
                f"IBUURT_WEBHOOK_SECRETS: {path} must hold {SECRET_PREFIX} and base64 of {SECRET_BYTES[0]} "
                f"to {SECRET_BYTES[1]} bytes; {mend}"
            )
    return tuple(lines)
