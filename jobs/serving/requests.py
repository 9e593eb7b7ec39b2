"""The bodies of requests: JSON in, typed requests out, or an ApiError 400 that names the field.

The fields are OpenAI's, and a few that clients of Mistral's and vLLM's send. A field that would change the
answer and that Quire has no part for is refused unless it has the value at which it changes nothing. Nothing
is left out in silence, but for the fields that are about the sender alone.
"""

from abc import abstractmethod
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import from_json

from jobs.serving.errors import ApiError, refused

MAX_CHOICES: Final = 128  # as OpenAI's
MAX_STOPS: Final = 16
MAX_VALUES: Final = (
    1_000_000  # of a body: each becomes an object of Python's, and text has no limit but the body's
)

# About the sender or the bill: no answer depends on them.
IGNORED: Final = frozenset(
    "user metadata store service_tier safety_identifier prompt_cache_key prompt_cache_retention "
    "parallel_tool_calls".split()
)
# What Quire has no part for, and the values at which that changes nothing.
NEUTRAL: Final[dict[str, tuple[object, ...]]] = {
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "repetition_penalty": (1,),
    "logit_bias": ({},),
    "top_k": (-1, 0),
    "min_p": (0,),
    "min_tokens": (0,),
    "tools": ([],),
    "functions": ([],),
    "tool_choice": ("none", "auto"),
    "function_call": ("none", "auto"),
    "modalities": (["text"],),
    "best_of": (1,),
    "echo": (False,),
    "suffix": ("",),
    "safe_prompt": (False,),
    "guardrails": ([],),
    "skip_special_tokens": (True,),
    "add_generation_prompt": (True,),
    "continue_final_message": (False,),
}

Stops = Annotated[str, Field(min_length=1, max_length=1024)]
Seed = Annotated[int, Field(ge=-(2**63), lt=2**64)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class StreamOptions(_Model):
    """What a stream holds beside the answer."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None  # padding against listeners; none is sent


class JsonSchema(_Model):
    """A schema that the answer follows."""

    name: str | None = None
    description: str | None = None
    strict: bool | None = None  # it always is
    schema_: dict[str, Any] = Field(alias="schema")


class ResponseFormat(_Model):
    """The form of the answer."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class AnyRequest(_Model):
    """What both ways of asking share."""

    model: str | None = None
    n: int = Field(default=1, ge=1, le=MAX_CHOICES)
    temperature: float = Field(default=1.0, ge=0, le=2)
    top_p: float = Field(default=1.0, ge=0, le=1)
    seed: Seed | None = None
    random_seed: Seed | None = None  # Mistral's name for it
    stop: Stops | Annotated[list[Stops], Field(max_length=MAX_STOPS)] = Field(default_factory=list)
    max_tokens: int | None = Field(default=None, ge=1)
    stream: bool = False
    stream_options: StreamOptions | None = None
    ignore_eos: bool = False  # write on after the end, for benchmarks

    @property
    def stops(self) -> list[str]:
        return [self.stop] if isinstance(self.stop, str) else self.stop

    @property
    def include_usage(self) -> bool:
        return bool(self.stream_options and self.stream_options.include_usage)

    @property
    @abstractmethod
    def wants_logprobs(self) -> bool:
        """Whether the chosen tokens' are told."""

    @property
    @abstractmethod
    def others(self) -> int:
        """How many of the likeliest tokens are to be told beside the chosen one."""

    @property
    def limit(self) -> int | None:
        """Tokens of an answer after which it is cut."""
        return self.max_tokens


class ChatRequest(AnyRequest):
    """POST /v1/chat/completions."""

    messages: list[dict[str, Any]] = Field(min_length=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    logprobs: bool = False
    top_logprobs: int = Field(default=0, ge=0)
    response_format: ResponseFormat | None = None

    @property
    def wants_logprobs(self) -> bool:
        return self.logprobs

    @property
    def others(self) -> int:
        return self.top_logprobs

    @property
    def limit(self) -> int | None:
        return self.max_completion_tokens or self.max_tokens


class CompletionRequest(AnyRequest):
    """POST /v1/completions."""

    prompt: str | list[str] | list[int] | list[list[int]]
    logprobs: int | None = Field(default=None, ge=0)

    @property
    def wants_logprobs(self) -> bool:
        return self.logprobs is not None

    @property
    def others(self) -> int:
        return self.logprobs or 0


Request = TypeVar("Request", bound=AnyRequest)


def parse(body: bytes, kind: type[Request]) -> Request:
    """The request of a body. Raises ApiError 400."""
    if sum(map(body.count, b",[{")) > MAX_VALUES:
        raise refused(f"the body holds more than {MAX_VALUES:,} values")
    try:
        data = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise refused(f"the body is no JSON: {error}") from None
    if not isinstance(data, dict):
        raise refused("the body is no JSON object")
    given = {name: value for name, value in data.items() if value is not None and name not in IGNORED}
    for name in given.keys() & NEUTRAL.keys():
        value = given.pop(name)
        # True is 1 in Python, and no number here.
        if not any(type(value) in (type(one), int, float) and value == one for one in NEUTRAL[name]):
            raise refused(f"{name} is not supported: leave it out", name, "unsupported_parameter")
    try:
        request = kind.model_validate(given)
    except ValidationError as error:
        raise _explained(error) from None
    if request.others:
        message = "only the chosen tokens have log-probabilities here: leave the likeliest others out"
        raise refused(message, "logprobs", "unsupported_parameter")
    return request


def _explained(error: ValidationError) -> ApiError:
    """The first thing that is wrong."""
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part)[:60] for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return refused(f"{where} is not known: leave it out", where, "unknown_parameter")
    if first["type"] == "missing":
        return refused(f"{where} is missing", where, "missing_required_parameter")
    return refused(f"{where}: {first['msg']}", where, "invalid_value")
