# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# This module is private to the collection and may change at any time.
"""A connection to the kernel for one netlink protocol: requests, dumps of any length, transactions.

    with Netlink(NETLINK_NETFILTER) as kernel:
        for body in kernel.dump(Message(kind, nfnetlink_header(AF_INET)), "list flows"):
            kernel.request(Message(...), "delete a flow")

The kernel works on a request within the call that sends it. So what it has to answer lies in the queue when
that call returns, and each part of a dump when the part before it has been read. Nothing here ever waits: no
answer is an error. A signal does not cut a call short (PEP 475).
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import socket
import typing as t

from .messages import (
    NLM_F_ACK,
    NLM_F_DUMP,
    NLM_F_DUMP_INTR,
    NLMSG_DONE,
    NLMSG_ERROR,
    NLMSG_OVERRUN,
    Answer,
    Bytes,
    Message,
    NetlinkError,
    answers,
    batch,
    packed,
    sent_message,
    verdict,
)

NETLINK_ROUTE = 0  # linux/netlink.h, like the next
NETLINK_NETFILTER = 12

_SOL_NETLINK = 270  # linux/socket.h
_NETLINK_CAP_ACK = 10  # linux/netlink.h: an error does not quote what it refuses, which may be large
_NETLINK_EXT_ACK = 11  # linux/netlink.h: an error says more than its number
_SO_SNDBUFFORCE = 32  # asm-generic/socket.h, like the next
_SO_RCVBUFFORCE = 33

# The kernel packs the parts of a dump into as much as the reader takes, up to 32 KiB (af_netlink.c,
# netlink_recvmsg); a single large object may make it more.
_READ_SIZE = 1 << 16
# A message that fails costs the kernel some 800 bytes of this, and a transaction may have a thousand of them.
_RECEIVE_BUFFER = 1 << 22
_SEND_OVERHEAD = 1 << 10  # a socket's own part of its buffer (af_netlink.c, netlink_sendmsg: 32 bytes)


@t.final
class Netlink:
    """One netlink protocol (NETLINK_…) of the network namespace this thread is in.

    Raises NetlinkError, here and in every call; its text is for the user, and begins with the call's `what`.
    """

    def __init__(self, protocol: int) -> None:
        self._protocol = protocol
        self._sequence = itertools.count(1)
        self._socket = _open(protocol)

    def __enter__(self) -> Netlink:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket. A dump that is still read goes on: it has its own."""
        self._socket.close()

    def request(self, message: Message, what: str) -> None:
        """Send one message; return when the kernel has done it. Raises NetlinkError where it refuses."""
        sequence = next(self._sequence)
        self._settle(packed(message, sequence, NLM_F_ACK), sequence, what)

    def ask(self, message: Message, what: str) -> bytes:
        """Send one message that asks for one object; return the body of the answer.

        Raises NetlinkError where the kernel has no answer.
        """
        sequence = next(self._sequence)
        data = packed(message, sequence)
        _send(self._socket, data, what)
        while True:
            for answer in _read(self._socket, what):
                if answer.sequence != sequence:
                    continue
                if answer.kind == NLMSG_ERROR:
                    _raise_if_refused(answer, data, what)
                return answer.body

    def transaction(self, subsystem: int, messages: t.Iterable[Message], what: str) -> None:
        """Send nfnetlink messages as one transaction of a subsystem (NFNL_SUBSYS_…): all happen, or none.

        NFNL_SUBSYS_NFTABLES is the one that has transactions. The messages may be an iterator; what is sent
        is in memory once, however much it is. Nothing is sent where there are none.

        Raises NetlinkError for the first message that the kernel refuses, and then nothing has happened. With
        errno.ENOBUFS answers were lost, and it is not known whether it has.
        """
        first = next(self._sequence)
        data, last = batch(subsystem, messages, first)
        if last == first:
            return
        self._sequence = itertools.count(last + 2)
        self._settle(data, last, what)

    def dump(self, message: Message, what: str) -> t.Generator[bytes, None, None]:
        """Ask for all objects of a kind; yield the body of each message of the answer as it is read.

        Of a dump of a million objects no more than a part of 64 KiB is in memory. It has a socket of its own,
        so requests may be made in between, and it may be left unfinished.

        Raises NetlinkError. Its errno is EINTR where the kernel says that objects were added or removed while
        it listed them: what has been yielded may lack some and have others twice, so start again. It does not
        say so of everything, not of the connection table, say.
        """
        sequence = next(self._sequence)
        with contextlib.closing(_open(self._protocol)) as own:
            data = packed(message, sequence, NLM_F_DUMP)
            _send(own, data, what)
            while True:
                for answer in _read(own, what):
                    if answer.sequence != sequence:
                        continue
                    if answer.flags & NLM_F_DUMP_INTR:
                        raise NetlinkError(what, errno.EINTR, "it changed while it was read")
                    if answer.kind in (NLMSG_ERROR, NLMSG_DONE):
                        _raise_if_refused(answer, data, what)
                        return
                    yield answer.body

    def _settle(self, data: Bytes, last: int, what: str) -> None:
        """Send; return at the acknowledgement of the last message, raise at the first error before it."""
        _send(self._socket, data, what)
        try:
            self._await(data, last, what)
        except NetlinkError:
            self._discard()
            raise

    def _await(self, data: Bytes, last: int, what: str) -> None:
        lost: NetlinkError | None = None
        while True:
            try:
                received = _read(self._socket, what)
            except NetlinkError as error:
                # What did fit the queue is still there, and may hold the reason of a failure.
                if error.errno != errno.ENOBUFS:
                    raise lost or error from None
                lost = error
                continue
            for answer in received:
                if answer.kind != NLMSG_ERROR:
                    continue
                _raise_if_refused(answer, data, what)
                if answer.sequence == last:
                    return

    def _discard(self) -> None:
        """Forget the answers that are left: of several errors only the first has been read."""
        while True:
            try:
                _read(self._socket, "")
            except NetlinkError as error:
                if error.errno != errno.ENOBUFS:
                    return


