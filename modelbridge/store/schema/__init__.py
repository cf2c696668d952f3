"""Every table, one file per theme; `modelbridge.store.tables` has them all."""
