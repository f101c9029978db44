"""Key records from an engine's own configuration, or from a file of ours.

`load_records` is the one way in. It takes what the engine takes: a
``generation_config.json`` or the folder it is in, a file for ``--watermark-config`` or
``--config``, the configuration object or its fields. And it takes a TOML file, where
many keys stand together::

    [[record]]
    scheme = "hf-kgw"
    key_file = "chat.key"       # mode 0600: the number, or a file of Key.save
    vocab_size = 151936
    parameters = { seeding = "selfhash", width = 4, gamma = 0.25 }

    [[record]]
    config = "generation_config.json"
    vocab_size = 151936
    tokenizer = "models/chat"   # a folder, or the digest

A number may also stand in the TOML itself, as ``key``, or ``keys`` where there are
several; then nobody else may be able to read the file. It is not a classmethod of
`KeyRecord`, since keys know no scheme.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from watermark.errors import ConfigError, KeyFileError
from watermark.keys import FILE_SCHEMA, EngineKey, Key, KeyRecord
from watermark.schemes import SCHEMES
from watermark.schemes.foreign import FOREIGN, Foreign
from watermark.schemes.foreign.base import MAX_VOCABULARY, UINT64, Fields
from watermark.schemes.foreign.files import MAX_FILE as MAX_FILE
from watermark.schemes.foreign.files import is_json, json_file, once, parsed
from watermark.schemes.foreign.files import read as read_bounded
from watermark.tokenizer import TextTokenizer

MAX_RECORDS = 1000  # in one file: every one is a hypothesis
MAX_DOTS = 64  # in a line: Python's reader takes the square of a dotted key's length
# Under these names a larger configuration holds the watermark's.
HOLDERS = ("watermarking_config", "watermark-config", "watermark_config")
_DIGEST = re.compile(r"[0-9a-f]{64}")


def load_records(
    source: Any,
    *,
    scheme: str | None = None,
    vocab_size: int | None = None,
    tokenizer: Any = None,
    passphrase: str | None = None,
) -> list[KeyRecord]:
    """The key records that a configuration describes; for `verify(keys=...)`.

    Args:
        source: a path (``.toml`` is ours; else JSON, or a folder that holds a
            ``generation_config.json``), the fields by name or as JSON text, or an
            engine's configuration object.
        scheme: name of the scheme, where the fields do not tell it; not for TOML.
        vocab_size: width of the model's logits, where the configuration does not say;
            beside a ``generation_config.json`` the model's ``config.json`` says it.
            Not for TOML, whose records say it themselves.
        tokenizer: of the model: a folder or an object. The records are then for its
            texts alone.
        passphrase: of the key files that a TOML file names.

    Raises:
        ConfigError: a field is missing, unknown or out of range; it is named.
        KeyFileError: a file cannot be read, or others can read its secret.
        TokenizerMismatch: the tokenizer cannot be read.
    """
    read = None if tokenizer is None else TextTokenizer.of(tokenizer)
    folder = Path()
    if is_json(source):
        source = parsed(source, "the configuration")
    elif isinstance(source, str | Path):
        path = Path(source)
        if path.suffix == ".toml":
            for name, given in (("scheme", scheme), ("vocab_size", vocab_size)):
                if given is not None:
                    raise ConfigError(
                        name, f"given beside {path}, whose records say it themselves"
                    )
            return _toml(path, read, passphrase)
        path = path / "generation_config.json" if os.path.isdir(path) else path
        folder, source = path.parent, json_file(path)
        if path.name == "generation_config.json" and vocab_size is None:
            vocab_size = _model_vocabulary(folder / "config.json")
    config = _watermark(_fields(source))
    record = _scheme_of(config, scheme).from_config(
        config, vocab_size=vocab_size, tokenizer=read.digest if read else None
    )
    _check_tokenizer(record, read)
    return [record]


def is_configuration(source: Any) -> bool:
    """Whether `load_records` is for it: no key, and no file of one.

    A path is a configuration unless it holds JSON that names a schema of ours.
    """
    if is_json(source):
        return True
    if isinstance(source, str | Path):
        path = Path(source)
        if path.suffix == ".toml" or os.path.isdir(path):
            return True
        try:
            return "schema" not in json_file(path)
        except KeyFileError:  # whoever reads it says what is wrong with it
            # No key lies in a pipe, or fills a megabyte: here they are refused unread.
            return os.path.exists(path) and not (
                os.path.isfile(path) and os.path.getsize(path) <= MAX_FILE
            )
    if isinstance(source, KeyRecord):
        return False
    return isinstance(source, Mapping) or hasattr(source, "to_dict")


# --- an engine's configuration -------------------------------------------------------


def _fields(source: Any) -> Mapping[str, Any]:
    """The fields of a configuration object."""
    if isinstance(source, Mapping):
        return source
    if hasattr(source, "to_dict"):  # transformers
        found = source.to_dict()
    elif dataclasses.is_dataclass(source) and not isinstance(source, type):
        found = {f.name: getattr(source, f.name) for f in dataclasses.fields(source)}
    else:
        found = getattr(source, "__dict__", None)
    if not isinstance(found, Mapping):
        raise ConfigError(
            "configuration",
            f"found {type(source).__name__}, expected a path, fields by name or an "
            "engine's configuration object",
        )
    return found


def _watermark(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The watermark's part of a configuration: its whole, or what it holds."""
    for name in HOLDERS:
        if config.get(name) is None:
            continue
        inner = config[name]
        if isinstance(inner, str):  # as on vLLM's command line
            try:
                inner = json.loads(inner, object_pairs_hook=once)
            except (ValueError, RecursionError):
                raise ConfigError(name, "a string that is no JSON") from None
        return _fields(inner)
    if "transformers_version" in config or "eos_token_id" in config:
        raise ConfigError(
            HOLDERS[0], "missing: this generation configuration marks nothing"
        )
    return config


