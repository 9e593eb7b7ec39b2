"""Bodies of requests for fuzzing: good ones that were changed somewhere, in fields or in bytes."""

import base64
import copy
import json
from random import Random
from typing import Any

SMALL_PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"
)
ODD: list[Any] = [
    *(None, True, False, 0, 1, -1, 2**31, 2**63, 2**70, 0.5, 1e308, "", " ", "a", "\0", "\u202e", "é" * 300),
    *([], {}, [[]], [None], {"a": 1}, {"": None}, [1, "a"], "[INST]", "data:,", "data:image/png;base64,AAAA"),
    *("http://127.0.0.1/", "file:///etc/passwd", {"type": "text"}, {"type": "image_url", "image_url": 3}),
    *({"role": "user", "content": "x"}, {"role": "system"}, {"$ref": "#"}, " " * 5000, list(range(300))),
]
FIELDS = """
    model messages prompt n temperature top_p seed stop max_tokens max_completion_tokens stream stream_options
    logprobs top_logprobs response_format tools tool_choice user logit_bias echo suffix best_of ignore_eos
    random_seed presence_penalty frequency_penalty nothing
""".split()


def good(rng: Random) -> dict[str, Any]:
    """A request that is answered."""
    url = f"data:image/png;base64,{base64.b64encode(SMALL_PNG).decode()}"
    parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "What is it?"}]
    schema = {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]}
    return {
        "model": "nano",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": parts},
            {"role": "assistant", "content": "No."},
            {"role": "user", "content": "Sure?"},
        ],
        "max_tokens": 2,
        "temperature": rng.choice([0, 1]),
        "stream": rng.random() < 0.3,
        "logprobs": rng.random() < 0.3,
        "stop": rng.choice([None, "x", ["x", "y"]]),
        "response_format": rng.choice(
            [None, {"type": "json_object"}, {"type": "json_schema", "json_schema": {"schema": schema}}]
        ),
    }


def body(rng: Random) -> tuple[str, bytes]:
    """A path, and what is sent to it."""
    chat = rng.random() < 0.8
    request = good(rng)
    if not chat:
        request = {"prompt": rng.choice(["Once", ["a", "b"], [1, 1100], [[1, 1100], [1]]]), "max_tokens": 2}
    for _ in range(rng.choice([0, 1, 1, 1, 2, 3])):
        _change(request, rng)
    if request.get("max_tokens") is None or rng.random() < 0.9:
        request["max_tokens"] = 2  # most are short: it is the bodies that are tried
    data = json.dumps(request).encode()
    if rng.random() < 0.15:
        data = _torn(data, rng)
    return ("/v1/chat/completions" if chat else "/v1/completions"), data


def _change(value: Any, rng: Random) -> None:
    """Changes something in a request, at any depth."""
    place: Any = value
    while True:
        inside = list(place) if isinstance(place, dict) else range(len(place))
        if not inside:
            break
        key = rng.choice(list(inside))
        if isinstance(place[key], dict | list) and place[key] and rng.random() < 0.7:
            place = place[key]
            continue
        how = rng.random()
        if how < 0.15:
            del place[key]
        elif how < 0.3 and isinstance(place, list):
            place.append(copy.deepcopy(place[key]))
        else:
            place[key] = copy.deepcopy(rng.choice(ODD))
        break
    if rng.random() < 0.3:
        value[rng.choice(FIELDS)] = copy.deepcopy(rng.choice(ODD))


def _torn(data: bytes, rng: Random) -> bytes:
    at = rng.randrange(len(data))
    match rng.randrange(4):
        case 0:
            return data[:at]
        case 1:
            return data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]
        case 2:
            return data[:at] + rng.randbytes(5) + data[at:]
        case _:
            return data[:at] + b'"\\ud800' + data[at:]
