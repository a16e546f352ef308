"""The system calls that code in the sandbox may make, and the seccomp filter that refuses all others.

It is an allow-list. Any other call fails with ENOSYS, as on a kernel that lacks it: libraries then fall back to an
older call. An allowed call fails with EPERM if its arguments reach out of the sandbox or hide memory from the watch.
A call that locks a file succeeds and locks nothing.
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import NamedTuple

# Each name with its numbers on x86-64 and on ARM64; a dash if the processor has no such call.
_ALLOWED = """
read 0 63; write 1 64; open 2 -; openat 257 56; close 3 57; close_range 436 436; lseek 8 62; pread64 17 67;
pwrite64 18 68; readv 19 65; writev 20 66; preadv 295 69; pwritev 296 70; preadv2 327 286; pwritev2 328 287;
stat 4 -; fstat 5 80; lstat 6 -; newfstatat 262 79; statx 332 291; access 21 -; faccessat 269 48;
faccessat2 439 439; readlink 89 -; readlinkat 267 78; getdents 78 -; getdents64 217 61; getcwd 79 17;
chdir 80 49; fchdir 81 50; rename 82 -; renameat 264 38; renameat2 316 276; mkdir 83 -; mkdirat 258 34;
rmdir 84 -; unlink 87 -; unlinkat 263 35; link 86 -; linkat 265 37; symlink 88 -; symlinkat 266 36; mknod 133 -;
mknodat 259 33; umask 95 166; truncate 76 45; ftruncate 77 46; fallocate 285 47; fsync 74 82; fdatasync 75 83;
statfs 137 43; fstatfs 138 44; fadvise64 221 223; sendfile 40 71; copy_file_range 326 285;
getxattr 191 8; lgetxattr 192 9; fgetxattr 193 10; listxattr 194 11; llistxattr 195 12; flistxattr 196 13;

dup 32 23; dup2 33 -; dup3 292 24; pipe 22 -; pipe2 293 59; select 23 -; pselect6 270 72; poll 7 -; ppoll 271 73;
epoll_create 213 -; epoll_create1 291 20; epoll_ctl 233 21; epoll_wait 232 -; epoll_pwait 281 22;
epoll_pwait2 441 441; eventfd 284 -; eventfd2 290 19;
shutdown 48 210; getsockname 51 204; getpeername 52 205; getsockopt 55 209;

brk 12 214; munmap 11 215; mremap 25 216; mprotect 10 226; msync 26 227;

fork 57 -; vfork 58 -; execve 59 221; exit 60 93; exit_group 231 94; wait4 61 260; waitid 247 95; kill 62 129;
tkill 200 130; tgkill 234 131; getpid 39 172; getppid 110 173; gettid 186 178; getpgrp 111 -; getpgid 121 155;
setpgid 109 154; getsid 124 156; setsid 112 157; getuid 102 174; geteuid 107 175; getgid 104 176;
getegid 108 177; getgroups 115 158; getresuid 118 148; getresgid 120 150; set_tid_address 218 96;
set_robust_list 273 99; rseq 334 293; futex 202 98; arch_prctl 158 -; sched_yield 24 124;
sched_getaffinity 204 123; sched_getparam 143 121; sched_getscheduler 145 120; sched_get_priority_max 146 125;
sched_get_priority_min 147 126; getpriority 140 141; getcpu 309 168; getrlimit 97 163; setrlimit 160 164;
getrusage 98 165; times 100 153; capget 125 90;

rt_sigaction 13 134; rt_sigprocmask 14 135; rt_sigreturn 15 139; rt_sigpending 127 136; rt_sigtimedwait 128 137;
rt_sigsuspend 130 133; sigaltstack 131 132; restart_syscall 219 128; pause 34 -; alarm 37 -; getitimer 36 102;
setitimer 38 103;

