"""How people ask: wordings recombined from nouns and forms, so that no phrase implies a field.

An eighth of all forms is held out: training never sees it, and the evaluation measures with it how far nano
depends on the words. Questions are noisy as in use: other case than the page's, quotes, missing marks.
"""

from __future__ import annotations

import functools
import random
import re
import zlib
from collections.abc import Sequence

DOCUMENTS = {
    "receipt": ["receipt", "receipt", "receipt", "document", "bill", "sales slip", "page", "till receipt"],
    "invoice": ["invoice", "invoice", "invoice", "document", "bill", "page", "billing document"],
    "form": ["form", "form", "form", "document", "page", "sheet", "record"],
    "letter": ["letter", "letter", "document", "page", "message"],
    "contract": ["agreement", "agreement", "contract", "document", "page"],
    "report": ["report", "document", "page", "text", "article"],
    "table": ["table", "table", "document", "page", "list"],
    "chart": ["chart", "graph", "figure", "diagram", "plot", "picture"],
}
_PLACES = (
    "", "", "", "", "", " of this {d}", " of the {d}", " on this {d}", " on the {d}", " in this {d}",
    " in the {d}", " given in the {d}", " shown on the {d}", " stated in this {d}", " printed on this {d}",
    " shown here", " mentioned in the {d}", " according to the {d}", " as per the {d}",
    " that this {d} gives",
)  # fmt: skip
_FORMS = (
    "What is the {n}{p}?", "What is the {n}{p}?", "What is the {n}{p}?", "What's the {n}{p}?",
    "What was the {n}{p}?", "Which {n} is given{p}?", "Which {n} does the {d} show?",
    "What {n} is shown{p}?", "What {n} does the {d} state?", "State the {n}{p}.", "Give the {n}{p}.",
    "Find the {n}{p}.", "Tell me the {n}{p}.", "Name the {n}{p}.", "Extract the {n}{p}.",
    "Identify the {n}{p}.", "Please give me the {n}{p}.", "Can you tell me the {n}{p}?",
    "I need the {n}{p}.", "Look up the {n}{p}.", "Read the {n}{p}.", "{N}?", "{N}{p}?", "{n}", "{N}:",
    "According to the {d}, what is the {n}?", "In this {d}, what is the {n}?",
    "On the {d}, what is given as {n}?", "What does the {d} give as the {n}?",
    "What does the {d} say is the {n}?", "What is mentioned as the {n}{p}?",
    "Could you find the {n} in this {d}?", "What is listed as the {n}{p}?",
    "Do you see the {n}? What is it?", "Looking at this {d}, what is the {n}?", "Mention the {n}{p}.",
    "What is the {n} mentioned?", "Where it says {n}, what is given?", "From the {d}: what is the {n}?",
    "What would you enter as the {n}{p}?", "What is stated as the {n}{p}?",
)  # fmt: skip
_LABELS = (
    "What is written in the {b} {q}{p}?", "What is written next to {q}{p}?",
    "What is written after {q}{p}?", "What is entered in the {b} {q}{p}?", "What is entered under {q}{p}?",
    "What is filled in for {q}{p}?", "What does the {d} say for {q}?", "What does the {d} say under {q}?",
    "What value does {q} have{p}?", "Which value is given for {q}{p}?", "What is the value of {q}{p}?",
    "What is the content of the {b} {q}{p}?", "What stands beside {q}{p}?", "What follows {q}{p}?",
    "What has been put in the {b} {q}?", "Read the {b} {q}.", "Give the text of the {b} {q}{p}.",
    "What information is given at {q}{p}?", "What is noted at {q}{p}?",
    "What appears in the {b} labelled {q}{p}?", "What is mentioned for {q}{p}?",
    "What is typed in at {q}{p}?", "Give the entry for {q}{p}.", "What is the entry of the {b} {q}?",
    "What is printed in the {b} {q}{p}?", "What was answered to {q}{p}?",
    "How is the {b} {q} filled in{p}?", "Tell me what the {b} {q} contains.",
    "What did the person write at {q}{p}?", "What belongs to {q}{p}?", "Value of {q}?",
    "What is recorded as {q}{p}?",
)  # fmt: skip
_BOXES = (
    "field",
    "field",
    "field",
    "box",
    "line",
    "row",
    "space",
    "blank",
    "cell",
    "item",
    "entry",
    "section",
)
_QUOTES = ('"{}"', '"{}"', '"{}"', "'{}'", "“{}”", "{}", "{}", '"{}:"')
# (nouns, questions of its own); {d} is the document, {p} a place on it.
ROLES: dict[str, tuple[str, str]] = {
    "total": (
        "total,total amount,grand total,amount due,total due,final amount,total price,overall total,"
        "amount payable,invoice total,sum total,total cost,total sum,net payable amount,total payable,"
        "full amount,final total",
        "How much is the total{p}?|How much is due{p}?|How much has to be paid{p}?|"
        "How much was paid in total?|How much does the customer have to pay?|How much is to be paid{p}?|"
        "What does it come to in total?|How much did the purchase cost?|What is the sum of everything{p}?|"
        "How much is owed{p}?|What amount has to be paid{p}?|How much money is the {d} for?|"
        "What was the total cost of the purchase?|How much did the customer pay altogether?|"
        "What amount is the {d} over?",
    ),
    "subtotal": (
        "subtotal,sub total,net amount,amount before tax,net total,total before tax,total excluding tax",
        "How much is it before tax?|How much is the subtotal{p}?|What do the items come to before tax?",
    ),
    "tax": (
        "tax,tax amount,amount of tax,sales tax,VAT amount,total tax",
        "How much tax is charged{p}?|How much tax was paid?|How much is the tax{p}?|"
        "What amount of tax is due?",
    ),
    "date": (
        "date,date of issue,document date,issue date,date of the {d},{d} date",
        "When was this {d} issued?|When is the {d} dated?|On what date was the {d} made?|"
        "On which day was it issued?|What day is the {d} from?|When was it printed?|"
        "From what date is this {d}?|What date does the {d} carry?|When was the {d} written?|"
        "Which date is printed{p}?|When did the transaction take place?",
    ),
    "due": (
        "due date,payment due date,date of payment,deadline of payment,latest date of payment,"
        "date by which to pay",
        "When is payment due?|When is the {d} due?|By when must it be paid?|"
        "By which date is payment expected?|Until when can it be paid?|What is the last day to pay?|"
        "On which date does payment fall due?",
    ),
    "vendor": (
        "vendor,seller,supplier,issuer,company name,name of the company,name of the seller,sender,biller,"
        "company that issued it,name of the business,vendor name,supplier name,merchant,issuing company",
        "Who issued this {d}?|Who sent this {d}?|Who is the {d} from?|Which company issued the {d}?|"
        "Which business made out this {d}?|Whose {d} is this?|Who made out this {d}?|"
        "Who is the seller{p}?|Who gets the money?|By whom was the {d} issued?|"
        "Which company is the {d} from?|Who wrote the {d}?|What company sent the {d}?|"
        "Name the company that issued this {d}.|Who is the supplier{p}?",
    ),
    "shop": (
        "store,shop,name of the store,name of the shop,merchant,company,name of the company or shop,"
        "business,store name,shop name,name of the merchant,seller,name of the business,company name,"
        "vendor,establishment",
        "Who issued this {d}?|Where was this bought?|Which store is the {d} from?|"
        "Which shop issued this {d}?|Which company printed this {d}?|What is the store called?|"
        "At which shop was the purchase made?|In which shop did the customer buy?|"
        "What is the name of the business that issued this {d}?|Who sold the items?|"
        "Which merchant is named{p}?|What is the name of the company that issued the {d}?",
    ),
    "customer": (
        "customer,client,buyer,customer name,name of the customer,recipient,billed party,payer,"
        "name of the client",
        "Who is billed{p}?|Who is the {d} for?|To whom is the {d} addressed?|Who has to pay?|"
        "Who is the customer{p}?|Who received this {d}?|Which customer is it for?|Who bought the goods?|"
        "Who gets this {d}?|For whom is it?",
    ),
    "address": (
        "address,store address,address of the store,location,address of the company,full address,"
        "business address,postal address,shop address,address of the shop",
        "Where is the store located?|Where is the company located?|Where is the business?|"
        "Where is the shop?|At which address is the company?|What address is printed{p}?|"
        "In which place was it issued?|Where does the seller sit?",
    ),
    "number": (
        "{d} number,number,{d} no.,{d} no,number of the {d},document number,reference number,{d} #,{d} id",
        "Which number does this {d} have?|What number is the {d}?|Under which number is it filed?|"
        "What no. does it carry?",
    ),
    "order": (
        "order number,purchase order number,PO number,order no.,number of the order,order reference",
        "Which order is the {d} for?|Which order number does it refer to?",
    ),
    "phone": (
        "phone number,telephone number,phone,tel no.,contact number,telephone,tel",
        "What number can be called?|Under which number can one call?|How can they be reached by phone?",
    ),
    "fax": (
        "fax number,fax,fax no.,telefax number",
        "To which number can one send a fax?",
    ),
    "email": (
        "email,email address,e-mail,e-mail address",
        "To which address can one write an email?",
    ),
    "website": (
        "website,web address,homepage,internet address",
        "On which website can one find them?",
    ),
    "cashier": (
        "cashier,name of the cashier,cashier name,operator,served by,salesperson",
        "Who was the cashier?|Who served the customer?|Who was at the till?|"
        "By whom was the customer served?",
    ),
    "payment": (
        "payment method,method of payment,means of payment,mode of payment,type of payment",
        "How was it paid?|How did the customer pay?|With what was it paid?|In which way was payment made?",
    ),
    "cash": (
        "cash,cash given,amount tendered,cash received,amount received,tendered amount",
        "How much cash was given?|How much did the customer hand over?|How much money was tendered?",
    ),
    "change": (
        "change,change due,change given,money returned,amount returned",
        "How much change was given?|How much did the customer get back?|How much change is due?",
    ),
    "time": (
        "time,time of the purchase,time of day,time of issue",
        "At what time was it printed?|What time was it?",
    ),
    "taxid": (
        "tax number,VAT number,tax id,GST number,GST id,VAT id,tax registration number,registration number",
        "Under which tax number is the seller registered?",
    ),
    "bank": (
        "bank account,IBAN,account number,bank account number,account",
        "To which account should one pay?",
    ),
    "terms": (
        "payment terms,terms of payment,terms",
        "On which terms is it payable?|How long can one wait to pay?",
    ),
    "title": (
        "title,heading,title of the {d},main heading,headline,title of the page,name of the {d}",
        "What is this {d} called?|What is the {d} titled?|How is the {d} headed?|"
        "What does the heading say?|What is written at the top{p}?|Under which title does the {d} stand?|"
        "What is the {d} about?",
    ),
    "author": (
        "author,writer,name of the author,person who wrote it,signatory,sender",
        "Who wrote this {d}?|Who signed the {d}?|Who is the author{p}?|By whom was it written?|"
        "Who is it from?|Who prepared it?",
    ),
    "recipient": (
        "recipient,addressee,receiver,person addressed",
        "To whom is the {d} written?|Who is addressed?|Who is the {d} to?",
    ),
    "subject": (
        "subject,topic,subject matter,subject line,matter",
        "What is the {d} about?|What does the {d} concern?",
    ),
    "party": (
        "one of the parties{p},a party{p},one party{p},one of the parties,name of a party{p}",
        "Who is a party to this {d}?|Name a party to this {d}.|Who entered into the {d}?|"
        "Between whom was the {d} made?|Which company is a party to the {d}?|Name a party of this {d}.|"
        "Who signed this {d}?",
    ),
    "effective": (
        "effective date{p},date of the {d},start date of the {d},date of commencement,"
        "date on which it takes effect",
        "When does the {d} take effect?|From when does the {d} apply?|Since when is the {d} in force?|"
        "When was the {d} entered into?|On what date was the {d} concluded?|"
        "As of which date is it effective?",
    ),
    "law": (
        "governing law,jurisdiction,applicable law,state whose law governs,law that applies",
        "Which state's law governs the {d}?|Under which law does the {d} stand?|Whose laws apply?",
    ),
    "term": (
        "term{p},duration{p},length of the term,period of validity",
        "How long does the {d} last?|For how long is it valid?",
    ),
    "page": (
        "page number,number of the page,page no.,page",
        "What page is this?|Which page is it?|What number is at the bottom of the page?",
    ),
    "source": (
        "source,source of the data,source of the {d}",
        "Where do the data come from?|Who collected the data?|What source is cited?",
    ),
    "currency": (
        "currency",
        "In which currency are the amounts?|In what currency is it?",
    ),
}  # fmt: skip


