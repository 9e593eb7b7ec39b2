"""The settings of a run, as flags or code give them, and the `Plan` that follows from them.

In: a FlowConfig, and the checkpoint and the targets that it names. Out: the plan, with the defaults filled
in, and with the key of each ask's settings. All mistakes are ValueErrors of one sentence; no weights are
loaded.
"""

import hashlib
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel

from model.config import check_fp8_widths, check_tensor_parallel_size
from model.text.grammar import GRAMMAR_VERSION, check_schema
from model.text.tokenizer import Tokenizer
from pipeline.ingest.fetching import WebRules, rules_of
from pipeline.ingest.file_types import MAX_BYTES
from pipeline.ingest.object_uris import CREDENTIALS, holds_credentials
from pipeline.ingest.reading import WEB_SECONDS
from pipeline.ingest.roots import find_roots
from pipeline.plan.limits import Limits
from pipeline.plan.model_place import find_model, key_of, model_shape, tokenizer_file
from pipeline.plan.plan import MARKDOWN, MESSAGES, Ask, Plan, Scope, Style
from pipeline.plan.prompts import MARKDOWN_VERSION, WORDING_VERSION, check_length
from schemas.arrow import json_schema, schema_hash
from schemas.targets import Question, load_target, target_label

MAX_SIDE = 1024
MAX_TEMPERATURE = 5  # at which a draw is next to blind
QUESTION_TOKENS, FREE_TOKENS, TARGET_TOKENS, MARKDOWN_TOKENS = 128, 1024, 1024, 4096
LOOP_TEMPERATURES = (0.3, 0.6, 0.9)  # of a page whose transcription went round in a loop

Settings = Mapping[str, object]  # that all asks of a run share


