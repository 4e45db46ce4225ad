# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# This module is private to the collection and may change at any time.
"""The elements of nftables sets of networks: changed, filled and read by the million.

nft reads all of a set to change one element of it; at a million that takes a minute and more than a GiB. The
kernel needs to be told only what changes. The sets are those of type ipv4_addr or ipv6_addr with the flag
interval, in a table of family inet; their networks are disjoint.

To the kernel such a set is a row of bounds (nft_set_rbtree.c): a network is an element of its first address,
and one of the address behind its last with the flag NFT_SET_ELEM_INTERVAL_END, unless there is no such
address. Two networks side by side have four bounds. nft 1.0.6 does the same, and adds an end at address 0,
which means nothing. So what nft has filled can be changed here, and nft lists what was filled here. In a set
with auto-merge, though, nft makes one network of two, and neither of them can be removed.

Names are those of linux/netfilter/nf_tables.h, where their numbers come from.
"""

from __future__ import annotations

import errno
import ipaddress
import itertools
import socket
import struct
import typing as t

from .connection import NETLINK_NETFILTER, Netlink
from .messages import (
    ATTRIBUTE_HEADER_SIZE,
    HEADER_SIZE,
    MAX_ATTRIBUTE,
    NFNETLINK_HEADER_SIZE,
    NFNL_SUBSYS_NFTABLES,
    NLM_F_CREATE,
    NLM_F_EXCL,
    Message,
    NetlinkError,
    answers,
    attribute,
    attributes,
    nested,
    nfnetlink_header,
    nfnetlink_kind,
    parse,
    string,
)

NFPROTO_INET = 1  # linux/netfilter.h

_NFT_MSG_NEWSETELEM = 12
_NFT_MSG_GETSETELEM = 13
_NFT_MSG_DELSETELEM = 14
_NFTA_SET_ELEM_LIST_TABLE = 1
_NFTA_SET_ELEM_LIST_SET = 2
_NFTA_SET_ELEM_LIST_ELEMENTS = 3
_NAMES = (_NFTA_SET_ELEM_LIST_TABLE, _NFTA_SET_ELEM_LIST_SET)
_NFTA_LIST_ELEM = 1
_NFTA_SET_ELEM_KEY = 1
_NFTA_SET_ELEM_FLAGS = 3
_NFTA_DATA_VALUE = 1
_NFT_SET_ELEM_INTERVAL_END = 0x1

_NEW = nfnetlink_kind(NFNL_SUBSYS_NFTABLES, _NFT_MSG_NEWSETELEM)
_GET = nfnetlink_kind(NFNL_SUBSYS_NFTABLES, _NFT_MSG_GETSETELEM)
_DELETE = nfnetlink_kind(NFNL_SUBSYS_NFTABLES, _NFT_MSG_DELSETELEM)

_GENERATION = slice(2, NFNETLINK_HEADER_SIZE)  # in the body of an answer: nfgenmsg.res_id

# With NLM_F_EXCL an element that is there already is an error: the set is not what the caller takes it for.
_FLAGS = {_NEW: NLM_F_CREATE | NLM_F_EXCL, _DELETE: 0}
_WORDS = {
    _NEW: "add {what} to set {name} of table inet {table}",
    _DELETE: "remove {what} from set {name} of table inet {table}",
    _GET: "read set {name} of table inet {table}",
}

# As many networks at once as take little memory (10 MB, IPv6 16), and so many that what each commit takes
# over that, some 20 ms, does not count.
FILL_SIZE = 1 << 18

# What an error means, by the attribute that the kernel points at.
_HINTS = {
    (_NFTA_SET_ELEM_LIST_TABLE, errno.ENOENT): "there is no such table",
    (_NFTA_SET_ELEM_LIST_SET, errno.ENOENT): "there is no such set",
    (_NFTA_SET_ELEM_LIST_ELEMENTS, errno.ENOENT): "it is not in the set",
    (_NFTA_SET_ELEM_LIST_ELEMENTS, errno.EEXIST): "it is in the set, or overlaps with a network that is",
    (_NFTA_SET_ELEM_LIST_ELEMENTS, errno.EINVAL): "the set may be one of other addresses",
}


