"""The questions of a benchmark under OUT/questions: what the flow asks, and what scores it.

In: questions. Out: questions.parquet, whose column `messages` the flow answers as conversations; images/,
each image once, by the hash of its bytes; and data.json, which says what data set it is. An output holds the
questions of one data set: those of another are refused. Questions that follow the model's own answers are
written once these are there, to following.parquet.
"""

import hashlib
import io
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, UnidentifiedImageError

from jobs.evaluation.asked import Asked, Picture, Turn
from jobs.evaluation.files import Folder
from pipeline.ingest import storage

SCHEMA: Final = pa.schema(
    [
        ("id", pa.string()),
        ("prompt_id", pa.string()),  # changes with the answer before it, where a question follows one
        ("messages", pa.string()),  # JSON
        ("question", pa.string()),
        ("answers", pa.list_(pa.string())),
        ("measures", pa.list_(pa.string())),
        ("facts", pa.string()),  # JSON
        ("slices", pa.string()),  # JSON
        ("document", pa.string()),
        ("images", pa.list_(pa.string())),  # relative to the folder
        ("pixels", pa.int64()),  # of the largest image, null where there is none or its size is not known
    ]
)
NAME: Final = "questions"
FIRST: Final = "questions.parquet"
FOLLOWING: Final = "following.parquet"
GROUP_ROWS: Final = 64  # in a row group, which one task reads
_SUFFIXES: Final = {
    "PNG": ".png",
    "JPEG": ".jpg",
    "WEBP": ".webp",
    "GIF": ".gif",
    "BMP": ".bmp",
    "TIFF": ".tiff",
}


@dataclass(frozen=True, kw_only=True)
class Source:
    """What OUT/questions holds, for summaries."""

    name: str
    place: str
    count: int
    hash: str
    """SHA-256 of all questions, accepted answers and images: the same for the same data set, wherever it
    lies, whoever answers, and whatever scores that."""
    note: str | None
    """Why its figures are not comparable with published ones."""
    prompts: int
    """Version of the prompts' wording."""


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A question as it is read back."""

    uri: str
    """Under which the tables have its answer."""
    asked: Asked
    images: tuple[str, ...]
    pixels: int | None


def parquets_of(output: str) -> tuple[str, ...]:
    """The files that the flow reads."""
    folder = f"{storage.absolute(output).rstrip('/')}/{NAME}"
    follows = Folder(folder).has(FOLLOWING)
    return (f"{folder}/{FIRST}", *([f"{folder}/{FOLLOWING}"] if follows else []))


def write(
    output: str,
    asked: Iterable[Asked],
    *,
    name: str,
    place: str,
    note: Callable[[int], str | None],
    prompts: int,
) -> Source:
    """Writes all questions, unless they are there already.

    Raises ValueError: another data set is there, two have one id, an image is not there, there are none.
    """
    folder = Folder(f"{output.rstrip('/')}/{NAME}")
    digest = hashlib.sha256()
    file, count = _parquet(_digested(_rows(asked, folder), digest), place)
    if not count:
        raise ValueError(f"{place} holds no question")
    source = Source(
        name=name,
        place=place,
        count=count,
        hash=digest.hexdigest(),
        note=note(count),
        prompts=prompts,
    )
    before = folder.read("data.json")
    if before is not None and (there := json.loads(before))["hash"] != source.hash:
        raise ValueError(
            f"{output} holds answers to other questions ({there['count']:,} of {there['place']}; these are "
            f"{count:,} of {place}): choose another --output"
        )
    folder.write(FIRST, file)
    folder.write("data.json", json.dumps(asdict(source), indent=2).encode())
    return source


def write_following(output: str, asked: Iterable[Asked]) -> None:
    """Writes the questions that follow the model's answers to the others, if there are any."""
    folder = Folder(f"{output.rstrip('/')}/{NAME}")
    # Behind another answer it is another prompt: what was said to the old one does not count.
    rows = (
        row | {"prompt_id": f"{row['id']}@{hashlib.sha256(row['messages'].encode()).hexdigest()[:16]}"}
        for row in _rows(asked, folder)
    )
    file, count = _parquet(rows, output)
    if count:
        folder.write(FOLLOWING, file)


def _parquet(rows: Iterable[dict[str, Any]], place: str) -> tuple[bytes, int]:
    """A file of rows, and how many these are. Raises ValueError: two have one id."""
    seen = set[str]()
    with tempfile.TemporaryFile() as file:
        with pq.ParquetWriter(file, SCHEMA, compression="zstd") as writer:
            for some in _batches(rows):
                for row in some:
                    if row["id"] in seen:
                        raise ValueError(f"two questions of {place} have the id {row['id']}")
                    seen.add(row["id"])
                writer.write_table(pa.Table.from_pylist(some, schema=SCHEMA))
        file.seek(0)
        return file.read(), len(seen)