@dataclass(frozen=True, kw_only=True)
class FlowConfig:
    """The settings of a run. None is a default, which depends on the model, the target or the cluster."""

    inputs: tuple[str, ...]
    """Files, folders, globs, addresses in a cloud; Parquet files or datasets if `column` is given."""
    output: str
    """Folder, or prefix in a cloud, of the tables."""
    model: str
    """Folder of the checkpoint, or owner/name[@revision] on the hub."""
    questions: tuple[Question, ...] = ()
    """Free questions."""
    targets: tuple[str, ...] = ()
    """Each module:Class, the name of a target that ships with Quire, the text of a schema (`target_text`), or
    markdown."""
    keep_headers: bool = False
    """Whether a transcription has the page's header, footer and number."""
    style: Style = "short"
    """How questions are asked: short, for a single word or phrase, or free, as they are written."""
    system: str | None = None
    """The system prompt of everything that is asked."""
    temperature: float = 0.0
    """0: the likeliest tokens; above, tokens are drawn."""
    top_p: float = 1.0
    """Tokens are drawn among the likeliest that together have this probability."""
    seed: int | None = None
    """Of the draws; each item has a seed of its own that follows from it. Default: 0."""
    stop: tuple[str, ...] = ()
    """Texts at which the answer to a question ends."""
    scope: Scope | None = None
    """page: each page is asked; document: windows of pages. Default: document for a target, else page."""
    merge: bool | None = None
    """Whether a target's answers about the windows of a document become one. Default: at scope document. A
    table of merged answers that is there is kept up to date."""
    max_pages: int = 4
    """Pages in a window of scope document."""
    pages: tuple[int, int | None] = (1, None)
    """The first and the last page of each document that are read; None: to its end."""
    max_side: int | None = None
    """Longest edge in pixels at which the model sees a page. Default: 1024, or the model's own if smaller."""
    max_new_tokens: int | None = None
    """Tokens after which an answer is cut. Default: 128 for questions, 1024 for free ones,
    conversations and targets, 4096 for markdown."""
    column: str | None = None
    """Column of a Parquet input that holds documents: bytes, URIs, structs of both, or lists of these.
    Default: the one that can only be it."""
    messages_column: str | None = None
    """Column of a Parquet input that holds conversations, which are asked as they are."""
    id_column: str | None = None
    """Column of a Parquet input that names its rows."""
    passwords: tuple[str, ...] = field(default=(), repr=False)
    """Tried on documents that need one."""
    password_column: str | None = None
    """Column of a Parquet input that holds each document's password, or null."""
    attachments: bool = False
    """Whether what is attached to PDFs, and to e-mails in a column of bytes, is read as well. Each document
    is then read once more when it is listed. What is attached to files called .eml is read in any case."""
    since_last_run: bool = False
    """Whether only the rows of tables are read that came since a run into this output asked the same."""
    allow_roots: tuple[str, ...] = ()
    """Folders and prefixes, beside those of the inputs, in which a Parquet row may name a document."""
    allow_http: bool = False
    """Whether what a Parquet row names at an http: or https: address is fetched, from public hosts."""
    allow_hosts: tuple[str, ...] = ()
    """Hosts that may lie in a private network."""
    limits: Limits = field(default_factory=Limits)
    """The limits of one document."""
    dtype: str = "auto"
    """The type in which the model computes: auto, float32, bfloat16, or fp8 (for products in the decoder)."""
    cache_dtype: str = "auto"
    """The type of the cached keys and values: auto, as `dtype`, or fp8."""
    batch_size: int | None = None
    """Prompts that a Replica is given at a time. Default: 8."""
    max_num_seqs: int | None = None
    """Answers that a Replica writes at a time. Default: 256."""
    max_model_len: int | None = None
    """Tokens of a prompt and its answer together. Default: what the model can."""
    replicas: int | None = None
    """Copies of the model. Default: as many as the GPUs hold, or without GPUs one a node."""
    tensor_parallel: int = 1
    """GPUs among which each copy is shared out."""
    maintain_every: int | None = None
    """Commits after which small files of the tables are merged. Default: never."""

    def __post_init__(self) -> None:
        places = (*self.inputs, self.output, *self.allow_roots)
        if any(map(holds_credentials, places)):
            raise ValueError(CREDENTIALS)
        self._check_words()
        if self.messages_column:
            self._check_messages()
        elif not self.questions and not self.targets:
            raise ValueError(
                "say what to ask with --question, --questions or --target; or with --messages-column which "
                "column of a Parquet input holds conversations"
            )
        if self.style != "short" and not self.questions:
            raise ValueError(f"--style {self.style} is about questions, and there are none: leave it out")
        if self.stop and not (self.questions or self.messages_column):
            raise ValueError("--stop is about questions, and there are none: leave it out")
        if self.keep_headers and MARKDOWN not in self.targets:
            raise ValueError("--keep-headers is about --target markdown: leave it out")
        if self.scope == "document" and self.targets == (MARKDOWN,) and not self.questions:
            raise ValueError("--scope document: --target markdown goes page by page; leave --scope out")
        if self.merge and not set(self.targets) - {MARKDOWN}:
            raise ValueError("--merge is about the answers to a target, and there is none: leave it out")
        self._check_sampling()
        if self.system is not None and not self.system.strip():
            raise ValueError("--system is empty: give it words, or leave it out")
        if self.allow_roots and not (self.column or self.messages_column):
            where = self.allow_roots[0]
            raise ValueError(
                f"--allow-root {where}: it is for Parquet inputs, whose rows name files (--column)"
            )
        if self.allow_http and not (self.column or self.messages_column):
            raise ValueError("--allow-http: it is for Parquet inputs, whose rows name addresses (--column)")
        rules_of(self.allow_http, self.allow_hosts)  # one of the second without the first
        counts = ("max_pages", "max_side", "max_new_tokens", "batch_size", "max_num_seqs", "max_model_len")
        for name in (*counts, "replicas", "tensor_parallel", "maintain_every"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"--{name.replace('_', '-')} {value}: it must be at least 1")
        texts = {question.id: question.text for question in self.questions}
        if len(texts) < len(self.questions):
            raise ValueError("two of the questions are the same or have the same id: leave one out")

    def _check_words(self) -> None:
        """Raises ValueError for bytes of a command line that are no text. No password is repeated."""
        questions = tuple(question.text for question in self.questions)
        words = {"--password": self.passwords, "--stop": self.stop, "--question": questions}
        for flag, texts in (words | {"--system": (self.system or "",), "--output": (self.output,)}).items():
            if any("\ud800" <= character <= "\udfff" for text in texts for character in text):
                raise ValueError(f"{flag} holds bytes that are no text in UTF-8: write it in another way")

    def _check_messages(self) -> None:
        others = {
            "--question": self.questions,
            "--target": self.targets,
            "--column": self.column,
            "--password-column": self.password_column,
            "--attachments": self.attachments,
            "--scope": self.scope,
            "--pages": self.pages != (1, None),
        }
        for flag, given in others.items():
            if given:
                raise ValueError(
                    f"--messages-column {self.messages_column} holds all that is asked, images too: leave "
                    f"{flag} out"
                )

    def _check_sampling(self) -> None:
        check_sampling(self.temperature, self.top_p)
        # A transcription that loops is asked again, and drawn, whatever the temperature.
        seeded = self.seed is not None and MARKDOWN not in self.targets
        for flag, given in ((f"--top-p {self.top_p:g}", self.top_p < 1), ("--seed", seeded)):
            if given and not self.temperature:
                raise ValueError(
                    f"{flag} is about draws, and nothing is drawn without a --temperature above 0"
                )
        if "" in self.stop:
            raise ValueError("--stop is empty: give it the text at which an answer ends, or leave it out")


