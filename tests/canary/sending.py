"""What people do over HTTP, with marks in everything that they send: reports and what follows from them."""

import asyncio
import hashlib
import io
import re
import uuid
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import aiohttp

from tests.canary.marks import Person, report
from tests.canary.outside import Mailbox

MINE = "/v1/reports/mine"


@dataclass(frozen=True)
class Answer:
    status: int
    content: bytes
    body: Any


@dataclass
class Town:
    """Where the services are, and what was answered to whom: `answers` holds every answer's bytes."""

    session: aiohttp.ClientSession
    url: str
    internal_url: str
    token: str
    answers: dict[str, list[bytes]] = field(default_factory=dict)

    async def ask(self, person: Person, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """A request as the person's browser and the proxy send it; bytes go as they are, all else as JSON."""
        sent = person.headers() | headers
        given: dict[str, Any] = {"data": io.BytesIO(body)} if isinstance(body, bytes) else {"json": body}
        async with self.session.request(
            method, self.url + path, headers=sent, **(given if body is not None else {})
        ) as answer:
            content = await answer.read()
            read = await answer.json(content_type=None) if "json" in answer.content_type else {}
            self.answers.setdefault(person.who, []).append(content)
            return Answer(answer.status, content, read)

    async def inside(self, method: str, path: str, body: Any, **headers: str) -> Answer:
        """A request of `notify` to the internal port."""
        given: dict[str, Any] = {"data": io.BytesIO(body)} if isinstance(body, bytes) else {"json": body}
        headers = {"Authorization": f"Bearer {self.token}"} | headers
        async with self.session.request(
            method, f"{self.internal_url}/internal/v1{path}", headers=headers, **given
        ) as answer:
            content = await answer.read()
            assert answer.status < 300, content
            return Answer(
                answer.status, content, await answer.json() if "json" in answer.content_type else {}
            )

    async def upload(self, person: Person, what: str, width: int = 640, height: int = 480) -> str:
        """A photo whose file name is marked too; its id."""
        name = person.text(f"{what}, file name")
        answer = await self.ask(
            person,
            "POST",
            f"/v1/photos?name={person.text(f'{what}, query')}",
            person.photo(what, width, height),
            **{"Content-Type": "image/jpeg", "Content-Disposition": f'attachment; filename="{name}.jpg"'},
        )
        assert answer.status == 201, answer.content
        return str(answer.body["photo"])


@dataclass
class Sent:
    """A report that was taken."""

    town: Town
    person: Person
    receipt: str

    async def mine(self, method: str, path: str = "", body: Any = None, **headers: str) -> Answer:
        sent = {"Authorization": f"Receipt {self.receipt}"} | headers
        return await self.town.ask(self.person, method, MINE + path, body, **sent)

    async def write(self, what: str, photos: list[str]) -> None:
        """A message of the resident."""
        text = f"Nog iets: {self.person.text(what, hashed=True)}"
        key = {"Idempotency-Key": self.person.key(f"{what}, key")}
        answer = await self.mine("POST", "/messages", {"text": text, "photos": photos}, **key)
        assert answer.status == 201, answer.content

    async def status(self) -> str:
        answer = await self.mine("GET")
        return str(answer.body["report"]["status"])

    async def until(self, status: str) -> None:
        async with asyncio.timeout(60):
            while await self.status() != status:  # noqa: ASYNC110 - a resident asks again
                await asyncio.sleep(0.2)


async def send(town: Town, person: Person, body: dict[str, Any]) -> Sent:
    """Send a report, and send it again as after a lost answer; another one under its key is refused."""
    key = {"Idempotency-Key": person.key("key of the report")}
    first = await town.ask(person, "POST", f"/v1/reports?utm_source={person.text('query')}", body, **key)
    assert first.status == 201, first.content
    again = await town.ask(person, "POST", "/v1/reports", body, **key)
    assert again.body == first.body
    other = body | {"description": person.text("words that came under a used key", hashed=True)}
    assert (await town.ask(person, "POST", "/v1/reports", other, **key)).status == 409
    return Sent(town, person, person.receipt("receipt", first.body["receipt"]))


async def send_tip(town: Town, person: Person, now: datetime, category: str, place: dict[str, Any]) -> Sent:
    photos = [await town.upload(person, f"photo {number}") for number in (1, 2)]
    return await send(town, person, report(person, "tip", category, now, location=place, photos=photos))


async def send_issue(town: Town, person: Person, now: datetime) -> Sent:
    """One with everything that an issue may have."""
    contact = {
        "name": person.text("name", hashed=True),
        "email": person.email("contact"),
        "phone": person.phone(),
    }
    answers = {"what_is_wrong": "off", "how_many": 3, "post_number": person.text("answer", hashed=True)}
    photos = [await town.upload(person, "photo")]
    body = report(
        person,
        "issue",
        "street_light",
        now,
        location={"point": person.point()},
        contact=contact,
        answers=answers,
        photos=photos,
    )
    return await send(town, person, body)


async def converse(town: Town, sent: Sent, report_id: str, unit: str) -> None:
    """The unit asks with a photo, the resident answers with one; both read."""
    person = sent.person
    asked = await town.inside(
        "POST", "/photos", person.photo("the unit's photo"), **{"Content-Type": "image/jpeg"}
    )
    words = person.text("the unit's question")
    question = {
        "message_id": str(uuid.uuid4()),
        "unit": unit,
        "text": f"Weet u meer? {words}",
        "asks": True,
        "photos": [asked.body["photo"]],
    }
    await town.inside("POST", f"/reports/{report_id}/messages", question)
    await sent.write("answer to the unit", [await town.upload(person, "photo of the answer")])
    await sent.write("what was added", [])
    conversation = (await sent.mine("GET", "/messages")).body["messages"]
    assert len(conversation) == 3
    for photo in (photo for message in conversation for photo in message["photos"]):
        shown = await sent.mine("GET", f"/photos/{photo}")
        assert shown.content[:2] == b"\xff\xd8"
    reading = "purpose=follow_up&reader=officer:k.jansen"
    await town.inside("GET", f"/reports/{report_id}/messages?{reading}", None)
    export = await sent.mine("GET", "/export")
    assert export.status == 200
    for photo in export.body["export"]["words"]["photos"]:
        await town.inside("GET", f"/reports/{report_id}/photos/{photo}?{reading}", None)


async def confirm_email(sent: Sent, mailbox: Mailbox) -> None:
    """Ask for e-mail and follow the link that came."""
    address = sent.person.email("address for news")
    assert (await sent.mine("PUT", "/email", {"address": address})).status == 202
    found = re.search(r"https?://\S+?(/v1/email/\S+/confirm)", await mailbox.letter_to(address))
    assert found
    for method in ("GET", "POST"):
        assert (await sent.town.ask(sent.person, method, found[1])).status == 200
    assert (await sent.mine("GET", "/email")).body == {"email": "confirmed"}


async def approve_words(town: Town, person: Person, now: datetime, find: Any) -> Sent:
    """An issue whose words are public after approval: they may be read where the public reads them."""
    words = f"Een kapotte bank in het park, {person.text('words that are approved')}"
    body = report(person, "issue", "road_damage", now, description=words, location={"point": person.point()})
    sent = await send(town, person, body)
    digest = hashlib.sha256(words.encode()).hexdigest()
    approval = {"by": "unit:public_space via desk", "approve": True, "digest": digest}
    await town.inside("PUT", f"/reports/{await find(words)}/public-text", approval)
    return sent
