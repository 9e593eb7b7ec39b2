"""What ExtractBench sends its judge, word for word: its repository 88bc6ac (MIT licence)."""

from collections.abc import Mapping
from typing import Any, Final

SYSTEM: Final = (
    "You are an impartial and detail-oriented judge that evaluates the quality of a predicted value "
    "against a gold reference. "
)
VALUE: Final = (
    "You are evaluating the quality of a predicted value against a gold reference.\n"
    "Schema metadata (JSON):\n"
    "{metadata}\n"
    "\n"
    "Gold value (JSON):\n"
    "{gold}\n"
    "\n"
    "Predicted value (JSON):\n"
    "{predicted}\n"
    "\n"
    "Return a JSON object that matches the following schema enclosed in triple backticks with the "
    "json hint:\n"
    "```json\n"
    "{structured_output_schema}\n"
    "```\n"
    "Respond with JSON only, enclosed in triple backticks prefixed with json, no extra text."
)
STRING: Final = (
    "You are comparing a gold string against a predicted string for semantic equivalence.\n"
    "Consider normalization differences such as casing, punctuation, whitespace, abbreviations, "
    "formatting, and common synonyms. Use the schema metadata to understand context-specific "
    "tolerances. Penalize only meaningfully incorrect or incomplete predictions.\n"
    "\n"
    "Schema metadata (JSON):\n"
    "{metadata}\n"
    "\n"
    "Gold string (JSON):\n"
    "{gold}\n"
    "\n"
    "Predicted string (JSON):\n"
    "{predicted}\n"
    "\n"
    "Return a JSON object that matches the following schema enclosed in triple backticks with the "
    "json hint:\n"
    "```json\n"
    "{structured_output_schema}\n"
    "```\n"
    "Respond with JSON only, enclosed in triple backticks prefixed with json, with no additional "
    "commentary."
)
LIST: Final = (
    "You are evaluating how well a predicted array matches the gold array.\n"
    "Use the schema metadata and values to assess completeness and correctness.\n"
    "Unless explicitly instructed otherwise via configuration, treat arrays as unordered collections "
    "including when counting matches.\n"
    "\n"
    "CRITICAL: A pair is a TRUE MATCH if and ONLY if EVERY field individually passes its evaluation "
    "criteria according to the schema rules and tolerances.\n"
    "- If ANY field fails its criteria (e.g., a numeric value exceeds tolerance, a string doesn't "
    "match), the ENTIRE pair is a MISMATCH.\n"
    "- Partial matches where some fields align but others don't are NOT matches - they are "
    "mismatches.\n"
    '- Example: Gold {{"score": 93.3, "subject": "Science"}} vs Predicted {{"score": 92.3, '
    '"subject": "Science"}} is a MISMATCH if the score difference exceeds tolerance, even though the '
    "subject matches perfectly.\n"
    "- IMPORTANT: Apply per-field evaluation rules when deciding whether a field passes.\n"
    "  - If a `Metric definitions (JSON)` block is present, treat it as the authoritative semantics "
    "for each `metric_id` and its params.\n"
    "  - Otherwise, use schema metadata `evaluation_config` and infer conservatively from "
    "`metric_id` + params.\n"
    "\n"
    "Follow this process:\n"
    "(1) For each gold item, attempt to find at most one predicted item where ALL fields meet their "
    "individual evaluation criteria.\n"
    "(2) Only mark a pair as matched when EVERY field in the object passes its specific evaluation "
    "requirement.\n"
    "(3) If even one field fails, treat the entire pair as a mismatch.\n"
    "(4) Report how many gold items were left unmatched and how many predictions were spurious.\n"
    "Provide constructive reasoning referencing the key matched and unmatched items.\n"
    "\n"
    "Schema metadata (JSON):\n"
    "{metadata}\n"
    "\n"
    "Gold array (JSON):\n"
    "{gold}\n"
    "\n"
    "Predicted array (JSON):\n"
    "{predicted}\n"
    "\n"
    "Return a JSON object that matches the following schema enclosed in triple backticks with the "
    "json hint like ```json\n"
    "<Response>\n"
    "```\n"
    ":\n"
    "```json\n"
    "{structured_output_schema}\n"
    "```"
)
ONE_SCORE: Final[Mapping[str, Any]] = {
    "type": "object",
    "properties": {
        "score": {"type": "number", "minimum": 0.0, "maximum": 1.0},
        "reasoning": {"type": "string"},
    },
    "required": ["score", "reasoning"],
    "additionalProperties": True,
}
COUNTS: Final[Mapping[str, Any]] = {
    "type": "object",
    "properties": {
        "reasoning": {"type": "string"},
        "matched_items": {"type": "array", "items": {"type": "string"}},
        "missed_gold_items": {"type": "array", "items": {"type": "string"}},
        "spurious_pred_items": {"type": "array", "items": {"type": "string"}},
        "matches_summary": {
            "type": "object",
            "properties": {
                "matched": {"type": "integer", "minimum": 0},
                "missed_gold": {"type": "integer", "minimum": 0},
                "spurious_pred": {"type": "integer", "minimum": 0},
            },
            "required": ["matched", "missed_gold", "spurious_pred"],
        },
    },
    "required": ["reasoning", "matches_summary"],
    "additionalProperties": True,
}
METRICS: Final[Mapping[str, Mapping[str, Any]]] = {
    "array_llm": {
        "metric_id": "array_llm",
        "summary": "LLM-based array evaluation with item matching and confusion summary.",
        "pass_rule": "pass iff score >= pass_threshold (default threshold is metric-specific)",
        "score_rule": "matched/(matched+missed_gold) after postprocessing",
        "params": {
            "pass_threshold": {"type": "number", "meaning": "minimum score to pass"},
            "additional_instructions": {"type": "string", "meaning": "extra domain rules"},
        },
    },
    "boolean_exact": {
        "metric_id": "boolean_exact",
        "summary": "Exact boolean equality.",
        "pass_rule": "pass iff gold is True/False and predicted equals gold",
        "score_rule": "1.0 if pass else 0.0",
    },
    "integer_exact": {
        "metric_id": "integer_exact",
        "summary": "Exact integer equality after coercion to int when possible.",
        "pass_rule": "pass iff int(gold) == int(predicted)",
        "score_rule": "1.0 if pass else 0.0",
    },
    "number_exact": {
        "metric_id": "number_exact",
        "summary": "Exact numeric equality after coercion to float when possible.",
        "pass_rule": "pass iff gold_number == predicted_number",
        "score_rule": "1.0 if pass else 0.0",
    },
    "number_tolerance": {
        "metric_id": "number_tolerance",
        "summary": "Numeric match within an absolute tolerance.",
        "pass_rule": "pass iff |gold - predicted| <= tolerance",
        "score_rule": "1.0 if pass else max(0.0, 1.0 - |gold-predicted|/tolerance)",
        "params": {"tolerance": {"type": "number", "meaning": "absolute tolerance"}},
    },
    "string_case_insensitive": {
        "metric_id": "string_case_insensitive",
        "summary": "Case-insensitive string equality.",
        "pass_rule": "pass iff casefold(gold) == casefold(predicted)",
        "score_rule": "1.0 if pass else 0.0",
    },
    "string_exact": {
        "metric_id": "string_exact",
        "summary": "Exact, case-sensitive string equality.",
        "pass_rule": "pass iff normalized(gold) == normalized(predicted) as strings",
        "score_rule": "1.0 if pass else 0.0",
    },
    "string_fuzzy": {
        "metric_id": "string_fuzzy",
        "summary": "Fuzzy string match using normalized similarity with a threshold.",
        "pass_rule": "pass iff similarity(gold, predicted) >= threshold",
        "score_rule": "similarity in [0.0, 1.0] (pass determined by threshold)",
        "params": {
            "threshold": {"type": "number", "meaning": "minimum similarity to pass"},
            "case_sensitive": {"type": "boolean", "meaning": "whether to treat casing as significant"},
        },
    },
    "string_llm": {"metric_id": "string_llm", "summary": "No descriptor registered for this metric_id."},
    "string_semantic": {
        "metric_id": "string_semantic",
        "summary": "LLM-based semantic string evaluation (meaning-level match).",
        "pass_rule": "pass iff score >= pass_threshold",
        "score_rule": "LLM-assigned score in [0.0, 1.0]",
        "params": {
            "pass_threshold": {"type": "number", "meaning": "minimum score to pass"},
            "additional_instructions": {"type": "string", "meaning": "extra domain rules"},
        },
        "notes": ["Use schema metadata and additional instructions when provided."],
    },
}