def check_sampling(temperature: float, top_p: float) -> None:
    """Raises ValueError for values of --temperature and --top-p that mean nothing."""
    if not 0 <= temperature <= MAX_TEMPERATURE:
        raise ValueError(f"--temperature {temperature:g}: it must be 0 to {MAX_TEMPERATURE}")
    if not 0 < top_p <= 1:
        raise ValueError(f"--top-p {top_p:g}: it must be above 0, and 1 at most")


def side_of(given: int | None, patch_size: int, image_size: int) -> int:
    """The longest edge in pixels at which a model sees a page, from --max-side. Raises ValueError."""
    max_side = min(MAX_SIDE, image_size) if given is None else given
    if not patch_size <= max_side <= image_size:
        raise ValueError(
            f"--max-side {max_side}: for this model it is {patch_size} (a patch) to {image_size} (an image)"
        )
    return max_side


def check_fp8_gpus(gpus: int, *dtypes: str) -> None:
    """Raises ValueError for --dtype fp8 or --cache-dtype fp8 without a GPU."""
    if not gpus and "fp8" in dtypes:
        raise ValueError(
            "fp8 needs Hopper GPUs (H100, H200), and there is no GPU: leave --dtype and --cache-dtype out"
        )


def context_of(given: int | None, longest: int) -> int:
    """Tokens of a prompt and its answer together, from --max-model-len. Raises ValueError."""
    if given is not None and given > longest:
        raise ValueError(f"--max-model-len {given}: this model can do {longest} at most")
    return given or longest


def make_plan(config: FlowConfig) -> Plan:
    """The defaults filled in, and the keys under which the results are stored. Raises ValueError."""
    targets = _targets(config.targets)
    model = find_model(config.model)
    shape = model_shape(model)
    check_tensor_parallel_size(shape, config.tensor_parallel)
    if config.dtype == "fp8":
        check_fp8_widths(shape, config.tensor_parallel)
    tokenizer = Tokenizer.from_file(tokenizer_file(model), shape.vocab_size)
    patch_size, image_size = shape.vision.patch_size, shape.vision.image_size
    max_side = side_of(config.max_side, patch_size, image_size)
    context = context_of(config.max_model_len, shape.max_position_embeddings)
    run = {"model": key_of(model), "max_side": max_side}
    asks = [_questions_ask(config, run)] if config.questions or config.messages_column else []
    for name, target in targets.items():
        number = len(asks)
        if target is None:
            asks.append(_markdown_ask(config, run, number=number))
        else:
            asks.append(_target_ask(config, run, name=name, target=target, number=number))
    for ask in asks:
        check_length(ask, tokenizer, context)
    if any(ask.scope == "document" for ask in asks):
        _check_window(config.max_pages, config.limits.images)
    return Plan(
        run_id=f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:8]}",
        asks=tuple(asks),
        max_pages=config.max_pages,
        pages=config.pages,
        max_side=max_side,
        model=model,
        patch_size=patch_size,
        vocab_size=shape.vocab_size,
        limits=config.limits,
        roots=find_roots(config.inputs, config.allow_roots),
        web=_web_rules(config),
        passwords=config.passwords,
    )


def _web_rules(config: FlowConfig) -> WebRules | None:
    """A document may be larger than an image, and takes longer."""
    rules = rules_of(config.allow_http, config.allow_hosts)
    return rules and replace(rules, max_bytes=MAX_BYTES, seconds=WEB_SECONDS)


