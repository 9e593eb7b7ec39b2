"""A target whose validators do to their process whatever the value says."""

import ctypes
import os
import threading
from typing import Any

from pydantic import BaseModel, PrivateAttr, field_validator


class Unruly(BaseModel):
    """One word, and an object that cannot be pickled."""

    word: str
    _lock: Any = PrivateAttr(default_factory=threading.Lock)

    @field_validator("word")
    @classmethod
    def obey(cls, word: str) -> str:
        match word:
            case "exit":
                raise SystemExit(3)
            case "interrupt":
                raise KeyboardInterrupt
            case "base":
                raise BaseException("odd")
            case "end":
                os._exit(3)
            case "segfault":
                ctypes.string_at(0)
            case "hang":
                threading.Event().wait()
        return word.upper()
