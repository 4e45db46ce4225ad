# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packets straight into the kernel's receive path, and what each of them takes.

`BPF_PROG_TEST_RUN` with live frames (Linux 5.18; Documentation/bpf/bpf_prog_run.rst) runs an XDP program
on frames of the caller's and does with them what the program says. Ours passes all of them, so each becomes a
packet that has just arrived on an interface and goes through everything that such a packet meets, on this CPU
and before the call returns. No sender, wire or interrupt is part of the time, and the kernel measures it.
"""

from __future__ import annotations

import ctypes
import os
import platform
import socket
import struct
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from types import TracebackType

BATCH: Final = 64
"""Frames that the kernel makes and passes on at a time, as many as a driver does (NAPI_POLL_WEIGHT)."""

# linux/bpf.h
_PROG_LOAD, _PROG_TEST_RUN, _LINK_CREATE = 5, 10, 28
_PROG_TYPE_XDP, _ATTACH_XDP = 6, 37
_TEST_XDP_LIVE_FRAMES = 1 << 1
_XDP_FLAGS_DRV_MODE = 1 << 2  # linux/if_link.h

# The C library has no function for bpf(2). Number 280 is that of asm-generic, which newer machines share.
_SYSCALLS = {"x86_64": 321, "i686": 357, "armv7l": 386, "ppc64le": 361, "s390x": 351}
_SYSCALL_GENERIC = 280
_LIBC = ctypes.CDLL(None, use_errno=True)

_XDP_PASS = 2
# mov r0, XDP_PASS; exit. Each is an opcode, the registers, an offset and a number.
_PASS_ALL = struct.pack("=BBhiBBhi", 0xB7, 0, 0, _XDP_PASS, 0x95, 0, 0, 0)


class _Attributes(ctypes.Structure):
    """An argument of bpf(2). Its fields are those of the kernel, aligned alike on every machine."""


class _ProgLoad(_Attributes):
    _fields_ = (
        ("prog_type", ctypes.c_uint32),
        ("insn_cnt", ctypes.c_uint32),
        ("insns", ctypes.c_uint64),
        ("license", ctypes.c_uint64),
    )


class _LinkCreate(_Attributes):
    _fields_ = (
        ("prog_fd", ctypes.c_uint32),
        ("target_ifindex", ctypes.c_uint32),
        ("attach_type", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
    )


class _TestRun(_Attributes):
    _fields_ = (
        ("prog_fd", ctypes.c_uint32),
        ("retval", ctypes.c_uint32),
        ("data_size_in", ctypes.c_uint32),
        ("data_size_out", ctypes.c_uint32),
        ("data_in", ctypes.c_uint64),
        ("data_out", ctypes.c_uint64),
        ("repeat", ctypes.c_uint32),
        ("duration", ctypes.c_uint32),
        ("ctx_size_in", ctypes.c_uint32),
        ("ctx_size_out", ctypes.c_uint32),
        ("ctx_in", ctypes.c_uint64),
        ("ctx_out", ctypes.c_uint64),
        ("flags", ctypes.c_uint32),
        ("cpu", ctypes.c_uint32),
        ("batch_size", ctypes.c_uint32),
    )


class _XdpMd(_Attributes):
    """struct xdp_md: on what interface the frames arrive."""

    _fields_ = (
        ("data", ctypes.c_uint32),
        ("data_end", ctypes.c_uint32),
        ("data_meta", ctypes.c_uint32),
        ("ingress_ifindex", ctypes.c_uint32),
        ("rx_queue_index", ctypes.c_uint32),
        ("egress_ifindex", ctypes.c_uint32),
    )


class Injector:
    """Lets frames arrive on an interface of the network namespace that it is made in; a context manager.

    The interface's driver must know XDP, because only while a program is attached does it have the queue
    that frames are said to come from. What is attached goes with this object or with the process.
    """

    def __init__(self, interface: str) -> None:
        self._interface = interface
        self._open = ExitStack()
        self._program = self._ifindex = -1

    def __enter__(self) -> Self:
        """Load and attach the program."""
        with ExitStack() as opened:
            self._ifindex = socket.if_nametoindex(self._interface)
            self._program = _load()
            opened.callback(os.close, self._program)
            link = _LinkCreate(self._program, self._ifindex, _ATTACH_XDP, _XDP_FLAGS_DRV_MODE)
            opened.callback(os.close, _bpf(_LINK_CREATE, link))
            self._open = opened.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Detach the program."""
        self._open.close()

    def inject(self, frame: bytes, count: int) -> int:
        """Let as many such frames arrive; the nanoseconds of each on average, as a whole number.

        To be called in the network namespace that it was made in: the kernel finds the interface by number.
        """
        arrival = _XdpMd(data_end=len(frame), ingress_ifindex=self._ifindex)
        data = ctypes.create_string_buffer(frame, len(frame))
        run = _TestRun(
            prog_fd=self._program,
            data_size_in=len(frame),
            data_in=ctypes.addressof(data),
            repeat=count,
            ctx_size_in=ctypes.sizeof(arrival),
            ctx_in=ctypes.addressof(arrival),
            flags=_TEST_XDP_LIVE_FRAMES,
            batch_size=BATCH,
        )
        _bpf(_PROG_TEST_RUN, run)
        return int(run.duration)


def _load() -> int:
    """A file descriptor of the program."""
    instructions = ctypes.create_string_buffer(_PASS_ALL, len(_PASS_ALL))
    licence = ctypes.create_string_buffer(b"GPL")
    return _bpf(
        _PROG_LOAD,
        _ProgLoad(
            prog_type=_PROG_TYPE_XDP,
            insn_cnt=len(_PASS_ALL) // 8,
            insns=ctypes.addressof(instructions),
            license=ctypes.addressof(licence),
        ),
    )


def _bpf(command: int, attributes: _Attributes) -> int:
    number = _SYSCALLS.get(platform.machine(), _SYSCALL_GENERIC)
    result: int = _LIBC.syscall(number, command, ctypes.byref(attributes), ctypes.sizeof(attributes))
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"bpf({command}): {os.strerror(error)}")
    return result
