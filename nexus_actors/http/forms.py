"""The fields and files of a form that a browser or a client posted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import parse_qsl

import attrs
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.sansio.multipart import Data, Epilogue, Field, File, MultipartDecoder, NeedData

from nexus_actors.errors import HTTPError
from nexus_actors.http.fields import MultiDict

__all__ = ["Files", "Form", "UploadedFile", "parse_form"]

MAX_PARTS = 1000
"""A form with more fields and files than this is refused."""


@attrs.frozen
class UploadedFile:
    """One file of a form."""

    field: str
    """The name of the form's field."""
    filename: str
    """The name the client gave it. Never use it as a path: it is the client's word."""
    content_type: str
    """The type the client says it has."""
    data: bytes = attrs.field(repr=lambda data: f"<{len(data)} bytes>")
    """Its content."""

    @property
    def size(self) -> int:
        """Its length in bytes."""
        return len(self.data)


class Files(Mapping[str, UploadedFile]):
    """The files of a form by field: ``files["photo"]`` is the first, ``getlist`` are all of it."""

    def __init__(self, files: Iterable[UploadedFile] = ()) -> None:
        self._files: dict[str, list[UploadedFile]] = {}
        for file in files:
            self._files.setdefault(file.field, []).append(file)

    def getlist(self, name: str) -> list[UploadedFile]:
        """Every file of that field, in order."""
        return list(self._files.get(name, ()))

    def __getitem__(self, name: str) -> UploadedFile:
        return self._files[name][0]

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


class Form(MultiDict):
    """A form: its fields as a mapping, its files as :attr:`files`."""

    __slots__ = ("files",)

    def __init__(
        self, fields: Iterable[tuple[str, str]] = (), files: Iterable[UploadedFile] = ()
    ) -> None:
        super().__init__(fields)
        self.files = Files(files)


def parse_form(media_type: str, options: Mapping[str, str], body: bytes) -> Form:
    """The form that ``body`` holds.

    Raises:
        HTTPError: 415 for a type that is no form, 400 for a form that is broken.
    """
    if media_type == "application/x-www-form-urlencoded":
        try:
            text = body.decode("ascii")
            return Form(
                parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=MAX_PARTS)
            )
        except UnicodeDecodeError:
            raise HTTPError(400, "the form is not percent-encoded UTF-8") from None
        except ValueError:
            raise HTTPError(400, f"the form has more than {MAX_PARTS} fields") from None
    if media_type == "multipart/form-data":
        return _parse_multipart(options.get("boundary", ""), body)
    raise HTTPError(
        415,
        f"a form is expected (application/x-www-form-urlencoded or multipart/form-data), "
        f"not {media_type or 'a body without Content-Type'}",
    )


def _parse_multipart(boundary: str, body: bytes) -> Form:
    if not boundary:
        raise HTTPError(400, "the Content-Type of the form names no boundary")
    decoder = MultipartDecoder(boundary.encode("latin-1"), max_parts=MAX_PARTS)
    fields: list[tuple[str, str]] = []
    files: list[UploadedFile] = []
    part: Field | File | None = None
    pieces: list[bytes] = []
    try:
        decoder.receive_data(body)
        decoder.receive_data(None)
        while not isinstance(event := decoder.next_event(), (Epilogue, NeedData)):
            if isinstance(event, (Field, File)):
                part, pieces = event, []
            elif isinstance(event, Data) and part is not None:
                pieces.append(event.data)
                if not event.more_data:
                    _finish(part, b"".join(pieces), fields, files)
                    part = None
        if isinstance(event, NeedData):
            raise ValueError("it ends before its last boundary")
    except RequestEntityTooLarge:
        raise HTTPError(400, f"the form has more than {MAX_PARTS} parts") from None
    except UnicodeDecodeError:
        raise HTTPError(400, "a field of the form is not UTF-8") from None
    except (ValueError, KeyError) as error:
        raise HTTPError(400, f"the form is broken: {error}") from None
    return Form(fields, files)


def _finish(
    part: Field | File, data: bytes, fields: list[tuple[str, str]], files: list[UploadedFile]
) -> None:
    if isinstance(part, File):
        kind = part.headers.get("content-type", "application/octet-stream")
        files.append(UploadedFile(part.name, part.filename, kind, data))
    else:
        fields.append((part.name, data.decode("utf-8")))