class Change(t.NamedTuple):
    """What is to change in one set: its name, its IP version (4 or 6), and CIDRs without host bits.

    What is added is disjoint from what is in the set when what is removed is out of it. What is removed is in
    it as it was added: one half of a network is not. Either may be an iterator.
    """

    name: str
    version: int
    add: t.Iterable[str] = ()
    remove: t.Iterable[str] = ()


class _Layout:
    """How the networks of an IP version are written: in text, in numbers, in attributes."""

    def __init__(self, family: socket.AddressFamily, bits: int) -> None:
        self.family = family
        self.size = bits // 8
        self.limit = 1 << bits  # behind the last address
        # How many addresses a network has, by what its CIDR has behind the slash.
        self.spans = {str(length): 1 << (bits - length) for length in range(bits + 1)}
        self.bits = bits
        value = attribute(_NFTA_DATA_VALUE, bytes(self.size))
        flags = attribute(_NFTA_SET_ELEM_FLAGS, struct.pack(">I", _NFT_SET_ELEM_INTERVAL_END))
        # All of an element but its address, which comes last.
        self.start = nested(_NFTA_LIST_ELEM, nested(_NFTA_SET_ELEM_KEY, value))[: -self.size]
        self.end = nested(_NFTA_LIST_ELEM, flags, nested(_NFTA_SET_ELEM_KEY, value))[: -self.size]
        # Networks to a message: their elements are in one attribute.
        self.per_message = (MAX_ATTRIBUTE - ATTRIBUTE_HEADER_SIZE) // (
            len(self.start) + len(self.end) + 2 * self.size
        )
        # As the kernel writes them: the key first, before the address, and its flags after it.
        self.key = attribute(_NFTA_SET_ELEM_KEY, value)[: -self.size]
        self.end_flag = flags


_LAYOUTS = {4: _Layout(socket.AF_INET, 32), 6: _Layout(socket.AF_INET6, 128)}


def change(table: str, changes: t.Iterable[Change]) -> None:
    """Change sets in one transaction: all of it happens, or nothing.

    Of each set the removals come first. A million networks take 40 MB of memory (IPv6: 64). While a network
    takes the place of another, packets may miss it: see `replaces`.

    Raises NetlinkError, and then nothing has changed; its text names the set, and the network where the
    kernel says which it was. Its errno is ENOENT where the table, the set or a removed network is not there,
    EEXIST where an added one is, or overlaps. Raises ValueError where a text is no CIDR of that version; then
    nothing has changed, either.
    """
    messages = itertools.chain.from_iterable(_messages(table, one) for one in changes)
    _transaction(messages, f"change sets of table inet {table}")


def replaces(wanted: Change) -> bool:
    """Whether a change adds a network that overlaps with one that it removes, as when one becomes two halves.

    To Linux before 7.0 an address that is in both may be in neither from the moment that the transaction is
    sent until it is over: the search ends at the bound that comes before the address, and that may be one
    that does not count yet, or any more (nft_set_rbtree.c, __nft_rbtree_lookup). All other addresses are
    found at every moment. So a set that packets meet should be changed in place only where this is False;
    otherwise let a new set take its place.

    `add` and `remove` are read, and so must not be iterators. Raises ValueError like `change`.
    """
    layout = _LAYOUTS[wanted.version]
    ranges = sorted(itertools.chain(_ranges(wanted.add, layout), _ranges(wanted.remove, layout)))
    return any(later[0] < earlier[1] for earlier, later in zip(ranges, ranges[1:]))


def fill(table: str, name: str, version: int, cidrs: t.Iterable[str]) -> None:
    """Add networks to a set that no packet meets yet, in as many transactions as keep memory small.

    Raises NetlinkError and ValueError like `change`; then a part of them may be in the set.
    """
    rest = iter(cidrs)
    while part := list(itertools.islice(rest, FILL_SIZE)):
        change(table, [Change(name, version, add=part)])


def elements(table: str, name: str, version: int) -> t.Iterator[str]:
    """The networks of a set as CIDRs, from the last address to the first, read as they are asked for.

    They are those that were added, where that was done here. Of a range that is no network there are as few
    networks as make it up.

    The kernel begins anew at the first element for every 32 KiB that it lists: 100 000 networks take a
    second, a million two minutes.

    Raises NetlinkError: with errno ENOENT where there is no such table or set; with EINTR where anything in
    the nftables of this network namespace changed meanwhile, so that what has been yielded may not be the
    set: start again.
    """
    layout = _LAYOUTS[version]
    what = f"read set {name} of table inet {table}"
    with Netlink(NETLINK_NETFILTER) as kernel:
        bodies = _of_one_generation(kernel.dump(Message(_GET, _head(table, name)), what), what)
        try:
            for first, end in _intervals(_bounds(bodies, layout), layout):
                yield from _cidrs(first, end, layout)
        except ValueError as error:
            raise NetlinkError(what, errno.EINVAL, str(error)) from None
        except NetlinkError as error:
            raise _explained(error) from None


