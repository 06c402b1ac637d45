"""Options, tables and notes that several verbs share."""
