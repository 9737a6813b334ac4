"""Golden documents: one small story, and every document that it publishes, byte for byte."""
