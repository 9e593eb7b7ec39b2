"""The shape of a Pixtral, read from a checkpoint's own file.

In: Mistral's `params.json`, or the `config.json` of a Hugging Face `LlavaForConditionalGeneration`.
Out: a PixtralConfig. A file that asks for something that this network does not do is refused, never ignored.
"""

import json
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

# transformers' defaults: the published conversions leave some values out of their config.json.
_HUGGING_FACE_TEXT = {
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "rms_norm_eps": 1e-6,
    "max_position_embeddings": 131_072,
}
_HUGGING_FACE_VISION = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "num_channels": 3,
    "image_size": 1024,
    "patch_size": 16,
    "hidden_act": "gelu",  # not what Pixtral is: a file must say "silu", and the published ones do
}
# Keys of params.json that change nothing in the network.
_INERT = frozenset({"model_type", "norm_type"})
# Names of the context's length in params.json. Pixtral-12B-2409's has neither. Its model card says 128k,
# which vLLM, too, takes to be this number.
_CONTEXT_LENGTH = ("max_position_embeddings", "max_seq_len")
_CONTEXT_LENGTH_IF_UNSAID = 128_000


@dataclass(frozen=True, kw_only=True)
class VisionConfig:
    """The vision encoder: a transformer over square patches, with 2-D RoPE."""

    hidden_size: int
    """Width of a patch's vector."""
    num_channels: int
    """Colour channels of an image."""
    image_size: int
    """Longest side of an image in pixels that the encoder was trained for."""
    patch_size: int
    """Side of a patch in pixels."""
    rope_theta: float
    """Base of the rotary frequencies."""
    intermediate_size: int
    """Width inside the feed-forward."""
    num_hidden_layers: int
    """Transformer blocks."""
    num_attention_heads: int
    """Attention heads, each hidden_size / num_attention_heads wide."""
    image_token_id: int
    """The token whose embedding is replaced by a patch."""
    image_break_token_id: int = 12
    """The token that ends a row of patches."""
    image_end_token_id: int = 13
    """The token that ends an image."""

    def __post_init__(self) -> None:
        _check_positive(
            self,
            "hidden_size num_channels image_size patch_size rope_theta intermediate_size num_attention_heads",
        )
        if self.hidden_size % self.num_attention_heads or self.head_dim % 4:
            raise ValueError(
                f"vision hidden_size {self.hidden_size} over num_attention_heads {self.num_attention_heads} "
                "must give heads of a multiple of 4: half of a head turns with the row, half with the column"
            )
        if self.image_size % self.patch_size:
            raise ValueError(
                f"vision image_size {self.image_size} must be a multiple of patch_size {self.patch_size}"
            )

    @property
    def head_dim(self) -> int:
        return self.hidden_size // self.num_attention_heads


@dataclass(frozen=True, kw_only=True)
class PixtralConfig:
    """The decoder, and the vision encoder in front of it."""

    dim: int
    """Width of a token's vector."""
    n_layers: int
    """Transformer blocks."""
    head_dim: int
    """Width of an attention head; n_heads * head_dim need not be dim."""
    hidden_dim: int
    """Width inside the feed-forward."""
    n_heads: int
    """Query heads."""
    n_kv_heads: int
    """Key and value heads; each serves n_heads / n_kv_heads query heads."""
    rope_theta: float
    """Base of the rotary frequencies."""
    norm_eps: float
    """Added to the mean square in every decoder norm."""
    vocab_size: int
    """Token ids that can be read and written."""
    max_position_embeddings: int
    """Tokens of the context: most of a prompt and its answer together."""
    vision: VisionConfig
    """The vision encoder."""

    def __post_init__(self) -> None:
        _check_positive(
            self,
            "dim head_dim hidden_dim n_heads n_kv_heads rope_theta norm_eps vocab_size n_layers "
            "max_position_embeddings",
        )
        if self.n_heads % self.n_kv_heads:
            raise ValueError(
                f"n_heads {self.n_heads} must be a multiple of n_kv_heads {self.n_kv_heads}: "
                "each key head serves the same number of query heads"
            )
        if self.head_dim % 2:
            raise ValueError(f"head_dim {self.head_dim} must be even: RoPE turns pairs")
        if self.vision.image_token_id >= self.vocab_size:
            raise ValueError(
                f"image_token_id {self.vision.image_token_id} must be below vocab_size {self.vocab_size}"
            )

    @staticmethod
    def from_file(path: Path) -> "PixtralConfig":
        """Read Mistral's params.json, as published with Pixtral-12B-2409."""
        values = _read_json(path)
        if not isinstance(values.get("vision_encoder"), dict):
            raise ValueError(f"{path} has no vision_encoder: Quire needs a Pixtral, not a text-only model")
        vision = _build(VisionConfig, values.pop("vision_encoder"), path, "vision_encoder.")
        lengths = [length for name in _CONTEXT_LENGTH if (length := values.pop(name, None)) is not None]
        length = min(lengths, default=_CONTEXT_LENGTH_IF_UNSAID)
        return _build(
            PixtralConfig, {**values, "max_position_embeddings": length, "vision": vision}, path, ""
        )

    @staticmethod
    def from_hugging_face(path: Path) -> "PixtralConfig":
        """Read the config.json of a LlavaForConditionalGeneration: Pixtral encoder, Mistral decoder."""
        values = _read_json(path)
        text = {**_HUGGING_FACE_TEXT, **values.get("text_config", {})}
        vision = {**_HUGGING_FACE_VISION, **values.get("vision_config", {})}
        _check_hugging_face(values, text, vision, path)
        image_token_id = values.get("image_token_index", values.get("image_token_id"))
        return _build(
            PixtralConfig,
            {
                "dim": text.get("hidden_size"),
                "n_layers": text.get("num_hidden_layers"),
                "head_dim": text.get("head_dim") or text["hidden_size"] // text["num_attention_heads"],
                "hidden_dim": text.get("intermediate_size"),
                "n_heads": text["num_attention_heads"],
                "n_kv_heads": text["num_key_value_heads"],
                "rope_theta": _hugging_face_theta(text, path),
                "norm_eps": text["rms_norm_eps"],
                "vocab_size": text.get("vocab_size"),
                "max_position_embeddings": text["max_position_embeddings"],
                "vision": VisionConfig(
                    **{name: vision[name] for name in _HUGGING_FACE_VISION if name != "hidden_act"},
                    rope_theta=_hugging_face_theta(vision, path, default=10000.0),
                    image_token_id=10 if image_token_id is None else image_token_id,
                ),
            },
            path,
            "",
        )


