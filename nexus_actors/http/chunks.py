"""Decodes a chunked body (RFC 9112 7.1), and refuses a size that can be read in two ways."""

from __future__ import annotations

import re

__all__ = ["BadChunk", "Chunks"]

MAX_LINE = 4096
"""Bytes of a chunk's size with its extensions, and of all trailers together."""

# no sign, no 0x, no blank, and a length that fits into 60 bits; what extensions say is not used
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:;[\t !-~\x80-\xff]*)?\r\n")
_TRAILER = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t -~\x80-\xff]*\r\n")


class BadChunk(ValueError):
    """The body is not chunked as it should be."""


class Chunks:
    """The body of one request, taken piece by piece out of what the client sent."""

    def __init__(self) -> None:
        self.complete = False
        """Whether the last chunk and the trailers were taken."""
        self._left = 0
        """Bytes of the chunk at hand that are still to come, its CR LF included."""
        self._last = False
        self._trailers = 0

    def take(self, data: bytearray, most: int) -> bytes:
        """Take what there is of the body out of ``data``, about ``most`` bytes of it.

        Empty where nothing of it is there yet, or where it is :attr:`complete`; what follows the
        body is left in ``data``.

        Raises:
            BadChunk: with what is wrong.
        """
        pieces: list[bytes] = []
        at = taken = 0
        while taken < most and not self.complete:
            if self._left > 2:
                piece = bytes(data[at : at + min(self._left - 2, most)])
                if not piece:
                    break
                pieces.append(piece)
                at += len(piece)
                taken += len(piece)
                self._left -= len(piece)
            elif self._left:
                if not b"\r\n".startswith(data[at : at + 2]):
                    raise BadChunk("a chunk is longer than its size says")
                if len(data) - at < 2:
                    break
                at += 2
                self._left = 0
            else:
                end = data.find(b"\n", at) + 1
                if not end:
                    if len(data) - at > MAX_LINE:
                        raise BadChunk("a line between the chunks is too long")
                    self._check_begun(data[at:])
                    break
                self._take_line(bytes(data[at:end]))
                at = end
        del data[:at]
        return b"".join(pieces)

    def _take_line(self, line: bytes) -> None:
        if not self._last:
            size = _SIZE.fullmatch(line)
            if size is None or len(line) > MAX_LINE:
                raise BadChunk("the size of a chunk is not as RFC 9112 wants it")
            length = int(size[1], 16)
            self._last = length == 0
            self._left = length + 2 if length else 0
        elif line == b"\r\n":
            self.complete = True
        else:
            self._trailers += len(line)
            if self._trailers > MAX_LINE:
                raise BadChunk("the trailers are too long")
            if _TRAILER.fullmatch(line) is None:
                raise BadChunk("a trailer is not as RFC 9112 wants it")

    def _check_begun(self, begun: bytearray) -> None:
        """Refuse a line that can be nothing good any more, without waiting for its end."""
        if begun and not self._last and begun[0] not in b"0123456789abcdefABCDEF":
            raise BadChunk("the size of a chunk is not as RFC 9112 wants it")
