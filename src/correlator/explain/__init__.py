"""Explain: why an incident or an alert is what it is, in words and as a drawing. Pure: documents and decisions in, texts out."""
