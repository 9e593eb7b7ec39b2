"""The server's paths, on FastAPI: every reply that is no answer is an error in OpenAI's form.

The gate before all paths checks the key, counts, and tells a client that waits when the server ends.
"""

import asyncio
import hmac
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from jobs.serving.errors import SERVER_ERROR, ApiError
from jobs.serving.leaving import ClientLeftError
from jobs.serving.requests import AnyRequest, ChatRequest, CompletionRequest
from jobs.serving.service import Service

CHAT: Final = "/v1/chat/completions"
COMPLETIONS: Final = "/v1/completions"
MODELS: Final = "/v1/models"
HEALTH: Final = "/health"
METRICS: Final = "/metrics"
PATHS: Final = (CHAT, COMPLETIONS, MODELS, HEALTH, METRICS)
CLIENT_LEFT: Final = 499  # nobody reads it; the metrics count it


def make_app(service: Service) -> FastAPI:
    """The application over one service, which it closes at its end."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None, None]:
        service.replica.attend()
        yield
        await asyncio.to_thread(service.close)

    async def client_left(_: Request, __: Exception) -> Response:
        service.metrics.left.inc()
        return Response(status_code=CLIENT_LEFT)

    app = FastAPI(
        title="Quire",
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    app.add_middleware(_Gate, service=service)
    app.add_exception_handler(ApiError, _api_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(ClientDisconnect, client_left)
    app.add_exception_handler(ClientLeftError, client_left)
    app.add_exception_handler(Exception, _unexpected)

    @app.post(CHAT, openapi_extra=_body(ChatRequest))
    async def chat(request: Request) -> Response:
        return await service.answer(request, ChatRequest)

    @app.post(COMPLETIONS, openapi_extra=_body(CompletionRequest))
    async def completions(request: Request) -> Response:
        return await service.answer(request, CompletionRequest)

    @app.get(MODELS)
    async def models() -> Any:
        return {"object": "list", "data": [_model(service)]}

    @app.get(MODELS + "/{name:path}")
    async def model(name: str) -> Any:
        if name != service.config.name:
            message = f"the model {name!r:.200} is not here: this server has {service.config.name!r}"
            raise ApiError(404, message, param="model", code="model_not_found")
        return _model(service)

    @app.get(HEALTH)
    async def health() -> Response:
        return Response(status_code=503 if service.replica.broken else 200)

    @app.get(METRICS)
    async def metrics() -> Response:
        found = service.metrics
        found.in_work.set(service.replica.asked)
        found.held.set(service.admission.held)
        return Response(found.text(), media_type=found.content_type)

    return app


class _Gate:
    """Before all paths: the key, the counts, the end of the server."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app = app
        self._metrics = service.metrics
        key = service.config.api_key
        self._key = None if key is None else f"Bearer {key}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"] if scope["path"] in PATHS else "other"
        started = False

        async def counted(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                self._metrics.requests.labels(path, str(message["status"])).inc()
            await send(message)

        try:
            if self._may_ask(scope):
                await self._app(scope, receive, counted)
            else:
                reply = ApiError(401, "the API key is missing or wrong", code="invalid_api_key")
                await _reply(reply)(scope, receive, counted)
        except asyncio.CancelledError:
            # The time to finish in is over. The client hears it as far as that is still possible.
            error = ApiError(503, "the server ends", kind=SERVER_ERROR)
            if started:
                await send({"type": "http.response.body", "body": b"", "more_body": False})
            else:
                await _reply(error)(scope, receive, counted)

    def _may_ask(self, scope: Scope) -> bool:
        if self._key is None or scope["path"] == HEALTH:
            return True
        given = dict(scope["headers"]).get(b"authorization", b"")
        return hmac.compare_digest(given, self._key)


def _model(service: Service) -> dict[str, Any]:
    config = service.config
    return {
        "id": config.name,
        "object": "model",
        "created": service.created,
        "owned_by": "quire",
        "max_model_len": config.context,
        # The form of Mistral's, whose client refuses a list without it.
        "type": "base",
        "capabilities": {"completion_chat": True, "vision": True},
        "max_context_length": config.context,
    }


def _body(kind: type[AnyRequest]) -> dict[str, Any]:
    """The body's schema for /openapi.json; `requests.parse` reads it."""
    schema = kind.model_json_schema()
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def _reply(error: ApiError) -> JSONResponse:
    return JSONResponse(error.body, error.status, error.headers)


async def _api_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError), error
    return _reply(error)


async def _http_error(_: Request, error: Exception) -> Response:
    """The framework's: no such path, no such method."""
    assert isinstance(error, HTTPException), error
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code)
    headers = dict(error.headers or {})
    return _reply(ApiError(error.status_code, str(error.detail), code=code, headers=headers))


async def _unexpected(_: Request, __: Exception) -> Response:
    """A fault of ours: the log has its stack, the client does not."""
    return _reply(ApiError(500, "the server has a fault; its log says more", kind=SERVER_ERROR))
