"""Reading numbers, texts and names of a pickle: every length is checked before anything is made of it."""

from __future__ import annotations

import codecs
import re
from typing import NoReturn

from lis_toolkit.errors import CheckpointError
from lis_toolkit.stylegan.inert_values import LongText, Name, describe

MOST_MEMORY = (
    2**26
)  # bytes, estimated, of all objects made (large snapshots: 16 MB); slices of the file are free
MOST_DIGITS = 640
MOST_INTEGER = 1024  # bytes of an integer
MOST_NAME = 1024  # bytes of a module's or a class's name
LONG = 2**16  # texts, and byte strings, from here on stay slices of the file


class Reader:
    """A place in the bytes of a file, and how much memory may still be used."""

    def __init__(self, data: memoryview, where: str, start: int, base: int):
        self.data, self.where, self.base = data, where, base
        self.position = self.begin = start  # begin: of the operation at hand
        self.memory = MOST_MEMORY

    def fail(self, reason: str) -> NoReturn:
        """Refuse the file: where, and why."""
        raise CheckpointError(f"{self.where}: byte {self.base + self.begin}: {reason}")

    def charge(self, size: int) -> None:
        """Count bytes of memory that an object takes."""
        self.memory -= size
        if self.memory < 0:
            self.fail(f"its objects would take more than {MOST_MEMORY:,} bytes")

    def take(self, size: int) -> memoryview:
        """Give the next `size` bytes as a slice."""
        left = len(self.data) - self.position
        if size > left:
            self.fail(
                f"{size} bytes are declared, but the file has only {left} more: it is truncated or altered"
            )
        self.position += size
        return self.data[self.position - size : self.position]

    def number(self, size: int) -> int:
        """Read an unsigned whole number of `size` bytes."""
        return int.from_bytes(self.take(size), "little")

    def small(self, size: int) -> int:
        """Read a length that must stay short."""
        length = self.number(size)
        if length >= LONG:
            self.fail(f"an old text of {length} bytes, expected less than {LONG}")
        return length

    def check_frame(self, size: int) -> None:
        """Check a frame's length; frames say nothing else."""
        if size > len(self.data) - self.position:
            self.fail(
                f"a frame of {size} bytes is declared, but the file is shorter: it is truncated or altered"
            )

    def line(self, most: int) -> bytes:
        """Read up to the end of a line of at most `most` bytes."""
        step = 64
        while True:
            part = bytes(self.data[self.position : self.position + min(step, most + 1)])
            end = part.find(b"\n")
            if end >= 0:
                self.position += end + 1
                return part[:end]
            if step > most or self.position + step > len(self.data):
                self.fail(f"a line of more than {most} bytes, or without an end")
            step *= 8

    def decode(self, data: memoryview) -> str | LongText:
        """Turn UTF-8 into a text, or a `LongText`."""
        if len(data) >= LONG:
            self.charge(200)
            return LongText(data)
        raw = bytes(data)
        self.charge(64 + len(raw) * (1 if raw.isascii() else 4))
        try:
            return raw.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError as error:
            self.fail(f"a text is not UTF-8: {error.reason}")

    def latin(self, data: memoryview) -> str:
        """Turn bytes of old protocols into a text."""
        self.charge(64 + len(data))
        return bytes(data).decode("latin-1")

    def own_bytes(self, data: memoryview) -> bytes | memoryview:
        """Copy a short byte string; a long one stays a slice."""
        self.charge(200 if len(data) >= LONG else 64 + len(data))
        return data if len(data) >= LONG else bytes(data)

    def name_line(self) -> Name:
        """Read a name written as two lines."""
        try:
            module, name = self.line(MOST_NAME).decode(), self.line(MOST_NAME).decode()
        except UnicodeDecodeError:
            self.fail("a name is not UTF-8")
        self.charge(200)
        return Name(module, name)

    def integer(self, size: int) -> int:
        """Read a signed whole number of `size` bytes."""
        if size > MOST_INTEGER:
            self.fail(f"a whole number of {size} bytes, expected {MOST_INTEGER} at most")
        self.charge(32 + size)
        return int.from_bytes(self.take(size), "little", signed=True)

    def decimal(self, boolean: bool) -> int | bool:
        """Read a whole number written out; a truth value where one is allowed."""
        text = self.line(MOST_DIGITS)
        if boolean and text in (b"00", b"01"):
            return text == b"01"
        text = text.removesuffix(b"L")
        if not re.fullmatch(rb"[+-]?[0-9]+", text):
            self.fail(f"{text[:40]!r} is no whole number")
        self.charge(320)
        return int(text)

    def index(self) -> int:
        """Read a place in the memo, written out."""
        index = self.decimal(False)
        if not 0 <= index < 2**32:
            self.fail(f"the memo has no place {describe(index)}")
        return index

    def real(self) -> float:
        """Read a number written out."""
        text = self.line(MOST_DIGITS)
        try:
            return float(text)
        except ValueError:
            self.fail(f"{text[:40]!r} is no number")

    def quoted(self) -> str:
        """Read a text in quotation marks."""
        text = self.line(LONG).strip()
        if len(text) < 2 or text[:1] != text[-1:] or text[:1] not in (b"'", b'"'):
            self.fail("a text has no quotation marks")
        self.charge(64 + len(text))
        raw: bytes = codecs.escape_decode(text[1:-1])[0]
        return raw.decode("latin-1")

    def escaped(self) -> str:
        """Read a text with backslashes."""
        text = self.line(LONG)
        self.charge(64 + 4 * len(text))
        return text.decode("raw-unicode-escape")
