"""The flags of `jobs.serve`, parsed, in; the ServerConfig that they mean out."""

import argparse
from dataclasses import replace

from jobs.run.web_flags import web_rules
from jobs.serving.server import IMAGE_LIMITS, ServerConfig
from pipeline.plan.limits import MIB
from pipeline.plan.model_place import model_name


def config_of(given: argparse.Namespace, key: str | None) -> ServerConfig:
    """The settings; `key` is the environment's. Raises ValueError, later for what the model lacks."""
    return ServerConfig(
        model=given.model,
        host=given.host,
        port=given.port,
        name=given.served_model_name or model_name(given.model),
        images=given.limit_images,
        body_bytes=given.max_body * MIB,
        places=given.max_queue,
        max_model_len=given.max_model_len,
        api_key=given.api_key or key or None,
        web=web_rules(given),
        max_side=given.max_side,
        dtype=given.dtype,
        cache_dtype=given.cache_dtype,
        tensor_parallel=given.tensor_parallel,
        replicas=given.replicas,
        max_num_seqs=given.max_num_seqs,
        grace_seconds=given.grace,
        limits=replace(
            IMAGE_LIMITS, images=given.limit_images or None, sandbox_required=given.require_sandbox
        ),
    )
