# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# This module is private to the collection and may change at any time.
"""Netlink as bytes: attributes, messages, batches, and the kernel's answers. No socket is touched here.

A message is a header and a body. The body of an nfnetlink message is `nfnetlink_header` and then attributes;
the value of an attribute is plain bytes, or attributes again. Numbers in headers have the host's byte order,
numbers in the values of nfnetlink attributes that of the network.

Names are those of linux/netlink.h and linux/netfilter/nfnetlink.h, where their numbers come from.
"""

from __future__ import annotations

import os
import struct
import typing as t

NLM_F_REQUEST = 0x1
NLM_F_ACK = 0x4
NLM_F_DUMP_INTR = 0x10
NLM_F_CAPPED = 0x100  # of an answer: it quotes only the header of the message that it answers
NLM_F_DUMP = 0x300
NLM_F_EXCL = 0x200
NLM_F_CREATE = 0x400
NLM_F_ACK_TLVS = 0x200  # of an answer: attributes follow

NLMSG_NOOP = 0x1
NLMSG_ERROR = 0x2
NLMSG_DONE = 0x3
NLMSG_OVERRUN = 0x4

NFNL_MSG_BATCH_BEGIN = 0x10
NFNL_MSG_BATCH_END = 0x11

NFNL_SUBSYS_CTNETLINK = 1
NFNL_SUBSYS_NFTABLES = 10

_ALIGNMENT = 4  # of messages and attributes
_NLA_F_NESTED = 0x8000
_NLA_TYPE_MASK = 0x3FFF
_NLMSGERR_ATTR_MSG = 1
_NLMSGERR_ATTR_OFFS = 2

_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence number, port
_ATTRIBUTE = struct.Struct("=HH")  # struct nlattr: length, type
_NFGENMSG = struct.Struct(">BBH")  # struct nfgenmsg: family, version, resource
_ERRNO = struct.Struct("=i")
_OFFSET = struct.Struct("=I")
_FLAGS = struct.Struct("=H")
_FLAGS_AT = 6  # of nlmsg_flags in the header

HEADER_SIZE = _HEADER.size
ATTRIBUTE_HEADER_SIZE = _ATTRIBUTE.size
NFNETLINK_HEADER_SIZE = _NFGENMSG.size
MAX_ATTRIBUTE = 0xFFFF  # the length of an attribute, its header included, has 16 bits

Bytes = t.Union[bytes, bytearray, memoryview]


class NetlinkError(Exception):
    """The kernel refused a request, or gave no proper answer. Its text is whole: what failed, and why.

    `errno` is the error's number (errno.ENOENT, say), `hint` what the kernel or we have to add. `message` is
    the refused message as it was sent, header and all, empty where the kernel did not say which; `offset` is
    where in it the refused attribute begins, or 0.
    """

    def __init__(self, what: str, errno: int, hint: str = "", message: bytes = b"", offset: int = 0) -> None:
        reason = os.strerror(errno)
        super().__init__(f"{what}: {reason} ({hint})" if hint else f"{what}: {reason}")
        self.what = what
        self.errno = errno
        self.hint = hint
        self.message = message
        self.offset = offset


class Message(t.NamedTuple):
    """A message to the kernel: its type, its body, and flags over NLM_F_REQUEST and what the call adds."""

    kind: int
    body: Bytes
    flags: int = 0


class Answer(t.NamedTuple):
    """A message from the kernel."""

    kind: int
    flags: int
    sequence: int
    body: bytes


class Verdict(t.NamedTuple):
    """What an answer says of a request: its error (0: done), a hint, and where in it (0: unknown)."""

    errno: int
    hint: str
    offset: int


# -- attributes --------------------------------------------------------------------------------------


def attribute(kind: int, value: Bytes) -> bytes:
    """An attribute, padded to the next one. Raises struct.error where the value is too long for any."""
    return b"".join((_ATTRIBUTE.pack(ATTRIBUTE_HEADER_SIZE + len(value), kind), value, _padding(value)))


def string(kind: int, value: str) -> bytes:
    """An attribute that is a name, with the NUL byte that ends it."""
    return attribute(kind, value.encode() + b"\0")


def nested(kind: int, *members: Bytes) -> bytes:
    """An attribute that holds attributes."""
    return attribute(kind | _NLA_F_NESTED, b"".join(members))


def attributes(data: Bytes, start: int = 0, end: int | None = None) -> t.Iterator[tuple[int, int, int]]:
    """The attributes between two places: of each its type without flags, and where its value begins and ends.

    Raises ValueError where the bytes are no attributes.
    """
    end = len(data) if end is None else end
    while start < end:
        if end - start < ATTRIBUTE_HEADER_SIZE:
            raise ValueError(f"{end - start} bytes are no netlink attribute")
        length, kind = _ATTRIBUTE.unpack_from(data, start)
        if not ATTRIBUTE_HEADER_SIZE <= length <= end - start:
            raise ValueError(f"a netlink attribute of {length} bytes, where {end - start} are left")
        yield kind & _NLA_TYPE_MASK, start + ATTRIBUTE_HEADER_SIZE, start + length
        start += _aligned(length)


