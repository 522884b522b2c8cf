"""The two halves' dealings with each other, one class for each half; see `prefill_exchange` and `decode_exchange`."""

from .decode_exchange import DecodeExchange
from .prefill_exchange import PrefillExchange

__all__ = ["DecodeExchange", "PrefillExchange"]