nanosleep 35 101; clock_nanosleep 230 115; clock_gettime 228 113; clock_getres 229 114; gettimeofday 96 169;
time 201 -; uname 63 160; sysinfo 99 179; getrandom 318 278
"""
# Harmless if nothing outside the scratch directory can be changed; no other layer restricts them.
_OF_OWN_FILES = """
chmod 90 -; fchmod 91 52; fchmodat 268 53; fchmodat2 452 452; utime 132 -; utimes 235 -; futimesat 261 -;
utimensat 280 88
"""
_BY_ARGUMENTS = """
socketpair 53 199; sendto 44 206; recvfrom 45 207; clone 56 220; mmap 9 222; madvise 28 233; fcntl 72 25;
flock 73 32; ioctl 16 29; prctl 157 167; prlimit64 302 261
"""


class Word(NamedTuple):
    """The allowed values of half an argument: `position` counts 32-bit words, low half first; `mask` selects bits.

    With a value of `pretended` the call returns 0 and the kernel does nothing.
    """

    position: int
    values: Sequence[int]
    mask: int = 0xFFFFFFFF
    pretended: Sequence[int] = ()


_NULL = (0,)
_MSG_OOB = 0x1
_SHARED_ANONYMOUS = 0x21
_NEW_NAMESPACES = 0x7E020000
_LOCK_NB = 0x4
_RULES: Mapping[str, Sequence[Word]] = {
    # A pair of streams reaches only itself; a datagram has an address, which may be another socket's path.
    "socketpair": (Word(0, (1,)), Word(2, (1,), 0xF)),
    "sendto": (Word(6, (0,), _MSG_OOB), Word(8, _NULL), Word(9, _NULL)),
    "recvfrom": (Word(6, (0,), _MSG_OOB),),
    "clone": (Word(0, (0,), _NEW_NAMESPACES),),
    # Anonymous shared memory, and memory that is paged out, does not count for a process.
    "mmap": (Word(6, (0x00, 0x01, 0x20), _SHARED_ANONYMOUS),),
    "madvise": (Word(4, (0, 1, 2, 3, 4, 8, 10, 11, 14, 15, 16, 17, 18, 19)),),
    # A lock of a system file would make the machine's programs wait, and a filter sees a descriptor, not its file.
    # SQLite opens no file where locks are refused. Pretended: F_SETLK, F_SETLKW, F_OFD_SETLK and F_OFD_SETLKW.
    # Refused: leases, directory notices, owners of signals and larger pipes.
    "fcntl": (Word(2, (*range(6), 36, 1030, 1032), pretended=(6, 7, 37, 38)),),
    # LOCK_SH, LOCK_EX and LOCK_UN.
    "flock": (Word(2, (), ~_LOCK_NB & 0xFFFFFFFF, pretended=(1, 2, 8)),),
    # TCGETS and TCGETS2, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX.
    "ioctl": (Word(2, (0x5401, 0x802C542A, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)),),
    # Parent death signal, dumpable flag, name, test for a capability, names of mappings.
    "prctl": (Word(0, (1, 2, 3, 15, 16, 23, 0x53564D41)),),
    # Its own limits, not those of the supervisor.
    "prlimit64": (Word(0, (0,)),),
}

_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_LOAD, _AND, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x54, 0x15, 0x06
_ALLOW, _PRETEND, _EPERM, _ENOSYS = 0x7FFF0000, 0x00050000, 0x00050001, 0x00050026
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
_Step = tuple[int, int, int, int]
"""A code, the steps to skip if true and if false, and a constant."""


def numbers(machine: str, table: str) -> dict[str, int]:
    """The numbers of the calls in a table on a processor."""
    column = list(_ARCHITECTURES).index(machine) + 1
    rows = (row.split() for row in table.split(";") if row.strip())
    return {row[0]: int(row[column]) for row in rows if row[column] != "-"}


@cache
def seccomp_filter(machine: str, *, own_files_only: bool) -> bytes:
    """The filter in the kernel's form, instructions of 8 bytes; empty on other processors.

    `own_files_only` says that another layer protects the files outside: then modes and dates may be set.
    """
    if machine not in _ARCHITECTURES:
        return b""
    free = numbers(machine, _ALLOWED) | (
        numbers(machine, _OF_OWN_FILES) if own_files_only else {}
    )
    steps: list[_Step] = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_JUMP_IF_EQUAL, 1, 0, _ARCHITECTURES[machine]),
        (_RETURN, 0, 0, _ENOSYS),
        (_LOAD, 0, 0, _NUMBER),
    ]
    # These come first: the kernel caches the result for the others by number.
    for name, number in numbers(machine, _BY_ARGUMENTS).items():
        checks = [step for word in _RULES[name] for step in _check(word)]
        steps += [
            (_JUMP_IF_EQUAL, 0, len(checks) + 1, number),
            *checks,
            (_RETURN, 0, 0, _ALLOW),
        ]
    for number in free.values():
        steps += [(_JUMP_IF_EQUAL, 0, 1, number), (_RETURN, 0, 0, _ALLOW)]
    steps.append((_RETURN, 0, 0, _ENOSYS))
    return b"".join(struct.pack("=HBBI", *step) for step in steps)


def _check(word: Word) -> Iterator[_Step]:
    yield _LOAD, 0, 0, _ARGUMENTS + 4 * word.position
    yield _AND, 0, 0, word.mask
    for value in word.pretended:
        yield _JUMP_IF_EQUAL, 0, 1, value
        yield _RETURN, 0, 0, _PRETEND
    for index, value in enumerate(word.values):
        yield _JUMP_IF_EQUAL, len(word.values) - index, 0, value
    yield _RETURN, 0, 0, _EPERM
