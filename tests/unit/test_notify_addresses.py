"""Where a call to a unit may go: the internet, and networks that the operator has named."""

import ipaddress

import pytest

from services.notify.core.addresses import may_be_called

REFUSED = (
    *("0.0.0.0", "10.0.0.1", "100.64.0.1", "127.0.0.1", "127.255.255.254", "169.254.169.254"),
    *("172.16.0.1", "172.31.255.255", "192.0.0.8", "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1"),
    *("198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255"),
    *("::", "::1", "fe80::1", "fe80::1%1", "fc00::1", "fd12::1", "fec0::1", "ff02::1", "100::1"),
    *("2001:db8::1", "2001::1", "3fff::1", "5f00::1", "64:ff9b:1::1"),
    # Addresses of the old protocol in those of the new: mapped, compatible, by 6to4, by NAT64.
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "2002:7f00:1::", "2002:a9fe:a9fe::1"),
    *("64:ff9b::10.0.0.1", "64:ff9b::a9fe:a9fe"),
    *("", "localhost", "127.1", "2130706433", "0x7f000001", "0177.0.0.1"),
)
TAKEN = (
    *(
        "1.1.1.1",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "172.15.255.255",
        "172.32.0.0",
    ),
    *("192.0.1.1", "192.167.255.255", "223.255.255.255", "2606:4700::1", "2a02:898::1", "::ffff:1.1.1.1"),
    *("64:ff9b::1.1.1.1", "2002:101:101::1"),
)


@pytest.mark.parametrize("address", REFUSED)
def test_what_is_not_of_the_internet_is_refused(address: str) -> None:
    """Ours, the machine's, a carrier's, reserved, or no address; in whatever it is wrapped."""
    assert not may_be_called(address, ())


@pytest.mark.parametrize("address", TAKEN)
def test_the_internet_may_be_called(address: str) -> None:
    """Also just beside a refused network."""
    assert may_be_called(address, ())


@pytest.mark.parametrize(
    ("prefix", "inside", "outside"),
    [
        # RFC 6052, 2.4: the forms of 192.0.2.33, of the example 10.0.0.33 and the internet's 9.9.9.33.
        ("2001:db8::/32", "2a00:db8:a00:21::", "2a00:db8:909:921::"),
        ("2001:db8:100::/40", "2a00:db8:10a:0:21::", "2a00:db8:109:909:21::"),
        ("2001:db8:122::/48", "2a00:db8:122:a00:0:2100::", "2a00:db8:122:909:9:2100::"),
        ("2001:db8:122:300::/56", "2a00:db8:122:30a:0:21::", "2a00:db8:122:309:9:921::"),
        ("2001:db8:122:344::/64", "2a00:db8:122:344:a:0:2100:0", "2a00:db8:122:344:9:909:2100:0"),
        ("2001:db8:122:344::/96", "2a00:db8:122:344::10.0.0.33", "2a00:db8:122:344::9.9.9.33"),
    ],
)
def test_behind_a_networks_own_nat64_the_ipv4_address_is_judged(
    prefix: str, inside: str, outside: str
) -> None:
    """Of each length that RFC 6052 has; where the prefix is not named both are addresses of the internet."""
    named = (ipaddress.IPv6Network(prefix.replace("2001:", "2a00:")),)
    assert (may_be_called(inside, ()), may_be_called(outside, ())) == (True, True)
    assert (may_be_called(inside, (), named), may_be_called(outside, (), named)) == (False, True)
    assert may_be_called(inside, (ipaddress.ip_network("10.0.0.0/24"),), named)


def test_a_named_network_may_be_called_and_nothing_else_of_its_sort() -> None:
    """An IPv4 network is also meant where its address is wrapped in the new protocol."""
    private = (ipaddress.ip_network("10.20.0.0/16"), ipaddress.ip_network("fd00:1::/32"))
    for address in ("10.20.3.4", "::ffff:10.20.3.4", "64:ff9b::10.20.3.4", "fd00:1::5"):
        assert may_be_called(address, private)
    for address in ("10.21.0.1", "127.0.0.1", "::ffff:10.21.0.1", "fd00:2::5", "::1"):
        assert not may_be_called(address, private)
