"""From a Replica's config and its model to the engine: in the process that has all of it, or in rank 0.

A rank that only follows imports none of this: the engine brings llguidance.
"""

from model.engine.engine import BatchEngine
from model.executor.executor import Executor
from model.network.pixtral import Pixtral
from model.text.grammar import Grammars
from model.text.tokenizer import Tokenizer
from pipeline.infer.device import engine_config
from pipeline.infer.replica_config import ReplicaConfig
from pipeline.plan.model_place import tokenizer_file


def make_engine(model: Pixtral, config: ReplicaConfig, executor: Executor | None = None) -> BatchEngine:
    """The engine over the model, or over the executor that computes with it."""
    tokenizer = Tokenizer.from_file(tokenizer_file(config.plan.model), config.plan.vocab_size)
    asks = config.plan.asks
    grammars = Grammars(tokenizer) if not asks or any(ask.grammar for ask in asks) else None
    return BatchEngine(
        model,
        eos_id=tokenizer.eos,
        grammars=grammars,
        token_bytes=tokenizer.token_bytes,
        config=engine_config(config),
        executor=executor,
    )