def _scheme_of(config: Mapping[str, Any], name: str | None) -> Foreign:
    if name is not None:
        if name not in FOREIGN:
            raise ConfigError("scheme", f"expected one of {', '.join(FOREIGN)}")
        return FOREIGN[name]
    told = [s for s in FOREIGN.values() if s.known_by & config.keys()]
    if len(told) != 1:
        raise ConfigError(
            "scheme",
            "missing: these fields belong to "
            + (" and ".join(s.name for s in told) or "no engine that is known here")
            + f". Name one of {', '.join(FOREIGN)}",
        )
    return told[0]


def _model_vocabulary(path: Path) -> int | None:
    """Width of a model's logits, as transformers takes it from its ``config.json``."""
    if not os.path.isfile(path):
        return None
    model = json_file(path)
    text = model.get("text_config")
    holder = text if isinstance(text, Mapping) and "vocab_size" in text else model
    if not holder.get("vocab_size"):
        return None
    return Fields(holder).integer("vocab_size", 2, MAX_VOCABULARY)


def _check_tokenizer(record: KeyRecord, tokenizer: TextTokenizer | None) -> None:
    size = record.vocab_size
    if tokenizer is not None and size is not None and tokenizer.size > size:
        raise ConfigError(
            "vocab_size",
            f"found {size}, but the tokenizer has {tokenizer.size} tokens: it is the "
            "tokenizer of another model",
        )


# --- our own file --------------------------------------------------------------------


def _toml(
    path: Path, tokenizer: TextTokenizer | None, passphrase: str | None
) -> list[KeyRecord]:
    raw, private = read_bounded(path)
    if max(line.count(b".") for line in raw.split(b"\n")) > MAX_DOTS:
        raise KeyFileError(f"{path} has a line of more than {MAX_DOTS} dots")
    try:
        data = tomllib.loads(raw.decode())
    except (ValueError, RecursionError) as error:
        # Its own message could quote a line with a key.
        raise KeyFileError(
            f"{path} cannot be read as TOML ({type(error).__name__})"
        ) from None
    rows = data.pop("record", None)
    if data or not isinstance(rows, list) or not 0 < len(rows) <= MAX_RECORDS:
        raise ConfigError(
            f"{next(iter(data), 'record'):.80}",
            f"expected 1 to {MAX_RECORDS} tables [[record]], and nothing else",
        )
    if any({"key", "keys"} & set(row) for row in rows if isinstance(row, Mapping)):
        private()
    records = []
    for number, row in enumerate(rows, 1):
        try:
            records += _row(row, path.parent, tokenizer, passphrase)
        except ConfigError as error:
            problem = str(error).partition(": ")[2]
            raise ConfigError(f"record {number}, {error.field}", problem) from None
    return records


