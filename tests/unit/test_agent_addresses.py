"""Addresses are read by the C library; what is one, and how it is written, is what Python's `ipaddress` says."""

from __future__ import annotations

import ipaddress
import json

from hypothesis import given, settings
from hypothesis import strategies as st

from nicmapd.agent import parse_interfaces

_GROUP = st.sampled_from(["0", "00", "0000", "1", "00a", "ABC", "ffff", "12345", "g", ""])
_OCTET = st.sampled_from(["0", "1", "01", "255", "256", "+1", "1 ", "\u0663", ""])
_IPV4 = st.ip_addresses(v=4).map(str)
_WORDS = st.one_of(
    st.ip_addresses().map(str),
    st.ip_addresses(v=6).map(lambda address: address.exploded.upper()),
    st.builds(lambda groups: ":".join(groups), st.lists(_GROUP, min_size=6, max_size=9)),
    st.builds(lambda start, end: f"{start}::{end}", st.lists(_GROUP, max_size=4).map(":".join), _IPV4),
    st.builds(lambda octets: ".".join(octets), st.lists(_OCTET, min_size=3, max_size=5)),
    st.builds(lambda address, scope: f"{address}%{scope}", st.ip_addresses(v=6), st.text(max_size=8)),
    st.text(st.sampled_from("0123456789abcdefxX:.%/ \x00\ud800\u0663"), min_size=1, max_size=24),
)


@settings(max_examples=2000)
@given(_WORDS)
def test_an_address_is_what_ipaddress_takes_for_one(word: str) -> None:
    listed = [{"name": "eth0", "ip-addresses": [{"ip-address": word, "ip-address-type": "ipv4", "prefix": 24}]}]
    (interface,) = parse_interfaces(json.dumps({"return": listed})).interfaces
    try:
        address = ipaddress.ip_address(word.partition("%")[0])
    except ValueError:
        assert interface.addresses == ()
        return
    expected = () if address.is_unspecified else ((f"ipv{address.version}", str(address)),)
    assert tuple((one.family, one.ip) for one in interface.addresses) == expected
