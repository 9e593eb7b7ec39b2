"""The flags of `jobs.serve`, parsed, in; the ServerConfig that they mean out."""

import argparse
from dataclasses import replace
from pathlib import Path

from jobs.run.web_flags import web_rules
from jobs.serving.server import IMAGE_LIMITS, ServerConfig
from jobs.serving.service import ServiceConfig
from pipeline.plan.limits import MIB


def config_of(given: argparse.Namespace, key: str | None) -> ServerConfig:
    """The settings; `key` is the environment's. Raises ValueError, later for what the model lacks."""
    name = given.served_model_name or Path(given.model).expanduser().absolute().name.partition("@")[0]
    web = web_rules(given)

    def service(context: int) -> ServiceConfig:
        if given.max_model_len is not None and given.max_model_len > context:
            raise ValueError(f"--max-model-len {given.max_model_len}: the model can {context:,} at most")
        return ServiceConfig(
            name=name,
            context=given.max_model_len or context,
            images=given.limit_images,
            body_bytes=given.max_body * MIB,
            places=given.max_queue,
            api_key=given.api_key or key or None,
            web=web,
        )

    return ServerConfig(
        model=given.model,
        host=given.host,
        port=given.port,
        service=service,
        max_side=given.max_side,
        dtype=given.dtype,
        cache_dtype=given.cache_dtype,
        grace_seconds=given.grace,
        limits=replace(IMAGE_LIMITS, sandbox_required=given.require_sandbox),
    )