def _row(
    row: Any, folder: Path, tokenizer: TextTokenizer | None, passphrase: str | None
) -> list[KeyRecord]:
    fields = Fields(row)
    if fields.has("tokenizer"):
        digest, tokenizer = _tokenizer(fields.text("tokenizer"), folder)
    else:
        digest = None if tokenizer is None else tokenizer.digest
    size = (
        fields.integer("vocab_size", 2, MAX_VOCABULARY)
        if fields.has("vocab_size")
        else None
    )
    names = [*FOREIGN, *SCHEMES]
    scheme = fields.choice("scheme", names) if fields.has("scheme") else None
    if fields.has("engine"):
        engines = {s.engine for s in FOREIGN.values() if scheme in (None, s.name)}
        fields.choice("engine", sorted(engines))
    if fields.has("config"):
        file = folder / fields.text("config")
        fields.done()
        if file.suffix == ".toml":
            raise ConfigError("config", "expected an engine's configuration, no TOML")
        [record] = load_records(
            file, scheme=scheme, vocab_size=size, passphrase=passphrase
        )
        record = dataclasses.replace(record, tokenizer=digest)
        _check_tokenizer(record, tokenizer)
        return [record]
    if scheme is None:
        raise ConfigError("scheme", "missing: a record needs a scheme or a config")
    chosen = FOREIGN.get(scheme) or SCHEMES[scheme]
    fields.integer("version", chosen.version, chosen.version, chosen.version)
    key = _key(fields, folder, passphrase)
    if isinstance(key, EngineKey) and scheme not in FOREIGN:
        raise ConfigError("key", f"{scheme} needs a key file of Key.save, no number")
    epoch = fields.integer("epoch", 0, 999, 0)
    parameters = row.get("parameters", {})
    if not isinstance(parameters, Mapping):
        raise ConfigError("parameters", "expected a table")
    fields.done("parameters")
    if scheme in FOREIGN and FOREIGN[scheme].fixed_vocabulary and size is None:
        raise ConfigError("vocab_size", "missing: it decides this scheme's green lists")
    try:
        record = chosen.record(
            key, epoch=epoch, vocab_size=size, tokenizer=digest, **parameters
        )
    except (TypeError, ValueError) as error:
        raise ConfigError("parameters", str(error)) from None
    _check_tokenizer(record, tokenizer)
    return [record]


def _tokenizer(name: str, folder: Path) -> tuple[str | None, TextTokenizer | None]:
    if _DIGEST.fullmatch(name):
        return name, None
    if "\0" in name:
        raise ConfigError("tokenizer", "expected a folder or a digest")
    read = TextTokenizer.of(folder / name)
    return read.digest, read


def _key(fields: Fields, folder: Path, passphrase: str | None) -> Key | EngineKey:
    named = [name for name in ("key", "keys", "key_file") if fields.has(name)]
    if len(named) != 1:
        raise ConfigError("key", "expected exactly one of key, keys and key_file")
    if named == ["key_file"]:
        return _key_file(folder / fields.text("key_file"), passphrase)
    values = fields.listed(named[0])
    return EngineKey([_number(named[0], value) for value in values])


def _key_file(path: Path, passphrase: str | None) -> Key | EngineKey:
    """A file of `Key.save`, or numbers with spaces or lines between them."""
    data, private = read_bounded(path)
    private()
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise KeyFileError(f"{path} holds no text, expected a key") from None
    if FILE_SCHEMA in text:
        return Key.load(path, passphrase=passphrase)
    numbers = text.split()
    if not numbers:
        raise KeyFileError(f"{path} is empty, expected a key")
    return EngineKey([_number("key_file", number) for number in numbers])


def _number(field: str, value: Any) -> int:
    """An integer, or one as decimal or ``0x`` hexadecimal digits; never shown."""
    if isinstance(value, str) and len(value) <= 32:
        try:
            value = int(value, 16 if value[:2].lower() == "0x" else 10)
        except ValueError:
            value = None
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigError(field, "expected an integer, or its digits (0x for base 16)")
    if not -(UINT64[1] >> 1) - 1 <= value <= UINT64[1]:
        raise ConfigError(
            field, f"found an integer of {value.bit_length()} bits, expected 64 at most"
        )
    return value