def parse(data: Bytes) -> dict[int, bytes]:
    """Attributes by type (of several of one type the last), values as bytes: parse nested ones in turn.

    Raises ValueError where the bytes are no attributes.
    """
    return {kind: bytes(data[start:end]) for kind, start, end in attributes(data)}


# -- messages ----------------------------------------------------------------------------------------


def nfnetlink_kind(subsystem: int, message: int) -> int:
    """The type of an nfnetlink message: what the subsystem (NFNL_SUBSYS_…) calls it, below the subsystem."""
    return subsystem << 8 | message


def nfnetlink_header(family: int, resource: int = 0) -> bytes:
    """What the body of an nfnetlink message begins with (struct nfgenmsg); family is AF_… or NFPROTO_…"""
    return _NFGENMSG.pack(family, 0, resource)


def packed(message: Message, sequence: int, flags: int = 0) -> bytes:
    """A message as it is sent, with its sequence number and flags over its own."""
    head = _HEADER.pack(
        HEADER_SIZE + len(message.body), message.kind, NLM_F_REQUEST | message.flags | flags, sequence, 0
    )
    return b"".join((head, message.body, _padding(message.body)))


def batch(subsystem: int, messages: t.Iterable[Message], sequence: int) -> tuple[bytearray, int]:
    """Messages as one nfnetlink transaction, and the sequence number of the last one.

    The one that begins the batch has the sequence number given, the others those after it. The last of the
    messages asks for an acknowledgement. What ends the batch could do so only from Linux 6.10 on
    (nfnetlink.c, nfnetlink_rcv_batch); errors are reported either way, before that acknowledgement.
    """
    resource = nfnetlink_header(0, subsystem)
    framed = bytearray(packed(Message(NFNL_MSG_BATCH_BEGIN, resource), sequence))
    last = 0
    for message in messages:
        last = len(framed)
        sequence += 1
        framed += packed(message, sequence)
    _FLAGS.pack_into(framed, last + _FLAGS_AT, _FLAGS.unpack_from(framed, last + _FLAGS_AT)[0] | NLM_F_ACK)
    framed += packed(Message(NFNL_MSG_BATCH_END, resource), sequence + 1)
    return framed, sequence


def answers(data: Bytes) -> t.Iterator[Answer]:
    """The messages that one read of a socket brought. Raises ValueError where the bytes are none."""
    start = 0
    while start < len(data):
        if len(data) - start < HEADER_SIZE:
            raise ValueError(f"{len(data) - start} bytes are no netlink message")
        length, kind, flags, sequence, _port = _HEADER.unpack_from(data, start)
        if not HEADER_SIZE <= length <= len(data) - start:
            raise ValueError(f"a netlink message of {length} bytes, where {len(data) - start} are left")
        yield Answer(kind, flags, sequence, bytes(data[start + HEADER_SIZE : start + length]))
        start += _aligned(length)


def sent_message(data: Bytes, sequence: int) -> bytes:
    """The message of a sequence number among those that were sent together; empty where there is none."""
    start = 0
    while start < len(data):
        length, _kind, _flags, found, _port = _HEADER.unpack_from(data, start)
        if found == sequence:
            return bytes(data[start : start + length])
        start += _aligned(length)
    return b""


def verdict(answer: Answer) -> Verdict:
    """Read an NLMSG_ERROR or NLMSG_DONE. Raises ValueError where it is cut short.

    Both begin with an error number, 0 or less. After it NLMSG_ERROR quotes the message that it answers; then
    come the attributes of the extended acknowledgement, if there are any.
    """
    if len(answer.body) < _ERRNO.size:
        raise ValueError("an answer of the kernel without an error number")
    (number,) = _ERRNO.unpack_from(answer.body)
    if not answer.flags & NLM_F_ACK_TLVS:
        return Verdict(-number, "", 0)
    start = _ERRNO.size
    if answer.kind == NLMSG_ERROR:
        quoted = _HEADER.unpack_from(answer.body, start)[0]
        start += HEADER_SIZE if answer.flags & NLM_F_CAPPED else _aligned(quoted)
    found = parse(answer.body[start:])
    hint = found.get(_NLMSGERR_ATTR_MSG, b"").rstrip(b"\0").decode(errors="replace")
    offset = _OFFSET.unpack(found.get(_NLMSGERR_ATTR_OFFS, bytes(_OFFSET.size)))[0]
    return Verdict(-number, hint, offset)


def _padding(data: Bytes) -> bytes:
    return bytes(-len(data) % _ALIGNMENT)


def _aligned(length: int) -> int:
    return length + -length % _ALIGNMENT
