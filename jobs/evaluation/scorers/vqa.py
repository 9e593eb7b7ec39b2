"""VQA accuracy: the official one of VQAv2 and TextVQA, and the simple one of mistral-evals d61811f.

In: a predicted answer and the answers of (mostly) ten people. Out: a score from 0.0 to 1.0.
"""

import re
from collections.abc import Sequence

from jobs.evaluation.scorers.relaxed import quoted
from jobs.evaluation.scorers.texts import some

ENOUGH = 3  # people who gave an answer make it right


def vqa_match(prediction: str, answers: Sequence[str]) -> float:
    """`VQAMatch` of mistral-evals: a third for each equal answer, 1.0 at most. Quotes around do not count."""
    said = quoted(prediction)
    return min(1.0, sum(quoted(answer) == said for answer in some(answers)) / ENOUGH)


def vqa_accuracy(prediction: str, answers: Sequence[str]) -> float:
    """The official accuracy of VQAv2 (Goyal et al. 2016; PythonEvaluationTools/vqaEvaluation/vqaEval.py).

    The mean, over each person left out, of min(equal answers of the others / 3, 1). Texts are normalised only
    where the people's answers differ.
    """
    said, given = _flat(prediction), [_flat(answer) for answer in some(answers)]
    if len(set(given)) > 1:
        said, given = _normalised(said), [_normalised(answer) for answer in given]
    return _left_out(said, given)


def textvqa_accuracy(prediction: str, answers: Sequence[str]) -> float:
    """TextVQA's accuracy (Singh et al. 2019; MMF's EvalAIAnswerProcessor): always normalised, and more so."""
    return _left_out(_processed(prediction), [_processed(answer) for answer in some(answers)])


def _left_out(said: str, given: Sequence[str]) -> float:
    equal = [answer == said for answer in given]
    return sum(min(1.0, (sum(equal) - mine) / ENOUGH) for mine in equal) / len(equal)


def _flat(text: str) -> str:
    return text.replace("\n", " ").replace("\t", " ").strip()


def _processed(text: str) -> str:
    text = text.lower().replace(",", "").replace("?", "").replace("'s", " 's").strip()
    return _normalised(_flat(text))


def _normalised(text: str) -> str:
    return _words(_without_punctuation(text))


_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'


def _without_punctuation(text: str) -> str:
    """Without it where a blank is beside it or a comma stands between digits; else it becomes a blank."""
    between_digits = re.search(r"\d,+\d", text) is not None
    found = text
    for char in _PUNCTUATION:
        gone = f"{char} " in text or f" {char}" in text or between_digits
        found = found.replace(char, "" if gone else " ")
    # Theirs passes a flag where the count of replacements stands: 32 full stops go, no more.
    return re.sub(r"\.(?!\d)", "", found, count=int(re.UNICODE))


def _words(text: str) -> str:
    words = (_NUMERALS.get(word, word) for word in text.lower().split())
    return " ".join(_CONTRACTIONS.get(word, word) for word in words if word not in ("a", "an", "the"))


_NUMERALS = {"none": "0"} | {
    word: str(number)
    for number, word in enumerate("zero one two three four five six seven eight nine ten".split())
}

# The official table of contractions: each word beside what replaces it. Some entries are mistakes, which
# count all the same ("somebody'd" loses its apostrophe).
_CONTRACTIONS = dict(
    pair.split(":")
    for pair in """
    aint:ain't arent:aren't cant:can't couldve:could've couldnt:couldn't couldn'tve:couldn't've
    couldnt've:couldn't've didnt:didn't doesnt:doesn't dont:don't hadnt:hadn't hadnt've:hadn't've
    hadn'tve:hadn't've hasnt:hasn't havent:haven't hed:he'd hed've:he'd've he'dve:he'd've hes:he's howd:how'd
    howll:how'll hows:how's Id've:I'd've I'dve:I'd've Im:I'm Ive:I've isnt:isn't itd:it'd itd've:it'd've
    it'dve:it'd've itll:it'll let's:let's maam:ma'am mightnt:mightn't mightnt've:mightn't've
    mightn'tve:mightn't've mightve:might've mustnt:mustn't mustve:must've neednt:needn't notve:not've
    oclock:o'clock oughtnt:oughtn't ow's'at:'ow's'at 'ows'at:'ow's'at 'ow'sat:'ow's'at shant:shan't
    shed've:she'd've she'dve:she'd've she's:she's shouldve:should've shouldnt:shouldn't
    shouldnt've:shouldn't've shouldn'tve:shouldn't've somebody'd:somebodyd somebodyd've:somebody'd've
    somebody'dve:somebody'd've somebodyll:somebody'll somebodys:somebody's someoned:someone'd
    someoned've:someone'd've someone'dve:someone'd've someonell:someone'll someones:someone's
    somethingd:something'd somethingd've:something'd've something'dve:something'd've
    somethingll:something'll thats:that's thered:there'd thered've:there'd've there'dve:there'd've
    therere:there're theres:there's theyd:they'd theyd've:they'd've they'dve:they'd've theyll:they'll
    theyre:they're theyve:they've twas:'twas wasnt:wasn't wed've:we'd've we'dve:we'd've weve:we've
    werent:weren't whatll:what'll whatre:what're whats:what's whatve:what've whens:when's whered:where'd
    wheres:where's whereve:where've whod:who'd whod've:who'd've who'dve:who'd've wholl:who'll whos:who's
    whove:who've whyll:why'll whyre:why're whys:why's wont:won't wouldve:would've wouldnt:wouldn't
    wouldnt've:wouldn't've wouldn'tve:wouldn't've yall:y'all yall'll:y'all'll y'allll:y'all'll
    yall'd've:y'all'd've y'alld've:y'all'd've y'all'dve:y'all'd've youd:you'd youd've:you'd've
    you'dve:you'd've youll:you'll youre:you're youve:you've
    """.split()
)
