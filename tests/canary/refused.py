"""What is refused, with marks of its own: too large, not as described, wrong, stopped, cut off, forged."""

import asyncio
import base64
import json
import uuid
from typing import Any
from urllib.parse import urlsplit

from tests.canary.marks import Person, report
from tests.canary.sending import MINE, Sent, Town
from tests.photos import chunk, png

MOST_RECEIPTS = 60


async def refuse_all(town: Town, person: Person, now: Any, tip: Sent) -> None:
    """Every refusal that somebody can bring about; each is answered with 4xx."""
    await _reports(town, person, now)
    await _photos(town, person)
    await _receipts(town, person, tip)
    await _elsewhere(town, person)
    await _broken_off(town, person)


async def _reports(town: Town, person: Person, now: Any) -> None:
    def issue(**changes: Any) -> dict[str, Any]:
        return report(person, "issue", "street_light", now) | changes

    def words(what: str) -> str:
        return person.text(f"refused, {what}", hashed=True)

    outside = person.point("place outside the town")
    bodies: dict[str, Any] = {
        "too large": issue(description=f"{words('too large')} " * 6_000),
        "cut off": json.dumps(issue()).encode()[:-9] + words("cut off").encode(),
        "another field": issue() | {words("name of a field"): words("value of a field")},
        "no category": issue(category=words("category")),
        "no question": issue(answers={words("question"): words("answer")}),
        "a number": issue(answers={"how_many": words("no number")}),
        "contact in a tip": report(
            person, "tip", "drug_dealing", now, contact={"email": person.email("contact in a tip")}
        ),
        "outside": issue(location={"point": {"latitude": outside["latitude"] - 3, "longitude": 5.6}}),
        "swapped": issue(
            location={"point": {"latitude": outside["longitude"], "longitude": outside["latitude"]}}
        ),
        "no area": issue(location={"area": {"district": words("area")}}),
        "emergency": issue(description=f"Help, er wordt ingebroken bij {words('emergency')}"),
        "emergency, a tip": report(
            person, "tip", "threats", now, description=f"ik word overvallen {words('emergency, a tip')}"
        ),
        "not UTF-8": b'{"kind": "tip\xff ' + words("not UTF-8").encode(),
        "a key twice": b'{"kind": "issue", "kind": "%s"}' % words("a key twice").encode(),
        "a photo that is none": issue(photos=[words("id of a photo")]),
        "the future": issue(happened={"from": "2099-01-01", "to": words("when")}),
        "NUL": issue(description=f"{words('NUL')}\0"),
    }
    for what, body in bodies.items():
        key = person.key(f"key, {what}")
        headers = {"Content-Type": "application/json", "Idempotency-Key": key}
        answer = await town.ask(person, "POST", "/v1/reports", body, **headers)
        assert 400 <= answer.status < 500, (what, answer.content)
    plain = {"Content-Type": f"text/plain; x={words('parameter')}"}
    assert (await town.ask(person, "POST", "/v1/reports", words("text").encode(), **plain)).status == 400
    weak = {"Idempotency-Key": words("weak key")}
    assert (await town.ask(person, "POST", "/v1/reports", issue(), **weak)).status == 400


async def _photos(town: Town, person: Person) -> None:
    photo = person.photo("refused photo")
    text = chunk(b"tEXt", b"Comment\0" + person.text("comment of a bomb").encode())
    bodies = {
        "no photo": person.text("no photo", hashed=True).encode() * 9,
        "truncated": photo[: len(photo) // 2],
        "broken": photo.replace(b"\xff\xda", b"\xff\xdb"),
        "bomb": png(60_000, 60_000, b"", text),
        "too large": person.photo("photo that is too large") + b"\0" * (15 * 2**20),
        "empty": b"",
    }
    for what, body in bodies.items():
        answer = await town.ask(person, "POST", "/v1/photos", body, **{"Content-Type": "image/jpeg"})
        assert 400 <= answer.status < 500, (what, answer.content)


async def _receipts(town: Town, person: Person, tip: Sent) -> None:
    """Wrong ones, until there are too many; and what cannot be done with a right one."""
    typed = [person.text("typed as a receipt"), tip.receipt[:-1] + ("0" if tip.receipt[-1] != "0" else "1")]
    statuses: list[int] = []
    while 429 not in statuses and len(statuses) < MOST_RECEIPTS:
        code = typed.pop() if typed else person.wrong_receipt()
        authorization = {"Authorization": f"Receipt {code}"}
        statuses.append((await town.ask(person, "GET", MINE, None, **authorization)).status)
    assert set(statuses) == {404, 429}
    assert (await tip.mine("PUT", "/email", {"address": tip.person.email("address for a tip")})).status == 409
    assert (
        await tip.mine("POST", "/messages", {"text": tip.person.text("message without a key")})
    ).status == 400


async def _elsewhere(town: Town, person: Person) -> None:
    basic = base64.b64encode(f"{person.text('user')}:{person.text('password')}".encode()).decode()
    point = person.point("place of a search")
    near = f"latitude={point['latitude']}&longitude={point['longitude']}&category=street_light"
    for method, path, headers in (
        ("GET", f"/v1/reports/{person.text('path')}", {}),
        ("PATCH", f"/v1/reports?{person.text('query of a wrong method')}", {}),
        ("GET", MINE, {"Authorization": f"Basic {basic}"}),
        ("GET", MINE, {"Authorization": f"Bearer {person.text('bearer')}"}),
        ("GET", f"/v1/issues?text={person.text('text of a search')}", {}),
        ("GET", f"/v1/issues/near?{near}", {}),
        ("GET", f"/v1/email/{uuid.uuid4()}/{person.text('token')}/confirm", {}),
        (
            "POST",
            f"/v1/issues/{uuid.uuid4()}/supporters",
            {"Idempotency-Key": person.key("key of a support")},
        ),
        (
            "POST",
            f"/internal/v1/reports/{uuid.uuid4()}/words",
            {"Authorization": f"Bearer {person.text('forged')}"},
        ),
    ):
        answer = await town.ask(person, method, path, None, **headers)
        assert answer.status < 500, (path, answer.content)
    async with town.session.post(
        f"{town.internal_url}/internal/v1/reports/{uuid.uuid4()}/words",
        json={"purpose": person.text("purpose"), "reader": person.text("reader")},
        headers=person.headers() | {"Authorization": f"Bearer {person.text('forged, inside')}"},
    ) as forged:
        assert forged.status == 401


async def _broken_off(town: Town, person: Person) -> None:
    """Half a body, and what is no HTTP."""
    where = urlsplit(town.url)
    half = (
        "POST /v1/reports HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9999\r\n"
    )
    half += f"Idempotency-Key: {person.key('key, broken off')}\r\n\r\n"
    half += f'{{"description": "{person.text("broken off", hashed=True)}'
    garbage = f"{person.text('no HTTP')} /{person.text('no path')} HTTP/9.9\r\n"
    garbage += f"X: {person.text('no header')}\r\n\r\n"
    for sent in (half, garbage, f"GET /{person.text('long') * 6_000} HTTP/1.1\r\n\r\n"):
        _, writer = await asyncio.open_connection(where.hostname, where.port)
        writer.write(sent.encode())
        await writer.drain()
        await asyncio.sleep(0.1)
        writer.close()
