"""How results look: tables as text and HTML, frames, figures."""
