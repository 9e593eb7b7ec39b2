"""The server as its clients meet it: the model card's request, official clients, bad requests, its end."""

import base64
import io
import json
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import openai
import pytest
from mistralai.client import Mistral
from mistralai.client.errors import SDKError
from PIL import Image
from pydantic import BaseModel

from jobs import chat, serve
from jobs.run.model_flags import NANO
from jobs.serving import server as serving_module
from tests.docs.markdown import blocks
from tests.docs.parsers import body_of
from tests.docs.shell import commands, make_root
from tests.jobs.serving.served import ROOT, Server, error_of, serving

pytestmark = [pytest.mark.processes]
SIDE = 256
ENDLESS = {"ignore_eos": True}
SAMPLES = ROOT / "samples" / "documents"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """The embedded model."""
    flags = ("--max-side", str(SIDE), "--max-body", "4", "--limit-images", "4")
    with serving(*flags, "--dtype", "float32") as found:  # so that an answer does not depend on its company
        yield found


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Any]:
    with openai.OpenAI(base_url=server.url, api_key="none", max_retries=0) as found:
        yield found


@pytest.fixture(scope="module")
def mistral(server: Server) -> Iterator[Any]:
    with Mistral(api_key="none", server_url=server.url.removesuffix("/v1")) as found:
        yield found


