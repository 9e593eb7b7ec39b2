"""The judges' prompts, word for word: mistral-evals d61811f for MM-MT-Bench, FastChat 0e6d3e4 for MT-Bench.

mistral-evals itself sends the word "rolecontent" where a question and its image belong, by a slip in its
code. What a judge is sent here has the questions and images in their places.
"""

from typing import Final

VERSION: Final = 1
"""Counts up when a wording changes: it stands in summary.json."""

MM_MT_BENCH: Final = (
    "Please act as an impartial judge and evaluate the quality of the response provided by an AI "
    "assistant to the most recent question given the previous conversation as context. Your evaluation "
    "should consider correctness and helpfulness. You will be given a reference answer and the "
    "assistant's answer. Begin your evaluation by comparing the assistant's answer with the reference "
    "answer. Identify and correct any mistakes. Be as objective as possible. After providing your "
    "explanation, you must rate the response on a scale of 1 to 10 by strictly following this format: "
    '"[[rating]]", for example: "Rating: [[5]]".\n\n'
)

HELPFUL: Final = "You are a helpful assistant."
SINGLE: Final = (
    "[Instruction]\n"
    "Please act as an impartial judge and evaluate the quality of the response provided by an AI "
    "assistant to the user question displayed below. Your evaluation should consider factors such as "
    "the helpfulness, relevance, accuracy, depth, creativity, and level of detail of the response. "
    "Begin your evaluation by providing a short explanation. Be as objective as possible. After "
    "providing your explanation, you must rate the response on a scale of 1 to 10 by strictly "
    'following this format: "[[rating]]", for example: "Rating: [[5]]".\n\n'
    "[Question]\n"
    "{question}\n\n"
    "[The Start of Assistant's Answer]\n"
    "{answer}\n"
    "[The End of Assistant's Answer]"
)
SINGLE_MATH: Final = (
    "[Instruction]\n"
    "Please act as an impartial judge and evaluate the quality of the response provided by an AI "
    "assistant to the user question displayed below. Your evaluation should consider correctness and "
    "helpfulness. You will be given a reference answer and the assistant's answer. Begin your "
    "evaluation by comparing the assistant's answer with the reference answer. Identify and correct "
    "any mistakes. Be as objective as possible. After providing your explanation, you must rate the "
    'response on a scale of 1 to 10 by strictly following this format: "[[rating]]", for example: '
    '"Rating: [[5]]".\n\n'
    "[Question]\n"
    "{question}\n\n"
    "[The Start of Reference Answer]\n"
    "{ref_answer_1}\n"
    "[The End of Reference Answer]\n\n"
    "[The Start of Assistant's Answer]\n"
    "{answer}\n"
    "[The End of Assistant's Answer]"
)
MULTI_TURN_SYSTEM: Final = (
    "Please act as an impartial judge and evaluate the quality of the response provided by an AI "
    "assistant to the user question displayed below. Your evaluation should consider factors such as "
    "the helpfulness, relevance, accuracy, depth, creativity, and level of detail of the response. You "
    "evaluation should focus on the assistant's answer to the second user question. Begin your "
    "evaluation by providing a short explanation. Be as objective as possible. After providing your "
    "explanation, you must rate the response on a scale of 1 to 10 by strictly following this format: "
    '"[[rating]]", for example: "Rating: [[5]]".\n\n'
)
MULTI_TURN: Final = (
    "<|The Start of Assistant A's Conversation with User|>\n\n"
    "### User:\n"
    "{question_1}\n\n"
    "### Assistant A:\n"
    "{answer_1}\n\n"
    "### User:\n"
    "{question_2}\n\n"
    "### Assistant A:\n"
    "{answer_2}\n\n"
    "<|The End of Assistant A's Conversation with User|>"
)
MULTI_TURN_MATH_SYSTEM: Final = (
    "Please act as an impartial judge and evaluate the quality of the response provided by an AI "
    "assistant to the user question. Your evaluation should consider correctness and helpfulness. You "
    "will be given a reference answer and the assistant's answer. You evaluation should focus on the "
    "assistant's answer to the second question. Begin your evaluation by comparing the assistant's "
    "answer with the reference answer. Identify and correct any mistakes. Be as objective as possible. "
    "After providing your explanation, you must rate the response on a scale of 1 to 10 by strictly "
    'following this format: "[[rating]]", for example: "Rating: [[5]]".\n\n'
)
MULTI_TURN_MATH: Final = (
    "<|The Start of Reference Answer|>\n\n"
    "### User:\n"
    "{question_1}\n\n"
    "### Reference answer:\n"
    "{ref_answer_1}\n\n"
    "### User:\n"
    "{question_2}\n\n"
    "### Reference answer:\n"
    "{ref_answer_2}\n\n"
    "<|The End of Reference Answer|>\n\n\n"
    "<|The Start of Assistant A's Conversation with User|>\n\n"
    "### User:\n"
    "{question_1}\n\n"
    "### Assistant A:\n"
    "{answer_1}\n\n"
    "### User:\n"
    "{question_2}\n\n"
    "### Assistant A:\n"
    "{answer_2}\n\n"
    "<|The End of Assistant A's Conversation with User|>"
)
