"""How much of the redshift a translation kept."""
