"""A caller with something to lose: it runs `escapes` in the sandbox, then unconfined, and writes down what each did.

A program of its own, as it is run as several users.
"""

import asyncio
import ctypes
import json
import os
import socket
import tempfile
from contextlib import suppress
from pathlib import Path

from reasoner.sandbox.check import Sandbox
from tests.sandbox import escapes

JOIN_SESSION_KEYRING = 1


class Victim:
    """A directory with a secret, a socket that listens, and a key."""

    def __init__(self, place: Path) -> None:
        self.place = place
        place.chmod(0o777)
        self.secret = place / "secret"
        self.secret.write_text("secret")
        self.secret.chmod(0o666)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(place / "socket"))
        (place / "socket").chmod(0o777)
        self.socket.setblocking(False)
        self.before = self.secret.stat()
        escapes.keyctl(JOIN_SESSION_KEYRING, None)
        number = 248 if os.uname().machine == "x86_64" else 217
        escapes.checked(
            escapes.LIBC.syscall(
                number,
                b"user",
                b"key",
                b"secret",
                ctypes.c_size_t(6),
                escapes.SESSION_KEYRING,
            )
        )

    def harm(self) -> list[str]:
        """What is not as it was."""
        now = self.secret.stat()
        found = [
            name
            for name in ("st_mode", "st_mtime", "st_gid")
            if getattr(now, name) != getattr(self.before, name)
        ]
        found += os.listxattr(self.secret)
        with suppress(BlockingIOError):
            while got := socket.recv_fds(self.socket, 100, 1):
                found.append(
                    f"received {got[0].decode()}" + " and a descriptor" * len(got[1])
                )
        return found


def main() -> None:
    """Write a JSON object: which attacks got through and what harm there was, inside and unconfined."""
    with tempfile.TemporaryDirectory() as made:
        victim = Victim(Path(made))
        test = f"raise AssertionError(*[name for name, what in attack({made!r}).items() if what == 'done'])"
        code = Path(escapes.__file__).read_text("utf-8")
        verdict = asyncio.run(Sandbox().check(code, [test], entry_point="attack"))
        harm = victim.harm()
        if (child := os.fork()) == 0:
            became = escapes.attack(made)
            results = [[verdict.status, verdict.detail, harm], [became, victim.harm()]]
            os.write(1, json.dumps(results).encode())
            os._exit(0)
        os.waitpid(child, 0)


if __name__ == "__main__":
    main()
