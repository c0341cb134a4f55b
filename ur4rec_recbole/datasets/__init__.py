"""Where data sets come from: public ones, own tables, made-up ones."""
