"""E-mails that tests make."""

from email.message import EmailMessage


def mail(text: str = "hello", subject: str = "a mail", /, **attached: bytes) -> EmailMessage:
    """An e-mail with attachments of these names: the last _ in a name stands for its dot."""
    message = EmailMessage()
    message["From"] = "Ann <ann@example.com>"
    message["To"] = "bob@example.com"
    message["Subject"] = subject
    message["Date"] = "Sun, 29 Nov 2026 20:00:00 +0000"
    message.set_content(text)
    for name, data in attached.items():
        filename = ".".join(name.rsplit("_", 1))
        message.add_attachment(data, maintype="application", subtype="octet-stream", filename=filename)
    return message


def nested(depth: int, **attached: bytes) -> EmailMessage:
    """An e-mail in an e-mail, so many of them in one another; the innermost one has the attachments."""
    message = mail("the innermost", **attached)
    for number in range(depth):
        message = around(message, f"around it: {number}")
    return message


def around(message: EmailMessage, text: str = "around it") -> EmailMessage:
    """An e-mail that another one is attached to."""
    outer = mail(text)
    outer.add_attachment(message)
    return outer