def _open(protocol: int) -> socket.socket:
    what = f"open netlink protocol {protocol}"
    try:
        opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
    except OSError as error:
        raise NetlinkError(what, error.errno or 0) from None
    try:
        opened.bind((0, 0))
    except OSError as error:
        opened.close()
        raise NetlinkError(what, error.errno or 0) from None
    for option in (_NETLINK_CAP_ACK, _NETLINK_EXT_ACK):
        # A kernel that does not know them answers in fewer words.
        with contextlib.suppress(OSError):
            opened.setsockopt(_SOL_NETLINK, option, 1)
    _resize(opened, _SO_RCVBUFFORCE, socket.SO_RCVBUF, _RECEIVE_BUFFER)
    return opened


def _resize(opened: socket.socket, force: int, option: int, size: int) -> None:
    """Set the size of a buffer; where that is not allowed, the size that the system lets everyone have."""
    try:
        opened.setsockopt(socket.SOL_SOCKET, force, size)
    except OSError:
        with contextlib.suppress(OSError):
            opened.setsockopt(socket.SOL_SOCKET, option, size)


def _send(opened: socket.socket, data: Bytes, what: str) -> None:
    """Send as one datagram, with as large a buffer as that takes."""
    _resize(opened, _SO_SNDBUFFORCE, socket.SO_SNDBUF, len(data) + _SEND_OVERHEAD)
    try:
        opened.sendto(data, (0, 0))
    except OSError as error:
        hint = ""
        if error.errno == errno.EMSGSIZE:
            hint = (
                f"{len(data)} bytes at once take CAP_NET_ADMIN in the first user namespace, "
                "or a higher sysctl net.core.wmem_max"
            )
        raise NetlinkError(what, error.errno or 0, hint) from None


def _read(opened: socket.socket, what: str) -> list[Answer]:
    """What the next read brings from the kernel. Raises NetlinkError where nothing is there."""
    try:
        data, _ancillary, flags, sender = opened.recvmsg(_READ_SIZE, 0, socket.MSG_DONTWAIT)
        # Any process of root's may write to this socket; the kernel's port is 0.
        received = list(answers(data)) if sender[0] == 0 and not flags & socket.MSG_TRUNC else []
    except BlockingIOError:
        raise NetlinkError(what, errno.EAGAIN, "the kernel gave no answer") from None
    except OSError as error:
        hint = "answers of the kernel were lost" if error.errno == errno.ENOBUFS else ""
        raise NetlinkError(what, error.errno or 0, hint) from None
    except ValueError as error:
        raise NetlinkError(what, errno.EBADMSG, str(error)) from None
    if flags & socket.MSG_TRUNC or any(answer.kind == NLMSG_OVERRUN for answer in received):
        raise NetlinkError(what, errno.ENOBUFS, "answers of the kernel were lost")
    return received


def _raise_if_refused(answer: Answer, sent: Bytes, what: str) -> None:
    try:
        number, hint, offset = verdict(answer)
    except ValueError as error:
        raise NetlinkError(what, errno.EBADMSG, str(error)) from None
    if number:
        raise NetlinkError(what, number, hint, sent_message(sent, answer.sequence), offset)
