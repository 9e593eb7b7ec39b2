"""A replayed graph computes as the launches do from which it was captured."""

import numpy as np
import pytest
import torch

pytest.importorskip("triton", reason="torch has brought no Triton; `make test` installs one")

from model.cache.batch import Batch
from model.cache.paged_cache import PagedCache
from model.cache.plan import Chunk
from model.engine.engine import BatchEngine
from model.engine.request import Completion
from model.executor import graphs
from model.executor.cuda import CudaExecutor
from model.executor.fused_layers import FusedModel
from tests.model.configs import configured
from tests.model.engine.test_engine import EOS, answers
from tests.model.executor.fused import FUSED, GROUPS, assert_alike, make_model


@pytest.mark.parametrize(
    ("blocks", "table"), [(1, 64), (64, 64), (65, 128), (128, 128), (129, 256), (2000, 2048)]
)
def test_tables_grow_by_doubling(blocks: int, table: int) -> None:
    assert graphs._table_blocks(blocks) == table


@pytest.mark.gpu
def test_a_graph_decodes_as_eager_launches_do() -> None:
    def run(recorded: bool) -> dict[str, Completion]:
        config = configured(FUSED, block_size=64, cache_tokens=4096, graphs=recorded)
        return answers(BatchEngine(make_model(), eos_id=EOS, config=config), GROUPS)

    assert_alike(run(True), run(False), 1e-4)


@pytest.mark.gpu
@torch.inference_mode()
def test_a_graph_computes_a_mixed_step_as_eager_launches_do() -> None:
    """Prompts that begin and that go on, beside tokens that decode: in bfloat16, up to its rounding."""
    model = make_model(torch.bfloat16)
    like = model.norm.weight
    cache = PagedCache(layers=len(model.layers), blocks=32, size=64, heads=2, width=16, like=like)
    chunks = [
        Chunk(0, 90, 1, (0, 1), True),
        Chunk(1, 3, 20, (2,), True),
        Chunk(2, 0, 100, (3, 4), False),
        Chunk(3, 200, 300, tuple(range(5, 13)), True),
    ]
    batch = Batch(chunks, np.arange(20, 441, dtype=np.int32) % 64, np.zeros((0, 2), np.int32), None, ())
    eager = CudaExecutor(FusedModel(model, fp8=False), cache, max_graph_seqs=0).step(batch)
    replaying = CudaExecutor(FusedModel(model, fp8=False), cache, max_graph_seqs=16)
    replayed_RV = replaying._graphs.step(batch)
    assert replayed_RV is not None
    torch.testing.assert_close(replayed_RV.float(), eager.float(), rtol=0.05, atol=0.05)