# -- to the kernel -----------------------------------------------------------------------------------


def _transaction(messages: t.Iterable[Message], what: str) -> None:
    with Netlink(NETLINK_NETFILTER) as kernel:
        try:
            kernel.transaction(NFNL_SUBSYS_NFTABLES, messages, what)
        except NetlinkError as error:
            raise _explained(error) from None


def _messages(table: str, wanted: Change) -> t.Iterator[Message]:
    layout = _LAYOUTS[wanted.version]
    head = _head(table, wanted.name)
    for kind, cidrs in ((_DELETE, wanted.remove), (_NEW, wanted.add)):
        bounds = _encoded(cidrs, layout)
        while part := b"".join(itertools.islice(bounds, layout.per_message)):
            yield Message(kind, head + nested(_NFTA_SET_ELEM_LIST_ELEMENTS, part), _FLAGS[kind])


def _head(table: str, name: str) -> bytes:
    return b"".join(
        (
            nfnetlink_header(NFPROTO_INET),
            string(_NFTA_SET_ELEM_LIST_TABLE, table),
            string(_NFTA_SET_ELEM_LIST_SET, name),
        )
    )


def _encoded(cidrs: t.Iterable[str], layout: _Layout) -> t.Iterator[bytes]:
    """Of each network the elements that are its bounds."""
    size, limit, head, middle = layout.size, layout.limit, layout.start, layout.end
    for first, end in _ranges(cidrs, layout):
        start = head + first.to_bytes(size, "big")
        yield start if end == limit else start + middle + end.to_bytes(size, "big")


def _ranges(cidrs: t.Iterable[str], layout: _Layout) -> t.Iterator[tuple[int, int]]:
    """Of each network its first address, and the one behind its last."""
    # This runs a million times: what it needs is at hand, and no address is an object.
    family, spans, read, number = layout.family, layout.spans, socket.inet_pton, int.from_bytes
    for cidr in cidrs:
        address, _slash, length = cidr.partition("/")
        try:
            first, span = number(read(family, address), "big"), spans[length]
        except (OSError, ValueError, KeyError):
            raise ValueError(f"{cidr!r} is no CIDR of {layout.bits} bits") from None
        if first & (span - 1):
            raise ValueError(f"{cidr!r} has host bits")
        yield first, first + span


# -- from the kernel ---------------------------------------------------------------------------------


def _of_one_generation(bodies: t.Iterable[bytes], what: str) -> t.Iterator[bytes]:
    """The same messages, as long as nothing changes: each has the number of the generation that it lists.

    It is the resource of its header (nf_tables_api.c, nf_tables_dump_set). NLM_F_DUMP_INTR is never set here.
    """
    generation = None
    for body in bodies:
        found = body[_GENERATION]
        if generation not in (None, found):
            raise NetlinkError(what, errno.EINTR, "it changed while it was read")
        generation = found
        yield body


def _bounds(bodies: t.Iterable[bytes], layout: _Layout) -> t.Iterator[tuple[int, bool]]:
    """The elements of a set as the kernel lists them: of each its address, and whether it is an end."""
    for body in bodies:
        for kind, start, end in attributes(body, NFNETLINK_HEADER_SIZE):
            if kind == _NFTA_SET_ELEM_LIST_ELEMENTS:
                for _kind, begins, ends in attributes(body, start, end):
                    yield _bound(body[begins:ends], layout)


def _bound(element: bytes, layout: _Layout) -> tuple[int, bool]:
    behind = len(layout.key) + layout.size
    address, rest = element[len(layout.key) : behind], element[behind:]
    if element.startswith(layout.key) and rest in (b"", layout.end_flag):
        return int.from_bytes(address, "big"), bool(rest)
    # nft adds to some elements what it wants to know of them later.
    address, is_end = _parsed(element)
    if len(address) != layout.size:
        raise ValueError(f"it holds something else than networks of {layout.bits} bits")
    return int.from_bytes(address, "big"), is_end


