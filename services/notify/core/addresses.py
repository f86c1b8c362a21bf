"""Which addresses a call to somebody else's system may go to: those of the internet, and of networks that the
operator has named. Everything else is ours or the machine's, and a call there would reach what no outsider
can (server-side request forgery).

The lists are written out, because what Python's `ipaddress` takes for global changes from release to release.
"""

import ipaddress
from collections.abc import Sequence

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# IANA's special purposes: this network, private, carriers' NAT, loopback, link-local (where clouds keep their
# metadata), protocols, documentation, relays, benchmarks, multicast, reserved and broadcast.
_NOT_OUTSIDE_4 = tuple(
    map(
        ipaddress.IPv4Network,
        (
            *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
            *("192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15"),
            *("198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
        ),
    )
)
# Of IPv6 only this is given out; in it are protocols (Teredo among them) and documentation.
_OUTSIDE_6 = ipaddress.IPv6Network("2000::/3")
_NOT_OUTSIDE_6 = tuple(map(ipaddress.IPv6Network, ("2001::/23", "2001:db8::/32", "3fff::/20")))
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
# So long may a prefix be behind which IPv4 addresses stand (RFC 6052).
NAT64_LENGTHS = (32, 40, 48, 56, 64, 96)


def may_be_called(written: str, private: Sequence[Network], nat64: Sequence[Network] = ()) -> bool:
    """Whether a call may go to an address, which is written as a resolver or a socket has it. `private` are
    the networks in which it may although they are not the internet's, `nat64` the prefixes of this network's
    own NAT64, besides the one that all know."""
    try:
        address = ipaddress.ip_address(written)
    except ValueError:
        return False
    meant = _meant(address, nat64)
    return _outside(meant) or any(
        one.version == network.version and one in network for one in (address, meant) for network in private
    )


def _meant(address: Address, nat64: Sequence[Network]) -> Address:
    """The IPv4 address that an IPv6 address stands for: mapped, by 6to4, or by NAT64; else itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    for prefix in (*nat64, _NAT64):
        if address in prefix:
            return _behind(address, prefix.prefixlen)
    return address.ipv4_mapped or address.sixtofour or address


def _behind(address: ipaddress.IPv6Address, length: int) -> ipaddress.IPv4Address:
    """The 32 bits behind a prefix of that length; the octet from bit 64 on is none of them."""
    bits = int(address)
    if length < 96:
        bits = (bits >> 64 << 56 | bits & (1 << 56) - 1) >> (120 - 32 - length)
    return ipaddress.IPv4Address(bits & 0xFFFF_FFFF)


def _outside(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _NOT_OUTSIDE_4)
    return address in _OUTSIDE_6 and not any(address in network for network in _NOT_OUTSIDE_6)
