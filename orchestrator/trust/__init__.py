"""Who may speak for the fleet: the certificate authority and its passphrase.

Reading order: `authority` (what it issues and signs), `passphrase` (where its secret comes from), `place`
(where it is kept).
"""
