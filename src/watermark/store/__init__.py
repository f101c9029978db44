"""The ledger: what was generated and published, in a log that cannot be rewritten.

`watermark.store.ledger` holds `Ledger`; nothing heavy is imported from here.
"""
