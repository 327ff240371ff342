"""A NATS client on a plain socket, which reads only on request."""

import socket
from types import TracebackType
from typing import Final, Self

CONNECT: Final = b'CONNECT {"verbose": false, "headers": true, "no_responders": true}\r\n'
INBOX: Final = b"_INBOX.raw"
PING: Final = b"PING\r\n"
PATIENCE: Final = 60
SMALL: Final = 4096


def message(subject: str, payload: bytes, reply: bytes = b"") -> bytes:
    """Return the PUB command for a message."""
    return b"PUB %s %s %d\r\n%s\r\n" % (subject.encode(), reply, len(payload), payload)


class RawClient:
    """A client with an inbox and a small receive buffer."""

    def __init__(self, port: int) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
        self._socket.settimeout(PATIENCE)
        self._socket.connect(("127.0.0.1", port))
        self._file = self._socket.makefile("rb")
        self.send(CONNECT + b"SUB %s 1\r\n" % INBOX + PING)
        self.read_until(b"PONG")

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def read_until(self, word: bytes) -> bytes:
        """Read up to the first line that begins with a word, and return it."""
        for line in self._file:
            if line.startswith(word):
                return line
        raise ConnectionError("the server has closed the connection")

    def ask(self, subject: str) -> None:
        """Send a query and wait for the reply, which comes after everything sent before."""
        self.send(message(subject, b"{}", INBOX))
        self.read_until(b"MSG")

    def is_cut_off(self) -> bool:
        """Read everything, and return whether the server closed the connection after it."""
        try:
            while self._socket.recv(1 << 20):
                pass
        except TimeoutError:
            return False
        except ConnectionError:
            pass
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()
        self._socket.close()