def _parsed(element: bytes) -> tuple[bytes, bool]:
    """Any element: its address, and whether it is an end."""
    found = parse(element)
    key = parse(found.get(_NFTA_SET_ELEM_KEY, b""))
    flags = int.from_bytes(found.get(_NFTA_SET_ELEM_FLAGS, b""), "big")
    return key.get(_NFTA_DATA_VALUE, b""), bool(flags & _NFT_SET_ELEM_INTERVAL_END)


def _intervals(bounds: t.Iterable[tuple[int, bool]], layout: _Layout) -> t.Iterator[tuple[int, int]]:
    """Bounds from the last to the first as intervals: the first address, and the one behind the last.

    A start and an end at one address come in either order. An interval without an end goes as far as the next
    start, or to the last address.
    """
    above = end = layout.limit  # the bound before the last one, and the last one
    for address, is_end in bounds:
        if address > end:
            raise ValueError("its elements are listed in an order that is not known")
        if is_end:
            above, end = end, address
            continue
        # At the same address, the end of the network below: it came first.
        yield address, above if address == end else end
        above = end = address


def _cidrs(first: int, end: int, layout: _Layout) -> t.Iterator[str]:
    """The networks that make up an interval, from the last to the first."""
    while end > first:
        # As large as its end allows (the lowest bit that is set), and as the interval has room for.
        span = min(end & -end, 1 << ((end - first).bit_length() - 1))
        end -= span
        yield f"{_text(end, layout)}/{layout.bits + 1 - span.bit_length()}"


_MAPPED = 0xFFFF


def _text(address: int, layout: _Layout) -> str:
    # The C library writes a part of these as IPv4 (RFC 4291, 2.5.5), and Python since 3.13 of the latter.
    if layout.bits == 128 and address >> 32 == 0:
        return str(ipaddress.IPv6Address(address))
    if layout.bits == 128 and address >> 32 == _MAPPED:
        return f"::ffff:{address >> 16 & 0xFFFF:x}:{address & 0xFFFF:x}"
    return socket.inet_ntop(layout.family, address.to_bytes(layout.size, "big"))


# -- errors ------------------------------------------------------------------------------------------


def _explained(error: NetlinkError) -> NetlinkError:
    """The same error in words of tables, sets and networks, by what the kernel pointed at."""
    for sent in answers(error.message):
        if sent.kind not in _WORDS:  # what begins the batch: the whole of it is refused
            break
        found = parse(sent.body[NFNETLINK_HEADER_SIZE:])
        table, name = (found[kind].rstrip(b"\0").decode() for kind in _NAMES)
        kind, network = _pointed_at(sent.body, error.offset - HEADER_SIZE)
        what = _WORDS[sent.kind].format(what=network or "networks", name=name, table=table)
        hint = error.hint or _HINTS.get((kind, error.errno), "")
        return NetlinkError(what, error.errno, hint, error.message, error.offset)
    return error


def _pointed_at(body: bytes, offset: int) -> tuple[int, str]:
    """What the kernel pointed at: the type of the attribute (0: none), and the network if it is one."""
    for kind, start, end in attributes(body, NFNETLINK_HEADER_SIZE):
        if start - ATTRIBUTE_HEADER_SIZE <= offset < end:
            is_network = kind == _NFTA_SET_ELEM_LIST_ELEMENTS and offset >= start
            return kind, _network_at(body[start:end], offset - start) if is_network else ""
    return 0, ""


def _network_at(data: bytes, offset: int) -> str:
    """The network that one of whose bounds is at, or around, a place among a message's elements."""
    bounds = [(begins, *_parsed(data[begins:ends])) for _kind, begins, ends in attributes(data)]
    index = sum(begins - ATTRIBUTE_HEADER_SIZE <= offset for begins, _address, _is_end in bounds) - 1
    if bounds[index][2]:
        index -= 1
    address = bounds[index][1]
    layout = next(one for one in _LAYOUTS.values() if one.size == len(address))
    first, end = int.from_bytes(address, "big"), layout.limit
    for _begins, behind, is_end in bounds[index + 1 : index + 2]:
        end = int.from_bytes(behind, "big") if is_end else end
    return ", ".join(_cidrs(first, end, layout))
