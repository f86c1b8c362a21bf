"""deploy/operator/subscribers.py: what an outsider is given, and what an operator is told."""

import io
import tarfile

import pytest

from deploy.operator.subscribers import bundle, check_contact, check_name, lines, packed, told
from shared.errors import Refusal

PASSWORD = "s" + "x" * 43


@pytest.mark.parametrize("name", ["tips", "notify", "stats", "kafka", "admin"])
def test_our_own_users_are_no_subscribers(name: str) -> None:
    """Their password would be replaced."""
    with pytest.raises(Refusal, match=f"{name} is one of our own users"):
        check_name(name)


@pytest.mark.parametrize("name", ["", "p", "Parks", "1parks", "parks.gis", "parks_gis", "../made", "p" * 32])
def test_a_name_that_may_not_be_is_refused(name: str) -> None:
    """Also one that is a path, or that would make its groups another's."""
    with pytest.raises(Refusal, match="2 to 31 of"):
        check_name(name)


@pytest.mark.parametrize("contact", ["gis@parks.example", "o'neil+ibuurt@b.c.example"])
def test_a_contact_is_an_address(contact: str) -> None:
    """Of the plain kind."""
    check_contact(contact)


@pytest.mark.parametrize(
    "contact", ["", "parks", "gis@parks", "a@b.c d@e.f", "a@b@c.d", "a@b.c\n", "é@b.nl", f"{'a' * 250}@b.nl"]
)
def test_what_is_no_address_is_refused_as_a_contact(contact: str) -> None:
    """Nothing to write to, or more than one line of a file."""
    with pytest.raises(Refusal, match=r"a contact is one e-mail address in ASCII.*give --contact"):
        check_contact(contact)


def test_the_list_names_each_contact_and_what_is_missing() -> None:
    """A user without one, and one whose user went with Kafka's disk."""
    found = lines({"parks", "gis"}, {"parks": "a@parks.example", "roads": "b@roads.example"})
    assert found == [
        "gis   no contact; `contact gis --contact ADDRESS` keeps one",
        "parks   a@parks.example",
        "roads   b@roads.example   no user on this Kafka; `add roads` again, or `remove roads`",
    ]


def test_the_files_agree_and_are_for_one_pair_of_eyes() -> None:
    """Address, user, password and authority, for librdkafka and for Java, in a group that it may use."""
    files = bundle("parks", PASSWORD, "kafka.example:9094", "THE AUTHORITY")
    assert files["ca.crt"] == "THE AUTHORITY\n"
    kcat = dict(line.split("=", 1) for line in files["kcat.conf"].splitlines() if not line.startswith("#"))
    java = dict(line.split("=", 1) for line in files["client.properties"].splitlines())
    for settings in (kcat, java):
        assert settings["bootstrap.servers"] == "kafka.example:9094"
        assert settings["security.protocol"] == "SASL_SSL"
        assert settings["sasl.mechanism"] == "SCRAM-SHA-512"
    assert (kcat["sasl.username"], kcat["sasl.password"]) == ("parks", PASSWORD)
    assert java["sasl.jaas.config"].endswith(f'username="parks" password="{PASSWORD}";')
    assert java["group.id"].startswith("parks.")
    with tarfile.open(fileobj=io.BytesIO(packed(files))) as archive:
        assert {entry.name: entry.mode for entry in archive} == dict.fromkeys(files, 0o600)


@pytest.mark.parametrize(
    ("name", "may"),
    [
        ("parks", "it reads ibuurt.issues.v1, ibuurt.statistics.v1 in groups that begin with parks."),
        ("police", "it writes ibuurt.incidents.v1"),
    ],
)
def test_the_operator_is_told_what_it_may(name: str, may: str) -> None:
    """And the password, this once."""
    said = told(name, PASSWORD, "kafka.example:9094")
    assert may in said.splitlines()
    assert said.count(PASSWORD) == 1
