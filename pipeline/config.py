"""The settings of a run, as flags or code give them, and the `Plan` that follows from them.

In: a FlowConfig, and the checkpoint and the target that it names. Out: the plan, with the defaults filled in,
and with the key of its settings. All mistakes are ValueErrors of one sentence; no weights are loaded.
"""

import hashlib
import json
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from model.checkpoint_files import check_checkpoint
from model.config import check_fp8_widths, check_tensor_parallel_size
from model.model_key import model_key
from model.text.grammar import GRAMMAR_VERSION, check_schema
from model.text.tokenizer import Tokenizer
from pipeline.plan.limits import Limits
from pipeline.plan.plan import ROOT, Plan, Scope
from pipeline.plan.prompts import WORDING_VERSION
from schemas.arrow import json_schema, schema_hash
from schemas.targets import Question, load_target

MAX_SIDE = 1024
QUESTION_TOKENS, TARGET_TOKENS = 128, 1024


@dataclass(frozen=True, kw_only=True)
class FlowConfig:
    """The settings of a run. None is a default, which depends on the model, the target or the cluster."""

    inputs: tuple[str, ...]
    """Files, folders, globs, s3:// addresses; Parquet files or datasets if `column` is given."""
    output: str
    """Folder or s3:// prefix of the tables."""
    model: str
    """Folder of the checkpoint."""
    questions: tuple[Question, ...] = ()
    """Free questions, or else a target."""
    target: str | None = None
    """module:Class, or the name of a target that ships with Quire."""
    scope: Scope | None = None
    """page: each page is asked; document: windows of pages. Default: document for a target, else page."""
    max_pages: int = 4
    """Pages in a window of scope document."""
    pages: tuple[int, int | None] = (1, None)
    """The first and the last page of each document that are read; None: to its end."""
    max_side: int | None = None
    """Longest edge in pixels at which the model sees a page. Default: 1024, or the model's own if smaller."""
    max_new_tokens: int | None = None
    """Tokens after which an answer is cut. Default: 1024 for a target, else 128."""
    column: str | None = None
    """Column of a Parquet input that holds bytes or URIs."""
    id_column: str | None = None
    """Column of a Parquet input that names its rows."""
    passwords: tuple[str, ...] = field(default=(), repr=False)
    """Tried on documents that need one."""
    password_column: str | None = None
    """Column of a Parquet input that holds each document's password, or null."""
    limits: Limits = field(default_factory=Limits)
    """The limits of one document."""
    dtype: str = "auto"
    """The type in which the model computes: auto, float32, bfloat16, or fp8 (for products in the decoder)."""
    cache_dtype: str = "auto"
    """The type of the cached keys and values: auto, as `dtype`, or fp8."""
    batch_size: int | None = None
    """Prompts that a Replica is given at a time. Default: 8."""
    replicas: int | None = None
    """Copies of the model. Default: as many as the GPUs hold, or without GPUs one a node."""
    tensor_parallel: int = 1
    """GPUs among which each copy is shared out."""

    def __post_init__(self) -> None:
        places = (*self.inputs, self.output)
        if any("://" in place and "@" in urlsplit(place).netloc for place in places):
            raise ValueError(
                "an address holds credentials, which would end up in tables and logs: leave them out, and "
                "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            )
        if bool(self.questions) == bool(self.target):
            raise ValueError("ask questions or extract a target, one of the two")
        for name in ("max_pages", "max_side", "max_new_tokens", "batch_size", "replicas", "tensor_parallel"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"--{name.replace('_', '-')} {value}: it must be at least 1")
        texts = {question.id: question.text for question in self.questions}
        if len(texts) < len(self.questions):
            raise ValueError("two of the questions are the same or have the same id: leave one out")


def make_plan(config: FlowConfig) -> Plan:
    """The defaults filled in, and the keys under which the results are stored. Raises ValueError."""
    target = load_target(config.target) if config.target else None
    folder = Path(config.model).expanduser().absolute()
    shape = check_checkpoint(folder)
    check_tensor_parallel_size(shape, config.tensor_parallel)
    if config.dtype == "fp8":
        check_fp8_widths(shape, config.tensor_parallel)
    Tokenizer.from_file(folder / "tekken.json", shape.vocab_size)
    patch_size, image_size = shape.vision.patch_size, shape.vision.image_size
    max_side = config.max_side or min(MAX_SIDE, image_size)
    if not patch_size <= max_side <= image_size:
        raise ValueError(
            f"--max-side {max_side}: for this model it is {patch_size} (a patch) to {image_size} (an image)"
        )
    scope: Scope = config.scope or ("document" if target else "page")
    max_new_tokens = config.max_new_tokens or (TARGET_TOKENS if target else QUESTION_TOKENS)
    grammar = json.dumps(json_schema(target, nullable=True), ensure_ascii=False) if target else None
    if grammar:
        check_schema(grammar)
    settings = {
        "wording": WORDING_VERSION,
        "model": model_key(folder),
        "target": schema_hash(target) if target else None,
        "grammar": GRAMMAR_VERSION if target else None,
        "scope": scope,
        "max_pages": config.max_pages if scope == "document" else 1,
        "max_side": max_side,
        "max_new_tokens": max_new_tokens,
        "dtype": config.dtype,
        "cache_dtype": config.cache_dtype,
    }
    # A target is one question, which stands in the tables under the target's name.
    asked = (Question(id=target.__name__, text=str(config.target)),) if target else config.questions
    return Plan(
        run_id=f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:8]}",
        settings_key=hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:32],
        questions=asked,
        target=config.target,
        scope=scope,
        max_pages=config.max_pages,
        pages=config.pages,
        max_side=max_side,
        max_new_tokens=max_new_tokens,
        grammar=grammar,
        model=str(folder.relative_to(ROOT) if folder.is_relative_to(ROOT) else folder),
        patch_size=patch_size,
        vocab_size=shape.vocab_size,
        limits=config.limits,
        passwords=config.passwords,
    )
