"""transformers' Pixtral with the weights of one of ours, to measure against and to compare answers with.

In: a model of ours. Out: transformers' model, which answers the same groups through `generate`. It cannot
share a page among questions: each question is a prompt of its own.
"""

import torch
from torch import Tensor, nn
from transformers import LlavaConfig, LlavaForConditionalGeneration, MistralConfig, PixtralVisionConfig

from model.checkpoint_files import hugging_face_name
from model.config import PixtralConfig
from model.engine.request import Group, check_prefix
from model.network.pixtral import Pixtral
from model.network.preprocess import to_pixels


class Baseline:
    """Answers groups, greedily, each answer to its full length."""

    def __init__(self, model: Pixtral) -> None:
        self._config = model.config
        self._like = model.norm.weight
        theirs: LlavaForConditionalGeneration = LlavaForConditionalGeneration(_configuration(model.config))
        theirs.load_state_dict(
            {_module_name(name): _tensor(name, weight, model) for name, weight in model.state_dict().items()}
        )
        nn.Module.to(theirs, self._like.device, self._like.dtype)  # transformers wraps it without types
        self._model = theirs.train(False)

    def answer(self, group: Group) -> list[list[int]]:
        """The tokens of each branch's answer."""
        answers = []
        for branch in group.branches:
            sizes = check_prefix(self._config, group)
            images = [
                to_pixels(image, *size, device=self._like.device, dtype=self._like.dtype)
                for image, size in zip(group.images, sizes, strict=True)
            ]
            ids = torch.tensor([[*group.prefix_ids, *branch.ids]], device=self._like.device)
            with torch.inference_mode():
                written = self._model.generate(
                    input_ids=ids,
                    attention_mask=torch.ones_like(ids),
                    pixel_values=torch.stack(images),
                    image_sizes=torch.tensor(sizes),
                    max_new_tokens=branch.max_new_tokens,
                    do_sample=False,
                    eos_token_id=None,
                    pad_token_id=0,
                )
            answers.append(written[0, ids.shape[1] :].tolist())
        return answers


def _configuration(config: PixtralConfig) -> LlavaConfig:
    vision = config.vision
    return LlavaConfig(
        vision_config=PixtralVisionConfig(
            hidden_size=vision.hidden_size,
            intermediate_size=vision.intermediate_size,
            num_hidden_layers=vision.num_hidden_layers,
            num_attention_heads=vision.num_attention_heads,
            num_channels=vision.num_channels,
            image_size=vision.image_size,
            patch_size=vision.patch_size,
            rope_parameters={"rope_type": "default", "rope_theta": vision.rope_theta},
            hidden_act="silu",
        ),
        text_config=MistralConfig(
            vocab_size=config.vocab_size,
            hidden_size=config.dim,
            intermediate_size=config.hidden_dim,
            num_hidden_layers=config.n_layers,
            num_attention_heads=config.n_heads,
            num_key_value_heads=config.n_kv_heads,
            head_dim=config.head_dim,
            rms_norm_eps=config.norm_eps,
            rope_parameters={"rope_type": "default", "rope_theta": config.rope_theta},
            sliding_window=None,
        ),
        image_token_index=vision.image_token_id,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        tie_word_embeddings=False,
    )


def _module_name(name: str) -> str:
    """The name in the module tree, which is newer than that of published checkpoints."""
    published = hugging_face_name(name)
    if published.startswith("language_model.lm_head."):
        return published.removeprefix("language_model.")
    return "model." + published.replace("language_model.model.", "language_model.")


def _tensor(name: str, weight: Tensor, model: Pixtral) -> Tensor:
    """Rows of q and k in their order of rotated pairs: first halves, then second halves."""
    if not name.endswith((".wq.weight", ".wk.weight")):
        return weight
    vision = name.startswith("vision_encoder.")
    head_dim = model.config.vision.head_dim if vision else model.config.head_dim
    return weight.view(-1, head_dim // 2, 2, weight.shape[1]).transpose(1, 2).reshape(weight.shape)
