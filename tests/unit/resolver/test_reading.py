"""Whatever arrives is read or named: broken answers raise nothing unexpected."""

import contextlib

import dns.exception
import dns.message
import dns.rrset
from dns.rdatatype import RdataType
from hypothesis import given
from hypothesis import strategies as st

from mailwright.resolver import Outcome, read_response


def response(*texts: str) -> bytes:
    query = dns.message.make_query("example.com", "MX")
    answer = dns.message.make_response(query)
    answer.answer.append(dns.rrset.from_text("example.com.", 60, "IN", "MX", *texts))
    return answer.to_wire()


WIRE = response("10 mx1.example.com.", "20 mx2.example.com.")


@given(
    st.lists(st.tuples(st.integers(2, len(WIRE) - 1), st.integers(0, 255)), max_size=6)
)
def test_broken_octets_are_an_answer_or_a_dns_error(
    changes: list[tuple[int, int]],
) -> None:
    wire = bytearray(WIRE)
    for at, octet in changes:
        wire[at] = octet
    with contextlib.suppress(dns.exception.DNSException):
        answer = read_response(dns.message.from_wire(bytes(wire)), RdataType.MX)
        assert (answer.outcome is Outcome.FOUND) or not answer.records


@given(st.integers(0, len(WIRE)))
def test_cut_octets_are_an_answer_or_a_dns_error(length: int) -> None:
    with contextlib.suppress(dns.exception.DNSException):
        read_response(dns.message.from_wire(WIRE[:length]), RdataType.MX)


def test_the_null_mx_is_only_null_alone() -> None:
    def read(*texts: str) -> list[str]:
        message = dns.message.from_wire(response(*texts))
        return [mx.host for mx in read_response(message, RdataType.MX).records]

    assert read("0 .") == [""]
    assert read("0 .", "10 mx.example.com.") == ["mx.example.com"]


def test_a_host_named_twice_counts_with_its_best_preference() -> None:
    message = dns.message.from_wire(response("20 mx.d.example.", "10 MX.d.example."))
    records = read_response(message, RdataType.MX).records
    assert [record.preference for record in records] == [10]


def test_a_referral_is_no_absence() -> None:
    message = dns.message.make_response(dns.message.make_query("example.com", "MX"))
    assert read_response(message, RdataType.MX).outcome is Outcome.NO_DATA
    message.authority.append(
        dns.rrset.from_text("com.", 60, "IN", "NS", "ns.example.net.")
    )
    assert read_response(message, RdataType.MX).outcome is Outcome.FAILED
    message.authority.append(
        dns.rrset.from_text("com.", 60, "IN", "SOA", ". . 1 2 3 4 5")
    )
    assert read_response(message, RdataType.MX).outcome is Outcome.NO_DATA
