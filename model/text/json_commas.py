"""Tells where the elements of a JSON text are set apart: the commas outside of its strings. No torch.

In: the bytes of a text that is being written, token by token. Out: whether a token holds such a comma.
"""

QUOTE, BACKSLASH, COMMA = b'"\\,'


class JsonCommas:
    """The place in a JSON text: inside of a string, or not."""

    def __init__(self) -> None:
        self._in_string = False
        self._escaped = False

    def passes(self, token: bytes) -> bool:
        """Whether the next token of the text holds a comma outside of strings."""
        found = False
        for byte in token:
            if self._escaped:
                self._escaped = False
            elif byte == QUOTE:
                self._in_string = not self._in_string
            elif self._in_string:
                self._escaped = byte == BACKSLASH
            elif byte == COMMA:
                found = True
        return found