def data_url(name: str, side: int = 300) -> str:
    image = Image.open(SAMPLES / name).convert("RGB")
    image.thumbnail((side, side))
    file = io.BytesIO()
    image.save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def picture(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def words(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def said(*content: Any, **options: Any) -> dict[str, Any]:
    """A request of one message."""
    message = {"role": "user", "content": content[0] if isinstance(content[0], str) else list(content)}
    return {"model": "nano", "messages": [message], "max_tokens": 6, "temperature": 0} | options


def card() -> dict[str, Any]:
    """The model card's request: two images, and text between and behind them."""
    return said(
        words("What is the total of this?"),
        picture(data_url("receipt.png")),
        words("And which is the highest of these?"),
        picture(data_url("visitors_chart.png")),
        words("Answer in a word."),
    )


def test_the_model_cards_request(server: Server) -> None:
    reply = server.ask(card())
    assert reply["object"] == "chat.completion"
    assert reply["model"] == "nano"
    (choice,) = reply["choices"]
    assert choice["message"]["role"] == "assistant"
    assert choice["message"]["content"]
    assert choice["finish_reason"] in ("stop", "length")
    usage = reply["usage"]
    assert usage["prompt_tokens"] > 300
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    again = server.ask(card())
    assert again["choices"] == reply["choices"]
    assert again["usage"]["prompt_tokens_details"]["cached_tokens"] > 200


def test_the_program_of_the_documentation(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    (program,) = [block.code for block in blocks(ROOT / "docs" / "serving.md") if block.language == "python"]
    exec(program.replace("http://127.0.0.1:8000/v1", server.url), {})
    assert capsys.readouterr().out


def test_the_curl_of_the_documentation(server: Server, tmp_path: Path) -> None:
    page = blocks(ROOT / "docs" / "serving.md")
    (code,) = [block.code for block in page if block.code.startswith("curl ")]
    ((_, *words),) = commands(make_root(tmp_path), code, make=False)
    (choice,) = server.ask(body_of(words))["choices"]
    assert choice["message"]["content"]


def test_a_stream_is_the_whole_answer_in_pieces(client: Any) -> None:
    asked = card() | {"logprobs": True, "max_tokens": 12}
    whole = client.chat.completions.create(**asked)
    chunks = list(
        client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True})
    )
    assert {chunk.id for chunk in chunks} == {chunks[0].id}
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    pieces = [chunk.choices[0] for chunk in chunks[:-1]]
    assert "".join(piece.delta.content or "" for piece in pieces) == whole.choices[0].message.content
    assert len(pieces) > 4
    assert [piece.finish_reason for piece in pieces] == [
        *[None] * (len(pieces) - 1),
        whole.choices[0].finish_reason,
    ]
    tokens = [token for piece in pieces if piece.logprobs for token in piece.logprobs.content]
    assert tokens == whole.choices[0].logprobs.content
    assert len(tokens) == whole.usage.completion_tokens
    assert all(token.logprob <= 0 for token in tokens)


def test_several_answers_are_drawn_with_seeds(client: Any) -> None:
    asked = said("Write some words.") | {"n": 3, "temperature": 1.5, "seed": 7, "max_tokens": 8}
    first, again = (client.chat.completions.create(**asked) for _ in range(2))
    texts = [choice.message.content for choice in first.choices]
    assert [choice.index for choice in first.choices] == [0, 1, 2]
    assert len(set(texts)) > 1
    assert [choice.message.content for choice in again.choices] == texts
    streamed = ["", "", ""]
    for chunk in client.chat.completions.create(**asked, stream=True):
        streamed[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
    assert streamed == texts
    other = client.chat.completions.create(**asked | {"seed": 8})
    assert [choice.message.content for choice in other.choices] != texts


def test_an_answer_ends_before_its_stop_string(client: Any) -> None:
    asked = said("What is the total?") | {"max_tokens": 16, "logprobs": True}
    whole = client.chat.completions.create(**asked).choices[0].message.content
    stop = whole[2:4]
    expected = whole.partition(stop)[0]
    ended = client.chat.completions.create(**asked, stop=[stop])
    assert ended.choices[0].message.content == expected
    assert ended.choices[0].finish_reason == "stop"
    chunks = list(client.chat.completions.create(**asked, stop=stop, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == expected
    given = [token for one in chunks if one.choices[0].logprobs for token in one.choices[0].logprobs.content]
    assert given == ended.choices[0].logprobs.content
    assert "".join(token.token for token in given).startswith(expected)


class Item(BaseModel):
    name: str
    count: int


class Order(BaseModel):
    kind: Literal["new", "old"]
    items: list[Item]
    note: str | None = None


def test_structured_answers_follow_their_schema(client: Any) -> None:
    asked = said(words("The order?"), picture(data_url("receipt.png"))) | {"max_tokens": 200}
    parsed = client.chat.completions.parse(**asked, response_format=Order)
    assert parsed.choices[0].finish_reason in ("stop", "length")
    order = {"name": "order", "schema": {"type": "object", "properties": {"paid": {"type": "boolean"}}}}
    form: dict[str, Any] = {"type": "json_schema", "json_schema": order}
    found = client.chat.completions.create(**asked, response_format=form)
    assert type(json.loads(found.choices[0].message.content)["paid"]) is bool
    free = client.chat.completions.create(
        **asked | {"max_tokens": 24}, response_format={"type": "json_object"}
    )
    text = free.choices[0].message.content
    assert text.startswith("{")
    if free.choices[0].finish_reason == "stop":
        assert isinstance(json.loads(text), dict)


def test_texts_go_on(client: Any) -> None:
    asked: dict[str, Any] = {"model": "nano", "max_tokens": 5, "temperature": 0, "extra_body": ENDLESS}
    whole = client.completions.create(**asked, prompt=["The total", "Name:"], n=2, logprobs=0)
    assert [choice.index for choice in whole.choices] == [0, 1, 2, 3]
    assert whole.choices[0].text == whole.choices[1].text
    assert len(whole.choices[0].logprobs.tokens) == 5
    assert whole.usage.completion_tokens == 20
    ids = client.completions.create(**asked, prompt=[[1, 1084, 1104], [1, 1084]])
    assert (len(ids.choices), ids.usage.prompt_tokens) == (2, 5)
    stream = client.completions.create(**asked, prompt="The total", stream=True)
    assert "".join(chunk.choices[0].text for chunk in stream) == whole.choices[0].text


def test_the_clients_errors_are_those_of_openai(client: Any) -> None:
    with pytest.raises(openai.NotFoundError, match="this server has 'nano'"):
        client.chat.completions.create(**said("Who?", model="gpt-5"))
    with pytest.raises(openai.BadRequestError, match="context holds") as raised:
        client.chat.completions.create(**said("Who?", max_tokens=10**6))
    assert raised.value.code == "context_length_exceeded"
    assert raised.value.param == "max_tokens"
    with pytest.raises(openai.BadRequestError, match="role 'tool'"):
        client.chat.completions.create(**said("Who?") | {"messages": [{"role": "tool", "content": "?"}]})
    with pytest.raises(openai.BadRequestError, match="only the chosen tokens"):
        client.chat.completions.create(**said("Who?", logprobs=True, top_logprobs=3))
    assert [model.id for model in client.models.list()] == ["nano"]
    assert client.models.retrieve("nano").id == "nano"


def test_mistrals_client(mistral: Any, server: Server) -> None:
    asked = card()
    expected = server.ask(asked)["choices"][0]["message"]["content"]
    reply = mistral.chat.complete(**asked, random_seed=3)
    assert reply.choices[0].message.content == expected
    dialogue = [
        {"role": "system", "content": "Be brief."},
        *asked["messages"],
        {"role": "assistant", "content": expected},
        {"role": "user", "content": "Sure?"},
    ]
    (model,) = mistral.models.list().data
    assert (model.id, model.max_context_length, model.capabilities.vision) == ("nano", 128_000, True)
    assert mistral.models.retrieve(model_id="nano").id == "nano"
    parts = mistral.chat.stream(**asked | {"messages": dialogue})
    assert "".join(part.data.choices[0].delta.content or "" for part in parts)
    with pytest.raises(SDKError, match="this server has 'nano'"):
        mistral.chat.complete(**asked | {"model": "mistral-large"})


BAD: dict[str, tuple[Any, str]] = {
    "no JSON": (b"{", "no JSON"),
    "no object": (b"[1]", "no JSON object"),
    "nothing": (b"", "no JSON"),
    "deep": (b"[" * 100_000, "no JSON"),
    "many values": (b'{"messages": [' + b"[]," * 600_000 + b"[]]}", "more than 1,000,000 values"),
    "half a character": (b'{"model": "\\ud800"}', "no JSON"),
    "no messages": ({"model": "nano"}, "messages is missing"),
    "empty messages": (said("x") | {"messages": []}, "messages"),
    "an unknown field": (said("x", colour="red"), "colour is not known"),
    "a tool": (said("x", tools=[{"type": "function"}]), "tools is not supported"),
    "a penalty": (said("x", presence_penalty=0.5), "presence_penalty is not supported"),
    "a wrong type": (said("x", max_tokens="6"), "max_tokens: "),
    "too hot": (said("x", temperature=3), "temperature: "),
    "NaN": (b'{"messages": [], "temperature": NaN}', "no JSON"),
    "too many choices": (said("x", n=1000), "n: "),
    "an empty stop": (said("x", stop=[""]), "stop"),
    "no base64": (said(picture("data:image/png;base64,!")), "image 1 of messages cannot be read"),
    "no image": (said(picture("data:image/png;base64,bm8=")), "image 1 of messages"),
    "a file": (said(picture("file:///etc/passwd")), "is no image: send it as a data: URL"),
    "a path": (said(picture("/etc/passwd")), "is no image: send it as a data: URL"),
    "the web": (said(picture("http://example.org/a.png")), "is not fetched: --allow-http allows it"),
    "an image of the system": (
        said("x") | {"messages": [{"role": "system", "content": [picture("data:,")]}]},
        "holds an image: only the user's can",
    ),
    "many images": (said(*[picture("data:,")] * 5), "5 images, and the limit is 4"),
    "only an assistant": (
        said("x") | {"messages": [{"role": "assistant", "content": "a"}]},
        "not the user's",
    ),
    "blanks": (said(" " * 1_000_000 + "x"), "cannot be cut into tokens"),
    "too long": (said("word " * 140_000), "the context holds"),
    "a bad schema": (
        said("x", response_format={"type": "json_schema", "json_schema": {"name": "a", "schema": {}}}),
        "response_format.json_schema.schema: #: ",
    ),
    "a pattern": (
        said(
            "x",
            response_format={
                "type": "json_schema",
                "json_schema": {"schema": {"properties": {"a": {"type": "string", "pattern": "a^b"}}}},
            },
        ),
        "field 'a' has the pattern",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_request_is_a_400_that_says_why(server: Server, name: str) -> None:
    body, message = BAD[name]
    status, error = server.refuse(body)
    assert status == 400, error
    assert message in error["message"]
    assert error["type"] == "invalid_request_error"
    status, error = server.refuse(body, "/v1/completions")
    assert status == 400, error


def test_bad_prompts_of_completions(server: Server) -> None:
    for prompt, message in (
        ([], "prompt is empty"),
        ("x" * 3_000_000, "context holds"),
        ([99_999], "token ids are 0 to"),
        ([10], "tokens of an image"),
        ([-1], "token ids are 0 to"),
        ([[]], "prompt"),
        (["a", 1], "prompt"),
    ):
        status, error = server.refuse({"prompt": prompt}, "/v1/completions")
        assert (status, message in error["message"]) == (400, True), (prompt, error)
    assert server.refuse({"prompt": "a", "echo": True}, "/v1/completions")[0] == 400
    assert server.refuse({"prompt": ["a"] * 257}, "/v1/completions")[0] == 400


def test_what_the_framework_refuses_has_the_same_form(server: Server) -> None:
    for method, path, status in (
        ("GET", "/v1/chat/completions", 405),
        ("POST", "/v1/models", 405),
        ("GET", "/v1/nothing", 404),
        ("POST", "/v1/chat/completions/", 404),
        ("GET", "/v1/models/other", 404),
    ):
        found, _, reply = server.send(method, path)
        assert found == status, (method, path)
        error_of(reply)
    found, _, reply = server.send("POST", "/v1/completions", b"x=1", {"Content-Type": "text/plain"})
    assert found == 415
    error_of(reply)
    found, _, reply = server.send("POST", "/v1/completions", b" " * (5 * 2**20))
    assert (found, error_of(reply)["code"]) == (413, "request_too_large")
    found, _, reply = server.send("GET", "/health")
    assert (found, reply) == (200, b"")


def test_an_endless_body_without_a_length_is_refused(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        head = "POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
        connection.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        chunk = b"100000\r\n" + b" " * 2**20 + b"\r\n"
        for _ in range(5):
            connection.sendall(chunk)
        assert b" 413 " in connection.recv(65536)


def wait_until(server: Server, name: str, value: float) -> None:
    deadline = time.monotonic() + 60
    while server.metric(name) != value:
        assert time.monotonic() < deadline, (name, server.metric(name))
        time.sleep(0.02)


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_frees_its_place(server: Server, stream: bool) -> None:
    body = json.dumps(
        said("Go on.", max_tokens=3000, temperature=1, ignore_eos=True, stream=stream, n=2)
    ).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n"
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(f"{head}Content-Type: application/json\r\n\r\n".encode() + body)
        wait_until(server, "quire_answers_in_work", 2)
        if stream:
            connection.settimeout(60)
            with connection.makefile("rb") as reply:
                assert any(line.startswith(b"data: ") for line in reply)
    wait_until(server, "quire_answers_in_work", 0)
    assert server.metric("quire_held_bytes") == 0


def test_an_engine_that_is_killed_is_replaced_and_its_answers_are_written_again(
    server: Server, client: Any
) -> None:
    asked = said("Go on.", max_tokens=100, temperature=1, seed=5, extra_body=ENDLESS)
    expected = client.chat.completions.create(**asked, timeout=300).choices[0].message.content
    stream = client.chat.completions.create(**asked, stream=True, timeout=300)
    text = "".join(next(stream).choices[0].delta.content or "" for _ in range(4))
    engine = server.engine()
    with ThreadPoolExecutor() as threads:
        whole = threads.submit(client.chat.completions.create, **asked, timeout=300)
        wait_until(server, "quire_answers_in_work", 2)
        engine.kill()
        text += "".join(chunk.choices[0].delta.content or "" for chunk in stream)
        assert whole.result().choices[0].message.content == expected
    assert text == expected
    assert server.engine().pid != engine.pid


@pytest.mark.soak
def test_two_ranks_answer_as_one(server: Server) -> None:
    asked = (card(), said("Write some words.", n=2, temperature=1, seed=3, max_tokens=12))
    flags = ("--max-side", str(SIDE), "--dtype", "float32", "--tensor-parallel", "2")
    with serving(*flags) as shared:
        for one in asked:
            assert shared.ask(one)["choices"] == server.ask(one)["choices"]
        with openai.OpenAI(base_url=shared.url, api_key="none", max_retries=0) as client:
            stream = client.chat.completions.create(
                **said("Go on.", max_tokens=3000, extra_body=ENDLESS), stream=True
            )
            next(stream)
            stream.close()
        wait_until(shared, "quire_clients_left_total", 1)
        wait_until(shared, "quire_answers_in_work", 0)


def test_a_server_with_a_key_finishes_what_runs_and_ends(tiny_checkpoint: Path) -> None:
    flags = ("--model", str(tiny_checkpoint), "--served-model-name", "org/tiny", "--max-model-len", "2000")
    with serving(*flags, "--max-queue", "3", environment={"QUIRE_API_KEY": "secret"}) as server:
        assert server.send("GET", "/health")[0] == 200
        for path in ("/v1/models", "/metrics", "/v1/nothing"):
            status, _, reply = server.send("GET", path)
            assert (status, error_of(reply)["code"]) == (401, "invalid_api_key")
        with openai.OpenAI(base_url=server.url, api_key="secret", max_retries=0) as client:
            asked = said("Go on.", model="org/tiny", max_tokens=800, temperature=1, extra_body=ENDLESS, n=3)
            with pytest.raises(openai.BadRequestError, match="4 answers, and the limit is 3"):
                client.chat.completions.create(**asked | {"n": 4})
            with pytest.raises(openai.BadRequestError, match="context holds 2,000"):
                client.chat.completions.create(**asked | {"max_tokens": 2000})
            stream = client.chat.completions.create(**asked, stream=True)
            next(stream)
            with pytest.raises(openai.RateLimitError) as busy:
                client.chat.completions.create(**asked)
            assert busy.value.response.headers["retry-after"] == "1"
            assert busy.value.response.json()["error"]["code"] == "busy"
            server.process.send_signal(signal.SIGTERM)
            ends = [chunk.choices[0].finish_reason for chunk in stream]
            assert [reason for reason in ends if reason] == ["length"] * 3
        server.process.wait(60)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--model", "/nowhere"], "/nowhere holds no checkpoint"),
        (["--port", "70000"], "--port 70000: it must be 0 to 65535"),
        (["--host", "no such host"], "--host no such host"),
        (["--max-model-len", "1000000"], "--max-model-len 1000000: this model can do 128000 at most"),
        (["--max-side", "1"], "--max-side 1: for this model it is 16"),
        (["--tensor-parallel", "3"], "choose one of 1, 2"),
        (["--max-num-seqs", "0"], "--max-num-seqs 0: it must be at least 1"),
        (["--max-queue", "0"], "--max-queue 0: it must be at least 1"),
        (["--allow-host", "intranet"], "add --allow-http"),
        (["--api-key", ""], "--api-key is empty"),
        (["--colour"], "unrecognized arguments"),
    ],
)
def test_a_wrong_flag_is_one_sentence(
    flags: list[str], message: str, tiny_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert serve.main(["--model", str(tiny_checkpoint), *flags]) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.startswith("error: ")
    assert printed.count("\n") == 1


@pytest.mark.parametrize("job", [chat, serve])
def test_a_model_is_a_flag_or_an_argument(job: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    parser = job.make_parser()
    assert {parser.parse_args(words).model for words in (["a/b"], ["--model", "a/b"])} == {"a/b"}
    assert parser.parse_args([]).model == str(NANO)
    assert job.main(["a/b", "--model", "c/d"]) == 2
    assert "--model: not allowed with argument MODEL" in capsys.readouterr().err


def test_flags_of_a_server_may_stand_in_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "serve.yaml").write_text("model: a/b\nmax-queue: 9\napi-key: hunter2\n")
    words = ["--config", str(tmp_path / "serve.yaml"), "--max-queue=3"]
    given = serve.make_parser().parse_args(words)
    assert (given.model, given.max_queue, given.api_key) == ("a/b", 3, "hunter2")
    with pytest.raises(SystemExit):
        serve.main([*words, "--print-config"])
    text = capsys.readouterr().out
    assert "hunter2" not in text
    assert "model: a/b\n" in text


def test_a_server_that_is_told_to_end_before_it_serves_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)  # Ray, in this process, has one
    monkeypatch.setattr(serving_module, "run", lambda _: signal.raise_signal(signal.SIGTERM))
    try:
        assert serve.main([]) == 130
    finally:
        signal.signal(signal.SIGTERM, before)
    assert capsys.readouterr().err == "stopped before it was done\n"


def test_a_signal_right_before_the_server_listens_to_them_ends_it() -> None:
    """It was ignored, and the server served on."""
    told: list[bool] = []
    with serving_module._signals_end_it(lambda: told.append(True)):
        signal.raise_signal(signal.SIGTERM)
    assert told


def test_a_port_that_is_taken(tiny_checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert serve.main(["--model", str(tiny_checkpoint), "--port", str(port)]) == 2
    assert f"--port {port} cannot be listened on: Address already in use" in capsys.readouterr().err
