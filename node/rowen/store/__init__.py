"""The journal of money. The only package that imports SQLAlchemy.

``rowen.store.base`` is the interface and imports nothing slow; ``rowen.store.journal`` has the
implementation on SQLite, ``open_journal``.
"""
