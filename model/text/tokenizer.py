"""Tekken: text and conversations in, token ids out, and back. No torch.

Reads `tekken.json` as Mistral publishes it: byte sequences in the order of their BPE ranks. The first
`default_num_special_tokens` ids (1,000) are control tokens, such as `<s>` and `[INST]`; rank r has the id
1,000 + r. Text is encoded by ranks alone, so a document or a question that says "[/INST]" becomes ordinary
tokens, never the control token.

`encode_conversation` writes the layout of Pixtral-12B-2409 (version v3 of `mistral_common`, the reference):

    <s>[INST]system\\n\\n[IMG][IMG][IMG_BREAK][IMG][IMG][IMG_END]question[/INST]answer</s>[INST]...

Files of other versions lay conversations out differently and are refused; so are tools and audio.
"""

import binascii
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

import tiktoken

# The v3 file names no control tokens: these are mistral_common's names of ids 0, 1... The ids after them,
# up to default_num_special_tokens, are fillers.
V3_SPECIAL_TOKENS = (
    "<unk> <s> </s> [INST] [/INST] [AVAILABLE_TOOLS] [/AVAILABLE_TOOLS] [TOOL_RESULTS] [/TOOL_RESULTS] "
    "[TOOL_CALLS] [IMG] <pad> [IMG_BREAK] [IMG_END] [PREFIX] [MIDDLE] [SUFFIX] [SYSTEM_PROMPT] "
    "[/SYSTEM_PROMPT] [TOOL_CONTENT]"
).split()
BYTES = 256  # the first ranks are the single bytes, in order, so that any text can be encoded
Role = Literal["system", "user", "assistant"]
JOINER = "\n\n"  # between neighbouring texts, and after the system prompt


class UnencodableError(ValueError):
    """A text cannot be cut into tokens."""


@dataclass(frozen=True)
class Text:
    """A piece of text."""

    text: str


@dataclass(frozen=True)
class ImagePlaceholder:
    """The place in a message of an image of `rows` x `columns` patches, as `image_grid.grid` gives them."""

    rows: int
    columns: int


@dataclass(frozen=True)
class Message:
    """One turn, or a part of it: neighbouring messages of one role are one turn."""

    role: Role
    parts: tuple[Text | ImagePlaceholder, ...]


