"""One run from configuration to final table, kept in its folder."""
