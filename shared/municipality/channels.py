"""The ways to reach a unit, and how much of a report may leave by each."""

import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from shared.municipality.parts import Part, wrong

LOCAL_HOSTS = ("localhost", "127.0.0.1")

ChannelKind = Literal["webhook", "email", "desk"]
# "words": everything. "codes": category, areas, due times and a link. "notice": that there is something, and
# a link.
Extent = Literal["words", "codes", "notice"]
_LEVELS = '"words", "codes" or "notice"'


class Webhook(Part):
    """A signed HTTP call. The signing secret is not in the folder.

    `acknowledged_field` is the dotted name of the field of the receiver's JSON answer that means that
    somebody there has seen the report; without it a 2xx answer means delivered and nothing more.
    """

    kind: Literal["webhook"] = Field(description='"webhook"')
    url: str = Field(description='an address such as "https://unit.example/reports"')
    acknowledged_field: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z_][A-Za-z0-9_-]*(\.[A-Za-z_][A-Za-z0-9_-]*)*$",
        description='a dotted name such as "case.seen"',
    )

    @field_validator("url")
    @classmethod
    def _reachable_and_safe(cls, url: str) -> str:
        try:
            parts = urlsplit(url)
            host, _ = parts.hostname, parts.port
        except ValueError:
            host = None
        if host is None or parts.scheme not in ("http", "https") or not re.fullmatch(r"[!-~]+", url):
            raise wrong(
                "this is no http or https address", 'write one such as "https://unit.example/reports"'
            )
        if parts.scheme == "http" and host not in LOCAL_HOSTS:
            raise wrong("a report would travel without encryption", "write https:// (http only to localhost)")
        if "@" in parts.netloc:
            raise wrong(
                "the address holds a user name or a password", "take it out: secrets are not kept here"
            )
        return url


Address = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}@[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63}){1,8}$",
        max_length=254,
    ),
]


class Email(Part):
    """An e-mail to one address, handed over to the operator's mail server."""

    kind: Literal["email"] = Field(description='"email"')
    address: Address = Field(description='an address such as "team@town.example"')


class Desk(Part):
    """Nothing leaves: the unit looks at its list at the desk."""

    kind: Literal["desk"] = Field(description='"desk"')


Channel = Annotated[Webhook | Email | Desk, Field(discriminator="kind")]


class Leaves(Part):
    """How much of a report may leave, by kind of channel; what is not said is as usual."""

    webhook: Extent = Field("words", description=_LEVELS)
    # As usual: of an issue its codes, of a tip a notice.
    email: Extent | None = Field(None, description=_LEVELS)

    def by(self, kind: ChannelKind, *, tip: bool) -> Extent:
        """How much may leave by a kind of channel."""
        if kind == "desk":
            return "notice"
        if kind == "webhook":
            return self.webhook
        return self.email or ("notice" if tip else "codes")
