"""A strict local stand-in for a model provider, over real HTTP. See `server.py`."""

from .recorded import Recorded
from .reply import Reply, last_user_text, words
from .rules import violations
from .server import ModelServer

__all__ = ["ModelServer", "Recorded", "Reply", "last_user_text", "violations", "words"]
