"""Kafka's certificate, by the operator's commands on a real disk: the deployment's own, and the town's."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from deploy.operator import certificates
from deploy.operator.__main__ import Operator
from deploy.operator.store import CERTIFICATES
from shared.access import SERVICES
from shared.errors import Refusal
from tests.unit.test_operator_store import RECEIVERS

TOWN = Path(__file__).parents[2] / "deploy/municipalities/ibuurt"
NOW = datetime(2026, 11, 1, tzinfo=UTC)
HOSTS = ["kafka", "kafka-2", "localhost", "127.0.0.1"]
THREE = {"ca.crt", "kafka.crt", "kafka.key"}


@pytest.fixture
def given(tmp_path: Path) -> Path:
    """deploy/secrets."""
    (tmp_path / "given").mkdir()
    return tmp_path / "given"


@pytest.fixture
def operator(tmp_path: Path, given: Path) -> Operator:
    """Of a deployment with two brokers, before its first start."""
    for name in ("store", *RECEIVERS):
        (tmp_path / "secrets" / name).mkdir(parents=True)
    environment = {"IBUURT_MUNICIPALITY": str(TOWN), "IBUURT_KAFKA_BOOTSTRAP": "kafka:9092,kafka-2:9092"}
    return Operator(environment, tmp_path / "secrets", given)


def towns(hosts: list[str] | None = None, now: datetime = NOW) -> dict[str, str]:
    """What the town's own authority makes."""
    ca_key, ca = certificates.new_authority(now)
    key, crt = certificates.new_certificate(ca_key, ca, hosts or HOSTS, now)
    return {"ca.key": ca_key, "ca.crt": ca, "kafka.crt": crt, "kafka.key": key}


def give(given: Path, files: Mapping[str, str], names: set[str]) -> None:
    for name in names:
        (given / name).write_text(files[name])


def kept(operator: Operator) -> dict[str, str]:
    return {name: operator.store.get(name) for name in CERTIFICATES if operator.store.has(name)}


def refused(operator: Operator, *, authority: bool = False) -> str:
    """What a renewal says that changes nothing."""
    before = kept(operator)
    with pytest.raises(Refusal) as refusal:
        operator.renew_certificate(NOW, authority=authority)
    assert kept(operator) == before
    return str(refusal.value)


def test_its_own_is_renewed_and_every_broker_is_named(operator: Operator, tmp_path: Path) -> None:
    """From the same authority, and handed to Kafka."""
    operator.secrets(NOW)
    before = kept(operator)
    said = operator.renew_certificate(NOW, authority=False)
    after = kept(operator)
    assert said == "renewed; now run `docker compose restart kafka kafka-2`"
    assert {name for name in CERTIFICATES if before[name] != after[name]} == {"kafka.crt", "kafka.key"}
    assert after["kafka.crt"] in (tmp_path / "secrets/kafka/keystore.pem").read_text()


def test_a_new_authority_is_for_everybody(operator: Operator, tmp_path: Path) -> None:
    """All four files are new, and each service is handed the authority."""
    operator.secrets(NOW)
    before = kept(operator)
    assert "every subscriber the new ca.crt" in operator.renew_certificate(NOW, authority=True)
    after = kept(operator)
    assert not set(before.values()) & set(after.values())
    assert {(tmp_path / "secrets" / name / "ca.crt").read_text().strip() for name in SERVICES} == {
        after["ca.crt"]
    }


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("authority", [True, False])
def test_the_towns_is_not_said_to_be_renewed(
    operator: Operator, given: Path, first: bool, authority: bool
) -> None:
    """Given from the first start, or later: what is given would go before what is made."""
    if not first:
        operator.secrets(NOW)
    theirs = towns()
    give(given, theirs, THREE)
    operator.secrets(NOW)
    said = refused(operator, authority=authority)
    assert "nothing is renewed; have your authority make kafka.crt and kafka.key anew" in said
    assert kept(operator).items() >= {name: theirs[name] for name in THREE}.items()


def test_the_towns_new_one_is_taken_by_the_job(operator: Operator, given: Path) -> None:
    """As the refusal says."""
    theirs = towns()
    give(given, theirs, THREE)
    operator.secrets(NOW)
    later = NOW + timedelta(days=certificates.DAYS - 10)
    said = operator.secrets(later)
    assert "expires in 10 days: have your authority make kafka.crt and kafka.key anew" in said
    key, crt = certificates.new_certificate(theirs["ca.key"], theirs["ca.crt"], HOSTS, later)
    give(given, {"kafka.key": key, "kafka.crt": crt}, {"kafka.key", "kafka.crt"})
    assert "expires" not in operator.secrets(later)
    assert kept(operator)["kafka.crt"] == crt.strip()


def test_back_from_the_towns_needs_an_authority_of_its_own(operator: Operator, given: Path) -> None:
    """The key of the town's is not here, and one of another authority signs nothing in its name."""
    operator.secrets(NOW)
    give(given, towns(), THREE)
    operator.secrets(NOW)
    for name in THREE:
        (given / name).unlink()
    assert "the key of the authority in ca.crt is not in deploy/secrets" in refused(operator)
    operator.renew_certificate(NOW, authority=True)
    operator.secrets(NOW)


def test_a_towns_authority_with_its_key_signs_here(operator: Operator, given: Path) -> None:
    """ca.crt and ca.key are given; only the authority is not ours to renew."""
    theirs = towns()
    give(given, theirs, {"ca.crt", "ca.key"})
    operator.secrets(NOW)
    before = kept(operator)
    assert before["ca.crt"] == theirs["ca.crt"]
    operator.renew_certificate(NOW, authority=False)
    assert kept(operator)["kafka.crt"] != before["kafka.crt"]
    assert "deploy/secrets has ca.key, ca.crt: nothing is renewed" in refused(operator, authority=True)


@pytest.mark.parametrize(
    ("names", "hosts", "said"),
    [
        ({"ca.crt"}, HOSTS, "do not belong together"),
        ({"kafka.crt", "kafka.key"}, HOSTS, "do not belong together"),
        (THREE, ["elsewhere"], "certificate kafka.crt is not for kafka, kafka-2, localhost, 127.0.0.1"),
    ],
)
def test_what_does_not_fit_is_refused_and_not_stored(
    operator: Operator, given: Path, names: set[str], hosts: list[str], said: str
) -> None:
    """Taken away again, all is as it was."""
    operator.secrets(NOW)
    before = kept(operator)
    give(given, towns(hosts), names)
    with pytest.raises(Refusal, match=said):
        operator.secrets(NOW)
    assert kept(operator) == before
    for name in names:
        (given / name).unlink()
    operator.secrets(NOW)