def _check_window(pages: int, images: int | None) -> None:
    """Raises ValueError for windows of more pages than a question may have images."""
    if images is not None and pages > images:
        raise ValueError(
            f"--limit-images {images}: a window has up to {pages} pages, each of which is an image: lower "
            "--max-pages, or raise --limit-images"
        )


def _targets(names: tuple[str, ...]) -> dict[str, type[BaseModel] | None]:
    """The classes of the targets; None for markdown.

    Raises ValueError, also for two that the tables could not tell apart.
    """
    found: dict[str, type[BaseModel] | None] = {}
    called: dict[str, str] = {}
    for name in names:
        target = None if name == MARKDOWN else load_target(name)
        label, its = target_label(name), name if target is None else target.__name__
        if its in called:
            raise ValueError(
                f"--target {called[its]} and --target {label} are both called {its}: leave one out, or "
                "rename one"
            )
        called[its] = label
        found[name] = target
    return found


def _questions_ask(config: FlowConfig, run: Settings) -> Ask:
    scope: Scope = config.scope or "page"
    style: Style = "messages" if config.messages_column else config.style
    max_new_tokens = config.max_new_tokens or (QUESTION_TOKENS if style == "short" else FREE_TOKENS)
    extra: dict[str, object] = {} if style == "short" else {"style": style}
    if config.stop:
        extra["stop"] = config.stop
    return Ask(
        number=0,
        settings_key=_settings_key(config, run, scope, max_new_tokens, **extra),
        # A conversation is one question, too.
        questions=config.questions or (Question(id=MESSAGES, text=MESSAGES),),
        target=None,
        scope=scope,
        max_new_tokens=max_new_tokens,
        style=style,
        stop=config.stop,
        **_shared(config),
    )


def _target_ask(config: FlowConfig, run: Settings, *, name: str, target: type[BaseModel], number: int) -> Ask:
    scope: Scope = config.scope or "document"
    max_new_tokens = config.max_new_tokens or TARGET_TOKENS
    grammar = json.dumps(json_schema(target, nullable=True), ensure_ascii=False)
    check_schema(grammar)
    its = {"target": schema_hash(target), "grammar": GRAMMAR_VERSION}
    return Ask(
        number=number,
        settings_key=_settings_key(config, run, scope, max_new_tokens, **its),
        # A target is one question, which stands in the tables under the target's name.
        questions=(Question(id=target.__name__, text=target_label(name)),),
        target=name,
        scope=scope,
        max_new_tokens=max_new_tokens,
        grammar=grammar,
        merge=scope == "document" if config.merge is None else config.merge,
        **_shared(config),
    )


def _markdown_ask(config: FlowConfig, run: Settings, *, number: int) -> Ask:
    max_new_tokens = config.max_new_tokens or MARKDOWN_TOKENS
    its = {"wording": MARKDOWN_VERSION, "target": MARKDOWN, "loop_temperatures": LOOP_TEMPERATURES}
    if config.keep_headers:
        its["keep_headers"] = True
    if config.seed:
        its["seed"] = config.seed
    return Ask(
        number=number,
        settings_key=_settings_key(config, run, "page", max_new_tokens, **its),
        questions=(Question(id=MARKDOWN, text=MARKDOWN),),
        target=MARKDOWN,
        scope="page",
        max_new_tokens=max_new_tokens,
        keep_headers=config.keep_headers,
        loop_temperatures=LOOP_TEMPERATURES,
        **_shared(config) | {"seed": config.seed or 0},
    )


def _shared(config: FlowConfig) -> dict[str, Any]:
    """The settings that all asks of a run have."""
    draws = {"temperature": float(config.temperature), "top_p": float(config.top_p), "seed": config.seed or 0}
    return {"system": config.system} | (draws if config.temperature else {})


def _settings_key(config: FlowConfig, run: Settings, scope: Scope, max_new_tokens: int, **its: object) -> str:
    """The hash of an ask's settings. Those that older versions did not have count where they are given."""
    settings = {
        "wording": its.pop("wording", WORDING_VERSION),
        "model": run["model"],
        "target": its.pop("target", None),
        "grammar": its.pop("grammar", None),
        "scope": scope,
        "max_pages": config.max_pages if scope == "document" else 1,
        "max_side": run["max_side"],
        "max_new_tokens": max_new_tokens,
        "dtype": config.dtype,
        "cache_dtype": config.cache_dtype,
    }
    settings |= its | {name: value for name, value in _shared(config).items() if value is not None}
    return hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:32]
