"""What stands beside the units' webhooks: the desk by its token, a subscriber by the operator's command."""

import json
import time
import urllib.error
import urllib.request
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.compose.deployment import Deployment, typed
from tests.compose.town import SUBSCRIBER, Town
from tests.subscriber import secret_in

SOON = 60.0
WORDS = "We bring a new lamp marker-fedcba9876543210"


def ask(deployment: Deployment, path: str, token: str, body: Any = None) -> tuple[int, Any]:
    """Ask notify's internal port as the desk does; the status and what it says."""
    url = f"http://127.0.0.1:{deployment.port('notify', 9000)}/internal/v1/{path}"
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    asked = urllib.request.Request(url, json.dumps(body).encode() if body else None, headers)
    try:
        with urllib.request.urlopen(asked, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refused:
        return refused.code, json.load(refused)


def becomes(town: Town, receipt: str, status: str) -> None:
    """Wait until the resident sees that."""
    end = time.monotonic() + SOON
    while (seen := town.status(receipt)) != status:
        assert time.monotonic() < end, seen
        time.sleep(0.5)


def test_the_desk_works_by_its_token_and_the_resident_sees_it(deployment: Deployment, town: Town) -> None:
    """The token of the operator's command opens it and no other does; what the unit writes is in no log."""
    _, said = typed(deployment, "docker compose run --rm --no-deps operator show desk_token")
    token, listing = said.split()[-1], "units/public_space/reports"
    secrets = deployment.secrets()
    for other in ("", *(secrets[name] for name in ("operator_token", "notify_token"))):
        status, refused = ask(deployment, listing, other)
        assert (status, refused.get("type")) == (401, "urn:ibuurt:problem:not-authenticated")
    before = {one["report_id"] for one in ask(deployment, listing, token)[1]["reports"]}
    receipt = town.report("street_light")
    becomes(town, receipt, "acknowledged")
    (report,) = {one["report_id"] for one in ask(deployment, listing, token)[1]["reports"]} - before

    def act(**what: str) -> None:
        body = {"act_id": str(uuid.uuid4()), "unit": "public_space", "by": "officer:jansen"} | what
        status, done = ask(deployment, f"reports/{report}/acts", token, body)
        assert (status, done["changed"]) == (200, True), done

    _, digest = ask(deployment, "units/public_space/digest", token)
    (oakwood,) = [one for one in digest["areas"] if one["area"] == "oakwood"]
    assert oakwood["by_category"]["street_light"] >= 1
    day = datetime.now(UTC).date() + timedelta(days=2)
    act(action="plan", day=str(day), text=WORDS)
    becomes(town, receipt, "planned")
    act(action="resolve", outcome="done")
    becomes(town, receipt, "resolved")
    assert town.messages(receipt) == [WORDS]
    assert report not in {one["report_id"] for one in ask(deployment, listing, token)[1]["reports"]}
    assert WORDS not in deployment.run("logs")
    deployment.agree()


def test_a_subscriber_is_called_in_order_and_what_comes_is_signed(deployment: Deployment, town: Town) -> None:
    """By the secret that the command printed; after a rotation by both, and removed it hears nothing."""
    town.subscribes("street_light", "oakwood")
    subscriber = town.subscriber
    for secret in ("first", "first still", "second"):
        if secret == "first still":
            rotate = f"docker compose run --rm --no-deps notify subscriptions rotate {SUBSCRIBER} --by NAME"
            second = secret_in(typed(deployment, rotate)[1])
            assert second != subscriber.secret
        if secret == "second":
            subscriber.secret = second
        subscriber.calls.clear()
        town.report("street_light")
        town.report("graffiti")
        subscriber.until(lambda calls: calls[-1].data["status"] == "acknowledged", SOON)
        versions = [call.data["version"] for call in subscriber.calls]
        assert versions == list(range(1, len(versions) + 1))
        assert {call.data["category"] for call in subscriber.calls} == {"street_light"}
    assert subscriber.forged == 0
    typed(deployment, f"docker compose run --rm --no-deps notify subscriptions remove {SUBSCRIBER} --by NAME")
    _, told = typed(deployment, "docker compose run --rm --no-deps notify subscriptions list")
    assert "there are no subscriptions" in told
    assert subscriber.url not in deployment.run("logs")
