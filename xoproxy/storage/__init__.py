"""What lasts: accounts, groups, grants, API tokens, pools and the signing key, in a SQL database.

    open_storage -- Database (engine, transactions, migrations)
                 -- Keyring (key file: encrypts what the database must not show)
                 -- StoredDirectory, StoredTokens  fit auth's DirectoryStore and TokenStore
                 -- StoredPools                    connection data of pools, passwords encrypted

Tables (schema.py) and statements are plain SQL that every database knows; what is SQLite's or
PostgreSQL's own is in sqlite.py and postgresql.py. Every write is one short transaction that is on
disk before the call returns, and one at a time. backup.py copies all of it into a file (archive.py)
and back; rotation.py gives it another key.
"""

from xoproxy.storage.opening import Storage, open_storage
from xoproxy.storage.pools import PoolConfig, StoredPools

__all__ = ["PoolConfig", "Storage", "StoredPools", "open_storage"]