def _digested(rows: Iterable[dict[str, Any]], digest: Any) -> Iterator[dict[str, Any]]:
    for row in rows:
        # Not its measures: the same answers may be scored by others, or by a judge.
        told = {name: value for name, value in row.items() if name not in ("measures", "prompt_id")}
        digest.update(json.dumps(told, sort_keys=True).encode())
        yield row


def read_source(output: str) -> Source:
    """What OUT/questions holds. Raises ValueError if it is no evaluation."""
    found = Folder(f"{output.rstrip('/')}/{NAME}").read("data.json")
    if found is None:
        raise ValueError(f"{output} holds no evaluation: there is no {NAME}/data.json")
    return Source(**json.loads(found))


def read(output: str) -> Iterator[Stored]:
    """The questions in the order of the data set, each before the one that follows it."""
    first, *others = parquets_of(output)
    following = {one.asked.document: one for file in others for one in _stored(file)}
    for one in _stored(first):
        yield one
        if one.asked.document in following:
            yield following.pop(one.asked.document)


def _stored(parquet: str) -> Iterator[Stored]:
    with pq.ParquetFile(storage.open_input(parquet)) as file:
        for batch in file.iter_batches(1_024, use_threads=False):
            for row in batch.to_pylist():
                yield Stored(
                    uri=f"{parquet}#{row['prompt_id']}",
                    asked=Asked(
                        id=row["id"],
                        turns=(),
                        question=row["question"],
                        answers=tuple(row["answers"]),
                        measures=tuple(row["measures"]),
                        facts=json.loads(row["facts"]),
                        slices=json.loads(row["slices"]),
                        document=row["document"],
                    ),
                    images=tuple(row["images"]),
                    pixels=row["pixels"],
                )


def _batches(rows: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    waiting: list[dict[str, Any]] = []
    for row in rows:
        waiting.append(row)
        if len(waiting) == GROUP_ROWS:
            yield waiting
            waiting = []
    if waiting:
        yield waiting


def _rows(asked: Iterable[Asked], folder: Folder) -> Iterator[dict[str, Any]]:
    images: dict[str, tuple[str, int | None]] = {}
    return (_row(one, folder, images) for one in asked)


def _row(one: Asked, folder: Folder, images: dict[str, tuple[str, int | None]]) -> dict[str, Any]:
    names: list[str] = []
    pixels: list[int] = []

    def address(picture: Picture) -> str:
        data = picture.data if picture.data is not None else _read(str(picture.path), one.id)
        key = hashlib.sha256(data).hexdigest()
        if key not in images:
            suffix, size = _kind(data)
            images[key] = f"images/{key[:32]}{suffix}", size
            folder.write(images[key][0], data, replace=False)
        name, count = images[key]
        names.append(name)
        pixels.extend([count] if count is not None else [])
        return name

    return {
        "id": one.id,
        "prompt_id": one.id,
        "messages": json.dumps([_message(turn, address) for turn in one.turns], ensure_ascii=False),
        "question": one.question,
        "answers": list(one.answers),
        "measures": list(one.measures),
        "facts": json.dumps(one.facts, ensure_ascii=False),
        "slices": json.dumps(one.slices, ensure_ascii=False),
        "document": one.document,
        "images": names,
        "pixels": max(pixels, default=None),
    }


def _message(turn: Turn, address: Any) -> Mapping[str, Any]:
    """A message in OpenAI's form, its images by their files."""
    return {
        "role": turn.role,
        "content": [
            {"type": "text", "text": part}
            if isinstance(part, str)
            else {"type": "image_url", "image_url": {"url": address(part)}}
            for part in turn.parts
        ],
    }


def _read(path: str, id: str) -> bytes:
    try:
        with storage.open_input(path) as file:
            data: bytes = file.read()
    except OSError as error:
        raise ValueError(f"the image of question {id}: {storage.explain(path, error)}") from error
    return data


def _kind(data: bytes) -> tuple[str, int | None]:
    """The suffix for an image's file, and its pixels, out of its header alone: the sandbox opens it."""
    try:
        with Image.open(io.BytesIO(data), formats=list(_SUFFIXES)) as image:
            return _SUFFIXES[str(image.format)], image.width * image.height
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError):
        return "", None


def resolve(picture: Picture, folder: str) -> Picture:
    """A picture whose relative path starts at its data set's folder. Raises ValueError if it leads out."""
    if picture.path is None:
        return picture
    place = storage.resolve(folder, picture.path)
    # Links are followed: the hub's cache is made of them.
    if "://" not in place and not os.path.normpath(place).startswith(os.path.normpath(folder) + os.sep):
        raise ValueError(f"its image {picture.path} lies outside {folder}")
    return Picture(path=place)
