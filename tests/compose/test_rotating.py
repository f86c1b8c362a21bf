"""docs/operating.md, Secrets: each is replaced as the page says, while reports come; none is lost."""

import re
from collections.abc import Iterator

import pytest

from tests.compose.deployment import SERVICES, Deployment, long, typed
from tests.compose.town import Town

pytestmark = long
ROTATE = "docker compose run --rm operator rotate NAME"
RENEW = "docker compose run --rm --no-deps operator renew-certificate"
# What the page says may be replaced, in an order in which a fault shows early.
NAMES = [
    "kafka_broker",
    "kafka_controller",
    "kafka_admin",
    *(f"kafka_{service}" for service in SERVICES),
    "postgres",
    *(f"database_{service}{owner}" for service in SERVICES for owner in ("_owner", "")),
    "operator_token",
    "notify_token",
    "link_secret",
    "desk_token",
    "subscription_secret",
    "signing_key",
    "webhook_public_space",
]
# No service is restarted for these: jobs use them, which must get in afterwards.
JOBS = {
    "kafka_admin": "topics",
    "postgres": "databases",
    **{f"database_{service}_owner": f"migrate-{service}" for service in SERVICES},
}


@pytest.fixture(autouse=True)
def balanced(deployment: Deployment, town: Town) -> Iterator[None]:
    """A report before, and in the end every report is where it must be, once."""
    town.report()
    yield
    deployment.healthy([*SERVICES, "kafka", "postgres"], 300)
    town.report()
    found = deployment.agree()
    assert found["tips"]["acknowledged"] == found["tips"]["accepted"]


# `rotate` that dies when the secret is set where it is used, and not in the store yet.
DYING = """
import os, sys
from deploy.operator import __main__ as operator
operator.Store.put = lambda *_: os._exit(9)
sys.argv = ["operator", "rotate", "NAME"]
sys.exit(operator.main())
"""


@pytest.mark.parametrize("name", ["kafka_admin", "postgres", "database_tips"])
def test_what_was_interrupted_is_finished_by_running_it_again(deployment: Deployment, name: str) -> None:
    """Also of those that sign in for it themselves: nobody is locked out."""
    before = deployment.secrets()
    python = ["run", "--rm", "--no-TTY", "--no-deps", "--entrypoint", "python", "operator", "-c"]
    assert deployment.tried(*python, DYING.replace("NAME", name)).returncode == 9
    assert deployment.secrets().keys() == before.keys() | {f"next/{name}"}
    _, said = typed(deployment, ROTATE, NAME=name)
    after = deployment.secrets()
    assert {one for one in after if after[one] != before[one]} == {name}
    done = deployment.job("topics" if name == "kafka_admin" else "databases")
    assert done.returncode == 0, done.stderr
    if restart := re.search(r"now run `(docker compose restart [a-z ]+)`", said):
        deployment.typed(restart[1])


@pytest.mark.parametrize("name", NAMES)
def test_a_secret_is_replaced(deployment: Deployment, town: Town, name: str) -> None:
    """Another one is in the store, nothing waits for a person, and the restart is the one that is named."""
    before = deployment.secrets()
    _, said = typed(deployment, ROTATE, NAME=name)
    after = deployment.secrets()
    assert {one for one in after if after[one] != before[one]} == {name}
    town.report()
    town.learn_secrets()
    restart = re.search(r"now run `(docker compose restart [a-z ]+)`", said)
    assert bool(restart) == (name not in JOBS), said
    if restart:
        deployment.typed(restart[1])
    else:
        done = deployment.job(JOBS[name])
        assert done.returncode == 0, done.stderr


def test_the_certificate_is_renewed(deployment: Deployment, town: Town) -> None:
    """From the same authority, which the services know."""
    before = deployment.secrets()
    typed(deployment, RENEW)
    after = deployment.secrets()
    assert before["kafka.crt"] != after["kafka.crt"]
    assert before["ca.crt"] == after["ca.crt"]
    town.report()
    typed(deployment, "docker compose restart kafka")


def test_the_authority_is_renewed(deployment: Deployment, town: Town) -> None:
    """All of the deployment learns it by one restart."""
    before = deployment.secrets()
    deployment.typed(f"{RENEW} --authority")
    assert before["ca.crt"] != deployment.secrets()["ca.crt"]
    town.report()
    typed(deployment, "docker compose restart")