def held(form: str) -> bool:
    """Whether a form is kept for the evaluation."""
    return zlib.crc32(form.encode()) % 8 == 0


@functools.cache
def _parted(forms: tuple[str, ...], held_out: bool) -> tuple[str, ...]:
    return tuple(form for form in forms if held(form) == held_out) or forms


def pick(forms: Sequence[str], held_out: bool) -> str:
    """One of the forms that training may use, or of those that it may not."""
    return random.choice(_parted(tuple(forms), held_out))


@functools.cache
def _role(role: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    nouns, own = ROLES[role]
    return tuple(nouns.split(",")), tuple(own.split("|"))


def about_role(role: str, document: str, held_out: bool) -> str:
    """A question for what something is on a page: its total, its date."""
    nouns, own = _role(role)
    form = pick(own if random.random() < 0.4 else _FORMS, held_out)
    return _fill(form, document, random.choice(nouns))


def about_label(label: str, document: str, held_out: bool) -> str:
    """A question for what stands at a label of the page, quoted or not, in its case or another."""
    name = other_case(label)
    if random.random() < 0.55:
        quoted = random.choice(_QUOTES).format(label if random.random() < 0.6 else name)
        return _fill(
            pick(_LABELS, held_out).replace("{b}", random.choice(_BOXES)), document, quoted, key="{q}"
        )
    return _fill(pick(_FORMS, held_out), document, name)


def asked(form: str, document: str) -> str:
    """A form whose blanks are filled, but for the document and the place."""
    return _fill(form, document, "")


def other_case(text: str) -> str:
    """A label as people write it: as it is, small, or as a title."""
    kind = random.random()
    if kind < 0.45:
        return text
    if kind < 0.75:
        return " ".join(w if re.fullmatch(r"[A-Z]{2,4}|.*\d.*", w) else w.lower() for w in text.split())
    return text.title() if kind < 0.9 else text.upper() if kind < 0.95 else text.lower()


def _fill(form: str, document: str, noun: str, key: str = "{n}") -> str:
    word = random.choice(DOCUMENTS[document])
    place = random.choice(_PLACES) if "{p}" not in noun else ""
    form = form.replace("{p}", place).replace(key, noun).replace("{N}", noun[:1].upper() + noun[1:])
    return noisy(form.replace("{p}", "").replace("{d}", word))


def noisy(question: str) -> str:
    """As people type: all small, all capitals, no mark at the end, a space before it."""
    kind = random.random()
    if kind < 0.07 and '"' not in question:
        question = question.lower()
    elif kind < 0.09:
        question = question.upper()
    elif kind < 0.12:
        question = question.rstrip("?.")
    elif kind < 0.14:
        question = re.sub(r"([?.])$", r" \1", question)
    elif kind < 0.16:
        question = f"{random.choice(['Question:', 'Q:', 'Please answer:', 'Hi,'])} {question}"
    return question
