# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.netpolicy.host.plugins.module_utils._netlink import messages
from ansible_collections.netpolicy.host.plugins.module_utils._netlink.messages import Answer, Message

KINDS = st.integers(1, 0x3FFF)
VALUES = st.binary(max_size=40)
NUMBERS = st.integers(0, 0xFFFF_0000)
MESSAGES = st.builds(Message, st.integers(0x10, 0xFFFF), VALUES, st.sampled_from((0, messages.NLM_F_CREATE)))


def acknowledgement(number: int, quoted: bytes, flags: int, tail: bytes = b"", sequence: int = 7) -> bytes:
    """An NLMSG_ERROR as the kernel makes it (af_netlink.c, netlink_ack)."""
    body = struct.pack("=i", -number) + quoted + tail
    return struct.pack("=IHHII", 16 + len(body), messages.NLMSG_ERROR, flags, sequence, 0) + body


# -- attributes --------------------------------------------------------------------------------------


def test_an_attribute_is_as_the_kernel_reads_it():
    assert messages.string(1, "ab") == struct.pack("=HH", 7, 1) + b"ab\0\0"
    assert (
        messages.nested(2, messages.attribute(1, b"abcd")) == struct.pack("=HHHH", 12, 0x8002, 8, 1) + b"abcd"
    )


@given(st.dictionaries(KINDS, VALUES))
def test_attributes_are_read_as_they_were_written(wanted):
    data = b"".join(messages.attribute(kind, value) for kind, value in wanted.items())
    assert len(data) % 4 == 0
    assert messages.parse(data) == wanted
    assert messages.parse(messages.parse(messages.nested(9, data))[9]) == wanted


@given(st.binary())
def test_any_bytes_are_attributes_or_refused(data):
    try:
        found = list(messages.attributes(data))
    except ValueError:
        return
    assert all(4 <= start <= end <= len(data) for _kind, start, end in found)


def test_an_attribute_that_is_too_long_is_no_attribute():
    messages.attribute(1, bytes(messages.MAX_ATTRIBUTE - 4))
    with pytest.raises(struct.error):
        messages.attribute(1, bytes(messages.MAX_ATTRIBUTE - 3))


# -- messages and batches ----------------------------------------------------------------------------


@given(MESSAGES, NUMBERS)
def test_a_message_is_read_as_it_was_packed(message, sequence):
    data = messages.packed(message, sequence, messages.NLM_F_ACK)
    flags = message.flags | messages.NLM_F_REQUEST | messages.NLM_F_ACK
    assert list(messages.answers(data)) == [Answer(message.kind, flags, sequence, message.body)]


@given(st.lists(MESSAGES, min_size=1, max_size=6), NUMBERS)
def test_a_batch_frames_its_messages_and_asks_for_one_acknowledgement(wanted, first):
    data, last = messages.batch(messages.NFNL_SUBSYS_NFTABLES, iter(wanted), first)
    begin, *inner, end = messages.answers(data)
    assert (begin.kind, end.kind) == (messages.NFNL_MSG_BATCH_BEGIN, messages.NFNL_MSG_BATCH_END)
    assert begin.body == end.body == struct.pack(">BBH", 0, 0, messages.NFNL_SUBSYS_NFTABLES)
    assert [(one.kind, one.body) for one in inner] == [(one.kind, one.body) for one in wanted]
    assert [one.sequence for one in (begin, *inner, end)] == list(range(first, first + len(wanted) + 2))
    asked = [one.sequence for one in (begin, *inner, end) if one.flags & messages.NLM_F_ACK]
    assert asked == [last] == [inner[-1].sequence]
    assert all(one.flags & messages.NLM_F_REQUEST for one in (begin, *inner, end))


@given(st.lists(MESSAGES, min_size=1, max_size=6))
def test_a_sent_message_is_found_by_its_number(wanted):
    data, last = messages.batch(messages.NFNL_SUBSYS_NFTABLES, wanted, 1)
    for sequence, message in enumerate(wanted, 2):
        (found,) = messages.answers(messages.sent_message(data, sequence))
        assert (found.sequence, found.body) == (sequence, message.body)
    assert messages.sent_message(data, last + 2) == b""


@given(st.binary())
def test_any_bytes_are_messages_or_refused(data):
    try:
        found = list(messages.answers(data))
    except ValueError:
        return
    assert sum(16 + len(one.body) for one in found) <= len(data)


# -- verdicts ----------------------------------------------------------------------------------------

SENT = messages.packed(Message(0x0A0C, messages.nfnetlink_header(1) + messages.string(1, "abc")), 7)
WORDS = messages.string(1, "no such thing") + messages.attribute(2, struct.pack("=I", 20))
DONE = Answer(messages.NLMSG_DONE, 0, 7, struct.pack("=i", 0))


@pytest.mark.parametrize(
    "flags, quoted",
    [(messages.NLM_F_ACK_TLVS | messages.NLM_F_CAPPED, SENT[:16]), (messages.NLM_F_ACK_TLVS, SENT)],
    ids=["capped", "quoting"],
)
def test_an_extended_acknowledgement_says_what_and_where(flags, quoted):
    (answer,) = messages.answers(acknowledgement(errno.ENOENT, quoted, flags, WORDS))
    assert messages.verdict(answer) == (errno.ENOENT, "no such thing", 20)


def test_an_acknowledgement_without_words():
    (answer,) = messages.answers(acknowledgement(errno.EPERM, SENT[:16], messages.NLM_F_CAPPED))
    assert messages.verdict(answer) == (errno.EPERM, "", 0)
    assert messages.verdict(DONE) == (0, "", 0)
    with pytest.raises(ValueError, match="without an error number"):
        messages.verdict(DONE._replace(body=b""))


def test_the_end_of_a_dump_may_be_an_error_with_words():
    body = struct.pack("=i", -errno.EPERM) + messages.string(1, "not yours")
    answer = DONE._replace(body=body, flags=messages.NLM_F_ACK_TLVS)
    assert messages.verdict(answer) == (errno.EPERM, "not yours", 0)


def test_an_error_says_what_failed_and_why():
    assert str(messages.NetlinkError("list flows", errno.EPERM)) == "list flows: Operation not permitted"
    with_hint = messages.NetlinkError("list flows", errno.EPERM, "no")
    assert str(with_hint) == "list flows: Operation not permitted (no)"
