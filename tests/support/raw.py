"""A client of NATS on a bare socket: it reads when it is told to, and leaves as it likes."""

import socket
from types import TracebackType
from typing import Final, Self

CONNECT: Final = b'CONNECT {"verbose": false, "headers": true, "no_responders": true}\r\n'
INBOX: Final = b"_INBOX.raw"
PING: Final = b"PING\r\n"
PATIENCE: Final = 60
SMALL: Final = 4096


def message(subject: str, payload: bytes, reply: bytes = b"") -> bytes:
    """Return what publishes this."""
    return b"PUB %s %s %d\r\n%s\r\n" % (subject.encode(), reply, len(payload), payload)


class RawClient:
    """It listens at its inbox. What it is sent stays in its small buffer until it reads."""

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
        """Return the line that begins with the word."""
        for line in self._file:
            if line.startswith(word):
                return line
        raise ConnectionError("the server has closed the connection")

    def ask(self, subject: str) -> None:
        """Ask, and wait for the answer, which came after all that was sent before."""
        self.send(message(subject, b"{}", INBOX))
        self.read_until(b"MSG")

    def is_cut_off(self) -> bool:
        """Read what there is to read, and return whether the server has hung up behind it."""
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
