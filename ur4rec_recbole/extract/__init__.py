"""Feature extractors: texts, images and histories to feature tables. Heavy imports live only here."""