class Tokenizer:
    """Ids of text, images and conversations for one `tekken.json`; build it with `from_file`.

    `vocab_size` counts control tokens and ranks; `bos`, `eos`, `inst`, `inst_end`, `img`, `pad`, `img_break`
    and `img_end` are ids of control tokens.
    """

    def __init__(
        self, *, pattern: str, ranks: dict[bytes, int], special_tokens: Mapping[str, int], offset: int
    ):
        """`pattern` splits text before BPE; `ranks` maps bytes to 0, 1...; `offset` is the id of rank 0."""
        self.vocab_size = offset + len(ranks)
        self.bos = special_tokens["<s>"]
        self.eos = special_tokens["</s>"]
        self.inst = special_tokens["[INST]"]
        self.inst_end = special_tokens["[/INST]"]
        self.img = special_tokens["[IMG]"]
        self.pad = special_tokens["<pad>"]
        self.img_break = special_tokens["[IMG_BREAK]"]
        self.img_end = special_tokens["[IMG_END]"]
        self._offset = offset
        # tiktoken is given no control tokens at all: so no text can become one.
        self._encoding = tiktoken.Encoding(
            "tekken", pat_str=pattern, mergeable_ranks=ranks, special_tokens={}
        )

    @classmethod
    def from_file(cls, path: Path, vocab_size: int | None = None) -> "Tokenizer":
        """Read a `tekken.json`; `vocab_size` (default: the file's own) says how many of its ids count.

        A file that is missing, damaged, of another version or smaller than `vocab_size` is a ValueError.
        """
        try:
            return cls(**_read(json.loads(path.read_bytes()), vocab_size))
        except FileNotFoundError as error:
            others = sorted(file.name for file in path.parent.glob("tokenizer.model*"))
            remedy = f"; {others[0]} is SentencePiece's, as Pixtral-Large has it" if others else ""
            raise ValueError(
                f"{path} is missing, and Quire reads Tekken alone, such as Pixtral-12B-2409's{remedy}"
            ) from error
        except OSError as error:
            raise ValueError(f"cannot read the tokenizer {path}: {error.strerror}") from error
        except KeyError as error:
            raise ValueError(f"{path} is not a tekken.json: it has no {error}") from error
        except TypeError as error:
            raise ValueError(f"{path} is not a tekken.json: a value has the wrong type ({error})") from error
        except ValueError as error:
            raise ValueError(f"{path} is not a tekken.json that Quire can use: {error}") from error

    def encode(self, text: str) -> list[int]:
        """The ids of a text, without `<s>` or any other control token, whatever the text says.

        Raises UnencodableError for a text that tiktoken gives up, such as a million blanks in a row.
        """
        offset = self._offset
        try:
            ranks = self._encoding.encode_ordinary(text)
        except BaseException as error:
            # Its pattern is matched in Rust, which panics where that takes too many steps. The class of that
            # error can be imported from nowhere, and is no Exception.
            if type(error).__name__ != "PanicException":
                raise
            raise UnencodableError(
                f"a text of {len(text):,} characters cannot be cut into tokens: it may hold a very long run "
                "of blanks"
            ) from None
        return [rank + offset for rank in ranks]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids: their `token_bytes` in a row; bytes that are not UTF-8 become U+FFFD."""
        offset = self._offset
        data = self._encoding.decode_bytes([id - offset for id in ids if id >= offset])
        return data.decode("utf-8", errors="replace")

    def token_bytes(self, id: int) -> bytes:
        """The bytes that an id stands for, which may end inside a character; none for a control token."""
        assert 0 <= id < self.vocab_size, f"token id {id} of a vocabulary of {self.vocab_size}"
        return self._encoding.decode_single_token_bytes(id - self._offset) if id >= self._offset else b""

    def image_ids(self, rows: int, columns: int) -> list[int]:
        """The rows * (columns + 1) ids of an image: 2 x 3 is IMG IMG IMG BREAK IMG IMG IMG END."""
        assert min(rows, columns) > 0, f"an image of {rows} x {columns} patches"
        ids = ([self.img] * columns + [self.img_break]) * rows
        ids[-1] = self.img_end
        return ids

    def encode_conversation(self, messages: Sequence[Message]) -> list[int]:
        """The ids of a conversation, from `<s>` to the last `[/INST]`, or `</s>` if the assistant spoke last.

        The system prompts go to the start of the last user turn. Neighbouring texts are joined by a blank
        line. A turn of texts that ends with its only image is written image first. An image outside the
        user's messages and an assistant's turn without text are ValueErrors.
        """
        system = JOINER.join(_text("system", m.parts) for m in messages if m.role == "system" and m.parts)
        # Grouped before the system messages are dropped: as in the reference, one between two user messages
        # keeps them two turns.
        turns = [
            (role, [part for m in run for part in m.parts])
            for role, run in groupby(messages, lambda m: m.role)
        ]
        turns = [(role, parts) for role, parts in turns if role != "system"]
        if not turns or turns[0][0] != "user":
            turns.insert(0, ("user", []))
        last_user = max(index for index, (role, _) in enumerate(turns) if role == "user")
        ids = [self.bos]
        for index, (role, parts) in enumerate(turns):
            if role == "user":
                ids += self._user_turn(parts, system + JOINER if system and index == last_user else "")
            else:
                ids += self._assistant_turn(parts)
        return ids

    def _user_turn(self, parts: Sequence[Text | ImagePlaceholder], system: str) -> list[int]:
        chunks = _join_texts(parts)
        if not any(isinstance(chunk, ImagePlaceholder) for chunk in chunks):
            # Without an image the reference encodes both as one text, so BPE may merge across the seam.
            return [self.inst, *self.encode(system + "".join(map(str, chunks))), self.inst_end]
        if len(chunks) == 2 and isinstance(chunks[0], str):
            chunks.reverse()
        ids = [self.inst, *self.encode(system)]
        for chunk in chunks:
            if isinstance(chunk, ImagePlaceholder):
                ids += self.image_ids(chunk.rows, chunk.columns)
            else:
                ids += self.encode(chunk)
        return [*ids, self.inst_end]

    def _assistant_turn(self, parts: Sequence[Text | ImagePlaceholder]) -> list[int]:
        text = _text("assistant", parts)
        if not text:
            raise ValueError("an assistant turn has no text: leave it out of the conversation")
        return [*self.encode(text.rstrip(" ")), self.eos]


def shrink_tekken(source: Mapping[str, Any], ranks: int) -> dict[str, Any]:
    """A published `tekken.json` cut to its first `ranks` ranks, with all its control tokens.

    The ranks are in the order of the merges, so a prefix of them is itself a valid vocabulary.
    """
    if not BYTES <= ranks <= len(source["vocab"]):
        raise ValueError(f"ranks is {ranks}: it must be {BYTES} (the bytes) to {len(source['vocab'])} (all)")
    size = source["config"]["default_num_special_tokens"] + ranks
    config = {**source["config"], "num_vocab_tokens": ranks, "default_vocab_size": size}
    return {**source, "config": config, "vocab": source["vocab"][:ranks]}


def _join_texts(parts: Iterable[Text | ImagePlaceholder]) -> list[str | ImagePlaceholder]:
    """Drops empty texts and joins neighbouring ones, as the reference does before it encodes a turn."""
    chunks: list[str | ImagePlaceholder] = []
    for part in parts:
        if isinstance(part, ImagePlaceholder):
            chunks.append(part)
        elif part.text and chunks and isinstance(chunks[-1], str):
            chunks[-1] += JOINER + part.text
        elif part.text:
            chunks.append(part.text)
    return chunks


def _text(role: str, parts: Iterable[Text | ImagePlaceholder]) -> str:
    chunks = _join_texts(parts)
    if any(isinstance(chunk, ImagePlaceholder) for chunk in chunks):
        raise ValueError(f"a message of the {role} holds an image: only the user's messages can")
    return "".join(map(str, chunks))


def _read(data: Any, vocab_size: int | None) -> dict[str, Any]:
    """The arguments of `Tokenizer` from the JSON of a `tekken.json`."""
    config = data["config"]
    if config["version"] != "v3":
        raise ValueError(
            f"its version is {config['version']!r}, and only v3, that of Pixtral-12B-2409, is supported"
        )
    offset: int = config["default_num_special_tokens"]
    size: int = config["default_vocab_size"] if vocab_size is None else vocab_size
    if not BYTES <= size - offset <= len(data["vocab"]):
        raise ValueError(
            f"{size} ids were asked of {offset} control tokens and {BYTES} to {len(data['vocab'])} ranks: "
            "use the tekken.json that came with the checkpoint"
        )
    ranks: dict[bytes, int] = {}
    for rank, entry in enumerate(data["vocab"][: size - offset]):
        if entry["rank"] != rank:
            raise ValueError(f"entry {rank} of its vocab has rank {entry['rank']}: they must be in order")
        ranks[binascii.a2b_base64(entry["token_bytes"], strict_mode=True)] = rank
    if [ranks.get(bytes([byte])) for byte in range(BYTES)] != list(range(BYTES)) or len(
        ranks
    ) != size - offset:
        raise ValueError("its vocab must begin with the 256 bytes and hold no bytes twice")
    named = data.get("special_tokens")
    special = {name: id for id, name in enumerate(V3_SPECIAL_TOKENS)}
    if named is not None:
        special = {entry["token_str"]: entry["rank"] for entry in named}
    # Else an id would be both a control token and a rank that text can become.
    if any(not 0 <= id < offset for id in special.values()):
        raise ValueError(f"a control token of it has an id outside 0 to {offset - 1}")
    return {"pattern": config["pattern"], "ranks": ranks, "special_tokens": special, "offset": offset}
