"""Attacks on the caller by system calls: code for the sandbox, which is run outside of it too, to show that they work.

Each function is one attack on a caller that has `place`, a directory of its own with a file `secret` and a datagram
socket `socket`, and a key in its session keyring. It raises OSError where it is stopped.
"""

import array
import ctypes
import errno
import fcntl
import os
import resource
import socket
import struct
from collections.abc import Callable
from pathlib import Path

LIBC = ctypes.CDLL(None, use_errno=True)
SESSION_KEYRING = -3
KEYCTL_READ = 11


def checked(result: int) -> int:
    """What a call came to, or its error."""
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def keyctl(*arguments: object) -> int:
    """The call by its number, as the C library has no function for it."""
    return checked(
        LIBC.syscall(250 if os.uname().machine == "x86_64" else 219, *arguments)
    )


def mode(place: str) -> None:
    """Change the permissions of a file of the caller's."""
    Path(place, "secret").chmod(0o600)


def mode_by_descriptor(place: str) -> None:
    """The same by a descriptor that is not open for anything."""
    Path(f"/proc/self/fd/{os.open(f'{place}/secret', os.O_PATH)}").chmod(0o600)


def dates(place: str) -> None:
    """Change when a file was written."""
    os.utime(f"{place}/secret", (1, 1))


def attributes(place: str) -> None:
    """Attach something to a file."""
    os.setxattr(f"{place}/secret", "user.attack", b"x")


def owner(place: str) -> None:
    """Give a file to another group, here the same one."""
    os.chown(f"{place}/secret", -1, os.getgid())


def existence(place: str) -> None:
    """See whether there is a file, and how large."""
    Path(place, "secret").stat()


def file_system(place: str) -> None:
    """See how full the disk is."""
    os.statvfs(place)


def names(place: str) -> None:
    """Get a notice of each file that is made."""
    watch = checked(LIBC.inotify_init())
    checked(LIBC.inotify_add_watch(watch, place.encode(), 0xFFF))


def names_of_all(place: str) -> None:
    """The same by the newer interface, which tells of whole file systems."""
    checked(LIBC.fanotify_init(0x200, 0))


def changes_of_a_directory(place: str) -> None:
    """A signal when anything in a directory of the system changes."""
    fcntl.fcntl(
        os.open(Path(os.__file__).parent, os.O_RDONLY), fcntl.F_NOTIFY, fcntl.DN_CREATE
    )


def datagram(place: str) -> None:
    """Send to a socket by its path, without calling `socket`."""
    socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)[0].sendto(
        b"leak", f"{place}/socket"
    )


def datagram_connected(place: str) -> None:
    """The same by `connect`."""
    mine = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)[0]
    mine.connect(f"{place}/socket")
    mine.send(b"leak")


def descriptor(place: str) -> None:
    """Hand out a descriptor, and with it all that it can reach."""
    mine = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)[0]
    handed = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [mine.fileno()]))]
    mine.sendmsg([b"leak"], handed, 0, f"{place}/socket")


def descriptor_to_itself(place: str) -> None:
    """Keep descriptors in flight, where no limit counts them."""
    one, _other = socket.socketpair()
    one.sendmsg(
        [b"x"],
        [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [one.fileno()]))],
    )


def urgent(place: str) -> None:
    """Use a part of stream sockets that has had more faults than users."""
    one, _other = socket.socketpair()
    one.send(b"x", socket.MSG_OOB)


def packets(place: str) -> None:
    """A kind of pair that nothing in the standard library needs."""
    socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def keys(place: str) -> None:
    """Read the keys that the caller's session holds."""
    ring = ctypes.create_string_buffer(400)
    size = keyctl(KEYCTL_READ, SESSION_KEYRING, ring, 400)
    for key in struct.unpack(f"{size // 4}i", ring.raw[:size]):
        found = ctypes.create_string_buffer(100)
        keyctl(KEYCTL_READ, key, found, 100)
        if found.value == b"secret":
            return
    raise OSError(errno.ENOENT, "no such key")


def messages(place: str) -> None:
    """Hold memory in message queues."""
    checked(LIBC.msgget(0, 0o1600))


def semaphores(place: str) -> None:
    """Hold memory in semaphores."""
    checked(LIBC.semget(0, 30_000, 0o1600))


def limits_of_another(place: str) -> None:
    """Take the descriptors from the process that watches this one, so that it sees nothing."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.prlimit(os.getppid(), resource.RLIMIT_NOFILE, (min(soft, 100), hard))


def a_namespace(place: str) -> None:
    """Become the first user of a namespace, with all capabilities in it."""
    pid = os.fork()
    if pid == 0:
        os._exit(0 if LIBC.unshare(0x10000000) == 0 else ctypes.get_errno())
    if failed := os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]):
        raise OSError(failed, "unshare")


ATTACK: dict[str, object] = {"place": str, "return": None}
ALL: list[Callable[[str], None]] = [
    item
    for item in globals().values()
    if getattr(item, "__annotations__", None) == ATTACK
]


def attack(place: str) -> dict[str, str]:
    """What became of each attack: `done`, or the error that stopped it."""
    became = {}
    for one in ALL:
        try:
            one(place)
            became[one.__name__] = "done"
        except OSError as error:
            became[one.__name__] = errno.errorcode[error.errno or 0]
    return became


def sweep(allowed: list[int]) -> list[int]:
    """The numbers of system calls that are refused by anything but the filter; each is tried without arguments."""
    passed = []
    # The kernel's own uretprobe and uprobe, which pass all filters and end the process that calls them itself.
    allowed = [*allowed, 335, 336]
    for number in (*range(600), *range(0x40000000, 0x40000000 + 600)):
        if number not in allowed:
            ctypes.set_errno(0)
            if (
                LIBC.syscall(number, *[ctypes.c_long(0)] * 6) != -1
                or ctypes.get_errno() != errno.ENOSYS
            ):
                passed.append(number)
    return passed
