"""Keys: secrets, their public names, rings of them, and key records."""

from watermark.keys.engine import PUBLISHED as PUBLISHED
from watermark.keys.engine import SMALL_BITS as SMALL_BITS
from watermark.keys.engine import EngineKey as EngineKey
from watermark.keys.key import FILE_SCHEMA as FILE_SCHEMA
from watermark.keys.key import Key as Key
from watermark.keys.record import EMBED_ONLY as EMBED_ONLY
from watermark.keys.record import KeyRecord as KeyRecord
from watermark.keys.record import Parameter as Parameter
from watermark.keys.ring import MAX_EPOCH as MAX_EPOCH
from watermark.keys.ring import KeyRing as KeyRing
from watermark.keys.ring import RingEntry as RingEntry
