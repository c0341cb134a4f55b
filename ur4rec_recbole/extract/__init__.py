"""Feature extractors: texts, images and histories to tables. Heavy imports live only here."""