def check_tensor_parallel_size(config: PixtralConfig, size: int) -> None:
    """ValueError unless `size` ranks can share the model.

    Each rank takes equally many heads, channels of the feed-forward, and tokens of the vocabulary. In
    published Pixtrals, these numbers allow powers of two.
    """
    counts = {
        "key and value heads": config.n_kv_heads,
        "feed-forward channels": config.hidden_dim,
        "tokens of the vocabulary": config.vocab_size,
    }
    valid = [n for n in range(1, config.n_kv_heads + 1) if not any(count % n for count in counts.values())]
    if size not in valid:
        raise ValueError(
            f"tensor parallel over {size} ranks: they must divide "
            + ", ".join(f"{count} {name}" for name, count in counts.items())
            + f"; choose one of {', '.join(map(str, valid))}"
        )


FP8_MULTIPLE = 16  # of the widths of a product in FP8: cuBLAS takes no others


def check_fp8_widths(config: PixtralConfig, ranks: int) -> None:
    """ValueError unless all products of encoder and decoder, shared out among the ranks, can be in FP8."""
    vision = config.vision
    widths = {
        "dim": config.dim,
        "n_heads * head_dim": config.n_heads * config.head_dim // ranks,
        "n_kv_heads * head_dim": config.n_kv_heads * config.head_dim // ranks,
        "hidden_dim": config.hidden_dim // ranks,
        "vision hidden_size": vision.hidden_size,
        "vision intermediate_size": vision.intermediate_size,
    }
    wrong = [f"{name} {width}" for name, width in widths.items() if width % FP8_MULTIPLE]
    if wrong:
        shared = f", of each of {ranks} ranks," if ranks > 1 else ""
        raise ValueError(
            f"FP8 needs widths{shared} that are multiples of {FP8_MULTIPLE}, and this model has "
            f"{', '.join(wrong)}: choose bfloat16" + (", or fewer ranks" if ranks > 1 else "")
        )


_Config = TypeVar("_Config", PixtralConfig, VisionConfig)


def _check_positive(config: PixtralConfig | VisionConfig, names: str) -> None:
    for name in names.split():
        value = getattr(config, name)
        if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
            raise ValueError(f"{type(config).__name__}.{name} is {value!r}: it must be a number above 0")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot read {path}: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path} must hold one JSON object")
    return values


def _build(kind: type[_Config], values: Mapping[str, Any], path: Path, prefix: str) -> _Config:
    """A config from a file's values; every key that is missing or not understood is named in one error."""
    known = {field.name: field for field in fields(kind)}
    missing = [name for name, field in known.items() if field.default is MISSING and values.get(name) is None]
    unknown = [name for name in values if name not in known and name not in _INERT]
    if missing or unknown:
        raise ValueError(
            f"{path} does not describe a Pixtral that Quire can run: missing "
            f"{[prefix + name for name in missing]}, not supported {[prefix + name for name in unknown]}"
        )
    return kind(**{name: value for name, value in values.items() if name in known})


def _check_hugging_face(
    values: Mapping[str, Any], text: Mapping[str, Any], vision: Mapping[str, Any], path: Path
) -> None:
    """ValueError if a value asks for another network."""
    expected: list[tuple[str, Mapping[str, Any], str, object]] = [
        ("", values, "model_type", "llava"),
        ("", values, "projector_hidden_act", "gelu"),
        ("", values, "multimodal_projector_bias", True),
        ("", values, "vision_feature_layer", -1),
        ("", values, "vision_feature_select_strategy", "full"),
        ("", values, "tie_word_embeddings", False),
        ("text_config.", text, "model_type", "mistral"),
        ("text_config.", text, "hidden_act", "silu"),
        ("text_config.", text, "sliding_window", None),
        ("text_config.", text, "tie_word_embeddings", False),
        ("vision_config.", vision, "model_type", "pixtral"),
        ("vision_config.", vision, "hidden_act", "silu"),
    ]
    for prefix, part, name, value in expected:
        if part.get(name, value) != value:
            raise ValueError(f"{path}: {prefix}{name} is {part[name]!r}, and Quire supports only {value!r}")


def _hugging_face_theta(part: Mapping[str, Any], path: Path, default: float | None = None) -> float:
    """The RoPE base, which older files keep beside the other values and newer ones in rope_parameters."""
    rope = part.get("rope_parameters") or part.get("rope_scaling") or {}
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind not in ("default", "axial"):  # "axial" is what newer files call the encoder's 2-D RoPE
        raise ValueError(f"{path}: rope_type is {kind!r}, and Quire supports only 'default' and 'axial'")
    theta = rope.get("rope_theta", part.get("rope_theta", default))
    if theta is None:
        raise ValueError(f"{path} gives no rope_theta")
    return float(theta)
