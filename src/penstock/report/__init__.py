"""What records and plans mean: summaries, tables, pictures, one offline HTML page."""
