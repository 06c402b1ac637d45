"""What records and plans say: summaries, tables, pictures, and one offline HTML page."""
